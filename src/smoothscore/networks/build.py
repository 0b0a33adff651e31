"""Networks by name, with the hyperparameters of the papers."""

import inspect
from collections.abc import Mapping, Sequence
from dataclasses import fields
from typing import Any

from torch import nn

from smoothscore.errors import InputError
from smoothscore.networks.architecture import Architecture
from smoothscore.networks.point_mlp import PointMLP
from smoothscore.networks.song_unet import SongUNet

__all__ = ["PRESETS", "build"]

NCSNPP: Mapping[str, Any] = {
    "embedding": "fourier",
    "embedding_width": 2,
    "encoder": "residual",
    "taps": (1, 3, 3, 1),
}
SMALL: Mapping[str, Any] = {"stem": 2, "multipliers": (1, 2), "blocks": 2, "attention": (), "dropout": 0.0}

PRESETS: Mapping[str, tuple[type[nn.Module], Mapping[str, Any]]] = {
    "tiny": (SongUNet, {**SMALL, "width": 24}),
    "small": (SongUNet, {**SMALL, "width": 48}),
    "ncsnpp-cifar10": (SongUNet, {**NCSNPP, "multipliers": (2, 2, 2), "dropout": 0.13}),
    "ddpmpp-cifar10": (SongUNet, {"multipliers": (2, 2, 2), "dropout": 0.13}),
    "ncsnpp-64": (SongUNet, {**NCSNPP, "multipliers": (1, 2, 2, 2), "dropout": 0.05}),
    "mlp": (PointMLP, {}),
    "song-unet": (SongUNet, {}),
    "point-mlp": (PointMLP, {}),
}
"""The kind and the options of every network that :func:`build` knows."""


def build(name: str, shape: Sequence[int], noise_conditional: bool = True, **options: Any) -> nn.Module:
    """A network with fresh weights, for images or points of one shape.

    ====================  =========================================================================================
    ``tiny``              about 0.5 M parameters, on 2 x 2 pixels: 28 x 28 images in minutes on a CPU
    ``small``             about 2 M parameters, on 2 x 2 pixels
    ``ncsnpp-cifar10``    NCSN++ for 32 x 32 images, 56 M parameters (EDM's configuration)
    ``ddpmpp-cifar10``    DDPM++ for 32 x 32 images, 56 M parameters (EDM's configuration)
    ``ncsnpp-64``         NCSN++ for 64 x 64 images, 63 M parameters (EDM's configuration)
    ``mlp``               :class:`PointMLP`, 0.13 M parameters, half of them for the noise level, for points
    ====================  =========================================================================================

    Args:
        name: one of these, or ``song-unet``, ``point-mlp`` for the plain kinds.
        shape: of one image (C, H, W) or point (d,).
        noise_conditional: False leaves the noise embedding out, with all its parameters.
        options: change settings of the preset: fields of :class:`Architecture`, or arguments of :class:`PointMLP`.

    Raises:
        InputError: an unknown name or option, or a shape or size that the network cannot take.
    """
    if name not in PRESETS:
        raise InputError(f"There is no network {name!r}; take one of {', '.join(PRESETS)}.")
    kind, preset = PRESETS[name]
    known = [*_arguments(kind), *(field.name for field in fields(Architecture) if kind is SongUNet)]
    for option in options:
        if option not in known:
            raise InputError(f"The network {name!r} has no option {option!r}; it has {', '.join(known)}.")
    return kind(shape, noise_conditional, **{**preset, **options})


def _arguments(kind: type[nn.Module]) -> list[str]:
    parameters = inspect.signature(kind.__init__).parameters.values()
    return [each.name for each in parameters if each.kind is inspect.Parameter.KEYWORD_ONLY]
