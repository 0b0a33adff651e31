"""The jump in front of a sampler."""

import warnings

import numpy as np
import pytest
import torch
from sklearn.covariance import oas

import smoothscore as ss
from smoothscore.sampling import Teleport, draw, fit_gaussian, gaussian_of, noise
from smoothscore.sampling.teleport import shrinkage

GAUSSIAN = ss.GaussianScore(torch.linspace(-1, 1, 6), torch.diag(torch.tensor([1.0, 0.5, 0.2, 0.05, 0.0, 0.0])))


def test_teleportation_of_a_gaussian_is_the_whole_flow():
    whole = draw(GAUSSIAN, 3, "exact", dtype=torch.float64)
    for sigma in (20.0, 1.0):
        jump = Teleport(GAUSSIAN, sigma)
        by_steps = draw(GAUSSIAN, 3, "heun", steps=400, teleport=jump, dtype=torch.float64)
        torch.testing.assert_close(by_steps.images, whole.images, rtol=2e-4, atol=1e-4)


@pytest.mark.parametrize("skipped", [1, 4, 8])
def test_skipped_levels_are_saved_evaluations(skipped):
    levels = ss.schedules.karras(18)
    samples = ss.sample(GAUSSIAN, 2, teleport=float(levels[skipped]))
    assert samples.evaluations == 35 - 2 * skipped
    assert samples.options["teleport"] == float(levels[skipped])


def test_variance_preserving_states_are_teleported_alike():
    """x~ = alpha x: the jump by eq. 18 from (alpha_T, sigma_T) to (alpha, sigma), against ours at sigma / alpha."""
    alpha, sigma = ss.schedules.vp()
    start, end = 0, 700
    state = alpha[start] * 0 + sigma[start] * noise(0, 0, 3, GAUSSIAN.shape) + alpha[start] * GAUSSIAN.mean
    preserving = GAUSSIAN.solve(state, sigma[start], sigma[end], alpha[start], alpha[end])
    levels = (sigma / alpha)[[start, end]]
    exploding = Teleport(GAUSSIAN, float(levels[1])).jump(state / alpha[start], float(levels[0]))
    torch.testing.assert_close(exploding, preserving / alpha[end], rtol=1e-9, atol=1e-9)


def data(count=400, dim=20):
    generator = torch.Generator().manual_seed(0)
    groups = torch.randn(4, dim, generator=generator)
    return groups[torch.randint(4, (count,), generator=generator)] + 0.3 * torch.randn(count, dim, generator=generator)


def test_auto_level_is_where_one_percent_begins():
    """Against the difference of the two denoisers at the noised data themselves, in units of their variance."""
    images = data()
    score, gaussian = ss.EmpiricalScore(images), ss.GaussianScore.fit(images)
    levels = ss.schedules.karras(40)
    sigma = ss.sample(score, 2, sigmas=levels, teleport="auto").options["teleport"]
    assert sigma in levels.tolist()
    variance = images.var(0, correction=0).sum()

    def difference(level):
        x = images.double() + level * torch.randn(images.shape, dtype=torch.float64)
        return float((score.denoise(x, level) - gaussian.denoise(x, level)).square().sum(1).mean() / variance)

    assert difference(sigma) < 0.013
    assert difference(float(levels[levels < sigma][0])) > 0.007


def test_auto_teleportation_keeps_the_samples():
    score = ss.EmpiricalScore(data())
    plain = ss.sample(score, 50, steps=40)
    jumped = ss.sample(score, 50, steps=40, teleport="auto")
    assert jumped.evaluations < 0.8 * plain.evaluations
    near = (plain.images - jumped.images).norm(dim=1) < 0.5
    assert float(near.float().mean()) > 0.8


class Biased(ss.Score):
    """A denoiser with an error of its own, in the mean square a share of the data's variance."""

    def __init__(self, score, share, variance):
        super().__init__(score.shape)
        self.inner, self.offset = score, (share * variance / score.dim) ** 0.5

    def denoise(self, x, sigma):
        return self.inner.denoise(x, sigma) + self.offset


def test_the_error_of_a_network_itself_does_not_end_the_far_field():
    """The same level, or a neighbor, as without the error, up to the share at which nothing can be said."""
    images = data()
    gaussian, levels = ss.GaussianScore.fit(images), ss.schedules.karras(40).tolist()
    variance = float(images.var(0, correction=0).sum())
    exact = levels.index(Teleport.auto(ss.EmpiricalScore(images), gaussian, levels).sigma)
    for share in (0.03, 0.08):
        found = Teleport.auto(Biased(ss.EmpiricalScore(images), share, variance), gaussian, levels)
        assert abs(levels.index(found.sigma) - exact) <= 2
    with pytest.warns(ss.DataWarning, match="nothing is teleported"):
        assert Teleport.auto(Biased(ss.EmpiricalScore(images), 0.2, variance), gaussian, levels) is None


def test_auto_says_when_there_is_nothing_to_skip():
    score = ss.EmpiricalScore(data())
    with pytest.warns(ss.DataWarning, match="nothing is teleported"):
        samples = ss.sample(score, 2, sigmas=[1.0, 0.5, 0.1], teleport="auto")
    assert "teleport" not in samples.options


def test_the_moments_are_the_scores_own():
    images = data()
    covariance = np.cov(images.numpy().T, bias=True)
    for score in (
        ss.EmpiricalScore(images),
        ss.UnifiedScore(images, [0.1, 1.0]),
        ss.MollifiedScore(ss.EmpiricalScore(images), 0.2, samples=4),
        ss.PiecewiseScore([(0, ss.GaussianScore(torch.zeros(20), torch.eye(20))), (1, ss.EmpiricalScore(images))]),
        ss.GaussianMixtureScore.fit(images, components=5),
        ss.GaussianMixtureScore.fit(images, components=5, shrinkage=1e-12),
    ):
        gaussian = gaussian_of(score)
        rebuilt = gaussian.directions * (gaussian.variances - gaussian.residual) @ gaussian.directions.mT
        rebuilt = rebuilt + gaussian.residual * torch.eye(20)
        np.testing.assert_allclose(rebuilt.numpy(), covariance, atol=1e-5)
        np.testing.assert_allclose(gaussian.mean.numpy(), images.double().mean(0).numpy(), atol=1e-6)
    with pytest.raises(ss.InputError, match="give moments"):
        gaussian_of(ss.Score((2,)))
    with pytest.raises(ss.InputError, match="give moments"):
        gaussian_of(ss.EmpiricalScore(images, weights=torch.arange(1.0, 401)))


def test_shrinkage_is_that_of_sklearn():
    for count in (10, 19):
        images = data(count)
        expected, amount = oas(images.double().numpy())
        gaussian = fit_gaussian(images)
        assert float(shrinkage(ss.GaussianScore.fit(images).variances, 20, count)) == pytest.approx(amount, rel=1e-6)
        rebuilt = gaussian.directions * (gaussian.variances - gaussian.residual) @ gaussian.directions.mT
        rebuilt = rebuilt + gaussian.residual * torch.eye(20)
        np.testing.assert_allclose(rebuilt.numpy(), expected, atol=1e-5)
    assert float(fit_gaussian(data(400)).residual) == 0


def test_moments_may_be_given():
    images = data()
    network = PretendNetwork(ss.EmpiricalScore(images))
    with pytest.raises(ss.InputError, match="give moments"):
        ss.sample(network, 2, teleport=5.0)
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        by_data = ss.sample(network, 2, teleport=5.0, moments=images)
        by_score = ss.sample(network, 2, teleport=5.0, moments=ss.GaussianScore.fit(images))
    torch.testing.assert_close(by_data.images, by_score.images)


class PretendNetwork(ss.Score):
    """A score that hides what it was made of."""

    def __init__(self, score):
        super().__init__(score.shape)
        self.hidden = [score]

    def denoise(self, x, sigma):
        return self.hidden[0].denoise(x, sigma)


@pytest.mark.parametrize(
    ("teleport", "message"), [(100.0, "lower level"), (-1.0, "positive"), ("now", "'auto'"), (80.0, "lower level")]
)
def test_levels_that_cannot_be(teleport, message):
    with pytest.raises(ss.InputError, match=message):
        ss.sample(GAUSSIAN, 1, teleport=teleport)
