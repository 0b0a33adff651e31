"""Divergences along the flow against exact ones, and the density on the sphere against Monte Carlo."""

import math

import numpy as np
import pytest
import torch
from scipy.integrate import solve_ivp
from scipy.special import logsumexp

from smoothscore.reproduce import reproduce
from smoothscore.reproduce.kernel import antithetic, averaged
from smoothscore.reproduce.kernel_sample_size import (
    HORIZON,
    Budget,
    Target,
    _doubt,
    flow_divergence,
    gaussian,
    sphere,
)


def test_density_on_the_noised_sphere_by_monte_carlo():
    target, t = sphere(3), 0.1
    rng = np.random.default_rng(0)
    draws = target.sample(200_000, rng)
    assert np.allclose(np.linalg.norm(draws, axis=1), 1)
    for x in ([0.0, 0.0, 0.8], [0.6, 0.6, 0.6], [1.5, 0.0, 0.0]):
        logs = -((np.array(x) - draws) ** 2).sum(1) / (2 * t) - 1.5 * math.log(2 * math.pi * t)
        mean = float(np.exp(logsumexp(logs)) / len(logs))
        error = float(np.exp(logs).std() / math.sqrt(len(logs)))
        ours = float(np.exp(target.log_density(np.array([x]), t))[0])
        assert abs(ours - mean) < 4 * error
        assert error < 0.02 * mean


@pytest.mark.parametrize("h", [0.0, 0.4])
def test_a_single_point_at_the_origin_has_no_divergence(h):
    """Its score is linear, so that smoothing changes nothing and the flow ends exactly on N(0, T I)."""
    point = Target(
        2,
        lambda count, rng: np.zeros((count, 2)),
        lambda x, t: -math.log(2 * math.pi * t) - (x**2).sum(-1) / (2 * t),
    )
    found = flow_divergence(point, 1, 0.1, h, Budget(3, 20, 8, 200), seed=0)
    assert np.abs(found).max() < 2e-4


def test_divergence_is_that_of_an_adaptive_integrator():
    budget, points, t0, h = Budget(1, 2, 8, 400), 7, 0.2, 0.3
    found = flow_divergence(gaussian(2), points, t0, h, budget, seed=2)
    rng = np.random.default_rng(2)
    z = h * antithetic(budget.shifts, 2, rng).double()
    start = rng.standard_normal((2, 2)) + math.sqrt(t0) * rng.standard_normal((2, 2))
    data = torch.from_numpy(rng.standard_normal((points, 2)))

    def flow(t, state):
        mean, trace = averaged(torch.from_numpy(state[None, :2]), data, t, z)
        return [*((state[:2] - mean[0].numpy()) / (2 * t)), float(trace[0] / t**2 - 2 / t)]

    losses = []
    for x in start:
        end = solve_ivp(flow, (t0, HORIZON), [*x, 0.0], rtol=1e-8, atol=1e-8).y[:, -1]
        ours = -math.log(2 * math.pi * HORIZON) - (end[:2] ** 2).sum() / (2 * HORIZON) - end[2] / 2
        losses.append(gaussian(2).log_density(x, t0) - ours)
    assert float(found[0]) == pytest.approx(float(np.mean(losses)), abs=2e-3)


def test_a_vanishing_bandwidth_is_none_on_the_same_samples():
    budget = Budget(4, 10, 8, 10)
    plain, tiny = (flow_divergence(gaussian(2), 20, 0.5, h, budget, seed=0) for h in (0.0, 1e-4))
    assert np.allclose(plain, tiny, atol=1e-3)


def test_more_points_come_closer_and_some_smoothing_helps():
    budget = Budget(10, 20, 8, 20)
    few, many = (flow_divergence(gaussian(2), n, 0.1, 0.0, budget, seed=0).mean() for n in (50, 400))
    smooth = flow_divergence(gaussian(2), 50, 0.1, 0.5, budget, seed=0).mean()
    assert many < smooth < few


def test_a_gain_within_its_error_is_said_to_be_doubtful():
    spread = np.linspace(-1, 1, 9)
    assert "not told apart from 1: smoothing gains 0.1 +- 0.2 nats" in _doubt(0.1 + spread)
    assert _doubt(0.1 + spread / 100) == ""


@pytest.mark.slow
def test_entry():
    result = reproduce("effective-sample-size", scale="quick")
    assert len(result.rows) == 12
    assert all(row.ours >= 1 for row in result.rows if row.quantity.startswith("N_eff"))
