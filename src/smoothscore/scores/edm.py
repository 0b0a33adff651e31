"""Networks of EDM (Karras et al. 2022): from their pickles, or as they are in memory.

A checkpoint's parameters go into :class:`SongUNet` under their own names; the only change is the prefix ``model.`` that
the preconditioning puts before them.
"""

import os
from collections.abc import Mapping
from typing import Any

import torch
from torch import Tensor, nn

from smoothscore.errors import InputError
from smoothscore.networks import EDM, VE, VP, Architecture, Preconditioning, SongUNet
from smoothscore.networks.edm_pickle import Part, read_edm_pickle
from smoothscore.scores.network import NetworkScore

__all__ = ["EDMScore"]

OPTIONS = {
    "model_channels": "width",
    "channel_mult": "multipliers",
    "channel_mult_emb": "hidden",
    "num_blocks": "blocks",
    "attn_resolutions": "attention",
    "dropout": "dropout",
    "embedding_type": "embedding",
    "channel_mult_noise": "embedding_width",
    "encoder_type": "encoder",
    "decoder_type": "decoder",
    "resample_filter": "taps",
    "label_dim": "classes",
    "augment_dim": "augmentation",
}
"""EDM's names of a U-Net's options, and ours."""
UNUSED = ("img_resolution", "in_channels", "out_channels", "label_dropout")
"""Options that stand elsewhere, or matter in training only."""
POSITIONAL = ("img_resolution", "in_channels", "out_channels", "label_dim", "augment_dim")


class EDMScore(NetworkScore):
    """The score of a network of EDM's.

    Built like a :class:`NetworkScore`, by :meth:`load` or by :meth:`wrap`.
    """

    @classmethod
    def load(cls, path: str | os.PathLike[str], class_: int | None = None) -> "EDMScore":  # type: ignore[override]
        """From a pickle, of which nothing is run: tensors, containers and options are all that is read.

        Args:
            path: a file with a ``SongUNet`` (DDPM++ or NCSN++) in the EDM, VP or VE preconditioning.
            class_: of a class-conditional network, the class; None for none, as EDM does without labels.

        Raises:
            InputError: another file, a damaged one, another network, or weights that do not fit it.
        """
        part, tensors = read_edm_pickle(path)
        form = _preconditioning(part, str(path))
        weights = {name.removeprefix("model."): value for name, value in tensors.items() if name.startswith("model.")}
        return cls(_network(part, weights, str(path)), form, class_=class_)

    @classmethod
    def wrap(cls, network: nn.Module, class_: int | None = None) -> "EDMScore":
        """From a network object of EDM's code, called as ``network(x, sigma, class_labels)`` and denoising.

        Args:
            network: with its attributes ``img_channels``, ``img_resolution`` and ``label_dim``.
            class_: of a class-conditional network, the class; None for none.
        """
        return cls(_Denoising(network), "denoiser", class_=class_)


class _Denoising(nn.Module):
    """A preconditioned network of EDM's, in the terms of ours."""

    noise_conditional = True

    def __init__(self, network: nn.Module) -> None:
        super().__init__()
        about: Any = network
        self.network = network
        self.shape = torch.Size((about.img_channels, about.img_resolution, about.img_resolution))
        self.classes: int = about.label_dim

    def forward(self, x: Tensor, sigma: Tensor, class_labels: Tensor | None = None) -> Tensor:
        return self.network(x, sigma, class_labels)  # type: ignore[no-any-return]


def _preconditioning(part: Part, title: str) -> Preconditioning:

    def number(name: str, default: float) -> float:
        value = part.attributes.get(name, default)
        if not isinstance(value, int | float):
            raise InputError(f"{name} in {title} is no plain number; export the network again with EDM's own code.")
        return float(value)

    match part.kind:
        case "EDMPrecond":
            return EDM(number("sigma_data", 0.5))
        case "VPPrecond":
            if number("M", 1000) != 1000:
                raise InputError(f"{title} has M = {number('M', 1000):g} timesteps; only 1,000 are read.")
            return VP(number("beta_d", 19.9), number("beta_min", 0.1))
        case "VEPrecond":
            return VE()
    raise InputError(
        f"{title} holds a {part.kind or 'nameless module'}; what is read are EDMPrecond, VPPrecond, VEPrecond."
    )


def _network(part: Part, weights: Mapping[str, Tensor], title: str) -> SongUNet:
    """The U-Net with its weights.

    Shapes are compared before any memory is taken, so that a file's options cannot ask for more than its weights fill.
    """
    shape, options = _options(part, title)
    architecture = Architecture(**options)
    try:
        if architecture.blocks * len(architecture.multipliers) > len(weights):
            raise RuntimeError(f"{architecture.blocks} blocks at {len(architecture.multipliers)} resolutions")
        with torch.device("meta"):
            expected = SongUNet(shape, **options).state_dict()
    except RuntimeError as error:
        raise InputError(f"The weights in {title} do not fit its options ({error}).") from None
    for name in sorted(expected.keys() | weights.keys()):
        has, needs = (tuple(each[name].shape) if name in each else "nothing" for each in (weights, expected))
        if has != needs:
            raise InputError(f"The weights in {title} do not fit its options ({name} is {has}, not {needs}).")
    network = SongUNet(shape, **options)
    network.load_state_dict(weights)
    return network


def _options(part: Part, title: str) -> tuple[tuple[int, int, int], dict[str, Any]]:
    """The shape of one image, and our options of the U-Net."""
    model = part.attributes["_modules"].get("model")
    if not isinstance(model, Part) or model.kind != "SongUNet":
        kind = model.kind if isinstance(model, Part) else "nothing"
        raise InputError(f"The network in {title} is a {kind}; only EDM's SongUNet (ddpmpp, ncsnpp) is read.")
    arguments = model.attributes.get("_init_args") or ()
    given: Mapping[str, Any] = {
        **dict(zip(POSITIONAL, arguments, strict=False)),
        **(model.attributes.get("_init_kwargs") or {}),
    }
    side, channels = given.get("img_resolution"), given.get("in_channels")
    if not isinstance(side, int) or not isinstance(channels, int):
        raise InputError(f"{title} does not say for which images its network is; export it again with EDM's own code.")
    unknown = [name for name in given if name not in OPTIONS and name not in UNUSED]
    if unknown:
        raise InputError(f"The network in {title} has the option {unknown[0]!r}, which EDM's SongUNet does not.")
    options = {ours: given[theirs] for theirs, ours in OPTIONS.items() if theirs in given}
    return (channels, side, side), options
