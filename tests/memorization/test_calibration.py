"""Two halves of the training set calibrate each other: valid p-values, a union of lists, and what a sample goes by."""

import numpy as np
import pytest
import torch
from scipy.stats import binomtest, kstest

from smoothscore.data import load_images
from smoothscore.memorization import audit
from smoothscore.memorization.calibration import halves, verdict
from smoothscore.memorization.conformal import discoveries


def points(seed: int, count: int, dim: int = 3) -> torch.Tensor:
    return torch.randn(count, dim, generator=torch.Generator().manual_seed(seed))


def test_each_half_gives_uniform_p_values_and_their_minimum_errs_no_more() -> None:
    """400 training sets of their own, one new point each: no two share anything, so the p-values are independent."""
    by_side, together = [], []
    for seed in range(400):
        sides = halves(points(seed, 40), np.arange(40), points(1000 + seed, 1), ("pixel",), False, 0.05)
        by_side.append([side.p_values[0] for side in sides])
        together.append(verdict(sides).p_values[0])
    grain = np.random.default_rng(0).uniform(0, 1 / 21, (400, 2))  # p-values are multiples of 1 / 21
    for values in (np.array(by_side) - grain).T:
        assert kstest(values, "uniform").pvalue > 1e-3
    for level in (0.1, 0.2, 0.4):
        assert binomtest(int(np.sum(np.array(together) <= level)), 400, level, "greater").pvalue > 1e-3
    np.testing.assert_allclose(together, np.minimum(2 * np.min(by_side, axis=1), 1))


def test_a_copy_is_found_by_the_half_that_holds_its_original() -> None:
    train, fresh = points(0, 2000, 8), points(1, 30, 8)
    copied = np.arange(0, 200, 10)
    samples = torch.cat([train[copied] + 1e-3, fresh])
    sides = halves(train, np.arange(2000), samples, ("pixel",), False, 0.05)
    whole = verdict(sides)
    assert set(range(20)) <= set(whole.passed)
    np.testing.assert_array_equal(whole.like[:20], copied)
    for side in sides:
        mine = np.isin(copied, side.members)
        assert (side.p_values[:20][mine] == 1 / 1001).all()
        assert (side.p_values[:20][~mine] > 0.01).mean() > 0.8
        np.testing.assert_array_equal(side.passed, discoveries(side.p_values, 0.025))
    np.testing.assert_array_equal(whole.passed, np.union1d(sides[0].passed, sides[1].passed))
    assert not set(sides[0].members) & set(sides[1].members)
    assert len(np.union1d(sides[0].members, sides[1].members)) == 2000


def test_a_half_never_sees_the_other() -> None:
    """Other images in the other half change nothing but the control."""
    train, samples = points(0, 200), points(1, 10)
    side = halves(train, np.arange(200), samples, ("pixel",), False, 0.05)[0]
    changed = train.clone()
    others = np.setdiff1d(np.arange(200), side.members)
    changed[others] = points(7, len(others))
    again = halves(changed, np.arange(200), samples, ("pixel",), False, 0.05)[0]
    np.testing.assert_array_equal(side.surprise, again.surprise)
    assert not np.array_equal(side.control, again.control)


def test_the_filter_and_the_excess_of_halves() -> None:
    digits = load_images("digits")
    train, fresh = digits.split((1200, 500), seed=0)
    samples = torch.cat([train[:100].tensor() + 0.01, fresh[:300].tensor()])
    found = audit(samples, train, tolerant=False)
    assert found.flagged is not None
    assert set(range(100)) <= set(found.flagged)
    assert len(found.flagged) < 120
    assert found.tail_excess is not None
    assert found.tail_excess.low < 0.25 < found.tail_excess.high
    assert found.flag(train[:50].tensor()).all()
    new = found.flag(fresh[300:].tensor())
    assert float(new.float().mean()) <= 3 * (found.false_alarms or 0) + 0.02
    assert found.shortest_list == int(np.ceil(400 / (0.025 * 601)))


@pytest.mark.parametrize(("count", "calibrated"), [(19, False), (20, True)])
def test_a_half_needs_ten_images(count: int, calibrated: bool) -> None:
    found = audit(points(0, 4), points(1, count))
    assert (found.p_values is not None) == calibrated
    assert (found.flagged is not None) == calibrated
    assert (found.false_alarms is not None) == calibrated
    assert len(found.flag(points(2, 3))) == 3
