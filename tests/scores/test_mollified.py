"""The mollified score against quadrature, autograd, linear scores and its own standard error."""

import math

import pytest
import torch

from smoothscore.data import load_images
from smoothscore.errors import InputError
from smoothscore.scores.base import Score
from smoothscore.scores.empirical import EmpiricalScore
from smoothscore.scores.gaussian import GaussianScore
from smoothscore.scores.gaussian_mixture import GaussianMixtureScore
from smoothscore.scores.mollified import MollifiedScore
from smoothscore.scores.unified import UnifiedScore


def draw(*shape, seed=0):
    return torch.randn(*shape, generator=torch.Generator().manual_seed(seed), dtype=torch.float64)


class Plain(Score):
    """An empirical score by another name: the general path of the mollified score."""

    def __init__(self, centers):
        super().__init__(centers.shape[1:])
        self.inner = EmpiricalScore(centers)

    def denoise(self, x, sigma):
        return self.inner.denoise(x, sigma)

    def log_density(self, x, sigma=None):
        return self.inner.log_density(x, sigma)


def quadrature(centers, x, sigma, width):
    """E_z D(x + h z) in one dimension by the trapezoidal rule, which converges exponentially here."""
    z = torch.linspace(-9, 9, 4001, dtype=torch.float64)
    shifted = (x[:, None] + width * z).unsqueeze(2)
    posterior = torch.softmax(-((shifted - centers[:, 0]) ** 2) / (2 * sigma**2), 2)
    return (posterior @ centers[:, 0]) @ torch.softmax(-(z**2) / 2, 0)


@pytest.mark.parametrize(("sigma", "width"), [(0.3, 0.2), (0.5, 0.5), (1.0, 2.0)])
def test_sobol_nodes_agree_with_quadrature_in_one_dimension(sigma, width):
    centers, x = draw(6, 1), torch.linspace(-3, 3, 9, dtype=torch.float64)
    score = MollifiedScore(EmpiricalScore(centers), width, samples=4096, nodes="sobol")
    expected = quadrature(centers, x, sigma, width)
    assert (score.denoise(x[:, None], sigma)[:, 0] - expected).abs().max() < 2e-3


@pytest.mark.parametrize("sigma", [0.02, 0.3, 2.0])
def test_the_standard_error_is_the_error(sigma):
    """The root mean square error over 24 seeds is the stated one."""
    centers, x = draw(6, 1), torch.linspace(-3, 3, 9, dtype=torch.float64)
    expected = quadrature(centers, x, sigma, 0.5)
    scores = [MollifiedScore(EmpiricalScore(centers), 0.5, samples=64, seed=seed) for seed in range(24)]
    errors = torch.stack([score.denoise(x[:, None], sigma)[:, 0] - expected for score in scores])
    stated = torch.stack([score.standard_error(x[:, None], sigma) for score in scores])
    ratio = (errors.square().mean() / stated.square().mean()).sqrt()
    assert ratio == pytest.approx(1, abs=0.35)


@pytest.mark.parametrize("sigma", [0.05, 0.5, 5.0])
@pytest.mark.parametrize("width", [0.0, 0.3])
def test_shared_distances_agree_with_the_general_path(sigma, width):
    centers, x = draw(40, 2, 3), draw(7, 2, 3, seed=1)
    shared = MollifiedScore(EmpiricalScore(centers), width)
    general = MollifiedScore(Plain(centers), width)
    torch.testing.assert_close(shared.denoise(x, sigma), general.denoise(x, sigma), rtol=1e-9, atol=1e-11)
    torch.testing.assert_close(shared.score(x, sigma), general.score(x, sigma), rtol=1e-7, atol=1e-8)
    torch.testing.assert_close(shared.log_density(x, sigma), general.log_density(x, sigma), rtol=1e-10, atol=1e-10)
    errors = shared.standard_error(x, sigma), general.standard_error(x, sigma)
    torch.testing.assert_close(*errors, rtol=1e-6, atol=1e-8)
    if width == 0:
        torch.testing.assert_close(shared.denoise(x, sigma), general.inner.denoise(x, sigma))


@pytest.mark.parametrize("kind", [Plain, EmpiricalScore])
@pytest.mark.parametrize("approximation", [None, "larger-time"])
def test_the_score_is_the_gradient_of_the_log_density(kind, approximation):
    score = MollifiedScore(kind(draw(10, 4)), 0.4, approximation=approximation)
    x = draw(5, 4, seed=2).requires_grad_()
    (gradient,) = torch.autograd.grad(score.log_density(x, 0.5).sum(), x)
    torch.testing.assert_close(gradient, score.score(x, 0.5), rtol=1e-8, atol=1e-8)


@pytest.mark.parametrize("kind", [Plain, EmpiricalScore])
def test_differentiable_in_both_modes(kind):
    score = MollifiedScore(kind(draw(10, 4)), 0.4, samples=8)
    x, vector, step = draw(3, 4, seed=2), draw(3, 4, seed=3), 1e-5
    slope = (score.denoise(x + step * vector, 0.5) - score.denoise(x - step * vector, 0.5)) / (2 * step)
    _, forward = torch.func.jvp(lambda y: score.denoise(y, 0.5), (x,), (vector,))
    _, pull = torch.func.vjp(lambda y: score.denoise(y, 0.5), x)
    torch.testing.assert_close(forward, slope, rtol=1e-6, atol=1e-7)
    torch.testing.assert_close(pull(vector)[0], slope, rtol=1e-6, atol=1e-7)


def test_an_empirical_score_is_asked_for_distances_once(monkeypatch):
    """Not once for each shift: neither the score, nor the log-density, nor the standard error evaluates it."""
    score, x = MollifiedScore(EmpiricalScore(draw(10, 4)), 0.4, samples=32), draw(5, 4, seed=1)
    for call in ("denoise", "log_density"):
        monkeypatch.setattr(score.inner, call, lambda *_: pytest.fail("evaluated at a shift"))
    assert torch.isfinite(score.score(x, 0.5)).all()
    assert torch.isfinite(score.log_density(x, 0.5)).all()
    assert torch.isfinite(score.standard_error(x, 0.5)).all()


def test_the_log_density_has_forward_derivatives():
    score, x, vector = MollifiedScore(EmpiricalScore(draw(10, 4)), 0.4), draw(5, 4, seed=1), draw(5, 4, seed=2)
    _, slope = torch.func.jvp(lambda y: score.log_density(y, 0.5), (x,), (vector,))
    torch.testing.assert_close(slope, (score.score(x, 0.5) * vector).sum(1), rtol=1e-9, atol=1e-9)


def test_a_linear_score_is_unchanged():
    gaussian = GaussianScore(draw(5), draw(5, 2, seed=1))
    score = MollifiedScore(gaussian, 3.0, samples=2)
    x = draw(6, 5, seed=2)
    torch.testing.assert_close(score.denoise(x, 0.7), gaussian.denoise(x, 0.7))


def test_normal_directions_keep_their_variance():
    """For data on a line in the plane, log p_h differs between two heights as -x^2 / 2 sigma^2 does."""
    centers = torch.cat([draw(12, 1), torch.zeros(12, 1, dtype=torch.float64)], 1)
    x = torch.tensor([[0.3, 0.0], [0.3, 0.9]], dtype=torch.float64)
    for approximation in (None, "larger-time"):
        score = MollifiedScore(EmpiricalScore(centers), 0.6, approximation=approximation)
        assert score.score(x, 0.4)[1, 1] == pytest.approx(-0.9 / 0.4**2, rel=1e-12)
        density = score.log_density(x, 0.4)
        assert density[0] - density[1] == pytest.approx(0.9**2 / (2 * 0.4**2), rel=1e-10)


def test_the_smoothed_density_loses_the_constant_of_a_gaussian():
    """K_h * log p of N(0, t I_k) is log p minus k h^2 / 2 t, exactly when the shifts have unit variance."""
    gaussian, width, sigma = GaussianScore(torch.zeros(3).double(), torch.zeros(3, 0)), 0.8, 0.5
    score = MollifiedScore(gaussian, width, samples=64)
    x = draw(4, 3)
    size = score.shifts.square().sum(1).mean()
    drop = gaussian.log_density(x, sigma) - score.log_density(x, sigma)
    torch.testing.assert_close(drop, torch.full((4,), float(size * width**2 / (2 * sigma**2))).double())


def test_larger_time_is_the_tempered_empirical_score():
    centers, x, sigma, width = draw(10, 4), draw(5, 4, seed=1), 0.5, 0.7
    score = MollifiedScore(EmpiricalScore(centers), width, approximation="larger-time")
    temperature = 1 + width**2 / sigma**2
    r2 = torch.cdist(x, centers, compute_mode="donot_use_mm_for_euclid_dist") ** 2
    weights = torch.softmax(-r2 / (2 * sigma**2 * temperature), 1)
    torch.testing.assert_close(score.score(x, sigma), (weights @ centers - x) / sigma**2)


def test_the_same_seed_gives_the_same_field_and_the_batch_does_not_matter():
    inner, x = GaussianMixtureScore(torch.ones(3), draw(3, 4), [draw(4, 2)] * 3), draw(300, 4)
    one, two = (MollifiedScore(inner, 0.5, samples=6, seed=s) for s in (0, 0))
    torch.testing.assert_close(one.denoise(x, 0.5), two.denoise(x, 0.5), rtol=0, atol=0)
    alone = torch.cat([one.denoise(x[i : i + 1], 0.5) for i in (0, 150, 299)])
    torch.testing.assert_close(alone, one.denoise(x, 0.5)[[0, 150, 299]], rtol=1e-12, atol=1e-13)
    assert not torch.allclose(one.denoise(x, 0.5), MollifiedScore(inner, 0.5, 6, seed=1).denoise(x, 0.5))


def test_bandwidth_may_follow_the_noise():
    centers, x = draw(10, 4), draw(2, 4, seed=1)
    levels = torch.tensor([0.2, 2.0], dtype=torch.float64)
    score = MollifiedScore(EmpiricalScore(centers), lambda sigma: 0.5 * sigma)
    for i, level in enumerate(levels.tolist()):
        fixed = MollifiedScore(EmpiricalScore(centers), 0.5 * level)
        torch.testing.assert_close(score.denoise(x, levels)[i], fixed.denoise(x, level)[i])


def test_a_score_without_noise_levels_is_averaged_without_them():
    centers, x = draw(9, 3), draw(4, 3, seed=2)
    inner = UnifiedScore(centers, [0.3, 1.0, 4.0])
    score = MollifiedScore(inner, 0.4, samples=16)
    expected = torch.stack([inner.score(x + 0.4 * shift) for shift in score.shifts]).mean(0)
    assert not score.noise_conditional
    torch.testing.assert_close(score.score(x), expected)
    torch.testing.assert_close(score.score(x, 0.7), expected)
    torch.testing.assert_close(score.jacobian(x).trace(), score.jacobian(x, 0.7).trace())
    moved = x.clone().requires_grad_()
    torch.testing.assert_close(torch.autograd.grad(score.log_density(moved).sum(), moved)[0], expected)
    assert MollifiedScore(inner, lambda sigma: sigma).noise_conditional
    with pytest.raises(InputError, match="needs sigma"):
        MollifiedScore(inner, 0.4, approximation="larger-time").score(x)


def test_digits_smoothed_stay_finite_and_away_from_single_images():
    digits = load_images("mnist-5k", limit=200)
    x = digits.tensor()[:4]
    for sigma in (0.002, 0.1, 1.0, 80.0):
        for kind in (None, "larger-time"):
            score = MollifiedScore(EmpiricalScore(digits), 1.5, samples=16, approximation=kind)
            noisy = x + sigma * torch.randn(x.shape, generator=torch.Generator().manual_seed(0))
            denoised = score.denoise(noisy, sigma)
            assert denoised.dtype == torch.float32
            assert torch.isfinite(denoised).all()
            assert torch.isfinite(score.score(noisy, sigma)).all()
            assert math.isfinite(score.log_density(noisy, sigma).sum())


@pytest.mark.parametrize(
    "mistake",
    [
        lambda s: MollifiedScore(s, 0.1, samples=3),
        lambda s: MollifiedScore(s, 0.1, samples=0),
        lambda s: MollifiedScore(s, 0.1, nodes="grid"),
        lambda s: MollifiedScore(s, 0.1, approximation="longer"),
        lambda s: MollifiedScore(s, -0.1),
        lambda s: MollifiedScore(s, math.nan),
        lambda s: MollifiedScore(torch.zeros(2, 3), 0.1),
        lambda s: MollifiedScore(s, lambda sigma: -sigma).denoise(torch.zeros(1, 3), 1.0),
        lambda s: MollifiedScore(s, lambda sigma: torch.ones(7)).denoise(torch.zeros(1, 3), 1.0),
        lambda s: MollifiedScore(s, 0.1, samples=2).standard_error(torch.zeros(1, 3), 1.0),
        lambda s: MollifiedScore(s, 0.1, nodes="sobol").standard_error(torch.zeros(1, 3), 1.0),
    ],
)
def test_mistakes_are_refused(mistake):
    with pytest.raises(InputError):
        mistake(EmpiricalScore(torch.zeros(2, 3)))
