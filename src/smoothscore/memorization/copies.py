"""The ratio test: a sample is called memorized when its nearest training image stands out among the others.

With d1 and d2 the Euclidean distances (unsquared) to the nearest and to the second *distinct* nearest training image,

    r = d1 / d2,        memorized: r < threshold.

"Smoothing the score function", B.3.2, takes 2/3; the criterion that "Kernel-smoothed scores" and "Two calm ends and
the wild middle" cite takes 1/3. Rates at different thresholds do not compare. Identical training images count once:
otherwise d2 = d1 for an exact copy of a repeated image, and the copy is missed.
"""

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray
from torch import Tensor

from smoothscore.data import ImageSet
from smoothscore.encoders import Encoder
from smoothscore.errors import InputError
from smoothscore.neighbors import Search

__all__ = ["LOOSE", "STRICT", "CopyTest", "Matches"]

LOOSE = 2 / 3
STRICT = 1 / 3


@dataclass(frozen=True)
class Matches:
    """The distinct training images nearest to each of n images.

    Attributes:
        indices: (n, k) int64 into the training set, nearest first; of identical images the first.
        distances: (n, k) float64, unsquared; in pixel space in the units of [-1, 1].
    """

    indices: NDArray[np.int64]
    distances: NDArray[np.float64]

    @property
    def ratio(self) -> NDArray[np.float64]:
        """d1 / d2 in [0, 1]: (n,)."""
        first, second = self.distances[:, 0], self.distances[:, 1]
        return np.divide(first, second, out=np.zeros_like(first), where=first > 0)


class CopyTest:
    """Distances to the distinct images of one training set, in one space.

    Args:
        train: the training images.
        space: where distances are measured.

    Raises:
        InputError: fewer than two distinct training images.
    """

    def __init__(self, train: ImageSet | Tensor, space: Encoder) -> None:
        self.space = space
        self.first = _first_of_each(train)
        if len(self.first) < 2:
            raise InputError("The training set has fewer than two distinct images; the ratio test needs two.")
        self._search = Search(space.place(train)[self.first])

    def __call__(self, images: ImageSet | Tensor, k: int = 2) -> Matches:
        """The ``k`` nearest distinct training images of each image, or all if they are fewer."""
        found = self._search(self.space.place(images), min(k, len(self.first)))
        return Matches(self.first[found.indices.numpy()], found.distances.numpy())


def _first_of_each(images: ImageSet | Tensor) -> NDArray[np.int64]:
    """Index of the first of each distinct image, ascending."""
    if isinstance(images, ImageSet):
        return images.distinct()[0]
    return np.sort(np.unique(images.flatten(1).cpu().numpy(), axis=0, return_index=True)[1])
