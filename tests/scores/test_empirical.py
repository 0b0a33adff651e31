"""The empirical score against autograd of its density and float64 brute force."""

import math

import numpy as np
import pytest
import torch
from torch import Tensor

from smoothscore.data import ImageSet
from smoothscore.errors import InputError
from smoothscore.scores.empirical import EmpiricalScore

SIGMAS = torch.tensor([0.3, 0.5, 1.0, 2.0, 0.1, 5.0], dtype=torch.float64)


def log_density(x: Tensor, centers: Tensor, sigma: Tensor, weights: Tensor | None = None) -> Tensor:
    """By definition, in the autograd graph."""
    r2 = (x[:, None] - centers[None]).flatten(2).square().sum(2)
    prior = torch.ones(len(centers), dtype=x.dtype) if weights is None else weights
    d = centers[0].numel()
    return (
        torch.logsumexp(-r2 / (2 * sigma[:, None] ** 2) + prior.log() - prior.sum().log(), 1)
        - d / 2 * math.log(2 * math.pi)
        - d * sigma.log()
    )


@pytest.fixture
def centers() -> Tensor:
    return 0.5 * torch.randn(12, 2, 5, 4, dtype=torch.float64, generator=torch.Generator().manual_seed(1))


@pytest.fixture
def x() -> Tensor:
    return torch.randn(6, 2, 5, 4, dtype=torch.float64, generator=torch.Generator().manual_seed(2))


@pytest.mark.parametrize("weighted", [False, True])
def test_density_score_and_denoiser_are_those_of_the_mixture(centers: Tensor, x: Tensor, weighted: bool) -> None:
    weights = torch.rand(12, dtype=torch.float64) if weighted else None
    score = EmpiricalScore(centers, weights)
    x.requires_grad_()
    expected = log_density(x, centers, SIGMAS, weights)
    gradient = torch.autograd.grad(expected.sum(), x)[0]
    torch.testing.assert_close(score.log_density(x, SIGMAS), expected, rtol=1e-12, atol=1e-12)
    torch.testing.assert_close(score.score(x, SIGMAS), gradient, rtol=1e-11, atol=1e-11)
    denoised = x + SIGMAS[:, None, None, None] ** 2 * gradient
    torch.testing.assert_close(score.denoise(x, SIGMAS), denoised, rtol=1e-11, atol=1e-11)


def test_derivatives_in_both_modes_and_of_second_order(centers: Tensor, x: Tensor) -> None:
    score = EmpiricalScore(centers)
    x.requires_grad_()
    gradient = torch.autograd.grad(score.log_density(x, SIGMAS).sum(), x, create_graph=True)[0]
    v = torch.randn_like(x)
    ours = torch.autograd.grad((gradient * v).sum(), x)[0]
    exact = torch.autograd.grad(log_density(x, centers, SIGMAS).sum(), x, create_graph=True)[0]
    hessian = torch.autograd.grad((exact * v).sum(), x)[0]
    forward = torch.func.jvp(lambda z: score.score(z, SIGMAS), (x.detach(),), (v,))[1]
    # The definition cancels r^2 / sigma^4 = 5e5 against entries near 1, so it is good to 1e-9 of the largest only.
    scale = hessian.flatten(1).norm(dim=1)
    for found in (ours, forward):
        assert ((found - hessian).flatten(1).norm(dim=1) <= 1e-9 * scale).all()
    two = x[1:3].detach().requires_grad_()
    assert torch.autograd.gradcheck(lambda z: score.denoise(z, SIGMAS[1:3]), two, fast_mode=True)
    logs = lambda z: score.log_density(z, SIGMAS[1:3])  # noqa: E731
    assert torch.autograd.gradcheck(logs, two, check_forward_ad=True, fast_mode=True)


def test_divergence_is_the_trace_of_the_jacobian(centers: Tensor, x: Tensor) -> None:
    score = EmpiricalScore(centers)
    for i, sigma in enumerate(SIGMAS):
        one = x[i : i + 1]
        dense = torch.autograd.functional.jacobian(lambda z, s=sigma: score.score(z, s).flatten(), one)
        expected = dense.reshape(40, 40).trace()
        torch.testing.assert_close(score.divergence(one, sigma)[0], expected, rtol=1e-11, atol=0)


def test_weights_and_posterior(centers: Tensor, x: Tensor) -> None:
    score = EmpiricalScore(centers)
    r2 = (x[:, None] - centers[None]).flatten(2).square().sum(2)
    expected = torch.softmax(-r2 / (2 * SIGMAS[:, None] ** 2), 1)
    torch.testing.assert_close(score.weights(x, SIGMAS), expected, rtol=1e-10, atol=1e-20)
    found = score.posterior(x, SIGMAS, k=3)
    top = expected.topk(3)
    assert torch.equal(found.indices, top.indices)
    torch.testing.assert_close(found.weights, top.values, rtol=1e-10, atol=1e-20)
    assert torch.equal(found.centers, centers[top.indices])
    entropy = -torch.special.xlogy(expected, expected).sum(1)
    torch.testing.assert_close(found.entropy, entropy, rtol=1e-9, atol=1e-12)
    torch.testing.assert_close(found.effective_number, entropy.exp(), rtol=1e-9, atol=0)


def test_two_centers_on_a_line_are_a_hyperbolic_tangent() -> None:
    score = EmpiricalScore(torch.tensor([[0.7], [-0.7]], dtype=torch.float64))
    x = torch.linspace(-3, 3, 41, dtype=torch.float64)[:, None]
    torch.testing.assert_close(score.denoise(x, 0.8), 0.7 * torch.tanh(0.7 * x / 0.64), rtol=1e-13, atol=1e-15)


def test_one_center() -> None:
    score = EmpiricalScore(torch.full((1, 3), 0.25, dtype=torch.float64))
    x = torch.randn(5, 3, dtype=torch.float64)
    torch.testing.assert_close(score.score(x, 0.1), (0.25 - x) / 0.01, rtol=1e-13, atol=0)
    torch.testing.assert_close(score.divergence(x, 0.1), torch.full((5,), -300.0).double(), rtol=1e-12, atol=0)


def test_class_restriction_is_a_smaller_set() -> None:
    pixels = torch.randint(0, 256, (30, 1, 8, 8), dtype=torch.uint8)
    labels = np.arange(30) % 3
    images = ImageSet.from_array(pixels.numpy(), labels=labels)
    x = torch.randn(4, 1, 8, 8)
    restricted = EmpiricalScore(images, class_=1)
    assert torch.equal(restricted.denoise(x, 2.0), EmpiricalScore(pixels[1::3]).denoise(x, 2.0))
    weights = torch.arange(30.0)
    weighted = EmpiricalScore(images, weights=weights, class_=1)
    assert torch.equal(weighted.denoise(x, 2.0), EmpiricalScore(pixels[1::3], weights[1::3]).denoise(x, 2.0))


def test_mistakes_are_named() -> None:
    centers = torch.randn(5, 2)
    for wrong in (torch.ones(4), -torch.ones(5), torch.zeros(5), torch.full((5,), math.nan)):
        with pytest.raises(InputError, match="weights must be 5 numbers"):
            EmpiricalScore(centers, weights=wrong)
    for source in (torch.empty(0, 2), torch.tensor([[1.0, float("nan")]]), torch.arange(6).reshape(2, 3)):
        with pytest.raises(InputError):
            EmpiricalScore(source)
    with pytest.raises(InputError, match="labels"):
        EmpiricalScore(centers, class_=1)
    images = ImageSet.from_array(np.zeros((2, 1, 4, 4), np.uint8), labels=np.array([0, 1]))
    with pytest.raises(InputError, match="label 7"):
        EmpiricalScore(images, class_=7)
    with pytest.raises(InputError, match="weights must be 2 numbers"):
        EmpiricalScore(images, weights=torch.ones(3), class_=1)
    with pytest.raises(InputError, match="x is a ndarray"):
        EmpiricalScore(centers).score(np.zeros((1, 2)), 1.0)  # type: ignore[arg-type]
    with pytest.raises(InputError, match="The vectors have shape"):
        EmpiricalScore(centers).jacobian(torch.randn(1, 2), 1.0).matvec(torch.randn(1, 3))
    with pytest.raises(InputError, match="k is"):
        EmpiricalScore(centers).posterior(torch.randn(1, 2), 1.0, k=6)
    with pytest.raises(InputError, match="sigma"):
        EmpiricalScore(centers).score(torch.randn(1, 2), 0.0)
