"""The far field against closed forms."""

from pathlib import Path

import numpy as np
import pytest
import torch
from torch import Tensor

from smoothscore.data import load_images
from smoothscore.geometry.far_field import far_field, unexplained_variance
from smoothscore.scores import EmpiricalScore, GaussianScore, Score


class Isotropic(Score):
    """The score of a Gaussian about 0 with one variance."""

    def __init__(self, shape: torch.Size, variance: float) -> None:
        super().__init__(shape)
        self.variance = variance

    def denoise(self, x: Tensor, sigma: float | Tensor) -> Tensor:
        x, sigma = self.check(x, sigma)
        return x * (self.variance / (self.variance + self.expand(sigma) ** 2))


def test_two_gaussians_have_a_closed_form() -> None:
    """s = -x / (a + s^2) and -x / (b + s^2) leave ((a - b) / (b + s^2))^2 unexplained at every point."""
    images = torch.randn(50, 8, generator=torch.Generator().manual_seed(0))
    sigmas = np.array([0.1, 1.0, 7.0])
    curve = unexplained_variance(Isotropic(images.shape[1:], 2.0), Isotropic(images.shape[1:], 1.0), images, sigmas)
    np.testing.assert_allclose(curve.mean, (1 / (1 + sigmas**2)) ** 2, rtol=1e-4)
    np.testing.assert_allclose(curve.stderr, 0, atol=1e-5)


def test_rate_at_large_noise() -> None:
    """Skewed data: the denoisers differ by about sigma^-2, so the fraction falls like sigma^-6."""
    images = torch.randn(60, 6, generator=torch.Generator().manual_seed(1)).double().exp() * 0.2
    sigmas = np.array([20.0, 40.0])
    empirical, gaussian = EmpiricalScore(images), GaussianScore.fit(images)
    curve = unexplained_variance(empirical, gaussian, images, sigmas, points=400)
    assert np.log2(curve.mean[0] / curve.mean[1]) == pytest.approx(6, abs=0.3)


def test_distances_taken_once_give_the_empirical_score() -> None:
    images = torch.randn(50, 3, 3, generator=torch.Generator().manual_seed(4))
    sigmas = [0.01, 0.4, 1.0, 3.0, 30.0]
    expected = unexplained_variance(EmpiricalScore(images), GaussianScore.fit(images), images, sigmas, points=40)
    found = far_field(images, sigmas, points=40).unexplained
    np.testing.assert_allclose(found.mean, expected.mean, rtol=1e-4, atol=1e-9)
    np.testing.assert_allclose(found.stderr, expected.stderr, rtol=1e-3, atol=1e-9)


def test_standard_error_is_that_of_repeated_runs() -> None:
    images = torch.randn(40, 5, generator=torch.Generator().manual_seed(1))
    empirical, gaussian = EmpiricalScore(images), GaussianScore.fit(images)
    runs = [unexplained_variance(empirical, gaussian, images, [0.7], seed=s, points=100) for s in range(40)]
    scatter = np.std([run.mean[0] for run in runs], ddof=1)
    assert np.mean([run.stderr[0] for run in runs]) == pytest.approx(scatter, rel=0.4)


def test_directions_count_the_dimensions() -> None:
    plane = torch.randn(80, 2, generator=torch.Generator().manual_seed(2)) @ torch.randn(2, 9)
    found = far_field(plane, [1e-3, 0.5, 1e4], points=32)
    assert found.directions[0] == pytest.approx(2, abs=1e-4)
    assert found.directions[2] == pytest.approx(0, abs=1e-4)
    assert found.spectrum.sum() == pytest.approx(float(plane.var(0, correction=0).sum()), rel=1e-5)
    assert (np.diff(found.spectrum) <= 0).all()
    assert found.start is not None
    assert 0.001 < found.start < 1e4
    assert found.unexplained.mean[2] < 0.01 < found.unexplained.mean[0]


def test_no_level_far_enough() -> None:
    images = torch.randn(30, 6, generator=torch.Generator().manual_seed(2))
    assert far_field(images, [0.01, 0.2], points=16).start is None


def test_one_image_is_its_gaussian() -> None:
    found = far_field(torch.full((1, 4), 0.5), [0.1, 10.0], points=8)
    np.testing.assert_allclose(found.unexplained.mean, 0, atol=1e-9)
    assert found.start == pytest.approx(0.1)


def test_cifar_thousand(cifar_train: Path) -> None:
    """1,000 images: the Gaussian leaves less than one percent unexplained above a few units of noise."""
    train = load_images(cifar_train)[:1000]
    found = far_field(train, np.geomspace(40, 1, 12), points=48)
    assert found.start is not None
    assert 2 < found.start < 20
