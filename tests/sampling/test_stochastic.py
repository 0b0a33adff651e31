"""The distributions in which stochastic samplers end, and Langevin steps that keep one."""

import math

import numpy as np
import pytest
import torch
from scipy.stats import kstest, norm

import smoothscore as ss
from smoothscore.sampling import (
    DDIM,
    Ancestral,
    AnnealedLangevin,
    Churn,
    Evaluator,
    FlowCorrected,
    Heun,
    PredictorCorrector,
    ReverseSDE,
    draw,
)
from smoothscore.sampling.langevin import langevin

WEIGHTS, MEANS, WIDTHS = [0.3, 0.7], [-1.0, 0.8], [0.2, 0.3]
LOW, HIGH = 0.02, 20.0
N = 1500


def mixture_cdf(x):
    return sum(w * norm.cdf(x, m, s) for w, m, s in zip(WEIGHTS, MEANS, WIDTHS, strict=True))


def score_in(dim):
    """Along the first axis the mixture; the other axes carry N(0, 0.3^2) data of their own."""
    means = torch.zeros(2, dim)
    means[:, 0] = torch.tensor(MEANS)
    widths = [torch.full((dim,), 0.3) for _ in WIDTHS]
    for covariance, width in zip(widths, WIDTHS, strict=True):
        covariance[0] = width
    return ss.GaussianMixtureScore(torch.tensor(WEIGHTS), means, [torch.diag(w**2) for w in widths])


@pytest.mark.parametrize(
    ("sampler", "steps", "dim"),
    [
        (Heun(), 40, 1),
        (ReverseSDE(), 200, 1),
        (Ancestral(), 200, 1),
        (DDIM(eta=0.5), 200, 1),
        (Churn(churn=20, inflation=1.0), 60, 1),
        (PredictorCorrector(), 100, 24),
        (FlowCorrected(), 150, 24),
        (AnnealedLangevin(corrections=5), 80, 1),
    ],
    ids=lambda value: getattr(value, "name", None),
)
def test_terminal_distribution(sampler, steps, dim):
    """Kolmogorov-Smirnov against the mixture at 1,500 samples: the distance stays below its 0.1 % point.

    The last step denoises, which takes 0.02^2 off the variance: far below what the test sees.
    """
    sigmas = ss.schedules.log_uniform(steps, LOW, HIGH)
    x = draw(score_in(dim), N, sampler, sigmas=sigmas, batch_size=N).images.double().flatten(1)[:, 0]
    assert kstest(x.numpy(), mixture_cdf).pvalue > 1e-3


def test_the_terminal_test_sees_a_wrong_distribution():
    x = draw(score_in(1), N, ReverseSDE(), sigmas=ss.schedules.log_uniform(400, LOW, HIGH), batch_size=N).images
    assert kstest(x.double().flatten().numpy() * 1.1, mixture_cdf).pvalue < 1e-3


def test_langevin_steps_keep_the_distribution_of_a_level():
    score, sigma, n = ss.GaussianScore(torch.zeros(64), torch.eye(64)), 0.5, 400
    scale = math.sqrt(1 + sigma**2)
    x = scale * torch.randn(n, 64, dtype=torch.float64)
    model = Evaluator(score, range(n), seed=1)
    first = x
    for _ in range(30):
        x = langevin(model, x, sigma, 0.05)
    assert model.evaluations == 30 * n
    assert kstest(x.flatten().numpy() / scale, "norm").pvalue > 1e-3
    assert float((x - first).square().mean()) > 0.1  # it moved
    assert kstest(1.1 * x.flatten().numpy() / scale, "norm").pvalue < 1e-3


def test_pure_noise_data_make_song_s_step_size():
    """At a point with score -x / sigma^2 the step is 2 (snr |z| / |s|)^2, for each image its own."""
    score = ss.GaussianScore(torch.zeros(50), torch.zeros(50, 1))
    x = torch.randn(3, 50, dtype=torch.float64) * torch.tensor([[1.0], [2.0], [3.0]])
    z = Evaluator(score, range(3), seed=7).noise(x)
    moved = langevin(Evaluator(score, range(3), seed=7), x, 2.0, 0.16)
    drift = -x / 4
    size = 2 * (0.16 * z.norm(dim=1) / drift.norm(dim=1)) ** 2
    torch.testing.assert_close(moved, x + size[:, None] * drift + (2 * size[:, None]).sqrt() * z)


@pytest.mark.parametrize("sampler", [ReverseSDE(), Ancestral(), Churn(), PredictorCorrector()], ids=lambda s: s.name)
def test_noise_on_the_way_depends_on_seed_and_index_only(sampler):
    score = score_in(5)
    whole = draw(score, 6, sampler, steps=20, seed=3, batch_size=6, dtype=torch.float64).images
    parts = draw(score, 5, sampler, steps=20, seed=3, batch_size=2, dtype=torch.float64).images
    torch.testing.assert_close(whole[:5], parts, rtol=1e-9, atol=1e-9)
    assert not torch.allclose(whole, draw(score, 6, sampler, steps=20, seed=4, dtype=torch.float64).images)


@pytest.mark.parametrize(
    ("name", "evaluations"),
    [("sde", 1000), ("ancestral", 250), ("edm", 127), ("sde-pc", 1000), ("ode-pc", 1000), ("langevin", 1001)],
)
def test_evaluations_without_levels_given(name, evaluations):
    assert draw(ss.GaussianScore(torch.zeros(2), torch.eye(2)), 1, name).evaluations == evaluations


def test_ancestral_step_is_the_posterior_of_a_known_center():
    """Given D the next state is N(D + r^2 (x - D), s'^2 (1 - r^2)), r = s' / s: by Monte Carlo, standard errors."""
    center = torch.zeros(1, 1)
    n, sigma, sigma_next = 10_000, 2.0, 1.5
    x = torch.full((n, 1), 3.0, dtype=torch.float64)
    moved = Ancestral().step(Evaluator(ss.EmpiricalScore(center), range(n), 0), x, sigma, sigma_next)
    ratio = (sigma_next / sigma) ** 2
    mean, variance = ratio * 3.0, sigma_next**2 * (1 - ratio)
    assert abs(float(moved.mean()) - mean) < 4 * math.sqrt(variance / n)
    assert abs(float(moved.var()) - variance) < 4 * variance * math.sqrt(2 / n)
    assert np.isfinite(moved.numpy()).all()
