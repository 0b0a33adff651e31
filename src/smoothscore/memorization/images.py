"""Images as an audit takes them: an image set, or a tensor of floating-point values."""

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from smoothscore.data import ImageSet, fingerprint
from smoothscore.errors import InputError

__all__ = ["Images", "alike", "at", "check", "distinct", "floats", "shape_of"]

Images = ImageSet | Tensor
Integers = NDArray[np.int64]


def at(images: Images, rows: Integers) -> Images:
    """Some of the images."""
    return images[rows] if isinstance(images, ImageSet) else images[torch.from_numpy(rows)]


def floats(images: Images) -> Tensor:
    """All of them in float32 on the CPU (n, *shape)."""
    return images.tensor() if isinstance(images, ImageSet) else images.detach().float().cpu()


def shape_of(images: Images) -> tuple[int, ...]:
    """Of one image."""
    return tuple(images.shape if isinstance(images, ImageSet) else images.shape[1:])


def distinct(images: Images) -> tuple[Integers, Integers]:
    """Index of the first of each distinct image (u,), ascending, and how often that image is there (u,)."""
    if isinstance(images, ImageSet):
        first, group = images.distinct()
        return first, np.bincount(group)
    values = images.detach().cpu().to(torch.promote_types(images.dtype, torch.float32)).flatten(1).numpy()
    _, first, times = np.unique(values, axis=0, return_index=True, return_counts=True)
    order = np.argsort(first)
    return first[order], times[order]


def alike(first: Images, second: Images) -> bool:
    """Whether both are the same images in the same order and form."""
    forms = isinstance(first, ImageSet) == isinstance(second, ImageSet)
    return forms and len(first) == len(second) and fingerprint(first) == fingerprint(second)


def check(images: Images, name: str, shape: tuple[int, ...]) -> None:
    """Refuse what is no set of images of this shape.

    Raises:
        InputError: there are none, they are no floating-point values, have another shape, or hold NaN.
    """
    if isinstance(images, Tensor) and not (images.is_floating_point() and images.ndim > 1):
        raise InputError(
            f"The {name} are a tensor of type {images.dtype} and shape {tuple(images.shape)}; "
            "give floating-point values (images, *shape) in [-1, 1]."
        )
    if len(images) == 0:
        raise InputError(f"There are no {name}; an audit needs at least one.")
    if shape_of(images) != shape:
        raise InputError(
            f"The {name} have shape {shape_of(images)} and the training images {shape}; bring them to one."
        )
    if isinstance(images, Tensor) and not bool(images.isfinite().all()):
        raise InputError(f"The {name} have NaN or infinite values; mend or drop those images first.")
