import numpy as np
import pytest
import torch

from smoothscore.encoders import PIXEL
from smoothscore.memorization import CopyTest, Matches
from smoothscore.memorization.surprise import Surprise, statistics


def matches(distances: np.ndarray, spacing: np.ndarray | None = None) -> Matches:
    return Matches(np.zeros(distances.shape, dtype=np.int64), distances, spacing)


def test_statistics_by_hand() -> None:
    d = np.array([[1.0, 2.0, 3.0, 4.0, 5.0, 6.0, 7.0, 8.0]])
    found = statistics(matches(d, np.array([2.5])))
    assert found["density"][0] == pytest.approx(np.log(3))
    spread = np.mean([j * np.log(d[0, j] / d[0, j - 1]) for j in range(2, 8)])
    assert found["dimension"][0] == pytest.approx(np.log(2) / spread)
    assert found["spacing"][0] == pytest.approx(np.log(2.5))
    assert set(statistics(matches(d[:, :4]))) == {"density"}


def test_statistics_have_no_unit_and_are_finite_for_identical_images() -> None:
    d = np.sort(np.random.default_rng(0).uniform(1, 2, (50, 20)))
    for name, values in statistics(matches(d, d[:, 1])).items():
        np.testing.assert_allclose(values, statistics(matches(7 * d, 7 * d[:, 1]))[name], rtol=1e-9)
    d[:, 0] = 0
    d[:10] = 0
    for values in statistics(matches(d, d[:, 1])).values():
        assert np.isfinite(values).all()
        assert values[10:].min() > 20


def test_the_gap_is_free_of_density_and_dimension() -> None:
    """For points spread evenly in m dimensions its mean is 1 times n / (n - 1), n = 18, whatever m; d1 / d2 is not."""
    means, ratios = [], []
    for m in (2, 8):
        train, fresh = torch.rand(2, 4000, m) * 2 - 1
        found = CopyTest(train, PIXEL)(fresh[:1500] * 0.5, 20)
        means.append(statistics(found)["dimension"].mean())
        ratios.append(found.ratio.mean())
    assert abs(means[0] - means[1]) < 0.12
    assert abs(np.mean(means) - 18 / 17) < 0.15
    assert ratios[1] - ratios[0] > 0.15


def test_surprise_is_minus_the_log_share_inside_and_exponential_beyond() -> None:
    """For exponential statistics both parts agree with -log P(larger) = v / b."""
    rng = np.random.default_rng(0)
    reference = matches(np.column_stack([np.exp(-rng.exponential(0.5, 20_000)), *[np.ones(20_000)] * 3]))
    values = np.array([0.05, 0.3, 1.0, 2.0, 5.0])
    found = Surprise({"pixel": reference})({"pixel": matches(np.column_stack([np.exp(-values), *[np.ones(5)] * 3]))})
    np.testing.assert_allclose(found["pixel"], values / 0.5, rtol=0.08, atol=0.01)
    assert (np.diff(found["pixel"]) > 0).all()


def test_leaving_out_is_searching_without() -> None:
    train = torch.rand(60, 5) * 2 - 1
    train[7] = train[3] + 1e-3
    test = CopyTest(train, PIXEL)
    chosen = np.array([3, 7, 20])
    found = test.leave_one_out(chosen, 6)
    for row, left in enumerate(chosen):
        others = np.delete(np.arange(60), left)
        expected = CopyTest(train[others], PIXEL)(train[[left]], 6, spaced=True)
        np.testing.assert_array_equal(found.indices[row], others[expected.indices[0]])
        np.testing.assert_allclose(found.distances[row], expected.distances[0])
        assert found.spacing is not None
        assert expected.spacing is not None
        assert found.spacing[row] == pytest.approx(expected.spacing[0])
