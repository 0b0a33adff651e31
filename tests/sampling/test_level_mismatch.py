"""Appendix A.7: a schedule and a score that does not know it, at one center in many dimensions."""

import math
from itertools import pairwise

import pytest
import torch

import smoothscore as ss
from smoothscore.sampling import Evaluator, ReverseSDE, VarianceEuler

DIM = 400


class OneCenter(ss.Score):
    """The optimal shell of one center at zero: s = -x / sigma*^2 with sigma*^2 = |x|^2 / d."""

    noise_conditional = False

    def score(self, x, sigma=None):
        return -x / (x.square().sum(1, keepdim=True) / DIM)


def start(level, n):
    x = torch.randn(n, DIM, dtype=torch.float64)
    return level * math.sqrt(DIM) * x / x.norm(dim=1, keepdim=True)


@pytest.mark.parametrize(("sigma", "sigma_next", "actual"), [(1.0, 0.9, 0.2), (1.0, 0.9, 0.9), (5.0, 4.0, 0.3)])
def test_the_scheduled_ode_overshoots_by_the_printed_factor(sigma, sigma_next, actual):
    x = start(actual, 3)
    moved = VarianceEuler().step(Evaluator(OneCenter((DIM,))), x, sigma, sigma_next)
    shrink = (sigma**2 - sigma_next**2) / (2 * actual**2)
    torch.testing.assert_close(moved, (1 - shrink) * x, rtol=1e-13, atol=1e-13)
    if (sigma, actual) == (1.0, 0.2):
        assert float(moved.norm() / x.norm()) == pytest.approx(1.375, rel=1e-12)


def test_the_sde_corrects_itself():
    """E |r'|^2 / d = sigma*^2 (1 - b + b^2), b = (s^2 - s'^2) / sigma*^2; 0.7525 for (1, 0.9, 0.2)."""
    n, actual = 4000, 0.2
    moved = ReverseSDE().step(Evaluator(OneCenter((DIM,)), range(n), 0), start(actual, n), 1.0, 0.9)
    b = (1 - 0.81) / actual**2
    expected = actual**2 * (1 - b + b * b)
    assert expected == pytest.approx(0.7525)
    squares = moved.square().sum(1) / DIM
    assert abs(float(squares.mean()) - expected) < 4 * float(squares.std()) / math.sqrt(n)


def test_the_level_that_the_sde_settles_at():
    """From half the schedule's noise, on 1,000 levels from 50 to 0.01, to 0.1312 of it (in mean square)."""
    levels = ss.schedules.log_uniform(1000, 0.01, 50.0).tolist()
    n = 40
    model, x = Evaluator(OneCenter((DIM,)), range(n), 0), start(25.0, n)
    for sigma, sigma_next in pairwise(levels):
        x = ReverseSDE().step(model, x, sigma, sigma_next)
    ratio = (x.square().sum(1) / DIM).mean().sqrt() / levels[-1]
    assert float(ratio) == pytest.approx(0.1312, rel=0.05)
