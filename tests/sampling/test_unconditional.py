"""Samplers for scores that know no noise level, and constraints."""

import math
import warnings

import pytest
import torch

import smoothscore as ss
from smoothscore.sampling import Ascent, Box, Heun, KnownPixels, Subspace, TrueLevel, draw, interpolate, nearest_level
from smoothscore.sampling.level import level_rule, residual_level

DIM = 192
SHAPE = (3, 8, 8)


@pytest.fixture(scope="module")
def centers():
    generator = torch.Generator().manual_seed(1)
    return torch.rand(12, *SHAPE, generator=generator, dtype=torch.float64) * 2 - 1


@pytest.fixture(scope="module")
def unified(centers):
    return ss.UnifiedScore(centers, ss.schedules.log_uniform(200, 1e-3, 120.0))


def distance_to_nearest(images, centers):
    return torch.cdist(images.double().flatten(1), centers.flatten(1)).amin(1) / math.sqrt(DIM)


@pytest.mark.parametrize("rule", ["auto", "nearest", "residual"])
def test_the_printed_step_sizes_reach_the_same_images(unified, centers, rule):
    """B.4.3: 10, 50 and 100 steps of size alpha from the same noise end at the same centers."""
    ends = []
    for alpha, steps in ((0.6, 10), (0.16, 50), (0.09, 100)):
        sigmas = 100 * (1 - alpha) ** torch.arange(steps + 1, dtype=torch.float64)
        samples = draw(unified, 4, TrueLevel(rule), sigmas=sigmas, seed=2)
        assert samples.evaluations == steps + 1
        assert float(distance_to_nearest(samples.images, centers).max()) < 1e-3
        ends.append(samples.images)
    by_heun = draw(unified, 4, TrueLevel(rule, base=Heun()), steps=50, seed=2).images
    for images in ends:
        same = (images - by_heun).flatten(1).norm(dim=1) < 0.1
        assert int(same.sum()) >= 3  # coarse steps may pass a fork on another side


def test_one_step_contracts_by_alpha(unified, centers):
    """Near one center r goes to (1 - alpha (d - 2) / d) r when sigma* = r / sqrt(d)."""
    x = centers[:1] + 0.3 * torch.randn(1, *SHAPE, dtype=torch.float64)
    moved = draw(unified, 1, TrueLevel(nearest_level(centers)), sigmas=[1.0, 0.84], start=x, trajectory=True,
                 dtype=torch.float64).trajectory[1]  # fmt: skip
    shrink = float((moved - centers[0]).norm() / (x - centers[0]).norm())
    assert shrink == pytest.approx(1 - 0.16 * (DIM - 2) / DIM, rel=1e-3)


def test_level_rules_agree_on_a_shell(unified, centers):
    for sigma in (0.05, 0.3, 20.0):
        x = centers[:6] + sigma * torch.randn(6, *SHAPE, dtype=torch.float64)
        exact = (x - centers[:6]).flatten(1).norm(dim=1) / math.sqrt(DIM)
        if sigma < 1:
            torch.testing.assert_close(nearest_level(centers)(x), exact, rtol=1e-6, atol=0)
        torch.testing.assert_close(residual_level(unified.score(x)), exact, rtol=0.05, atol=0)
        torch.testing.assert_close(unified.level(x), nearest_level(centers)(x), rtol=0.02, atol=0)


def test_the_networks_own_level_comes_first(unified):
    unified_with_head = ss.UnifiedScore(torch.zeros(1, 4), [0.1, 1.0])
    unified_with_head.estimate_sigma = lambda x: x.new_full((len(x),), 0.7)
    assert float(level_rule(unified_with_head, "auto")(torch.zeros(1, 4))) == pytest.approx(0.7)
    with pytest.raises(ss.InputError, match="'network'"):
        level_rule(unified, "network")
    with pytest.raises(ss.InputError, match="no rule 'guess'"):
        level_rule(unified, "guess")


def test_a_schedule_on_an_unconditional_score_warns_and_true_level_does_not(unified):
    with pytest.warns(ss.DataWarning, match="take 'true-level'"):
        draw(unified, 1, "euler", steps=3)
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        draw(unified, 1, "true-level", steps=3)
        draw(unified, 1, "sde", steps=3)
    gaussian = ss.GaussianScore.fit(unified.centers.values.reshape(-1, *SHAPE))
    swapped = ss.PiecewiseScore([(0.0, unified), (1.0, gaussian)])
    with pytest.warns(ss.DataWarning, match=r"UnifiedScore does not know the noise level.*; take 'sde'\."):
        draw(swapped, 1, "euler", steps=3)
    with pytest.raises(ss.InputError, match="noise-unconditional"):
        draw(ss.EmpiricalScore(torch.zeros(1, 4)), 1, "true-level")


@pytest.mark.parametrize("options", [{}, {"step": "armijo"}, {"momentum": 0.3, "share": 0.3}, {"stop_change": 1e-4}])
def test_ascent_ends_at_maxima(unified, centers, options):
    samples = draw(unified, 6, Ascent(**options), steps=300, dtype=torch.float64)
    assert float(distance_to_nearest(samples.images, centers).max()) < 1e-2
    assert samples.evaluations < 300  # it stopped by itself


def test_armijo_never_descends(unified):
    path = draw(unified, 3, Ascent(step="armijo"), steps=40, trajectory=True, dtype=torch.float64).trajectory
    heights = torch.stack([unified.log_density(x) for x in path[:-1]])
    assert bool((heights.diff(dim=0) >= -1e-6).all())


def test_fixed_step_ascent(unified, centers):
    """x + alpha s, from a shell of level 0.5: stable while alpha < 2 sigma*^2; it stops where sigma* is small."""
    x = centers[:4] + 0.5 * torch.randn(4, *SHAPE, dtype=torch.float64)
    rule = Ascent(step=0.002, stop_level=0.05)
    samples = draw(unified, 4, rule, steps=400, start=x, trajectory=True, dtype=torch.float64)
    last = distance_to_nearest(samples.trajectory[-2], centers)
    assert float(last.max()) < 0.05
    assert float(distance_to_nearest(samples.images, centers).max()) < 1e-3
    # the square of the distance falls by 2 alpha (d - 2) a step: (0.25 - 0.0025) d / (2 alpha (d - 2)) steps
    expected = (0.25 - 0.05**2) / (2 * 0.002)
    assert samples.evaluations == pytest.approx(expected, rel=0.1)


@pytest.mark.parametrize("options", [{"step": 0.0}, {"step": "newton"}, {"share": 2.0}, {"momentum": 1.0}])
def test_ascent_options_out_of_range(options):
    with pytest.raises(ss.InputError):
        Ascent(**options)


@pytest.mark.parametrize("sampler", ["heun", "dpm-solver", "rk45", "sde", "ancestral", "edm", "sde-pc"])
def test_known_pixels_are_kept_and_the_rest_fits(centers, sampler):
    """Six rows of a center known: every sampler returns them to rounding, and fills in the same center's rest."""
    mask = torch.zeros(1, 8, 8, dtype=torch.bool)
    mask[:, :6] = True
    score = ss.EmpiricalScore(centers)
    steps = 60 if sampler in ("sde", "ancestral", "sde-pc") else None
    samples = draw(score, 3, sampler, steps=steps, projection=KnownPixels(centers[5], mask), dtype=torch.float64)
    torch.testing.assert_close(samples.images[:, :, :6], centers[5, :, :6].expand(3, -1, -1, -1), rtol=0, atol=1e-12)
    torch.testing.assert_close(samples.images[:, :, 6:], centers[5, :, 6:].expand(3, -1, -1, -1), rtol=0, atol=1e-3)


@pytest.mark.parametrize("sampler", ["true-level", "ascent"])
def test_constraints_on_unconditional_scores(unified, centers, sampler):
    basis = torch.randn(5, *SHAPE, dtype=torch.float64)
    subspace = Subspace(basis, centers[0])
    images = draw(unified, 3, sampler, steps=80, projection=subspace, dtype=torch.float64).images
    torch.testing.assert_close(subspace(images), images, rtol=0, atol=1e-10)
    boxed = draw(unified, 3, sampler, steps=80, projection=Box(-0.5, 0.5), dtype=torch.float64).images
    assert float(boxed.abs().max()) <= 0.5
    called = draw(unified, 2, sampler, steps=20, projection=lambda image: image.clamp(min=0)).images
    assert float(called.min()) >= 0


def test_projections_that_cannot_be():
    with pytest.raises(ss.InputError, match="linearly independent"):
        Subspace(torch.ones(2, 3))
    with pytest.raises(ss.InputError, match="bools"):
        KnownPixels(torch.zeros(2), torch.zeros(2))
    with pytest.raises(ss.InputError, match="keep the shape"):
        draw(ss.GaussianScore(torch.zeros(2), torch.eye(2)), 1, projection=lambda image: image[:, :1])


def test_interpolation_between_two_images(centers):
    score = ss.EmpiricalScore(centers)
    low = interpolate(score, centers[0], centers[1], sigma=0.05, count=5)
    torch.testing.assert_close(low.images[[0, -1]].double(), centers[:2], rtol=0, atol=1e-4)
    assert float(distance_to_nearest(low.images, centers).max()) < 1e-3  # a copying score has nothing in between
    smooth = interpolate(ss.GaussianScore.fit(centers), centers[0], centers[1], sigma=0.05, count=5).images.double()
    torch.testing.assert_close(smooth[2], (smooth[0] + smooth[4]) / 2, rtol=0, atol=1e-4)  # a linear score is linear
    with pytest.raises(ss.InputError, match="positive level"):
        interpolate(score, centers[0], centers[1], sigma=0)
    with pytest.raises(ss.InputError, match="give two of"):
        interpolate(score, centers[0, :1], centers[1], sigma=1)
