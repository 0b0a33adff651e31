"""A network beside the Gaussian score of its training set."""

import pytest
import torch
from torch import distributed, nn

import smoothscore as ss
from smoothscore.networks import LinearBypass, build
from smoothscore.training import Conditional, Unconditional

FORMS = ["edm", "ve", "denoiser"]


def flat_images(count):
    """Images of one shade each, with a little texture."""
    draw = torch.Generator().manual_seed(0)
    shades = 0.5 * torch.randn(count, 1, 1, 1, generator=draw)
    return shades + 0.05 * torch.randn(count, 3, 4, 4, generator=draw)


@pytest.fixture(scope="module")
def gaussian():
    return ss.GaussianScore.fit(flat_images(500), shrinkage=0.001)


@pytest.mark.parametrize("form", FORMS)
def test_before_training_it_is_the_gaussian_denoiser(gaussian, form):
    network = LinearBypass(build("tiny", (3, 4, 4)), gaussian)
    score = ss.NetworkScore(network, form)
    x, levels = torch.randn(4, 3, 4, 4), torch.tensor([0.01, 0.5, 3.0, 80.0])
    x = x * (0.3**2 + levels**2).sqrt()[:, None, None, None]
    exact = gaussian.denoise(x, levels)
    size = 80 if form == "ve" else 1
    assert torch.allclose(score.denoise(x, levels), exact, atol=2e-4 * size)


@pytest.mark.parametrize("conditional", [True, False])
def test_spread_over_processes_it_is_the_same(gaussian, conditional):
    network = LinearBypass(build("tiny", (3, 4, 4), conditional), gaussian)
    x, levels = torch.randn(2, 3, 4, 4), torch.tensor([0.1, 2.0])
    distributed.init_process_group("gloo", store=distributed.HashStore(), rank=0, world_size=1)
    try:
        spread = ss.networks.EDM().denoise(nn.parallel.DistributedDataParallel(network), x, levels)
    finally:
        distributed.destroy_process_group()
    assert torch.equal(spread, ss.networks.EDM().denoise(network, x, levels))


def test_only_the_network_is_trained(gaussian):
    inner = build("tiny", (3, 4, 4), False)
    network = LinearBypass(inner, gaussian)
    assert {id(value) for value in network.parameters()} == {id(value) for value in inner.parameters()}
    assert (network.shape, network.noise_conditional, network.classes) == (inner.shape, False, 0)
    assert network.sigma_head is inner.sigma_head


def test_the_network_learns_the_rest_only(gaussian):
    """Its target, ``(y - D_gauss) / c_out``, is small where the one it would have alone has unit variance."""
    images = flat_images(1000)
    noisy = images + 0.5 * torch.randn_like(images)
    skip, out, _, _ = ss.networks.EDM().coefficients(torch.tensor(0.5))
    alone = ((images - skip * noisy) / out).square().mean()
    rest = ((images - gaussian.denoise(noisy, 0.5)) / out).square().mean()
    assert alone == pytest.approx(1, rel=0.1)
    assert rest < 0.1


class Blind(nn.Module):
    """A network of a user's, that says nothing of itself."""

    def __init__(self):
        super().__init__()
        self.layer = nn.Conv2d(3, 3, 1)

    def forward(self, x):
        return self.layer(x)


class Seeing(Blind):
    def forward(self, x, noise):
        return self.layer(x) * noise.reshape(-1, 1, 1, 1)


@pytest.mark.parametrize(("kind", "form"), [(Seeing, "edm"), (Blind, "noise")])
def test_any_module_may_stand_beside_the_gaussian(gaussian, kind, form):
    network, conditional = kind(), kind is Seeing
    score = ss.NetworkScore(LinearBypass(network, gaussian.float()), form, shape=(3, 4, 4))
    assert score.noise_conditional is conditional
    x = torch.randn(2, 3, 4, 4)
    for value in network.parameters():
        nn.init.zeros_(value)
    torch.testing.assert_close(score.denoise(x, 0.5), gaussian.denoise(x, 0.5))
    objective = (Conditional if conditional else Unconditional)(form)
    objective(score.network, x).backward()
    assert network.layer.weight.grad.abs().sum() > 0
