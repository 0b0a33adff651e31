"""The examination of a score, with scores whose answers are known."""

import numpy as np
import pytest
import torch
from torch import Tensor

from smoothscore.data import ImageSet
from smoothscore.geometry import concentration, stability
from smoothscore.geometry.model import examine
from smoothscore.scores import EmpiricalScore, GaussianScore, Score

SIGMAS = [0.05, 0.6, 5.0]


class Zero(Score):
    """Denoises everything to the gray image."""

    def denoise(self, x: Tensor, sigma: float | Tensor) -> Tensor:
        self.check(x, sigma)
        return torch.zeros_like(x)


def images(count: int, seed: int) -> Tensor:
    return torch.randn(count, 1, 4, 4, generator=torch.Generator().manual_seed(seed)) * 0.5


def test_the_empirical_score_memorizes_where_its_weights_say_so() -> None:
    train, held_out = images(80, 0), images(300, 1)
    found = examine(EmpiricalScore(train), train, held_out, SIGMAS, points=256)
    np.testing.assert_allclose(found.cosine.mean, 1, atol=1e-6)
    np.testing.assert_allclose(found.unexplained_by_empirical.mean, 0, atol=1e-9)
    assert found.memorized.mean[0] > 0.95
    assert found.memorized.mean[-1] < 0.02
    assert found.train_error.mean[0] < 1e-6 < found.held_out_error.mean[0]
    # MMSE of the empirical denoiser: the own weight alone bounds it where the posterior is one image
    weights = concentration(train, SIGMAS, noises=50)
    assert (weights.own.curve().mean[0], weights.effective.curve().mean[0]) == pytest.approx((1, 1), abs=1e-6)
    assert found.gap.mean[-1] == pytest.approx(found.held_out_error.mean[-1] - found.train_error.mean[-1], abs=1e-12)
    closed = stability(train, SIGMAS)
    assert closed is not None
    for name in ("expansion", "local", "gain"):
        curve, expected = getattr(found.stability, name), getattr(closed, name)
        np.testing.assert_allclose(curve.mean[1:], expected.mean[1:], rtol=1e-3, err_msg=name)


def test_a_gaussian_score_on_its_own_data_does_not_memorize() -> None:
    train, held_out = images(400, 0), images(400, 1)
    found = examine(GaussianScore.fit(train), train, held_out, SIGMAS, points=400)
    np.testing.assert_allclose(found.unexplained_by_gaussian.mean, 0, atol=1e-9)
    assert (found.memorized.mean < 0.05).all()
    # D = c x has error variance / (1 + variance / sigma^2) per value, up to what 400 images tell
    expected = 0.25 / (1 + 0.25 / np.array(SIGMAS) ** 2)
    np.testing.assert_allclose(found.held_out_error.mean, expected, rtol=0.15)
    assert (found.unexplained_by_empirical.mean[0] > 0.1).all()


def test_errors_of_a_known_denoiser() -> None:
    train, held_out = images(50, 0), images(64, 1)
    found = examine(Zero(train.shape[1:]), train, held_out, SIGMAS, points=64)
    expected = float(held_out.double().square().mean())
    np.testing.assert_allclose(found.held_out_error.mean, expected, rtol=1e-6)
    assert found.memorized.lower is not None
    assert found.memorized.upper is not None
    assert (found.memorized.lower <= found.memorized.mean).all()
    assert (found.memorized.mean <= found.memorized.upper).all()


def test_a_repeated_image_does_not_hide_a_copy() -> None:
    pixels = np.random.default_rng(0).integers(0, 256, (30, 1, 4, 4), dtype=np.uint8)
    held_out = ImageSet.from_array(np.random.default_rng(1).integers(0, 256, (60, 1, 4, 4), dtype=np.uint8))
    once, twice = ImageSet.from_array(pixels), ImageSet.from_array(np.concatenate([pixels, pixels]))
    rates = [examine(EmpiricalScore(t), t, held_out, [0.05], points=60).memorized.mean[0] for t in (once, twice)]
    assert rates[0] == pytest.approx(rates[1])
    assert rates[0] > 0.9
