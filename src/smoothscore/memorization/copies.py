"""Distances to the distinct images of a training set, and the ratio test: does the nearest one stand out?

With d1 and d2 the Euclidean distances (unsquared) to the nearest and to the second *distinct* nearest training image,

    r = d1 / d2,        memorized: r < threshold.

"Smoothing the score function", B.3.2, takes 2/3; the criterion that "Kernel-smoothed scores" and "Two calm ends and
the wild middle" cite takes 1/3. Rates at different thresholds do not compare. Identical training images count once:
otherwise d2 = d1 for an exact copy of a repeated image, and the copy is missed.
"""

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from smoothscore.encoders import Encoder
from smoothscore.errors import InputError
from smoothscore.memorization.images import Images, at, distinct
from smoothscore.memorization.protocol import LOOSE, STRICT
from smoothscore.memorization.sharing import shared
from smoothscore.neighbors import Search
from smoothscore.neighbors.approximate import LARGE, Approximate

__all__ = ["LOOSE", "STRICT", "CopyTest", "Matches"]

Floats = NDArray[np.float64]
Integers = NDArray[np.int64]

BLOCK = 256  # images that a process searches for at once


@dataclass(frozen=True)
class Matches:
    """The distinct training images nearest to each of n images.

    Attributes:
        indices: (n, k) int64 into the training set, nearest first; of identical images the first.
        distances: (n, k) float64, unsquared; in pixel space in the units of [-1, 1].
        spacing: (n,) distance from the nearest training image to the training image next to it, or None where it
            was not measured.
    """

    indices: Integers
    distances: Floats
    spacing: Floats | None = None

    @property
    def ratio(self) -> Floats:
        """d1 / d2 in [0, 1]: (n,)."""
        first, second = self.distances[:, 0], self.distances[:, 1]
        return np.divide(first, second, out=np.zeros_like(first), where=first > 0)

    def at(self, rows: Integers) -> "Matches":
        """Those of some of the images only."""
        spacing = None if self.spacing is None else self.spacing[rows]
        return Matches(self.indices[rows], self.distances[rows], spacing)


class CopyTest:
    """Distances to the distinct images of one training set, in one space.

    Args:
        train: the training images.
        space: where distances are measured.
        expected: how many images will be asked about in all, if known; preparing for many takes longer.
        first: indices of the distinct training images, if known.

    More than a million distinct training images are searched by FAISS, which misses some; see :attr:`recall`.

    Raises:
        InputError: fewer than two distinct training images.
    """

    def __init__(self, train: Images, space: Encoder, expected: int = 0, first: Integers | None = None) -> None:
        self.space = space
        self.name = space.name
        self.first = distinct(train)[0] if first is None else first
        if len(self.first) < 2:
            raise InputError("The training set has fewer than two distinct images; the ratio test needs two.")
        self.place = space.place(train)[self.first]
        self._search = Approximate(self.place) if len(self.first) > LARGE else Search(self.place, expected)
        self._beside = np.full((len(self.first), 2), -1)
        self._apart = np.full((len(self.first), 2), np.nan)

    @property
    def recall(self) -> float:
        """The share of nearest training images found, measured on a sample; 1 where the search is exact."""
        return self._search.recall if isinstance(self._search, Approximate) else 1.0

    def __call__(self, images: Images, k: int = 2, spaced: bool = False) -> Matches:
        """The ``k`` nearest distinct training images of each image, or all if they are fewer.

        With ``spaced`` the spacing of the nearest one is measured, too, which takes a training set of three or more.
        """
        indices, distances = self._nearest(self.space.place(images), k)
        spacing = self.spacing(indices[:, 0]) if spaced and len(self.first) > 2 else None
        return Matches(self.first[indices], distances, spacing)

    def leave_one_out(self, chosen: Integers, k: int, spaced: bool = True) -> Matches:
        """The same for distinct training images, number ``chosen`` (m,) of them, each left out of the training set.

        Takes three distinct images or more.
        """
        indices, distances = self._nearest(self.place[chosen], k + 1)
        own = indices == chosen[:, None]
        own[~own.any(1), -1] = True
        width = indices.shape[1] - 1
        indices, distances = indices[~own].reshape(-1, width), distances[~own].reshape(-1, width)
        spacing = self.spacing(indices[:, 0], chosen) if spaced else None
        return Matches(self.first[indices], distances, spacing)

    def spacing(self, members: Integers, left_out: Integers | None = None) -> Floats:
        """Distance (m,) from distinct training images, by number, to the one next to each that is not left out."""
        new = np.unique(members[self._beside[members, 0] < 0])
        if len(new):
            near, far = self._nearest(self.place[new], 3)
            own = near == new[:, None]
            own[~own.any(1), -1] = True
            self._beside[new] = near[~own].reshape(-1, 2)
            self._apart[new] = far[~own].reshape(-1, 2)
        second = np.zeros(len(members), dtype=np.int64)
        if left_out is not None:
            second[self._beside[members, 0] == left_out] = 1
        apart: Floats = self._apart[members, second]
        return apart

    def _nearest(self, place: Images, k: int) -> tuple[Integers, Floats]:
        """Numbers of the ``k`` nearest, or of all if they are fewer, and their distances."""

        def search(rows: Integers) -> tuple[Integers, Floats]:
            found = self._search(place if len(rows) == len(place) else at(place, rows), min(k, len(self.first)))
            return found.indices.numpy(), found.distances.numpy()

        return shared(len(place), BLOCK, search)
