"""Drawn shares against the chi distribution; the closed forms of the level mismatch; the rotation formula."""

import math

import numpy as np
import pytest
import torch
from scipy.stats import chi, kstest

import smoothscore as ss
from smoothscore import schedules
from smoothscore.reproduce import reproduce
from smoothscore.reproduce.level_mismatch import SingleCenter, fixed_points, ode_level, sde_level
from smoothscore.reproduce.shell_mass import radii


@pytest.mark.parametrize("dim", [2, 50, 700])
def test_radii_are_chi_distributed(dim):
    sample = radii(20_000, dim, np.random.default_rng(0))
    assert sample.shape == (20_000,)
    assert kstest(sample, chi(dim).cdf).pvalue > 1e-3


def test_shell_mass_agrees_with_the_exact_mass():
    result = reproduce("shell-mass", "quick")
    for dim in (50, 100, 500, 1000):
        row = next(row for row in result.rows if row.quantity == f"d = {dim}: mean share")
        edge = math.sqrt(dim) + 3 / math.sqrt(2) * np.array([-1, 1])
        exact = np.diff(chi.cdf(edge, dim))[0]
        assert row.ours == pytest.approx(exact, abs=4 * math.sqrt(0.0027 / 1e5))
        assert row.verdict == "hit"


def test_one_step_of_a_single_center():
    """The two recursions, from steps written out by hand."""
    assert ode_level(0.2, 1.0, 0.9) / 0.2 == pytest.approx(1.375, rel=1e-12)
    assert (sde_level(0.2, 1.0, 0.9)) ** 2 == pytest.approx(0.7525, rel=1e-12)
    generator = torch.Generator().manual_seed(0)
    x = 0.2 * torch.randn(2000, 50, generator=generator, dtype=torch.float64)
    x *= 0.2 * math.sqrt(50) / x.norm(dim=1, keepdim=True)
    z = torch.randn(2000, 50, generator=generator, dtype=torch.float64)
    moved = x + 0.19 * SingleCenter((50,)).score(x) + math.sqrt(0.19) * z
    square = moved.square().mean(1)
    error = float(square.std()) / math.sqrt(2000)
    assert float(square.mean()) == pytest.approx(0.7525, abs=4 * error)


def test_the_fixed_points_are_fixed_and_only_one_attracts():
    q = 1.0172
    stable, unstable = fixed_points(q)
    assert stable == pytest.approx(0.1312, abs=5e-4)
    for point in (stable, unstable):
        assert sde_level(point, 1.0, q**-0.5) * q**0.5 == pytest.approx(point, rel=1e-12)
    ends = {}
    for start in (0.05, 0.5, 0.99, 0.995):
        ratio = start
        for _ in range(2000):
            ratio = sde_level(ratio, 1.0, q**-0.5) * q**0.5
        ends[start] = ratio
    assert all(ends[start] == pytest.approx(stable, rel=1e-6) for start in (0.05, 0.5, 0.99))
    assert ends[0.995] > 100


def test_samplers_follow_the_recursions():
    result = reproduce("level-mismatch", "quick")
    rows = {row.quantity: row for row in result.rows}
    missed = [name for name, row in rows.items() if row.verdict == "missed"]
    assert missed == ["SDE from 1.0: ratio at the last level"]
    assert rows["ODE from 0.5: ratio at the last level"].ours == pytest.approx(5479, rel=1e-3)
    assert rows["ODE from 1.0: ratio at the last level"].ours == pytest.approx(322.0, rel=1e-3)


def test_a_single_center_of_the_unified_score_is_the_same_but_for_two_dimensions():
    center = torch.zeros(1, 40, dtype=torch.float64)
    unified = ss.UnifiedScore(center, schedules.log_uniform(30, 0.01, 50.0), optimal_shell="continuous")
    x = torch.randn(3, 40, dtype=torch.float64)
    torch.testing.assert_close(unified.score(x) * 40 / 38, SingleCenter((40,)).score(x))
