"""Parts of images as spaces of their own: a copied part in a new image is near to one training image there only.

The parts are the four quarters of an image and its middle, each half as high and half as wide, at their place: not
shifted, mirrored or scaled. Distances are those of the first 32 principal components of the part over the training
images, which keep most of its variance and little of a noise, with 0.02 a value added in squares: a difference of two
and a half gray levels is none, so that parts of plain background do not stand out for being equal.
"""

from dataclasses import replace

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor
from torch.nn.functional import adaptive_avg_pool2d

from smoothscore.encoders import Encoder
from smoothscore.memorization.copies import CopyTest, Matches
from smoothscore.memorization.images import Images, at, floats

__all__ = ["PARTS", "PatchTest", "can_cut"]

Integers = NDArray[np.int64]

# The corner of each part, in quarters of the image.
PARTS = {
    "upper left part": (0, 0),
    "upper right part": (0, 2),
    "lower left part": (2, 0),
    "lower right part": (2, 2),
    "middle part": (1, 1),
}
SMALLEST = 16  # pixels a side of an image whose parts say something
DIRECTIONS = 32
GRAIN = 0.02  # per value, in the units of [-1, 1]
FITTED = 4096  # images that the directions are found from
LARGEST = 16  # pixels a side of a part
BLOCK = 256  # images read at a time


def can_cut(shape: tuple[int, ...]) -> bool:
    """Whether samples of this shape are images large enough to be cut."""
    return len(shape) == 3 and min(shape[1:]) >= SMALLEST


class _Part(Encoder):
    """Principal components of one part of images (n, C, H, W)."""

    def __init__(self, name: str, train: Images, first: Integers) -> None:
        self.name = name
        self._corner = PARTS[name]
        some = first[np.unique(np.linspace(0, len(first) - 1, min(FITTED, len(first))).astype(np.int64))]
        values = self._cut(train, some)
        self._middle = values.mean(0)
        self._directions = torch.linalg.svd(values - self._middle, full_matrices=False)[2][:DIRECTIONS].T.contiguous()
        self.floor = GRAIN * values.shape[1] ** 0.5

    def __call__(self, images: Images) -> Tensor:
        found = torch.empty(len(images), self._directions.shape[1])
        for start in range(0, len(images), BLOCK):
            rows = np.arange(start, min(start + BLOCK, len(images)))
            torch.mm(self._cut(images, rows) - self._middle, self._directions, out=found[rows[0] : rows[-1] + 1])
        return found

    def _cut(self, images: Images, rows: Integers) -> Tensor:
        """The part of some images, averaged to at most 16 pixels a side (n, values)."""
        parts = []
        for start in range(0, len(rows), BLOCK):
            values = floats(at(images, rows[start : start + BLOCK]))
            height, width = values.shape[2:]
            top, left = (side * quarter // 4 for side, quarter in zip((height, width), self._corner, strict=True))
            part = values[:, :, top : top + height // 2, left : left + width // 2]
            size = min(height // 2, LARGEST), min(width // 2, LARGEST)
            parts.append((part if part.shape[2:] == size else adaptive_avg_pool2d(part, size)).flatten(1))
        return torch.cat(parts)


class PatchTest(CopyTest):
    """Distances to the distinct images of one training set, in one of :data:`PARTS`.

    Args:
        name: of the part.
        train: the training images, (C, H, W).
        first: indices of the distinct ones.
        expected: how many images will be asked about in all.
    """

    def __init__(self, name: str, train: Images, first: Integers, expected: int) -> None:
        part = _Part(name, train, first)
        super().__init__(train, part, expected, first)
        self._floor = part.floor

    def __call__(self, images: Images, k: int = 2, spaced: bool = False) -> Matches:
        """The training images whose part is nearest; see :class:`CopyTest`. Their spacing is not measured."""
        return self._grained(super().__call__(images, k))

    def leave_one_out(self, chosen: Integers, k: int, spaced: bool = False) -> Matches:
        """The same for distinct training images, number ``chosen`` (m,) of them, each left out of the training set."""
        return self._grained(super().leave_one_out(chosen, k, spaced=False))

    def _grained(self, found: Matches) -> Matches:
        return replace(found, distances=np.hypot(found.distances, self._floor))
