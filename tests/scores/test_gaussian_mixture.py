"""The Gaussian mixture score against scipy, autograd, and its limits: one Gaussian, the empirical score."""

import numpy as np
import pytest
import torch
from scipy.special import logsumexp
from scipy.stats import multivariate_normal

from smoothscore.data import ImageSet, load_images
from smoothscore.errors import InputError
from smoothscore.scores.empirical import EmpiricalScore
from smoothscore.scores.gaussian import GaussianScore
from smoothscore.scores.gaussian_mixture import GaussianMixtureScore

SIGMAS = [0.002, 0.05, 0.5, 3.0, 80.0]


def draw(*shape, seed=0):
    return torch.randn(*shape, generator=torch.Generator().manual_seed(seed), dtype=torch.float64)


def dense_reference(weights, means, covariances, x, sigma):
    """Log-density and denoiser from full matrices and scipy."""
    means, x, eye = means.numpy(), x.numpy(), sigma**2 * np.eye(means.shape[1])
    logs = np.stack([multivariate_normal(m, c + eye).logpdf(x) for m, c in zip(means, covariances, strict=True)])
    logs += np.log(np.asarray(weights) / np.sum(weights))[:, None]
    posterior = np.exp(logs - logsumexp(logs, 0))
    shown = [m + (x - m) @ np.linalg.solve(c + eye, c) for m, c in zip(means, covariances, strict=True)]
    return logsumexp(logs, 0), np.einsum("kb,kbd->bd", posterior, np.stack(shown)), posterior.T


@pytest.mark.parametrize("sigma", [0.05, 0.5, 3.0, 80.0])
@pytest.mark.parametrize("rank", [2, 5])
def test_against_dense_matrices(sigma, rank):
    weights, means, factors = [0.5, 0.2, 2.3], draw(3, 5, seed=1), draw(3, 5, rank, seed=2)
    covariances = factors @ factors.mT
    shares = torch.tensor(weights, dtype=torch.float64)
    score = GaussianMixtureScore(shares, means, list(factors) if rank < 5 else covariances)
    x = means.repeat(2, 1) + draw(6, 5, seed=3) * (0.3 + sigma)
    density, denoised, posterior = dense_reference(weights, means, covariances.numpy(), x, sigma)
    np.testing.assert_allclose(score.log_density(x, sigma), density, rtol=1e-9)
    np.testing.assert_allclose(score.denoise(x, sigma), denoised, rtol=1e-9, atol=1e-10)
    np.testing.assert_allclose(score.weights(x, sigma), posterior, rtol=1e-8, atol=1e-300)
    expected = (denoised - x.numpy()) / sigma**2
    np.testing.assert_allclose(score.score(x, sigma), expected, rtol=1e-7, atol=1e-9)


@pytest.mark.parametrize("sigma", [0.05, 0.5, 3.0])
def test_the_score_is_the_gradient_of_the_log_density(sigma):
    score = GaussianMixtureScore(torch.ones(4), draw(4, 1, 2, 3), list(draw(4, 6, 2, seed=5)))
    x = draw(7, 1, 2, 3, seed=6).requires_grad_()
    (gradient,) = torch.autograd.grad(score.log_density(x, sigma).sum(), x)
    torch.testing.assert_close(gradient, score.score(x, sigma), rtol=1e-9, atol=1e-9)


@pytest.mark.parametrize("sigma", SIGMAS)
def test_one_component_is_the_gaussian(sigma):
    mean, factor, x = draw(6), draw(6, 2, seed=1), draw(5, 6, seed=2)
    mixture, gaussian = GaussianMixtureScore(torch.ones(1), mean[None], [factor]), GaussianScore(mean, factor)
    for call in ("denoise", "log_density"):
        torch.testing.assert_close(getattr(mixture, call)(x, sigma), getattr(gaussian, call)(x, sigma))
    error = (mixture.score(x, sigma) - gaussian.score(x, sigma)).norm()
    assert error < 1e-9 * gaussian.score(x, sigma).norm()


@pytest.mark.parametrize("sigma", SIGMAS)
def test_points_without_spread_are_the_empirical_score(sigma):
    centers = draw(9, 4)
    centers[3] = centers[2]
    mixture = GaussianMixtureScore(torch.ones(9), centers, [torch.zeros(4, 0)] * 9)
    empirical = EmpiricalScore(centers)
    x = torch.cat([centers[:4] + sigma * draw(4, 4, seed=1), (centers[:4] + centers[4:8]) / 2])
    for call in ("denoise", "log_density"):
        torch.testing.assert_close(getattr(mixture, call)(x, sigma), getattr(empirical, call)(x, sigma))


def test_fit_by_class_gives_each_class_its_moments():
    rows, labels = draw(60, 3), np.arange(60) % 3
    rows[labels == 2] += 4
    score = GaussianMixtureScore.fit(rows, labels=labels)
    assert score.log_weights.exp().tolist() == pytest.approx([1 / 3] * 3)
    for label, gaussian in enumerate(score.gaussians):
        torch.testing.assert_close(gaussian.mean, rows[labels == label].mean(0))
        rebuilt = (gaussian.directions * gaussian.variances) @ gaussian.directions.mT
        np.testing.assert_allclose(rebuilt, np.cov(rows[labels == label].numpy().T, bias=True), rtol=1e-10)


def test_fit_by_clusters_finds_separate_groups_and_lonely_images():
    rows = torch.cat([draw(30, 2), draw(30, 2, seed=1) + 100, torch.tensor([[-500.0, 0.0]]).double()])
    score = GaussianMixtureScore.fit(rows, components=3)
    assert sorted((score.log_weights.exp() * 61).round().int().tolist()) == [1, 30, 30]
    assert sorted(gaussian.rank for gaussian in score.gaussians) == [0, 2, 2]
    lonely = score.denoise(torch.tensor([[-499.0, 1.0]]), 0.5)
    torch.testing.assert_close(lonely, torch.tensor([[-500.0, 0.0]]))


def test_duplicated_images_leave_clusters_empty_without_harm():
    rows = torch.zeros(8, 3)
    rows[4:] = 1
    score = GaussianMixtureScore.fit(rows, components=4)
    assert torch.isfinite(score.denoise(rows, 0.002)).all()
    torch.testing.assert_close(score.denoise(rows, 0.002), rows)


def test_digits_fit_the_same_from_pixels_and_floats_and_stay_finite():
    digits = load_images("mnist-5k", limit=150)
    score = GaussianMixtureScore.fit(digits, components=5, rank=10)
    again = GaussianMixtureScore.fit(digits.tensor(), components=5, rank=10)
    assert max(gaussian.rank for gaussian in score.gaussians) <= 10
    x = digits.tensor()[:6]
    for sigma in SIGMAS:
        noisy = x + sigma * torch.randn(x.shape, generator=torch.Generator().manual_seed(0))
        denoised = score.denoise(noisy, sigma)
        torch.testing.assert_close(denoised, again.denoise(noisy, sigma), rtol=1e-4, atol=1e-4)
        assert torch.isfinite(score.score(noisy, sigma)).all()
        assert torch.isfinite(score.log_density(noisy, sigma)).all()
        assert denoised.dtype == torch.float32


def test_more_components_describe_the_images_better():
    digits = load_images("mnist-5k", limit=150)
    densities = [
        GaussianMixtureScore.fit(digits, components=count).log_density(digits.tensor(), 0.3).mean()
        for count in (1, 5, 20)
    ]
    assert densities[0] < densities[1] < densities[2]


@pytest.mark.parametrize(
    "mistake",
    [
        lambda: GaussianMixtureScore(torch.ones(2), torch.zeros(3, 4), torch.zeros(3, 4, 4)),
        lambda: GaussianMixtureScore(torch.zeros(3), torch.zeros(3, 4), torch.zeros(3, 4, 4)),
        lambda: GaussianMixtureScore(torch.tensor([1.0, -1]), torch.zeros(2, 4), torch.zeros(2, 4, 4)),
        lambda: GaussianMixtureScore.fit(torch.randn(4, 2), components=5),
        lambda: GaussianMixtureScore.fit(torch.randn(4, 2), components=0),
        lambda: GaussianMixtureScore.fit(torch.randn(4, 2), labels=np.zeros(3)),
        lambda: GaussianMixtureScore.fit(ImageSet.from_array(np.zeros((4, 1, 2, 2), np.uint8)), rank=-1),
    ],
)
def test_mistakes_are_refused(mistake):
    with pytest.raises(InputError):
        mistake()
