"""The forecast of the size at which the danger zone closes."""

import math

import numpy as np
import pytest
import torch
from torch import Tensor

from smoothscore.geometry import danger_zone, posterior_weight, shell_coverage
from smoothscore.geometry.forecast import _crossing, forecast


def test_fieller_interval_has_its_coverage() -> None:
    x = np.log(np.repeat([125, 250, 500, 1000], [8, 4, 2, 1]))
    truth, hits = math.log(20_000), 0
    for seed in range(400):
        y = 0.2 * (truth - x) + 0.05 * np.random.default_rng(seed).normal(size=len(x))
        _, (low, high) = _crossing(x, y)
        hits += low <= 20_000 <= high
    assert hits / 400 == pytest.approx(0.95, abs=0.035)


def test_exact_line() -> None:
    x = np.log(np.array([100.0, 200, 400, 800]))
    closing, interval = _crossing(x, 0.3 * (math.log(5000) - x))
    assert closing == pytest.approx(5000)
    assert interval == pytest.approx((5000, 5000), rel=1e-5)


def test_a_zone_that_does_not_narrow_never_closes() -> None:
    x = np.log(np.array([100.0, 200, 400, 800]))
    assert _crossing(x, 0.1 * x) == (math.inf, (math.inf, math.inf))
    closing, (low, high) = _crossing(x, np.array([1.0, 1.1, 0.95, 1.05]))
    assert low > 800
    assert closing == high == math.inf


def plane(count: int, seed: int) -> Tensor:
    """Points about a 6-dimensional plane in 48 dimensions."""
    generator = torch.Generator().manual_seed(seed)
    basis = torch.linalg.qr(torch.randn(48, 6, generator=torch.Generator().manual_seed(9)))[0]
    return torch.randn(count, 6, generator=generator) @ basis.T


def test_the_zone_of_four_times_the_images_is_foreseen() -> None:
    train, held_out = plane(160, 0), plane(120, 1)
    sigmas = np.geomspace(2, 0.05, 16)

    def zone(images: Tensor) -> tuple[float, float]:
        weight = posterior_weight(images, sigmas, noises=40)
        found = danger_zone(weight, shell_coverage(images, held_out, sigmas, noises=40), 0.8, 0.8)
        assert found is not None
        return found

    found = forecast(train, held_out, zone(train), 0, 0.8, 0.8, levels=10, noises=40, images=80)
    assert found is not None
    np.testing.assert_array_equal(np.unique(found.sizes), [20, 40, 80, 160])
    widths = np.log(found.zones[:, 1] / found.zones[:, 0])
    slope, intercept = np.polyfit(np.log(found.sizes), widths, 1)
    low, high = zone(plane(640, 2))
    assert intercept + slope * math.log(640) == pytest.approx(math.log(high / low), abs=0.12)
    assert found.interval[0] <= found.closing_size <= found.interval[1]


def test_no_forecast_without_zones() -> None:
    assert forecast(torch.randn(24, 3), None, (0.1, 0.2), 0, 0.9999, 0.9999, levels=3, noises=5) is None
