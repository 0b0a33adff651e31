"""Networks that return or are given what they should not: one sentence each."""

from types import SimpleNamespace

import pytest
import torch
from torch import nn

import smoothscore as ss
from smoothscore import networks
from smoothscore.training import Augmentation, Conditional, Dummy

SHAPE = (2, 8, 8)
RETURNED = {
    "a tuple": (lambda x: (x,), "returned a tuple"),
    "an object": (lambda x: SimpleNamespace(sample=x), "returned a SimpleNamespace"),
    "nothing": (lambda x: None, "returned a NoneType"),
    "one channel": (
        lambda x: x[:, :1],
        r"returned a Tensor of shape \(3, 1, 8, 8\) for images of shape \(3, 2, 8, 8\)",
    ),
}


class Network(nn.Module):
    shape = SHAPE

    def __init__(self, end):
        super().__init__()
        self.scale = nn.Parameter(torch.ones(()))
        self.end = end

    def forward(self, x, noise):
        return self.end(self.scale * x)


@pytest.mark.parametrize("kind", RETURNED)
def test_anything_but_images_is_refused(kind):
    end, message = RETURNED[kind]
    x = torch.randn(3, *SHAPE)
    with pytest.raises(ss.InputError, match=f"^Network {message}"):
        ss.NetworkScore(Network(end), "edm").denoise(x, 1.0)
    with pytest.raises(ss.InputError, match=f"^Network {message}"):
        Conditional()(Network(end), x)


@pytest.mark.parametrize(("name", "shape"), [("tiny", SHAPE), ("mlp", (2,))])
def test_a_missing_level_is_said(name, shape):
    network = networks.build(name, shape, width=8)
    with pytest.raises(ss.InputError, match="takes the noise level; pass it"):
        network(torch.randn(3, *shape))


@pytest.mark.parametrize(
    ("objective", "message"),
    [(Dummy(), "build it with classes=2"), (Conditional(augment=Augmentation(0.5)), "build it with augmentation=9")],
)
def test_labels_are_not_passed_over(objective, message):
    network = networks.build("tiny", SHAPE, width=8)
    with pytest.raises(ss.InputError, match=message):
        objective(network, torch.rand(3, *SHAPE), torch.arange(3))
