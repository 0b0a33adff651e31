"""The covariance of the empirical denoiser: its definition, Monte Carlo over training sets, and limits."""

import math

import pytest
import torch
from torch import Tensor

from smoothscore.errors import InputError
from smoothscore.geometry import sampling_noise


def draw(count: int, seed: int) -> Tensor:
    """Points on a line in the plane, uniform on [-1, 1]."""
    x = torch.rand(count, generator=torch.Generator().manual_seed(seed), dtype=torch.float64) * 2 - 1
    return torch.stack([x, torch.zeros_like(x)], 1)


def denoise(train: Tensor, x: Tensor, sigma: float) -> Tensor:
    return torch.softmax(-(x - train).square().sum(1) / (2 * sigma**2), 0) @ train


@pytest.mark.parametrize("shape", [(30, 3), (4, 9)])
def test_is_its_definition(shape: tuple[int, int]) -> None:
    generator = torch.Generator().manual_seed(0)
    train = torch.randn(shape, generator=generator)
    x = torch.randn(2, shape[1], generator=generator)
    for found, point in zip(sampling_noise(train, x, 0.7), x.double(), strict=True):
        y = train.double()
        w = torch.softmax(-(point - y).square().sum(1) / (2 * 0.7**2), 0)
        apart = y - w @ y
        expected = len(y) * (w.square()[:, None] * apart).T @ apart
        torch.testing.assert_close(found.mean, w @ y)
        torch.testing.assert_close(found.matvec(torch.eye(shape[1]).double()), expected, rtol=1e-7, atol=1e-9)
        assert found.trace == pytest.approx(float(expected.trace()))
        assert found.concentration == pytest.approx(float(len(y) * w.square().sum()))
        gram = found.directions @ found.directions.T
        torch.testing.assert_close(gram, torch.eye(len(gram)).double(), rtol=0, atol=1e-9)
        assert (found.variances.diff() <= 1e-12).all()


def test_is_the_posterior_covariance_at_half_the_variance() -> None:
    """C = kappa (Cov at half time + shift shift'), "Kernel-smoothed scores", A.5."""
    generator = torch.Generator().manual_seed(1)
    train, x = torch.randn(40, 4, generator=generator).double(), torch.randn(1, 4, generator=generator).double()
    (found,) = sampling_noise(train, x, 0.9)
    half = torch.softmax(-(x[0] - train).square().sum(1) / 0.9**2, 0)
    middle = half @ train
    shift = middle - found.mean
    spread = (half[:, None] * (train - middle)).T @ (train - middle)
    expected = found.concentration * (spread + shift[:, None] * shift)
    torch.testing.assert_close(found.matvec(torch.eye(4).double()), expected.float().double(), rtol=1e-5, atol=1e-6)


def test_predicts_the_scatter_over_training_sets() -> None:
    """2,000 training sets: the variance's standard error is 3.2 percent."""
    x, sigma, count = torch.tensor([[0.2, 0.05]], dtype=torch.float64), 0.1, 2000
    answers = torch.stack([denoise(draw(count, seed), x[0], sigma) for seed in range(2000)])
    predicted = [sampling_noise(draw(count, seed), x, sigma)[0].trace / count for seed in range(2000, 2020)]
    assert sum(predicted) / 20 == pytest.approx(float(answers.var(0).sum()), rel=0.13)


def test_small_noise_limit_lies_along_the_manifold() -> None:
    """Density 1/2 on a line: C tends to sigma^2 / 2 / sqrt(4 pi sigma^2) * 2 along it, and to 0 across."""
    sigma = 0.03
    found = [sampling_noise(draw(20_000, seed), torch.tensor([[0.1, 0.02]]), sigma)[0] for seed in range(10)]
    tangent = torch.tensor([[1.0, 0.0]])
    along, across = (sum(part) / 10 for part in zip(*(one.split(tangent) for one in found), strict=True))
    assert along == pytest.approx(sigma / (2 * math.sqrt(math.pi)), rel=0.1)
    assert abs(across) < 1e-12


def test_a_few_directions_are_the_first_of_all() -> None:
    generator = torch.Generator().manual_seed(2)
    train = torch.randn(60, 40, generator=generator) * torch.linspace(3, 0.1, 40)
    x = torch.randn(1, 40, generator=generator)
    (every,), (some,) = sampling_noise(train, x, 4.0), sampling_noise(train, x, 4.0, rank=3)
    torch.testing.assert_close(some.variances, every.variances[:3], rtol=1e-6, atol=0)
    overlap = (some.directions * every.directions[:3]).sum(1).abs()
    torch.testing.assert_close(overlap, torch.ones(3).double(), rtol=1e-5, atol=0)
    assert some.trace == pytest.approx(every.trace)


def test_one_image_has_none() -> None:
    (found,) = sampling_noise(torch.zeros(1, 3), torch.ones(1, 3), 0.5)
    assert found.trace == 0
    assert found.relative_error == 0


def test_mistakes() -> None:
    with pytest.raises(InputError, match="must be positive"):
        sampling_noise(torch.zeros(3, 2), torch.zeros(1, 2), 0.0)
