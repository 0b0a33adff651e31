import numpy as np
import pytest

from smoothscore.memorization.conformal import discoveries, p_values, shortest_list


def test_p_values_by_counting() -> None:
    statistic, control = np.array([0.1, 0.5, 0.9, 0.3]), np.array([0.3, 0.5, 0.7])
    assert p_values(statistic, control).tolist() == [1.0, 3 / 4, 1 / 4, 1.0]


def test_shortest_list_is_the_first_that_passes() -> None:
    for samples, controls, alpha in ((100, 399, 0.05), (10_000, 10_000, 0.05), (20, 399, 0.05), (50, 60, 0.1)):
        least = shortest_list(samples, controls, alpha)
        for copies in (least - 1, least):
            statistic = np.r_[np.full(copies, 2.0), np.zeros(samples - copies)] if copies <= samples else np.ones(0)
            found = discoveries(p_values(statistic, np.linspace(0, 1, controls)), alpha) if len(statistic) else []
            assert (len(found) > 0) == (copies == least and least <= samples)


def test_p_values_are_valid_for_new_images_of_the_same_source() -> None:
    """P(p <= a) <= a, here with ties, and by no more than 1 / (h + 1) below for a continuous statistic."""
    rng = np.random.default_rng(0)
    repeats, h = 20_000, 19
    for rounding, exact in ((None, True), (1, False)):
        draws = rng.normal(size=(repeats, h + 1))
        draws = draws if rounding is None else draws.round(rounding)
        p = np.array([p_values(row[:1], row[1:])[0] for row in draws])
        for a in (0.05, 0.25, 0.5):
            reach = 4 * np.sqrt(a * (1 - a) / repeats)
            share = np.mean(p <= a + 1e-12)
            assert share <= a + reach
            if exact:
                assert share >= a - reach


def test_flags_are_benjamini_and_hochbergs() -> None:
    rng = np.random.default_rng(1)
    for alpha in (0.01, 0.1, 0.3):
        p = np.concatenate([rng.uniform(size=50), rng.uniform(high=0.01, size=10)])
        order = np.argsort(p)
        passing = np.flatnonzero(p[order] <= alpha * np.arange(1, 61) / 60)
        expected = np.sort(order[: passing[-1] + 1]) if len(passing) else np.empty(0, dtype=int)
        assert discoveries(p, alpha).tolist() == expected.tolist()


@pytest.mark.parametrize("copies", [0, 20])
def test_false_discoveries_stay_below_their_rate(copies: int) -> None:
    rng = np.random.default_rng(2)
    shares = []
    for _ in range(600):
        statistic = rng.normal(size=100)
        statistic[:copies] += 6
        found = discoveries(p_values(statistic, rng.normal(size=400)), 0.1)
        shares.append(np.mean(found >= copies) if len(found) else 0.0)
    assert np.mean(shares) <= 0.1 + 4 * np.std(shares) / np.sqrt(600)
