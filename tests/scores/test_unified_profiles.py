"""The functions of one squared distance behind the unified score, against sums over all levels."""

import numpy as np
import pytest
import torch

from smoothscore.schedules import log_uniform, shell_touch
from smoothscore.scores.levels import LOOPED
from smoothscore.scores.shells import Profile
from smoothscore.scores.unified import UnifiedScore


def draw(*shape, seed=0):
    return torch.randn(*shape, generator=torch.Generator().manual_seed(seed), dtype=torch.float64)


def test_discrete_shells_of_any_weights_are_the_upper_envelope():
    sigmas, weights = log_uniform(12, 0.1, 10), draw(12, seed=3).exp()
    for dim in (1, 2, 6):
        profile = UnifiedScore(draw(4, dim), sigmas, optimal_shell=True, level_weights=weights).profile
        r2 = torch.cat([torch.zeros(1).double(), torch.logspace(-6, 6, 500, dtype=torch.float64)])
        lines = weights.log() - dim * sigmas.log() - r2[:, None] / (2 * sigmas**2)
        torch.testing.assert_close(profile.log_mass(r2), lines.amax(1))


@pytest.mark.parametrize("optimal_shell", [False, True, "continuous"])
@pytest.mark.parametrize("dim", [1, 2, 5, 300])
def test_the_inverse_of_the_log_mass_never_falls_short(optimal_shell, dim):
    profile = UnifiedScore(draw(2, dim), log_uniform(15, 0.05, 30), optimal_shell=optimal_shell).profile
    r2 = torch.cat([torch.zeros(1).double(), torch.logspace(-8, 8, 400, dtype=torch.float64)])
    for nats in (1e-3, 1.0, 60.0, 5000.0):
        target = profile.log_mass(r2) - nats
        found = profile.inverse(target)
        slack = 1e-12 * target.abs().clamp(min=1)
        assert (profile.log_mass(found) <= target + slack).all()
        beyond = (target - profile.log_mass(found))[found > 0]
        assert beyond.max() <= slack.max() + (0 if optimal_shell else -profile.masses.diff().min())


@pytest.mark.parametrize(
    ("dim", "sigmas"),
    [
        (3072, shell_touch(0.01, 50, 3072)),
        (784, log_uniform(18, 0.002, 80)),
        (2, log_uniform(12, 0.05, 20)),
        (8, [0.01, 50]),
    ],
)
def test_the_table_and_the_loop_against_the_sum_over_levels(dim, sigmas):
    """5e-11 nats, or 1e-12 of F where that is more, but for rounding to float32, and 1e-5 of kappa."""
    profile = UnifiedScore(torch.zeros(1, dim), sigmas).profile
    levels = torch.as_tensor(sigmas, dtype=torch.float64)

    def exact(r2):
        logits = (2 - dim) * levels.log() - r2[..., None] / (2 * levels**2)
        return torch.logsumexp(logits, -1), (torch.softmax(logits, -1) / levels**2).sum(-1)

    generator = torch.Generator().manual_seed(0)
    r2 = torch.logspace(-8, 8, 400, dtype=torch.float64)[:, None]
    mass, kappa = exact(r2)
    assert ((profile.log_mass(r2) - mass).abs() <= 5e-11 + 1e-12 * mass.abs()).all()
    torch.testing.assert_close(profile.precision(r2), kappa, rtol=1e-5, atol=0)
    offset = (torch.rand(len(r2), 50, generator=generator) * 20 / kappa).double() - 0.1 * r2
    moved, kappa = exact(r2 + offset)
    cold = torch.full((len(r2), 1), 0.5).double()
    assert offset.numel() >= LOOPED
    for dtype, nats in ((torch.float64, 1e-10), (torch.float32, 1e-6)):
        step = offset.to(dtype)
        moved, kappa = exact(r2 + step.double())
        ratio = (moved - mass) / 2
        slack = nats * (1 + ratio.abs()) + 2e-12 * mass.abs()
        for loop in (profile.relative, lambda *given: Profile.relative(profile, *given)):
            found, precision = loop(r2, step, cold)
            assert found.dtype == precision.dtype == dtype
            assert ((found.double() - ratio).abs() <= slack).all()
            torch.testing.assert_close(precision.double(), kappa, rtol=1e-5, atol=0)


def test_weights_of_all_levels_in_one_loop():
    levels = shell_touch(0.05, 20, 300)
    profile = UnifiedScore(torch.zeros(1, 300), levels).profile
    base, cold = 10 ** torch.linspace(0, 4, 40, dtype=torch.float64)[:, None], torch.full((40, 1), 0.5).double()
    middle = draw(40).float()
    s = middle + (draw(90, 40) * 6 / (profile.precision(base)[:, 0] + 1e-3)).float()
    offset = 2 * (middle.double() - s.double()).T
    logits, kappa = Profile.relative(profile, base, offset, cold)
    logits = logits.T.float()
    weights, sums, carries = np.empty((90, 40), "f4"), np.empty((2, 40)), np.empty(90, bool)
    floor, peak = np.float32(logits.median()), float(logits.max())
    for room in (peak + 1, peak - 1):
        loop = profile.loop(base, cold, middle)
        number = loop(s.numpy(), floor, np.float32(room), np.float32(-80), weights, sums, carries)
        assert number == (-1 if room < peak else carries.sum())
    plain = logits.clamp_min(-80).double().exp()
    np.testing.assert_allclose(weights, (plain * kappa.T).numpy(), rtol=2e-5)
    np.testing.assert_allclose(sums, torch.stack([plain.sum(0), (plain * kappa.T).sum(0)]).numpy(), rtol=2e-5)
    assert (carries == (logits > float(floor)).any(1).numpy()).all()


def test_moving_to_float32_keeps_the_table_exact():
    pixels = torch.randint(0, 256, (5, 300), generator=torch.Generator().manual_seed(0), dtype=torch.uint8)
    score = UnifiedScore(pixels, shell_touch(0.05, 20, 300))
    x = pixels.double() / 127.5 - 1 + 0.5 * draw(5, 300)
    exact = score.score(x)
    assert torch.equal(score.float().double().score(x), exact)
