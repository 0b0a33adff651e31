"""Images as rows of numbers, exactly: uint8 images as their pixels, all others in float64."""

from collections.abc import Iterator
from functools import cached_property
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from smoothscore.data import ImageSet, to_images
from smoothscore.errors import InputError

__all__ = ["Rows"]

Index = NDArray[np.int64]
Floats = NDArray[np.float64]

_CHUNK = 2**21  # values held at once
_LARGEST = 1e15  # beyond it squares may leave float32


class Rows:
    """Images as rows (count, dim) of numbers: pixels 0 to 255 if they are uint8 images, else their values as given.

    A float image (C, H, W) whose every value is u / 127.5 - 1 for an integer u in 0..255, up to rounding, is that
    uint8 image.

    Args:
        images: (count, *shape), floats in [-1, 1] or uint8 pixels, or an ImageSet.
        role: what an error message calls them.

    Attributes:
        shape: of one image.
        integer: whether all of them are uint8 images.
        unit: of these numbers, in a unit of [-1, 1].

    Raises:
        InputError: no images, values of another type, or values that are not finite.
    """

    def __init__(self, images: Tensor | ImageSet, role: str) -> None:
        if not isinstance(images, Tensor | ImageSet):
            raise InputError(f"The {role} are a {type(images).__name__}; pass a tensor (n, *shape) or an ImageSet.")
        if len(images) == 0:
            raise InputError(f"There are no {role}; give at least one image.")
        if isinstance(images, Tensor):
            images = _images(images.detach().cpu(), role)
        if isinstance(images, Tensor):
            self._known = torch.empty(len(images), dtype=torch.bool)
            step = _step(images[0].numel())
            for start in range(0, len(images), step):
                self._known[start : start + step] = _on_grid(images[start : start + step], role)
            self._some_known = bool(self._known.any())
            if self._known.all():
                images = to_images(images)
        self.images = images
        self.count = len(images)
        self.integer = isinstance(images, ImageSet)
        self.shape = torch.Size(images.shape if isinstance(images, ImageSet) else images.shape[1:])
        self.dim = self.shape.numel()
        self.unit = 127.5 if self.integer else 1.0

    def chunks(self) -> Iterator[Index]:
        """Indices of all rows, in parts of a bounded size."""
        for start in range(0, self.count, _step(self.dim)):
            yield np.arange(start, min(start + _step(self.dim), self.count))

    def raw(self, index: Index) -> Tensor:
        """Rows (n, dim) as they are stored: uint8 pixels, or the given floats."""
        if isinstance(self.images, ImageSet):
            return torch.from_numpy(self.images.take(index)).reshape(len(index), self.dim)
        return self.images.index_select(0, torch.from_numpy(index)).reshape(len(index), self.dim)

    def exact(self, index: Index, *, pixels: bool) -> Tensor:
        """Rows (n, dim) in float64, on the scale of pixels, 0 to 255, or else on that of [-1, 1]."""
        rows = self.raw(index).double()
        if self.integer:
            return rows if pixels else rows.div_(127.5).sub_(1)
        if not pixels and not self._some_known:
            return rows
        known = self._known[torch.from_numpy(index)][:, None]
        scaled = (rows + 1).mul_(127.5)
        if pixels:
            return torch.where(known, scaled.round(), scaled)
        return torch.where(known, scaled.round_().div_(127.5).sub_(1), rows)

    def sizes(self, center: Tensor) -> Floats:
        """|y - center|^2 of all rows (count,); exact, if rows and ``center`` (dim,) hold integers from 0 to 255."""
        found = np.empty(self.count)  # of small results in a list, each may keep the memory of a large one from reuse
        short = 256  # of squares up to 255^2 stay below 2^24
        blocks = (torch.arange(self.dim)[:, None] // short == torch.arange(-(-self.dim // short))).float()
        for index in self.chunks():
            if self.integer:
                parts = self.raw(index).float().sub_(center.float()).square_() @ blocks
                found[index] = parts.sum(1, dtype=torch.float64)
            else:
                found[index] = (self.exact(index, pixels=False) - center).square_().sum(1)
        return found

    @cached_property
    def stored(self) -> tuple[NDArray[Any], Index]:
        """Rows (N, dim) of exact values, pixels if they are uint8 images, and which of them (count,) these are.

        A copy only of images that do not lie one after the other, and of float images of which some but not all are
        uint8 images.
        """
        every = np.arange(self.count)
        if isinstance(self.images, ImageSet):
            return self.images.stored() or (self.raw(every).numpy(), every)
        if self._some_known:
            return self.exact(every, pixels=False).numpy(), every
        values = self.images if self.images.dtype in (torch.float32, torch.float64) else self.images.float()
        return values.reshape(self.count, self.dim).contiguous().numpy(), every


def _step(dim: int) -> int:
    return max(1, _CHUNK // dim)


def _images(given: Tensor, role: str) -> Tensor | ImageSet:
    """Floats (n, *shape) in [-1, 1], or the ImageSet of uint8 pixels (n, C, H, W)."""
    if given.ndim < 2 or given[0].numel() == 0:
        raise InputError(f"The {role} have shape {tuple(given.shape)}; give at least one value for each.")
    if given.dtype == torch.uint8:
        return ImageSet.from_array(given) if given.ndim == 4 else given.double() / 127.5 - 1
    if not given.is_floating_point():
        raise InputError(f"The {role} have dtype {given.dtype}; pass floats in [-1, 1], uint8 pixels or an ImageSet.")
    return given


def _on_grid(given: Tensor, role: str) -> Tensor:
    """Which of some images are uint8 images (n,); refuses values that cannot be measured."""
    if not bool((given.abs() <= _LARGEST).all()):
        raise InputError(f"The {role} have NaN, infinite or huge values; mend or drop those images first.")
    if given.ndim != 4:
        return torch.zeros(len(given), dtype=torch.bool)
    pixels = (given.double() + 1) * 127.5
    slack = 4 * 127.5 * torch.finfo(given.dtype).eps
    return ((pixels - pixels.round().clamp(0, 255)).abs() <= slack).flatten(1).all(1)
