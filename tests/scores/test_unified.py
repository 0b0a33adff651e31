"""The unified score against direct sums over centers and levels, autograd, and the harmonic limit."""

import math

import pytest
import torch
from direct_sums import direct, draw, near
from hypothesis import given, settings
from hypothesis import strategies as st

from smoothscore.data import load_images
from smoothscore.errors import InputError
from smoothscore.neighbors import NeighborGraph
from smoothscore.schedules import log_uniform, shell_touch
from smoothscore.scores.empirical import EmpiricalScore
from smoothscore.scores.unified import UnifiedScore


@pytest.mark.parametrize("dim", [1, 2, 3, 40])
@pytest.mark.parametrize("temperature", [1.0, 30.0])
def test_score_and_weights_are_the_direct_sum(dim, temperature):
    centers, sigmas = draw(12, dim), log_uniform(25, 0.01, 50)
    score = UnifiedScore(centers, sigmas, temperature=temperature)
    for sigma in (0.0, 0.005, 0.3, 5.0, 200.0):
        x = near(centers, 7, sigma)
        _, expected, share = direct(x, centers, sigmas, temperature)
        assert (score.score(x) - expected).norm() <= 1e-8 * expected.norm() + 1e-10
        torch.testing.assert_close(score.weights(x), share, rtol=1e-8, atol=1e-10)


@pytest.mark.parametrize("optimal_shell", [False, "continuous"])
@pytest.mark.parametrize("temperature", [1.0, 7.0])
def test_the_score_is_the_gradient_of_the_log_density(optimal_shell, temperature):
    centers = draw(12, 40)
    score = UnifiedScore(centers, log_uniform(30, 0.05, 20), temperature, optimal_shell=optimal_shell)
    x = near(centers, 6, 0.8).requires_grad_()
    (gradient,) = torch.autograd.grad(score.log_density(x).sum(), x)
    torch.testing.assert_close(gradient, score.score(x), rtol=1e-9, atol=1e-9)
    step, vector = 1e-4, draw(6, 40, seed=3)
    slope = (score.log_density(x + step * vector) - score.log_density(x - step * vector)) / (2 * step)
    torch.testing.assert_close(slope, (gradient * vector).sum(1), rtol=1e-5, atol=1e-5)


def test_the_log_density_is_normalized():
    """On the line the mixture over both levels and centers integrates to one."""
    centers, grid = draw(4, 1), torch.linspace(-60, 60, 24001, dtype=torch.float64)
    density = UnifiedScore(centers, [0.1, 0.5, 2.0], level_weights=torch.tensor([1.0, 5.0, 2.0]))
    mass = density.log_density(grid[:, None]).exp().sum() * (grid[1] - grid[0])
    assert mass == pytest.approx(1, rel=1e-9)
    x = draw(5, 1, seed=2)
    components = torch.distributions.Normal(centers[:, 0, None], torch.tensor([0.1, 0.5, 2.0]).double())
    weights = torch.tensor([1.0, 5.0, 2.0]).double() / 8 / 4
    expected = (components.log_prob(x[:, :, None]).exp() * weights).sum((1, 2)).log()
    torch.testing.assert_close(density.log_density(x), expected)


@pytest.mark.parametrize("frozen", [False, True])
@pytest.mark.parametrize(
    ("optimal_shell", "temperature"), [(False, 1.0), (False, 5.0), ("continuous", 5.0), (True, 3.0)]
)
def test_jacobian_against_autograd(optimal_shell, temperature, frozen):
    dim, centers, sigmas = 30, draw(12, 30), log_uniform(40, 0.05, 20)
    score = UnifiedScore(centers, sigmas, temperature, optimal_shell=optimal_shell)
    x = near(centers, 3, 0.9)

    def field(y, at):
        """The same field from plain torch; levels at ``at`` where frozen."""
        r2, r2_at = (centers - y).square().sum(1), (centers - at).square().sum(1)
        if optimal_shell == "continuous":
            mass, kappa = -(dim - 2) / 2 * r2.log(), (dim - 2) / (r2_at if frozen else r2)
        else:
            logits = (2 - dim) * sigmas.log() - r2[:, None] / (2 * sigmas**2)
            if optimal_shell:
                mass, kappa = logits.amax(1), sigmas[logits.argmax(1)] ** -2
            else:
                mass = torch.logsumexp(logits, 1)
                at_logits = (2 - dim) * sigmas.log() - r2_at[:, None] / (2 * sigmas**2)
                kappa = (torch.softmax(at_logits if frozen else logits, 1) / sigmas**2).sum(1)
        return ((torch.softmax(mass / temperature, 0) * kappa)[:, None] * (centers - y)).sum(0)

    jacobian = score.jacobian(x, frozen=frozen)
    vector = draw(3, dim, seed=4)
    product = jacobian.matvec(vector)
    for i in range(3):
        dense = torch.autograd.functional.jacobian(lambda y, at=x[i]: field(y, at), x[i])
        torch.testing.assert_close(product[i], dense @ vector[i], rtol=1e-6, atol=1e-7)
        values = torch.linalg.eigvalsh((dense + dense.mT) / 2)
        assert jacobian.largest_eigenvalue()[i] == pytest.approx(float(values[-1]), rel=1e-6)
        assert jacobian.spectral_radius()[i] == pytest.approx(float(values.abs().max()), rel=1e-6)
        assert jacobian.trace()[i] == pytest.approx(float(dense.trace()), rel=1e-6)
    if not frozen:
        leaf = x.clone().requires_grad_()
        (pulled,) = torch.autograd.grad(score.score(leaf), leaf, vector)
        torch.testing.assert_close(pulled, product, rtol=1e-9, atol=1e-9)


def test_eq_18_is_the_covariance_of_the_pulls():
    """Frozen shells: (1/T) Cov_w(a) - c I with a_j = (mu_j - x) / sigma_j^2."""
    centers, temperature = draw(9, 20), 4.0
    score = UnifiedScore(centers, [0.05, 20.0], temperature, optimal_shell="continuous")
    x = near(centers, 1, 1.0)
    delta = centers - x
    variance = delta.square().sum(1) / 18
    pulls, share = delta / variance[:, None], torch.softmax(-18 / (2 * temperature) * variance.log(), 0)
    spread = pulls - share @ pulls
    dense = (share[:, None] * spread).mT @ spread / temperature - (share / variance).sum() * torch.eye(20)
    vector = draw(1, 20, seed=5)
    torch.testing.assert_close(score.jacobian(x, frozen=True).matvec(vector), vector @ dense)


def test_continuous_shells_are_harmonic_and_conservative():
    """T grad log sum r^-(d-2)/T, and divergence -|s|^2 at T = 1."""
    centers, dim = draw(8, 40), 40
    for temperature in (1.0, 10.0, 1000.0):
        score = UnifiedScore(centers, [0.01, 50.0], temperature, optimal_shell="continuous")
        x = near(centers, 4, 0.7).requires_grad_()
        r2 = (x[:, None] - centers).square().sum(2)
        potential = temperature * torch.logsumexp(-(dim - 2) / (2 * temperature) * r2.log(), 1)
        (expected,) = torch.autograd.grad(potential.sum(), x)
        torch.testing.assert_close(score.score(x.detach()), expected, rtol=1e-10, atol=1e-10)
    score = UnifiedScore(centers, [0.01, 50.0], optimal_shell="continuous")
    squares = score.score(x.detach()).square().sum(1)
    torch.testing.assert_close(score.jacobian(x.detach()).trace(), -squares, rtol=1e-8, atol=0)


def test_a_thousand_levels_are_the_harmonic_field_at_image_size():
    dim = 3072
    centers, sigmas = draw(3, dim), log_uniform(1000, 0.01, 50)
    exact = UnifiedScore(centers, sigmas)
    shells = UnifiedScore(centers, sigmas, optimal_shell="continuous")
    for sigma in (0.05, 1.0, 10.0):
        x = near(centers, 2, sigma)
        kappa = exact.profile.precision((x - centers[:2]).square().sum(1))
        torch.testing.assert_close(kappa, (dim - 2) / (x - centers[:2]).square().sum(1), rtol=1e-10, atol=0)
        assert (exact.score(x) - shells.score(x)).norm() <= 1e-9 * shells.score(x).norm()


def test_116_levels_at_image_size_in_both_precisions():
    dim, sigmas = 3072, shell_touch(0.01, 50, 3072)
    centers = draw(20, dim) * 0.5
    score = UnifiedScore(centers, sigmas)
    for sigma in (0.01, 0.1, 1.0, 10.0, 80.0):
        x = torch.cat([near(centers, 2, sigma), (centers[:1] + centers[1:2]) / 2])
        _, expected, _ = direct(x, centers, sigmas)
        assert (score.score(x) - expected).norm() <= 1e-9 * expected.norm()
        narrow = x.float()
        _, expected, _ = direct(narrow.double(), centers, sigmas)
        assert (score.score(narrow) - expected).norm() <= 1e-5 * expected.norm()


def test_discrete_shells_keep_the_best_level():
    centers, sigmas = draw(10, 50), shell_touch(0.02, 30, 50)
    score = UnifiedScore(centers, sigmas, 2.0, optimal_shell=True)
    for sigma in (0.0, 0.05, 1.0, 20.0, 500.0):
        x = near(centers, 5, sigma)
        r2 = (x[:, None] - centers).square().sum(2)
        logits = -48 * sigmas.log() - r2[..., None] / (2 * sigmas**2)
        best, level = logits.max(2)
        share = torch.softmax(best / 2, 1)
        expected = ((share / sigmas[level] ** 2)[..., None] * (centers - x[:, None])).sum(1)
        torch.testing.assert_close(score.score(x), expected, rtol=1e-9, atol=1e-9)


def test_one_center_and_far_away():
    for dim in (1, 2, 10):
        center = draw(1, dim)
        score = UnifiedScore(center, [0.5, 2.0])
        far = center + 1e6
        torch.testing.assert_close(score.score(far), -1e6 * torch.ones_like(far) / 4)
        assert (score.score(center) == 0).all()
        assert torch.isfinite(score.log_density(torch.cat([far, center]))).all()
    lone = UnifiedScore(draw(5, 3), [0.7])
    x = draw(4, 3, seed=2)
    torch.testing.assert_close(lone.score(x), EmpiricalScore(draw(5, 3)).score(x, 0.7))
    torch.testing.assert_close(lone.log_density(x), EmpiricalScore(draw(5, 3)).log_density(x, 0.7))


def test_duplicated_centers_count_twice():
    centers, sigmas = draw(5, 10), log_uniform(20, 0.05, 20)
    twice = UnifiedScore(torch.cat([centers, centers[:1]]), sigmas)
    x = near(centers, 5, 1.0)
    mass, _, _ = direct(x, centers, sigmas)
    share = torch.softmax(mass + torch.tensor([math.log(2), 0, 0, 0, 0]).double(), 1)
    torch.testing.assert_close(twice.weights(x)[:, 1:5], share[:, 1:], rtol=1e-8, atol=1e-10)


@given(scale=st.floats(0.1, 10), shift=st.floats(-5, 5), seed=st.integers(0, 100))
@settings(max_examples=15, deadline=None)
def test_units_and_order_of_centers(scale, shift, seed):
    """Moving and scaling data and levels together divides the score by the scale; order does not matter."""
    centers, sigmas = draw(6, 5, seed=seed), log_uniform(6, 0.1, 10)
    x = near(centers, 4, 0.6)
    here = UnifiedScore(centers, sigmas, 3.0).score(x)
    order = torch.randperm(6, generator=torch.Generator().manual_seed(seed))
    there = UnifiedScore(centers[order] * scale + shift, sigmas.flip(0) * scale, 3.0).score(x * scale + shift)
    torch.testing.assert_close(there * scale, here, rtol=1e-6, atol=1e-7)


def test_sigma_is_not_needed_and_the_denoiser_follows_tweedie():
    centers = draw(6, 2, 3)
    score = UnifiedScore(centers, log_uniform(10, 0.1, 10))
    x = centers + 0.3 * draw(6, 2, 3, seed=1)
    assert not score.noise_conditional
    assert torch.equal(score.score(x), score.score(x, 3.0))
    torch.testing.assert_close(score.denoise(x, 0.5), x + 0.25 * score.score(x))


@pytest.mark.parametrize("neighbors", [None, 4])
@pytest.mark.parametrize("optimal_shell", [False, "continuous"])
def test_differentiable_in_both_modes(neighbors, optimal_shell):
    centers = draw(10, 12)
    score = UnifiedScore(centers, log_uniform(15, 0.1, 10), 3.0, neighbors, optimal_shell)
    x, vector, step = near(centers, 4, 0.5), draw(4, 12, seed=7), 1e-5
    slope = (score.score(x + step * vector) - score.score(x - step * vector)) / (2 * step)
    _, forward = torch.func.jvp(score.score, (x,), (vector,))
    _, pull = torch.func.vjp(score.score, x)
    torch.testing.assert_close(forward, slope, rtol=1e-5, atol=1e-6)
    torch.testing.assert_close(pull(vector)[0], slope, rtol=1e-5, atol=1e-6)
    torch.testing.assert_close(score.jacobian(x).matvec(vector), slope, rtol=1e-5, atol=1e-6)


def test_digits_in_both_precisions_and_from_pixels():
    digits = load_images("mnist-5k", limit=100)
    sigmas = shell_touch(0.02, 100, 784)
    pixels, floats = UnifiedScore(digits, sigmas, "5/sigma", 20), UnifiedScore(digits.tensor(), sigmas, "5/sigma", 20)
    x = digits.tensor()[:5]
    for sigma in (0.002, 5.0):
        noisy = x + sigma * torch.randn(x.shape, generator=torch.Generator().manual_seed(0))
        narrow, wide = pixels.score(noisy), pixels.score(noisy.double())
        assert narrow.dtype == torch.float32
        assert (narrow - wide).norm() < 1e-5 * wide.norm()
        assert (floats.score(noisy) - narrow).norm() < 1e-2 * narrow.norm()


@pytest.mark.parametrize(
    "mistake",
    [
        lambda c: UnifiedScore(c, []),
        lambda c: UnifiedScore(c, [0.1, 0.1]),
        lambda c: UnifiedScore(c, [0.0, 1.0]),
        lambda c: UnifiedScore(c, [0.1, 1.0], temperature=0.0),
        lambda c: UnifiedScore(c, [0.1, 1.0], temperature="5*sigma"),
        lambda c: UnifiedScore(c, [0.1, 1.0], temperature="perplexity:0.5"),
        lambda c: UnifiedScore(c, [0.1, 1.0], temperature=torch.ones(3)),
        lambda c: UnifiedScore(c, [0.1, 1.0], temperature=math.nan),
        lambda c: UnifiedScore(c, [0.1, 1.0], temperature=lambda sigma: -sigma).score(c),
        lambda c: UnifiedScore(c, [0.1, 1.0], temperature=lambda sigma: torch.ones(7)).score(c),
        lambda c: UnifiedScore(c * math.nan, [0.1, 1.0]),
        lambda c: UnifiedScore(c, [0.1, 1.0]).score(c * math.nan),
        lambda c: UnifiedScore(c, [0.1, 1.0], neighbors=0),
        lambda c: UnifiedScore(c, [0.1, 1.0], neighbors=6),
        lambda c: UnifiedScore(c, [0.1, 1.0], neighbors=2, radius=1.5),
        lambda c: UnifiedScore(c, [0.1, 1.0], neighbors=3, radius=-1.0),
        lambda c: UnifiedScore(c, [0.1, 1.0], radius=1.5),
        lambda c: UnifiedScore(c, [0.1, 1.0], neighbors=NeighborGraph.build(draw(9, 3), 2)),
        lambda c: UnifiedScore(c, [0.1, 1.0], optimal_shell="discrete"),
        lambda c: UnifiedScore(c, [0.1, 1.0], optimal_shell="continuous", level_weights=torch.ones(2)),
        lambda c: UnifiedScore(c, [0.1, 1.0], level_weights=torch.tensor([1.0, -1.0])),
        lambda c: UnifiedScore(c, [0.1, 1.0], temperature="5/sigma").log_density(c),
        lambda c: UnifiedScore(c, [0.1, 1.0], neighbors=2).log_density(c),
        lambda c: UnifiedScore(c, [0.1, 1.0], neighbors=2).jacobian(c, frozen=True),
        lambda c: UnifiedScore(c, [0.1, 1.0]).posterior(c, k=6),
        lambda c: UnifiedScore(c, [0.1, 1.0]).score(torch.zeros(2, 4)),
    ],
)
def test_mistakes_are_refused(mistake):
    with pytest.raises(InputError):
        mistake(draw(5, 3))
