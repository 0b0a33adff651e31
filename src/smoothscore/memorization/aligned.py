"""Matching that tolerates mirror images, shifts, crops and changes of brightness and contrast.

The distance between two images is that of the best window, see :mod:`smoothscore.memorization.windows`. For every
pair it would take hours. So each training image is first known by five windows, the center and four moved two of 32
pixels, averaged to 8 x 8 values and projected on 32 directions; the training images of the best correlations with a
sample and its mirror image are compared in full. The directions are those along which images differ most from each
other, compared with how much they differ from themselves when moved by a pixel or magnified. What the first look misses
is lost, for samples and held-out images alike, so p-values stay valid.

Images are reduced to at most 32 pixels a side.
"""

from collections.abc import Iterator
from itertools import product

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor
from torch.nn.functional import adaptive_avg_pool2d, interpolate, normalize

from smoothscore import progress
from smoothscore.memorization.copies import Matches
from smoothscore.memorization.images import Images, at, floats
from smoothscore.memorization.protocol import CANDIDATES, REFINED
from smoothscore.memorization.sharing import shared
from smoothscore.memorization.windows import CROPS, LARGEST, Template, best_windows, templates, unit
from smoothscore.neighbors.blocks import each

__all__ = ["AlignedTest", "can_align"]

Integers = NDArray[np.int64]

SMALLEST = 8  # pixels a side that can be aligned
CELLS = 8
DIRECTIONS = 32
NOISE = 1.0  # variance that images may differ by anyhow, in that of moved ones
FITTED = 4096  # images that the directions are found from
BLOCK = 64  # samples at once, in each thread
READ = 2048  # training images at once
CHUNK = 128  # training images whose correlations stay in the processor's cache
GROUP = 16  # of them that the best is taken of
SCRATCH = 2**23  # correlations held at once


def can_align(shape: tuple[int, ...]) -> bool:
    """Whether samples of this shape are images large enough to be shifted."""
    return len(shape) == 3 and min(shape[1:]) >= SMALLEST


class AlignedTest:
    """Distances to the distinct images of one training set over mirror images, shifts, crops and brightness.

    Args:
        train: the training images, (C, H, W).
        first: indices of the distinct ones.

    Memory: 320 bytes a training image, and some 60 MB a thread.
    """

    name = "aligned"

    def __init__(self, train: Images, first: Integers) -> None:
        self.first = first
        self._train = train
        height, width = _small(train, first[:1]).shape[2:]
        self._ways = templates(height, width)
        center = self._ways[0]
        self._middle = ((height - center.height) // 2, (width - center.width) // 2)
        steps = (max(1, round(2 / 3 * side)) for side in self._middle)
        down, right = (sorted({max(0, at - step), at + step}) for at, step in zip(self._middle, steps, strict=True))
        self._corners = [self._middle, *product(down, right)]
        self._inner = Template(center.height, center.width, whole=True)
        self._directions = self._fit()
        self._bank = self._describe()

    def __call__(self, images: Images) -> Matches:
        """The training images nearest in this sense, nearest first; see :class:`Matches`.

        Images are looked at in blocks of 64, one in each thread; float32 sums in them decide between candidates equally
        good.
        """
        return self._match(images, None)

    def leave_one_out(self, chosen: Integers) -> Matches:
        """The same for distinct training images, number ``chosen`` (m,) of them, each left out of the training set."""
        return self._match(self._train[self.first[chosen]], chosen)

    def _match(self, images: Images, left_out: Integers | None) -> Matches:
        count = min(CANDIDATES, len(self.first) - (left_out is not None))
        block = max(1, min(BLOCK, SCRATCH // len(self.first)))

        def search(some: Integers) -> tuple[Integers, NDArray[np.float64]]:
            shape = (len(some), min(REFINED, count))
            indices, distances, done = np.empty(shape, dtype=np.int64), np.empty(shape), 0

            def nearest(rows: Integers) -> tuple[Tensor, Tensor]:
                return self._nearest(_small(images, rows), None if left_out is None else left_out[rows], count)

            with progress.task("aligned neighbors", total=len(some)) as advance:
                for found in each(nearest, list(_blocks(some, block))):
                    part = slice(done, done := done + len(found[0]))
                    indices[part], distances[part] = found
                    advance(len(found[0]))
            return indices, distances

        indices, distances = shared(len(images), block, search)
        return Matches(self.first[indices], distances)

    def _nearest(self, x: Tensor, left_out: Integers | None, count: int) -> tuple[Tensor, Tensor]:
        """Numbers of the nearest training images (B, k) of ``count`` candidates, and their distances."""
        near = self._candidates(x, left_out, count)
        members, place = np.unique(near.numpy(), return_inverse=True)
        index = torch.from_numpy(place.reshape(near.shape))
        which, apart = best_windows(x, _small(self._train, self.first[members]), index, self._ways, min(REFINED, count))
        order = apart.argsort(dim=1, stable=True)
        return near.gather(1, which).gather(1, order), apart.gather(1, order)

    def _rough(self, images: Tensor, corner: tuple[int, int]) -> Tensor:
        """A window of each image as a unit vector of averages (n, C * 64)."""
        top, left = corner
        window = images[:, :, top : top + self._inner.height, left : left + self._inner.width]
        return unit(adaptive_avg_pool2d(window, CELLS).flatten(1))

    def _magnified(self, images: Tensor) -> Tensor:
        """The same of whole images, made smaller."""
        return unit(adaptive_avg_pool2d(self._inner.of(images), CELLS).flatten(1))

    def _fit(self) -> Tensor:
        """(C * 64, directions), of the largest ratios of both variances."""
        some = np.unique(np.linspace(0, len(self.first) - 1, min(FITTED, len(self.first))).astype(np.int64))
        images = _small(self._train, self.first[some])
        middle, (top, left) = self._rough(images, self._middle), self._middle
        moved = [self._rough(images, (top + i, left + j)) for i, j in product((-1, 1), repeat=2)]
        moved += [self._magnified(_cropped(images, side)) for side in CROPS]
        apart = (torch.cat(moved) - middle.repeat(len(moved), 1)).double()
        within = apart.T @ apart / len(apart)
        within += NOISE * max(float(within.trace()) / len(within), 1e-9) * torch.eye(len(within))
        between = middle.double().T @ middle.double() / len(middle)
        back = torch.linalg.inv(torch.linalg.cholesky(within))
        best = torch.linalg.eigh(back @ between @ back.T).eigenvectors.flip(1)[:, :DIRECTIONS]
        directions: Tensor = (back.T @ best).float()
        return directions

    def _describe(self) -> Tensor:
        """(N, windows, directions) in float16: what the first look knows of the training images."""
        bank = torch.empty(len(self.first), len(self._corners), self._directions.shape[1], dtype=torch.float16)
        for rows in _blocks(np.arange(len(self.first)), READ):
            images = _small(self._train, self.first[rows])
            for window, corner in enumerate(self._corners):
                bank[rows, window] = self._described(self._rough(images, corner)).half()
        return bank

    def _described(self, rough: Tensor) -> Tensor:
        """Unit vectors (n, directions) of such averages."""
        return normalize(rough @ self._directions, dim=1)

    def _candidates(self, x: Tensor, left_out: Integers | None, k: int) -> Tensor:
        """The k training images (B, k) of highest correlation at the first look."""
        both = torch.cat([x, x.flip(-1)])
        center, whole = self._described(self._rough(both, self._middle)).T, self._described(self._magnified(both)).T
        count = len(self.first)
        best = torch.full((-(-count // GROUP) * GROUP, len(x)), -torch.inf)
        for start in range(0, count, CHUNK):
            bank = self._bank[start : start + CHUNK].float()
            found = (bank.flatten(0, 1) @ center).view(len(bank), -1, 2, len(x)).amax((1, 2))
            found_whole = (bank[:, 0] @ whole).view(len(bank), 2, len(x)).amax(1)
            torch.maximum(found, found_whole, out=best[start : start + len(bank)])
        if left_out is not None:
            best[torch.from_numpy(left_out), torch.arange(len(x))] = -torch.inf
        groups = best.view(-1, GROUP, len(x)).amax(1).T.contiguous().topk(min(k, len(best) // GROUP)).indices
        members = (groups[:, :, None] * GROUP + torch.arange(GROUP)).flatten(1)
        chosen = best.T.gather(1, members).topk(k).indices
        return members.gather(1, chosen)


def _cropped(images: Tensor, side: int) -> Tensor:
    """The middle of images, ``side`` of 32 pixels, at their size."""
    height, width = images.shape[2:]
    tall, wide = (max(1, round(length * side / LARGEST)) for length in (height, width))
    top, left = (height - tall) // 2, (width - wide) // 2
    cut = images[:, :, top : top + tall, left : left + wide]
    return interpolate(cut, (height, width), mode="bilinear", antialias=True)


def _small(images: Images, rows: Integers) -> Tensor:
    """Images (n, C, h, w) in float32, averaged to at most 32 pixels a side."""
    values = floats(at(images, rows))
    longest = max(values.shape[2:])
    if longest <= LARGEST:
        return values
    size = [max(SMALLEST, round(side * LARGEST / longest)) for side in values.shape[2:]]
    return interpolate(values, size, mode="area")


def _blocks(rows: Integers, step: int) -> Iterator[Integers]:
    for start in range(0, len(rows), step):
        yield rows[start : start + step]
