"""What an objective in somebody else's loop refuses."""

import math

import pytest
import torch

import smoothscore as ss
from smoothscore.networks import build
from smoothscore.training import Conditional, Gap, NoiseLaw, Temperature


@pytest.fixture(scope="module")
def images():
    return ss.load_images("digits", limit=30, seed=0)


@pytest.fixture
def network():
    return build("tiny", (1, 8, 8), width=8)


@pytest.mark.parametrize(
    ("gaps", "message"),
    [
        ([], "needs an interval"),
        ([(2.0, 1.0)], "gap from 2 to 1 is empty"),
        ([(-1.0, 1.0)], "gap from -1 to 1 is empty"),
        ([(math.nan, 1.0)], "gaps is nan"),
        ((1.0, 2.0), "A gap is 1.0"),
    ],
)
def test_gaps_that_are_none(gaps, message):
    with pytest.raises(ss.InputError, match=message):
        Gap(gaps)


@pytest.mark.parametrize(
    "law", [{"sigma_min": 0.0}, {"sigma_min": 2.0, "sigma_max": 1.0}, {"sigma_max": math.inf}, {"std": 0.0}]
)
def test_laws_that_are_none(law):
    with pytest.raises(ss.InputError, match="are no law"):
        NoiseLaw(**law)


@pytest.mark.parametrize("images", [torch.zeros(4, 1, 8, 8, dtype=torch.uint8), torch.zeros(0, 1, 8, 8)])
def test_images_that_are_no_floats_or_none(network, images):
    with pytest.raises(ss.InputError, match="give one or more as floats"):
        Conditional()(network, images)


def test_indices_of_another_number(network, images):
    with pytest.raises(ss.InputError, match="There are 4 images"):
        Conditional()(network, images.tensor()[:4], torch.arange(3))


def test_neighbors_of_as_many_other_images(images):
    graph = ss.NeighborGraph.build(ss.load_images("digits", limit=30, seed=1), 4)
    with pytest.raises(ss.InputError, match="of 30 images is not of these 30"):
        Temperature(images, graph)


def test_a_perplexity_that_no_target_has(images):
    graph = ss.NeighborGraph.build(images, 4)
    assert Temperature(images, graph, "perplexity:5").perplexity == 5
    with pytest.raises(ss.InputError, match="6 images in a target that 5 share"):
        Temperature(images, graph, "perplexity:6")
