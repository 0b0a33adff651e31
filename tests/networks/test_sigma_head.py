"""The estimate of the noise level from the image alone."""

import math

import pytest
import torch

import smoothscore as ss
from smoothscore.networks import SigmaHead, build


@pytest.mark.parametrize("shape", [(1, 28, 28), (3, 16, 16), (3, 7, 9)])
def test_untrained_it_is_right_on_flat_images(shape):
    """The median of n normal details has a relative standard error of 1.17 / sqrt(n)."""
    head = SigmaHead(shape)
    levels = torch.tensor([0.01, 0.3, 40.0]).repeat_interleave(50)
    x = 0.3 + levels[:, None, None, None] * torch.randn(150, *shape)
    ratio = head(x).exp() / levels
    details = min(128, shape[0] * (shape[1] // 2) * (shape[2] // 2))
    assert (ratio.reshape(3, 50).mean(1) - 1).abs().max() < 5 * 1.17 / math.sqrt(50 * details) + 0.02


def test_training_it_finds_the_level_of_real_digits():
    digits = ss.load_images("mnist-5k")
    train, held_out = digits.split((500, 200), seed=0)
    head = SigmaHead(train.shape)
    levels = torch.logspace(math.log10(0.01), math.log10(80), 200)
    x = held_out.tensor() + levels[:, None, None, None] * torch.randn(200, *train.shape)
    before = (head(x).detach() - levels.log()).abs().mean()
    head.fit(train, steps=200, batch_size=64)
    errors = (head(x).detach() - levels.log()).abs()
    assert errors.mean() < 0.09 < before
    assert errors[levels > 2].mean() < 0.06


def test_points_have_a_level_too():
    """Of points near the unit circle the norm tells a level well above 1 to about 1 / sqrt(2 d) of itself, d = 2."""
    angles = 2 * math.pi * torch.rand(2000)
    circle = torch.stack([angles.cos(), angles.sin()], 1)
    head = SigmaHead((2,)).fit(circle, 0.01, 80.0, steps=400)
    x = circle + 20 * torch.randn(2000, 2)
    assert (head(x) - math.log(20)).mean().abs() < 0.3
    assert (head(x) - math.log(20)).std() < 1.0


def test_its_loss_is_that_of_the_logarithm_and_moves_nothing_else():
    network = build("tiny", (1, 8, 8), False)
    x = torch.randn(4, 1, 8, 8, requires_grad=True)
    sigma = torch.tensor([0.1, 1.0, 2.0, 5.0])
    loss = network.sigma_head.loss(x, sigma)
    assert loss.item() == pytest.approx((network.sigma_head(x) - sigma.log()).square().mean().item(), rel=1e-6)
    loss.backward()
    moved = {name.split(".")[0] for name, value in network.named_parameters() if value.grad is not None}
    assert moved == {"sigma_head"}
    assert x.grad is None


def test_a_score_without_level_uses_it():
    network = build("tiny", (1, 8, 8), False)
    score = ss.NetworkScore(network, "noise")
    x = torch.randn(4, 1, 8, 8)
    assert torch.equal(score.estimate_sigma(x), network.sigma_head(x).exp())
    assert torch.equal(score.score(x), score.score(x, network.sigma_head(x).exp()))
    assert torch.equal(score.denoise(x), score.denoise(x, network.sigma_head(x).exp()))


def test_conditional_networks_have_none_unless_asked():
    assert build("tiny", (1, 8, 8)).sigma_head is None
    assert build("tiny", (1, 8, 8), sigma_head=True).sigma_head is not None
    assert build("mlp", (2,), False, sigma_head=False).sigma_head is None
