"""The danger zone as a rule on curves, its intervals, and its translations."""

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from scipy.stats import norm

from smoothscore.geometry.curve import Curve, Replicates
from smoothscore.geometry.danger import DangerZone, balance, danger_zone, zone_with_interval


def curve(sigmas: np.ndarray, mean: np.ndarray) -> Curve:
    return Curve(sigmas, mean, np.zeros(len(sigmas)))


def falling(sigmas: np.ndarray, middle: float) -> np.ndarray:
    return norm.cdf(4 * np.log(middle / sigmas))


SIGMAS = np.geomspace(80, 0.002, 400)


def test_zone_between_the_two_levels() -> None:
    weight, coverage = curve(SIGMAS, falling(SIGMAS, 7.0)), curve(SIGMAS, 1 - falling(SIGMAS, 1.2))
    edge = np.exp(norm.ppf(0.9) / 4)
    assert danger_zone(weight, coverage) == pytest.approx((1.2 * edge, 7.0 / edge), rel=1e-3)
    assert balance(weight, coverage) == pytest.approx(np.sqrt(7.0 * 1.2), rel=1e-3)
    reverse = curve(SIGMAS[::-1], coverage.mean[::-1])
    assert danger_zone(weight, reverse) == pytest.approx(danger_zone(weight, coverage))


def test_no_zone() -> None:
    weight, coverage = curve(SIGMAS, falling(SIGMAS, 1.0)), curve(SIGMAS, 1 - falling(SIGMAS, 1.2))
    assert danger_zone(weight, coverage) is None
    assert danger_zone(weight, coverage, 0.3, 0.3) is not None
    never = curve(SIGMAS, np.full(400, 0.4))
    assert danger_zone(never, never) is None
    assert balance(curve(SIGMAS, np.ones(400)), never) is None


def test_zone_ends_with_the_levels_given() -> None:
    part = SIGMAS[(SIGMAS > 2) & (SIGMAS < 3)]
    weight, coverage = curve(part, falling(part, 7.0)), curve(part, 1 - falling(part, 1.2))
    assert danger_zone(weight, coverage) == (part.min(), part.max())


def test_widest_of_several() -> None:
    coverage = curve(np.arange(1.0, 7), np.array([1, 0, 1, 1, 1, 0.0]))
    assert danger_zone(curve(coverage.sigmas, np.ones(6)), coverage, 0.9, 0.5) == pytest.approx(
        (np.sqrt(2 * 3), np.sqrt(5 * 6))
    )


@settings(max_examples=25, deadline=None)
@given(st.integers(0, 10_000), st.floats(0.05, 0.95), st.floats(0.05, 0.95))
def test_zone_is_where_both_curves_are_high(seed: int, weight_level: float, coverage_level: float) -> None:
    rng = np.random.default_rng(seed)
    sigmas = np.sort(rng.uniform(0.1, 10, 8))
    weight, coverage = curve(sigmas, rng.uniform(size=8)), curve(sigmas, rng.uniform(size=8))
    zone = danger_zone(weight, coverage, weight_level, coverage_level)
    grid = np.geomspace(sigmas[0], sigmas[-1], 2000)
    high = (weight.at(grid) >= weight_level) & (coverage.at(grid) >= coverage_level)
    if zone is None:
        assert high.mean() < 0.02
    else:
        inside = (grid > zone[0] * 1.0001) & (grid < zone[1] * 0.9999)
        assert high[inside].all()


def test_interval_has_its_coverage() -> None:
    """Curves whose ends scatter over images and noises: 95 % intervals hold the truth about as often."""
    sigmas = np.geomspace(10, 0.5, 25)
    truth = danger_zone(curve(sigmas, falling(sigmas, 5.0)), curve(sigmas, 1 - falling(sigmas, 1.0)))
    assert truth is not None
    hits, runs = np.zeros(2), 60
    for seed in range(runs):
        rng = np.random.default_rng(seed)
        images, noises = 0.2 * rng.normal(size=(25, 1)), 0.1 * rng.normal(size=(1, 16))
        scatter = (images + noises)[None] * np.ones((25, 1, 1))
        weight = Replicates(sigmas, falling(sigmas, 5.0)[:, None, None] + 0.2 * scatter)
        coverage = Replicates(sigmas, 1 - falling(sigmas, 1.0)[:, None, None] + 0.2 * scatter)
        zone = zone_with_interval(weight, coverage, draws=150, seed=seed)
        assert zone is not None
        assert zone.low_interval[0] <= zone.low <= zone.low_interval[1]
        ends = ((zone.low_interval, truth[0]), (zone.high_interval, truth[1]))
        hits += [low <= end <= high for (low, high), end in ends]
    assert (hits / runs >= 0.83).all()  # 25 images and 16 noises: the bootstrap is known to run a little short


def test_no_interval_without_a_zone() -> None:
    flat = Replicates(SIGMAS, np.full((400, 3, 3), 0.4))
    assert zone_with_interval(flat, flat) is None


def test_translations() -> None:
    """The timesteps and levels are those of the formula sheet."""
    zone = DangerZone(0.430, 1.405, (0, 1), (0, 1), 1.0, 0.95)
    assert zone.ddpm_timesteps() == pytest.approx((125, 325), abs=0.5)
    zone = DangerZone(0.14, 5.32, (0, 1), (0, 1), 1.0, 0.95)
    assert zone.edm_steps(18) == pytest.approx((7, 13), abs=0.1)
    assert zone.flow_times() == pytest.approx((1 / 6.32, 1 / 1.14))
