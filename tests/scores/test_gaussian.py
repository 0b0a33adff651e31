"""The Gaussian score against scipy, autograd, an ODE solver and the printed values of the paper."""

import math

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from scipy.integrate import solve_ivp
from scipy.stats import multivariate_normal

from smoothscore.data import ImageSet, load_images
from smoothscore.errors import InputError
from smoothscore.schedules import karras, vp
from smoothscore.scores.covariance import Covariance
from smoothscore.scores.gaussian import GaussianScore
from smoothscore.scores.gaussian_flow import amplification, denoiser_gain, rotation_remainder, state_gain

SIGMAS = [0.002, 0.05, 0.5, 3.0, 80.0]


@pytest.fixture(scope="module")
def digits():
    return load_images("mnist-5k", limit=200)


def problem(dim=6, rank=6, seed=0):
    generator = torch.Generator().manual_seed(seed)
    factor = torch.randn(dim, rank, generator=generator, dtype=torch.float64)
    mean = torch.randn(dim, generator=generator, dtype=torch.float64)
    x = torch.randn(5, dim, generator=generator, dtype=torch.float64) * 2
    return mean, factor, x


@pytest.mark.parametrize("rank", [0, 2, 6])
@pytest.mark.parametrize("sigma", SIGMAS)
def test_against_scipy_and_the_dense_inverse(rank, sigma):
    mean, factor, x = problem(rank=rank)
    covariance = factor @ factor.mT
    score = GaussianScore(mean, factor if rank < 6 else covariance)
    noisy = covariance + sigma**2 * torch.eye(6, dtype=torch.float64)
    expected = -torch.linalg.solve(noisy, (x - mean).mT).mT
    scale = expected.norm()
    assert (score.score(x, sigma) - expected).norm() < 1e-10 * scale
    assert (score.denoise(x, sigma) - x - sigma**2 * expected).norm() < 1e-10 * x.norm()
    if sigma > 0.01:
        density = multivariate_normal(mean.numpy(), noisy.numpy()).logpdf(x.numpy())
        np.testing.assert_allclose(score.log_density(x, sigma), density, rtol=1e-10)


@pytest.mark.parametrize("sigma", SIGMAS)
def test_the_score_is_the_gradient_of_the_log_density(sigma):
    mean, factor, x = problem(dim=8, rank=3)
    score = GaussianScore(mean.reshape(2, 2, 2), factor)
    x = x.reshape(5, 2, 2, 2).requires_grad_()
    (gradient,) = torch.autograd.grad(score.log_density(x, sigma).sum(), x)
    torch.testing.assert_close(gradient, score.score(x, sigma), rtol=1e-9, atol=1e-9)


@pytest.mark.parametrize("rank", [0, 2, 6])
def test_the_jacobian_is_minus_the_inverse_of_the_noisy_covariance(rank):
    mean, factor, x = problem(rank=rank)
    covariance, levels = factor @ factor.mT, torch.tensor([0.05, 0.5, 3.0, 80.0, 1.0], dtype=torch.float64)
    score = GaussianScore(mean, factor if rank < 6 else covariance)
    jacobian = score.jacobian(x, levels)
    product = jacobian.matvec(x)
    for i, level in enumerate(levels):
        dense = -torch.linalg.inv(covariance + level**2 * torch.eye(6, dtype=torch.float64))
        torch.testing.assert_close(product[i], dense @ x[i], rtol=1e-8, atol=1e-10)
        values = torch.linalg.eigvalsh(dense)
        assert jacobian.trace()[i] == pytest.approx(float(dense.trace()), rel=1e-9)
        assert jacobian.largest_eigenvalue()[i] == pytest.approx(float(values[-1]), rel=1e-8)
        assert jacobian.spectral_radius()[i] == pytest.approx(float(-values[0]), rel=1e-8)


def test_one_level_for_each_image():
    mean, factor, x = problem()
    score, levels = GaussianScore(mean, factor @ factor.mT), torch.tensor(SIGMAS, dtype=torch.float64)
    for call in (score.score, score.denoise, score.log_density, lambda x, s: score.solve(x, s, s / 2)):
        together = call(x, levels)
        alone = torch.cat([call(x[i : i + 1], SIGMAS[i]) for i in range(5)])
        torch.testing.assert_close(together, alone, rtol=1e-12, atol=0)


def test_precision_of_the_input_is_kept_and_float32_is_accurate():
    mean, factor, x = problem(rank=3)
    score = GaussianScore(mean, factor)
    for sigma in SIGMAS:
        narrow = x.float()
        assert score.denoise(narrow, sigma).dtype == torch.float32
        exact = score.denoise(narrow.double(), torch.tensor(sigma).double())
        assert (score.denoise(narrow, sigma) - exact).norm() < 1e-6 * exact.norm()
        assert (score.float().denoise(narrow, sigma) - exact).norm() < 1e-5 * exact.norm()
        score.double()


@pytest.mark.parametrize("rank", [2, 6])
def test_the_variance_exploding_flow_solves_the_ode(rank):
    mean, factor, x = problem(rank=rank)
    score = GaussianScore(mean, factor if rank < 6 else factor @ factor.mT)

    def slope(sigma, state):
        y = torch.from_numpy(state).reshape(1, -1)
        return ((y - score.denoise(y, sigma)) / sigma).flatten().numpy()

    start, end = 10.0, 0.05
    path = solve_ivp(slope, (start, end), (10 * x[0]).numpy(), rtol=1e-11, atol=1e-12, method="DOP853")
    solved = score.solve(10 * x[:1], start, end)
    np.testing.assert_allclose(solved[0], path.y[:, -1], rtol=1e-8, atol=1e-9)
    shown = score.denoiser_trajectory(10 * x[:1], start, torch.tensor([3.0, end]))
    torch.testing.assert_close(shown[1], score.denoise(solved, end), rtol=1e-10, atol=1e-11)
    assert shown.shape == (2, 1, 6)


def test_the_variance_preserving_flow_solves_the_ode():
    mean, factor, x = problem(rank=4)
    score = GaussianScore(mean, factor)

    def slope(angle, state):
        """x = cos(angle) y + sin(angle) n, so the velocity is cos(angle) n - sin(angle) y."""
        alpha, sigma = math.cos(angle), math.sin(angle)
        y = torch.from_numpy(state).reshape(1, -1)
        clean = score.denoise(y / alpha, sigma / alpha)
        return (alpha * (y - alpha * clean) / sigma - sigma * clean).flatten().numpy()

    path = solve_ivp(slope, (1.5, 0.1), x[0].numpy(), rtol=1e-11, atol=1e-12, method="DOP853")
    solved = score.solve(x[:1], math.sin(1.5), math.sin(0.1), math.cos(1.5), math.cos(0.1))
    np.testing.assert_allclose(solved[0], path.y[:, -1], rtol=1e-8, atol=1e-9)
    angles = torch.tensor([1.5, 0.1], dtype=torch.float64)
    shown = score.denoiser_trajectory(x[:1], math.sin(1.5), angles.sin(), math.cos(1.5), angles.cos())
    for frame, state, angle in zip(shown, (x[:1], torch.from_numpy(path.y[:, -1:].T)), (1.5, 0.1), strict=True):
        clean = score.denoise(state / math.cos(angle), math.tan(angle))
        torch.testing.assert_close(frame, clean, rtol=1e-7, atol=1e-8)


def test_solving_there_and_back_returns_and_zero_noise_lands_on_the_manifold():
    mean, factor, x = problem(rank=3)
    score = GaussianScore(mean, factor)
    torch.testing.assert_close(score.solve(score.solve(x, 80.0, 0.01), 0.01, 80.0), x)
    end = score.solve(x, 80.0, 0.0) - mean
    basis = torch.linalg.qr(factor).Q
    torch.testing.assert_close(end @ basis @ basis.mT, end)


def test_gains_agree_with_their_limits():
    variances = torch.tensor([1e-4, 0.3, 1.0, 10.0, 1e4], dtype=torch.float64)
    torch.testing.assert_close(state_gain(variances, 2.0, 0.0), amplification(variances, 2.0))
    small = denoiser_gain(variances, 2.0, 1e-9)
    torch.testing.assert_close(small, amplification(variances, 2.0))
    alpha, sigma = vp(50)
    kick = state_gain(variances, sigma[:, None], 0.0, alpha[:, None], 1.0)
    torch.testing.assert_close(kick, amplification(variances, sigma[:, None], alpha[:, None]))


@pytest.mark.parametrize(
    ("variance", "lowest"), [(1, -0.4142), (4, -0.5578), (10, -0.6457), (100, -0.8142), (1e4, -0.9569)]
)
def test_rotation_remainder_reaches_the_known_minimum(variance, lowest):
    angle = torch.linspace(0, math.pi / 2, 200_001, dtype=torch.float64)
    remainder = rotation_remainder(
        torch.tensor(float(variance), dtype=torch.float64), 1.0, angle.sin(), 0.0, angle.cos()
    )
    assert f"{remainder.min():.4f}" == f"{lowest:.4f}"


def test_the_rotation_form_is_the_flow():
    variances = torch.logspace(-6, 6, 13, dtype=torch.float64)
    for alpha_from in (0.0, 0.3):
        sigma_from = math.sqrt(1 - alpha_from**2)
        for alpha in (0.4, 0.9, 1.0):
            sigma = math.sqrt(1 - alpha**2)
            path = state_gain(variances, sigma_from, sigma, alpha_from, alpha)
            end = state_gain(variances, sigma_from, 0.0, alpha_from, 1.0)
            mix = sigma / sigma_from
            straight = (alpha - alpha_from * mix) * end + mix
            remainder = rotation_remainder(variances, sigma_from, sigma, alpha_from, alpha)
            torch.testing.assert_close(remainder, path - straight, rtol=1e-9, atol=1e-9)


@pytest.mark.parametrize("count", [3, 5, 40])
def test_fit_recovers_moments_from_floats_and_pixels(count):
    generator = torch.Generator().manual_seed(count)
    pixels = torch.randint(0, 256, (count, 1, 3, 4), generator=generator, dtype=torch.uint8)
    rows = (pixels.double() / 127.5 - 1).flatten(1)
    covariance = torch.from_numpy(np.cov(rows.numpy().T, bias=True))
    for images in (pixels, ImageSet.from_array(pixels.numpy()), pixels.double() / 127.5 - 1):
        score = GaussianScore.fit(images)
        assert score.rank == min(count - 1, 12)
        torch.testing.assert_close(score.mean, rows.mean(0))
        rebuilt = score.directions @ score.variances.diag() @ score.directions.mT
        torch.testing.assert_close(rebuilt, covariance, rtol=1e-10, atol=1e-12)


def test_rank_and_shrinkage():
    rows = torch.randn(30, 7, generator=torch.Generator().manual_seed(1), dtype=torch.float64)
    full, thin = GaussianScore.fit(rows), GaussianScore.fit(rows, rank=2)
    torch.testing.assert_close(thin.variances, full.variances[:2])
    covariance = np.cov(rows.numpy().T, bias=True)
    for rank in (2, None):
        kept = GaussianScore.fit(rows, rank=rank)
        base = (kept.directions * kept.variances) @ kept.directions.mT
        dense = 0.75 * base + 0.25 * base.trace() / 7 * torch.eye(7)
        shrunk = GaussianScore.fit(rows, rank=rank, shrinkage=0.25)
        for call in ("score", "denoise", "log_density"):
            torch.testing.assert_close(
                getattr(shrunk, call)(rows, 0.3), getattr(GaussianScore(rows.mean(0), dense), call)(rows, 0.3)
            )
        torch.testing.assert_close(
            shrunk.solve(rows, 5.0, 0.1), GaussianScore(rows.mean(0), dense).solve(rows, 5.0, 0.1)
        )
    assert full.variances.sum() == pytest.approx(np.trace(covariance))


def test_chunks_do_not_change_a_fit(monkeypatch):
    rows = torch.randn(50, 4, dtype=torch.float64, generator=torch.Generator().manual_seed(0))
    whole = GaussianScore.fit(rows)
    monkeypatch.setattr("smoothscore.scores.covariance.ROWS", 7)
    torch.testing.assert_close(GaussianScore.fit(rows).variances, whole.variances)


@given(scale=st.floats(0.01, 100), shift=st.floats(-10, 10), sigma=st.sampled_from(SIGMAS))
@settings(max_examples=25, deadline=None)
def test_units(scale, shift, sigma):
    """Under x -> a x + b the denoiser moves along and the score is divided by a."""
    mean, factor, x = problem(rank=3)
    there = GaussianScore(mean * scale + shift, factor * scale)
    here = GaussianScore(mean, factor)
    moved = there.denoise(x * scale + shift, sigma * scale)
    expected = here.denoise(x, sigma) * scale + shift
    assert (moved - expected).norm() <= 1e-9 * (expected.norm() + abs(shift))


def test_a_sample_of_the_flow_has_the_fitted_covariance():
    """Noise at sigma_max carried to zero: the covariance is right within four standard errors."""
    mean, factor, _ = problem(rank=3)
    score, count = GaussianScore(mean, factor), 20_000
    noise = torch.randn(count, 6, generator=torch.Generator().manual_seed(3), dtype=torch.float64)
    start = mean + noise @ torch.linalg.cholesky(factor @ factor.mT + 6400 * torch.eye(6)).mT
    drawn = score.solve(start, 80.0, 0.0)
    covariance, dense = torch.cov(drawn.mT), factor @ factor.mT
    error = (dense.diag()[:, None] * dense.diag() + dense**2).div(count).sqrt()
    assert ((covariance - dense).abs() < 4 * error).all()


def test_real_digits_at_every_level(digits):
    score = GaussianScore.fit(digits)
    x = digits.tensor()[:8]
    for sigma in [float(level) for level in karras(5)]:
        noisy = x + sigma * torch.randn(x.shape, generator=torch.Generator().manual_seed(0))
        denoised = score.denoise(noisy, sigma)
        assert torch.isfinite(denoised).all()
        assert torch.isfinite(score.score(noisy, sigma)).all()
        assert torch.isfinite(score.log_density(noisy, sigma)).all()
        assert (denoised - x).norm() < (noisy - x).norm()


@pytest.mark.parametrize(
    "mistake",
    [
        lambda: GaussianScore(torch.zeros(4), torch.eye(3)),
        lambda: GaussianScore(torch.zeros(3), torch.zeros(3, 4)),
        lambda: GaussianScore(torch.zeros(3), torch.tensor([[1.0, 2, 0], [0, 1, 0], [0, 0, 1]])),
        lambda: GaussianScore(torch.zeros(3), -torch.eye(3)),
        lambda: GaussianScore(torch.zeros(3), torch.full((3, 3), math.nan)),
        lambda: GaussianScore(torch.full((3,), math.inf), torch.eye(3)),
        lambda: GaussianScore.fit(torch.randn(5, 3), rank=-1),
        lambda: GaussianScore.fit(torch.randn(5, 3), shrinkage=1.5),
        lambda: GaussianScore(torch.zeros(3), torch.eye(3)).solve(torch.zeros(2, 3), 1.0, -1.0),
        lambda: GaussianScore(torch.zeros(3), torch.eye(3)).solve(torch.zeros(2, 3), 1.0, torch.zeros(3)),
        lambda: GaussianScore(torch.zeros(3), torch.eye(3)).score(torch.zeros(2, 3), 0.0),
        lambda: GaussianScore(torch.zeros(3), torch.eye(3)).score(torch.zeros(2, 4), 1.0),
    ],
)
def test_mistakes_are_refused(mistake):
    with pytest.raises(InputError):
        mistake()


def test_a_covariance_keeps_only_directions_that_vary():
    covariance = Covariance.of(torch.diag(torch.tensor([4.0, 0.0, 1.0, 0.0])), 4)
    assert covariance.variances.tolist() == [4.0, 1.0]
