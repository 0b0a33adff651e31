"""Losses against their formulas, with networks whose output is known."""

import pytest
import torch
from torch import nn

import smoothscore as ss
from smoothscore.networks import build
from smoothscore.training import Conditional, Dummy, Gap, NoiseLaw, Unconditional
from smoothscore.training.draws import fresh

SHAPE = (1, 6, 6)


class Constant(nn.Module):
    """A network that takes the level and gives one image."""

    def __init__(self, value: float) -> None:
        super().__init__()
        self.value = nn.Parameter(torch.tensor(value))
        self.seen: list[dict[str, torch.Tensor]] = []

    def forward(self, x, noise, **labels):
        self.seen.append(labels)
        return self.value.expand_as(x)


class Blind(nn.Module):
    """A network that never sees the level: it predicts ``share`` of its input."""

    def __init__(self, share: float) -> None:
        super().__init__()
        self.share = nn.Parameter(torch.tensor(share))

    def forward(self, x):
        return self.share * x


@pytest.fixture
def images():
    return torch.rand(64, *SHAPE) * 2 - 1


def test_edm_loss_is_the_formula_of_the_paper(images):
    draws = fresh(images)
    law = NoiseLaw(sigma_min=0.05, sigma_max=10.0)
    network = Constant(0.3)
    loss = Conditional("edm", law)(network, images, draws=draws)
    sigma = law.sigma(draws.level).float().reshape(-1, 1, 1, 1)
    x = images + sigma * draws.noise
    denoised = 0.25 / (sigma**2 + 0.25) * x + sigma * 0.5 / (sigma**2 + 0.25).sqrt() * 0.3
    weight = (sigma**2 + 0.25) / (sigma * 0.5) ** 2
    torch.testing.assert_close(loss, (weight * (denoised - images) ** 2).mean(), rtol=1e-5, atol=0)


def test_unconditional_loss_is_twice_equation_9_a_value(images):
    draws = fresh(images)
    objective = Unconditional(law=NoiseLaw("log-uniform", sigma_min=0.1, sigma_max=3.0))
    loss = objective(Blind(0.5), images, draws=draws)
    sigma = objective.law.sigma(draws.level).float().reshape(-1, 1, 1, 1)
    x = images + sigma * draws.noise
    score = -0.5 * x / sigma
    expected = (sigma**2 * (score + (x - images) / sigma**2) ** 2).mean()
    torch.testing.assert_close(loss, expected, rtol=1e-5, atol=0)


def test_gap_levels_are_never_trained(images):
    objective = Gap([(0.2, 1.0)], law=NoiseLaw(gaps=[(2.0, 3.0)]))
    sigma = torch.cat([objective.losses(Constant(0.0), images).sigma for _ in range(20)])
    assert not ((sigma > 0.2001) & (sigma < 0.9999)).any()
    assert not ((sigma > 2.0001) & (sigma < 2.9999)).any()
    assert (sigma < 0.2).any()
    assert (sigma > 3.0).any()


def test_flips_mirror_noisy_image_and_target_together():
    images = torch.zeros(400, 1, 4, 4)
    images[..., 0] = 1.0
    network = Constant(0.0)
    seen = []
    network.register_forward_pre_hook(lambda module, inputs: seen.append(inputs[0]))
    objective = Conditional("denoiser", NoiseLaw(sigma_min=0.01, sigma_max=0.0101), flips=True)
    losses = objective.losses(network, images)
    left = seen[0][:, 0, 0, 0] > 0.5
    assert 120 < left.sum() < 280
    torch.testing.assert_close(seen[0][~left][..., 3].mean(), torch.tensor(1.0), atol=0.01, rtol=0)
    error = losses.loss * losses.sigma**2
    torch.testing.assert_close(error, torch.full_like(error, 0.25))


def test_dummy_replaces_half_by_noise_images_of_their_own_and_tells_the_network(images):
    network, indices = Constant(0.0), torch.arange(64)
    objective = Dummy(seed=3)
    draws = fresh(images)
    clean, labels = objective.images(images, indices, draws)
    dummy = labels["class_labels"][:, 1] == 1
    assert 16 < dummy.sum() < 48
    assert torch.equal(clean[~dummy], images[~dummy])
    again, _ = objective.images(images, indices, draws)
    assert torch.equal(again, clean)
    noise = clean[dummy]
    assert noise.abs().max() <= 1
    assert abs(noise.mean()) < 0.1
    assert abs(noise.std() - 3**-0.5) < 0.05
    objective(network, images, indices)
    assert network.seen[0]["class_labels"].sum(1).eq(1).all()
    with pytest.raises(ss.InputError, match="indices"):
        objective(network, images)


def test_networks_of_the_wrong_kind_are_refused(images):
    with pytest.raises(ss.InputError, match="noise_conditional=False"):
        Unconditional()(Constant(0.0), images)
    with pytest.raises(ss.InputError, match="Unconditional"):
        Conditional()(Blind(1.0), images)


def test_the_head_that_estimates_the_level_is_trained_with_the_network():
    images = torch.rand(8, 1, 8, 8) * 2 - 1
    network = build("tiny", (1, 8, 8), noise_conditional=False, width=8)
    losses = Unconditional().losses(network, images)
    assert losses.head > 0
    losses.total.backward()
    head = [value.grad for value in network.sigma_head.parameters()]
    assert any(gradient.abs().sum() > 0 for gradient in head)


def test_losses_do_not_depend_on_autocast_in_their_targets(images):
    draws = fresh(images)
    plain = Conditional().losses(Constant(0.1), images, draws=draws)
    with torch.autocast("cpu", torch.bfloat16):
        cast = Conditional().losses(Constant(0.1), images, draws=draws)
    assert torch.equal(plain.target.images, cast.target.images)
    torch.testing.assert_close(plain.loss, cast.loss, rtol=1e-5, atol=0)
