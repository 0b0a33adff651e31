"""Matching that tolerates mirror images, shifts, crops and changes of brightness and contrast.

Images are reduced to at most 32 pixels a side. The distance between two windows of the same size, with c the
correlation of their values, is

    a = sqrt(2 - 2 c),

the Euclidean distance after both are brought to mean 0 and norm 1: brightness and contrast drop out. A sample, or its
mirror image, is compared with every training image through windows: its center with the windows of that size at all
shifts of up to 3 of 32 pixels, and the whole sample, made smaller, with the windows of three sizes it may be a
magnified crop of. The smallest a counts.

All that for every pair would take hours. So each training image is first known by nine windows averaged to 8 x 8
values and projected on 32 directions; the best by these correlations are compared in full. What the first look misses
is lost, for samples and held-out images alike, so p-values stay valid.
"""

from collections.abc import Iterator
from dataclasses import dataclass
from itertools import product

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor
from torch.nn.functional import adaptive_avg_pool2d, avg_pool2d, interpolate, normalize

from smoothscore import progress
from smoothscore.data import ImageSet
from smoothscore.memorization.copies import Matches
from smoothscore.memorization.protocol import CANDIDATES, REFINED

__all__ = ["SMALLEST", "AlignedTest", "can_align"]

Integers = NDArray[np.int64]
Images = ImageSet | Tensor

SMALLEST = 8  # pixels a side that can be aligned
LARGEST = 32
CROPS = (28, 26, 24)  # of 32 pixels a side: what a magnified sample may have been cut to
CELLS = 8
CHUNK = 4096
DIRECTIONS = 32
BLOCK = 128
FITTED = 4096  # images that the directions are found from


def can_align(shape: tuple[int, ...]) -> bool:
    """Whether samples of this shape are images large enough to be shifted."""
    return len(shape) == 3 and min(shape[1:]) >= SMALLEST


@dataclass(frozen=True)
class _Template:
    """A way to look for a sample inside a training image: windows of height x width at steps from the corner."""

    height: int
    width: int
    whole: bool  # the whole sample made smaller, or its center

    def of(self, images: Tensor, down: int = 0, right: int = 0) -> Tensor:
        """What is looked for; the center ``down`` and ``right`` pixels off the middle."""
        if self.whole:
            return interpolate(images, (self.height, self.width), mode="bilinear", antialias=True)
        top, left = (images.shape[2] - self.height) // 2 + down, (images.shape[3] - self.width) // 2 + right
        return images[:, :, top : top + self.height, left : left + self.width]

    @property
    def phases(self) -> list[tuple[int, int]]:
        """Where it is looked for at half the resolution, so that odd shifts fit, too."""
        return [(0, 0)] if self.whole else [(0, 0), (0, 1), (1, 0), (1, 1)]


class AlignedTest:
    """Distances to the distinct images of one training set over mirror images, shifts, crops and brightness.

    Args:
        train: the training images, (C, H, W).
        first: indices of the distinct ones.
    """

    name = "aligned"

    def __init__(self, train: Images, first: Integers) -> None:
        self.first = first
        self._train = train
        height, width = _small(train, first[:1]).shape[2:]
        down, right = (max(1, round(side * 3 / 32)) for side in (height, width))
        inner = (height - 2 * down, width - 2 * right)
        crops = ((round(height * side / LARGEST), round(width * side / LARGEST)) for side in CROPS)
        self._templates = (_Template(*inner, False), *(_Template(*size, True) for size in crops))
        self._windows = list(product((down, 0, 2 * down), (right, 0, 2 * right)))  # the middle one first
        self._inner = inner
        some = first[np.unique(np.linspace(0, len(first) - 1, min(FITTED, len(first))).astype(np.int64))]
        rough = self._rough(_small(train, some), (down, right))
        self._directions = torch.linalg.svd(rough, full_matrices=False)[2][:DIRECTIONS].T.contiguous()
        self._bank = self._describe()

    def __call__(self, images: Images) -> Matches:
        """The training images nearest in this sense, nearest first; see :class:`Matches`."""
        return self._match(images, None)

    def leave_one_out(self, chosen: Integers) -> Matches:
        """The same for distinct training images, number ``chosen`` (m,) of them, each left out of the training set."""
        return self._match(self._train[self.first[chosen]], chosen)

    def _match(self, images: Images, left_out: Integers | None) -> Matches:
        count = min(CANDIDATES, len(self.first) - (left_out is not None))
        indices, distances = [], []
        with progress.task("aligned neighbors", total=len(images)) as advance:
            for rows in _blocks(len(images)):
                x = _small(images, rows)
                near = self._candidates(x, None if left_out is None else left_out[rows], count)
                near, correlation = self._best(x, near)
                apart = (2 - 2 * correlation.double().clamp(max=1)).sqrt()
                order = apart.argsort(dim=1, stable=True)
                indices.append(near.gather(1, order).numpy())
                distances.append(apart.gather(1, order).numpy())
                advance(len(rows))
        return Matches(self.first[np.concatenate(indices)], np.concatenate(distances))

    def _rough(self, images: Tensor, corner: tuple[int, int]) -> Tensor:
        """A window of each image as a unit vector of averages (n, C * 64)."""
        top, left = corner
        window = images[:, :, top : top + self._inner[0], left : left + self._inner[1]]
        return _unit(adaptive_avg_pool2d(window, CELLS).flatten(1))

    def _describe(self) -> Tensor:
        """(windows, directions, N): what the first look knows of the training images."""
        bank = torch.empty(len(self._windows), self._directions.shape[1], len(self.first))
        for rows in _blocks(len(self.first), 2048):
            images = _small(self._train, self.first[rows])
            for window, corner in enumerate(self._windows):
                bank[window, :, rows] = self._described(self._rough(images, corner)).T
        return bank

    def _described(self, rough: Tensor) -> Tensor:
        """Unit vectors (n, directions) of such averages."""
        return normalize(rough @ self._directions, dim=1)

    def _candidates(self, x: Tensor, left_out: Integers | None, k: int) -> Tensor:
        """The k training images (B, k) of highest correlation at the first look."""
        center, whole = self._templates[0], _Template(*self._inner, True)
        middle = self._windows[:1]
        looks = [
            (self._described(_unit(adaptive_avg_pool2d(template.of(image), CELLS).flatten(1))), windows)
            for image in (x, x.flip(-1))
            for template, windows in ((center, self._windows), (whole, middle))
        ]
        best = torch.full((len(x), len(self.first)), -torch.inf)
        for start in range(0, len(self.first), CHUNK):  # a part that stays in the processor's cache
            bank, part = self._bank[:, :, start : start + CHUNK], best[:, start : start + CHUNK]
            for rough, windows in looks:
                for window in range(len(windows)):
                    torch.maximum(part, rough @ bank[window], out=part)
        if left_out is not None:
            best[torch.arange(len(best)), torch.from_numpy(left_out)] = -torch.inf
        return best.topk(k).indices

    def _best(self, x: Tensor, near: Tensor) -> tuple[Tensor, Tensor]:
        """The best of the candidates (B, k) and their correlations over all windows.

        Windows are first tried at half the resolution, then those within a pixel of each template's best.
        """
        members, place = np.unique(near.numpy(), return_inverse=True)
        pool, index = _small(self._train, self.first[members]), torch.from_numpy(place.reshape(near.shape))
        half = avg_pool2d(pool, 2)
        scans = [_scan(half, index, self._halves(x, template)) for template in self._templates]
        coarse = torch.stack([scan[0] for scan in scans]).amax(0)
        kept = coarse.topk(min(REFINED, near.shape[1])).indices
        index = index.gather(1, kept)
        best = torch.full(index.shape, -1.0)
        rows = torch.arange(len(x))[:, None]
        for template, (_, side, down, right) in zip(self._templates, scans, strict=True):
            mirrored, phase = side.gather(1, kept) % 2, side.gather(1, kept) // 2
            both = torch.stack([_unit(template.of(image).flatten(1)) for image in (x, x.flip(-1))], 1)
            unit = both[rows, mirrored]
            off = torch.tensor(template.phases)[phase]
            windows = pool.unfold(2, template.height, 1).unfold(3, template.width, 1)
            for i, j in product((-1, 0, 1), repeat=2):
                y = (2 * down.gather(1, kept) - off[..., 0] + i).clamp(0, windows.shape[2] - 1)
                z = (2 * right.gather(1, kept) - off[..., 1] + j).clamp(0, windows.shape[3] - 1)
                window = _unit(windows[index, :, y, z].flatten(2))
                best = torch.maximum(best, torch.linalg.vecdot(window, unit))
        return near.gather(1, kept), best

    def _halves(self, x: Tensor, template: _Template) -> Tensor:
        """The template at half the resolution (B, 2 * phases, C, h, w), mirrored in every second place."""
        sides = [template.of(image, *phase) for phase in template.phases for image in (x, x.flip(-1))]
        return torch.stack([avg_pool2d(side, 2) for side in sides], 1)


def _scan(pool: Tensor, index: Tensor, sides: Tensor) -> tuple[Tensor, Tensor, Tensor, Tensor]:
    """The best correlation (B, k) of templates (B, s, C, h, w) with all windows of their candidates.

    ``index`` (B, k) are candidates in ``pool``. Beside it, which of the s, and the window's corner.
    """
    pool = pool - pool.mean((1, 2, 3), keepdim=True)
    height, width = sides.shape[3:]
    unit = _unit(sides.flatten(2)).transpose(1, 2)
    sizes = _window_norms(pool, height, width)
    best = torch.full(index.shape, -torch.inf)
    which, top, left = (torch.zeros(index.shape, dtype=torch.long) for _ in range(3))
    for down, right in product(range(sizes.shape[1]), range(sizes.shape[2])):
        window = pool[:, :, down : down + height, right : right + width].flatten(1) / sizes[:, down, right, None]
        found, side = torch.bmm(window[index], unit).max(2)
        better = found > best
        best = torch.where(better, found, best)
        which = torch.where(better, side, which)
        top, left = torch.where(better, down, top), torch.where(better, right, left)
    return best, which, top, left


def _unit(values: Tensor) -> Tensor:
    """The last axis moved to mean 0 and scaled to norm 1; a constant row becomes 0."""
    values = values - values.mean(-1, keepdim=True)
    unit: Tensor = values / torch.linalg.vector_norm(values, dim=-1, keepdim=True).clamp(min=1e-6)
    return unit


def _window_norms(images: Tensor, height: int, width: int) -> Tensor:
    """Norm of every window (n, down, right) after its mean is taken away."""
    count = images.shape[1] * height * width
    mean, square = (
        avg_pool2d(part.mean(1, keepdim=True).double(), (height, width), stride=1)[:, 0]
        for part in (images, images.square())
    )
    return (count * (square - mean.square())).clamp(min=1e-12).sqrt().float()


def _small(images: Images, rows: Integers) -> Tensor:
    """Images (n, C, h, w) in float32, averaged to at most 32 pixels a side."""
    chosen = images[rows] if isinstance(images, ImageSet) else images[torch.from_numpy(rows)]
    values = chosen.tensor() if isinstance(chosen, ImageSet) else chosen.detach().float().cpu()
    longest = max(values.shape[2:])
    if longest <= LARGEST:
        return values
    size = [max(SMALLEST, round(side * LARGEST / longest)) for side in values.shape[2:]]
    return interpolate(values, size, mode="area")


def _blocks(count: int, step: int = BLOCK) -> Iterator[Integers]:
    for start in range(0, count, step):
        yield np.arange(start, min(start + step, count))
