"""Encoders by their names."""

from torch import Tensor

from smoothscore.data import ImageSet
from smoothscore.encoders.base import PIXEL, Encoder
from smoothscore.encoders.components import Components
from smoothscore.encoders.pretrained import LOADERS, efficientnet, inception
from smoothscore.errors import InputError

__all__ = ["encoder"]


def encoder(name: str, train: ImageSet | Tensor | None = None) -> Encoder:
    """The encoder called ``name``, one of those in the table of :mod:`smoothscore.encoders`.

    Args:
        name: e.g. "pixel", "pca:64", "efficientnet-lite0", "timm:vit_small_patch14_dinov2", "onnx:features.onnx".
        train: the images that ``pca`` is fitted to.

    Raises:
        InputError: the name is unknown, or a package, weights or a file are missing.
    """
    if not isinstance(name, str):
        raise InputError(f"The encoder is {name!r}; give its name, e.g. 'pixel'.")
    kind, _, rest = name.partition(":")
    if name == "pixel":
        return PIXEL
    if kind == "pca" and rest.isdecimal():
        if train is None:
            raise InputError(f"The encoder {name} is fitted to training images; give them.")
        return Components(int(rest), train)
    if name == "efficientnet-lite0":
        return efficientnet(name)
    if name == "inception":
        return inception(name)
    if kind in LOADERS and rest:
        return LOADERS[kind](name, rest)
    raise InputError(
        f"There is no encoder {name!r}; give pixel, pca:DIM, efficientnet-lite0, inception, timm:NAME, "
        "torchvision:NAME, torchscript:FILE or onnx:FILE."
    )
