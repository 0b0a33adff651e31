"""The U-Net against EDM's own outputs, and what is ours in it."""

import edm_reference
import numpy as np
import pytest
import torch
from edm_reference import CASES, OUTPUTS, SHAPE

from smoothscore import InputError
from smoothscore.networks import SongUNet, build

REFERENCE = np.load(OUTPUTS)
SMALL = {"width": 16, "blocks": 1, "hidden": 2, "multipliers": (1, 2), "attention": (8,), "dropout": 0.0}


def filled(shape: tuple[int, ...], conditional: bool = True, **options: object) -> SongUNet:
    network = SongUNet(shape, conditional, **options)
    with torch.no_grad():
        edm_reference.fill(network)
    return network.eval()


@pytest.mark.parametrize("case", CASES)
def test_outputs_are_those_of_the_reference(case):
    network = filled(SHAPE, **CASES[case])
    outputs = network(**edm_reference.inputs(case)).detach().numpy()
    assert np.abs(outputs - REFERENCE[case]).max() <= 1e-5 * np.abs(REFERENCE[case]).max()


def test_a_missing_label_is_no_class():
    network = filled(SHAPE, **CASES["labels"])
    inputs = edm_reference.inputs("labels")
    none = {"class_labels": torch.zeros(2, 4), "augment_labels": torch.zeros(2, 9)}
    assert torch.equal(network(inputs["x"], inputs["noise"]), network(inputs["x"], inputs["noise"], **none))
    assert not torch.allclose(network(**inputs), network(inputs["x"], inputs["noise"]), atol=1e-3)


def test_an_unconditional_network_has_no_trace_of_the_embedding():
    """Same names and sizes as the conditional one but for the embedding's, and the head that estimates the level."""
    conditional = {name: value.shape for name, value in SongUNet(SHAPE, **CASES["ncsnpp"]).state_dict().items()}
    network = SongUNet(SHAPE, False, **CASES["ncsnpp"])
    own = {name: value.shape for name, value in network.state_dict().items() if not name.startswith("sigma_head.")}
    embedding = [name for name in conditional if name.startswith("map_") or ".affine." in name]
    assert embedding
    assert own == {name: size for name, size in conditional.items() if name not in embedding}
    assert not network.noise_conditional
    assert network(torch.zeros(1, *SHAPE)).shape == (1, *SHAPE)


def test_class_labels_work_without_noise_conditioning():
    network = filled(SHAPE, False, **SMALL, classes=2)
    x, labels = torch.randn(2, *SHAPE), torch.eye(2)
    assert "map_noise.freqs" not in network.state_dict()
    assert not torch.allclose(network(x, class_labels=labels), network(x, class_labels=labels.flip(0)), atol=1e-3)


@pytest.mark.parametrize("name", ["tiny", "small", "ncsnpp-cifar10"])
def test_a_fresh_network_is_nearly_zero(name):
    """The last layer begins with a variance of 1e-10, so the first denoiser is the preconditioning's own."""
    options = {} if name in ("tiny", "small") else {"width": 16, "blocks": 1}
    network = build(name, SHAPE, **options)
    assert network(torch.randn(4, *SHAPE), torch.zeros(4)).abs().max() < 1e-3


def test_training_passes_gradients_to_every_parameter():
    network = filled(SHAPE, **CASES["labels"]).train()
    network(**edm_reference.inputs("labels")).square().sum().backward()
    assert all(parameter.grad is not None and parameter.grad.abs().max() > 0 for parameter in network.parameters())


@pytest.mark.parametrize(("shape", "stem"), [((1, 28, 28), 2), ((3, 33, 47), 1), ((3, 33, 47), 2), ((2, 5, 1), 1)])
def test_any_size_of_image_works(shape, stem):
    network = filled(shape, **SMALL, stem=stem)
    x = torch.randn(2, *shape)
    assert network(x, torch.zeros(2)).shape == x.shape


def test_an_odd_image_is_one_continued_at_its_edges():
    network, padded = filled((3, 15, 15), **SMALL), filled(SHAPE, **SMALL)
    x = torch.randn(2, 3, 15, 15)
    continued = torch.cat([x, x[..., -1:]], -1)
    continued = torch.cat([continued, continued[..., -1:, :]], -2)
    level = torch.tensor([0.1, -1.0])
    assert torch.equal(network(x, level), padded(continued, level)[..., :15, :15])


def test_a_stem_takes_blocks_of_pixels_as_channels():
    """One pixel moved within its block is another channel, nothing else: a network on the rearranged image agrees."""
    network, inner = filled((1, 16, 16), **SMALL, stem=2), filled((4, 8, 8), **SMALL)
    x, level = torch.randn(2, 1, 16, 16), torch.tensor([0.1, -1.0])
    planes = torch.cat([x[..., i::2, j::2] for i in (0, 1) for j in (0, 1)], 1)
    outputs = network(x, level)
    again = torch.cat([outputs[..., i::2, j::2] for i in (0, 1) for j in (0, 1)], 1)
    assert torch.allclose(again, inner(planes, level), atol=1e-6)


def test_double_precision_agrees_with_single():
    network = filled(SHAPE, **CASES["ncsnpp"])
    inputs = edm_reference.inputs("ncsnpp")
    single = network(**inputs)
    double = network.double()(**{name: value.double() for name, value in inputs.items()})
    assert double.dtype == torch.float64
    assert (single - double).abs().max() < 1e-5 * double.abs().max()


@pytest.mark.parametrize(
    ("name", "shape", "millions"),
    [
        ("tiny", (1, 28, 28), 0.555),
        ("small", (1, 28, 28), 2.21),
        ("ddpmpp-cifar10", (3, 32, 32), 55.73),
        ("mlp", (2,), 0.133),
    ],
)
def test_presets_have_the_stated_size(name, shape, millions):
    with torch.device("meta"):
        network = build(name, shape)
    assert sum(value.numel() for value in network.parameters()) / 1e6 == pytest.approx(millions, rel=0.005)


@pytest.mark.parametrize(
    ("name", "shape", "options", "message"),
    [
        ("huge", (3, 8, 8), {}, "There is no network 'huge'"),
        ("tiny", (3, 8, 8), {"depth": 3}, "has no option 'depth'"),
        ("mlp", (2,), {"blocks": 3}, "has no option 'blocks'"),
        ("mlp", (2,), {"width": 7}, "even width"),
        ("tiny", (8,), {}, "takes images of shape"),
        ("tiny", (3, 8, 8), {"width": 2}, "width of a U-Net is 2"),
        ("tiny", (3, 8, 8), {"multipliers": ()}, "multipliers of a U-Net is 0"),
        ("tiny", (3, 8, 8), {"taps": (1, 2)}, "taps of a U-Net is"),
        ("tiny", (3, 8, 8), {"attention": "16"}, "give a list"),
        ("tiny", (3, 8, 8), {"dropout": 1.0}, "dropout of a U-Net is 1.0"),
        ("tiny", (3, 8, 8), {"dropout": "0.1"}, "dropout of a U-Net is '0.1'"),
        ("tiny", (3, 8, 8), {"attention": ("16",)}, "attention of a U-Net is '16'"),
        ("tiny", (3, 8, 8), {"blocks": True}, "blocks of a U-Net is True"),
        ("mlp", (2,), {"layers": "4"}, "layers of width"),
    ],
)
def test_what_cannot_be_built_is_refused_in_one_sentence(name, shape, options, message):
    with pytest.raises(InputError, match=message):
        build(name, shape, **options)


@pytest.mark.parametrize("width", [12, 20, 36, 52])
def test_groups_divide_any_number_of_channels(width):
    network = build("tiny", (3, 8, 8), width=width)
    assert network(torch.zeros(1, 3, 8, 8), torch.zeros(1)).isfinite().all()
