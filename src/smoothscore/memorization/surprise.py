"""How surprisingly near a sample is to one training image, in one number for all statistics and spaces.

With d1 <= d2 <= ... the distances to the nearest distinct training images, three statistics, all free of units and
large for a copy:

    density    log (mean(d2, d3, d4) / d1)                                against the surroundings of the sample
    dimension  log (d2 / d1) / mean_j(j log (d_{j+1} / d_j)), j = 2..19   against the distances further out
    spacing    log (D / d1)                                               against the surroundings of the training image

D is the distance from the nearest training image to the training image next to it. The second is the gap that
:mod:`smoothscore.geometry.near_duplicates` tests: where points are spread evenly in m dimensions, j m log(d_{j+1}/d_j)
are independent exponential variables, so it is free of m too; it finds noisy copies that stay far from everything.

None has a distribution that is known for images. So each is ranked among training images left out in turn: with u the
95 % quantile of the statistic v over these and b its mean excess over u, the surprise is

    -log(share of them that are as large)  for v <= u,        -log 0.05 + (v - u) / b  beyond,

in nats. The surprise of a sample is the largest over statistics and spaces. It is a fixed function once the training
set is known, so held-out images calibrate it exactly, however badly the exponential tail fits; that tail only decides
how the statistics are weighed against each other.
"""

from collections.abc import Mapping
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from smoothscore.memorization.copies import Matches
from smoothscore.memorization.protocol import SPACINGS, SURROUNDINGS, TAIL

__all__ = ["STATISTICS", "Surprise", "statistics"]

Floats = NDArray[np.float64]

STATISTICS = ("density", "dimension", "spacing")
FEWEST = 7  # neighbors that tell a dimension
CAP = 30.0  # of a logarithm of distances: e^-30 of the surroundings is no distance


def statistics(matches: Matches) -> dict[str, Floats]:
    """Those of :data:`STATISTICS` that the number of neighbors allows, each (n,)."""
    d = matches.distances
    found = {"density": _log_ratio(d[:, 1 : 1 + SURROUNDINGS].mean(1), d[:, 0])}
    if d.shape[1] > FEWEST:
        gaps = _log_ratio(d[:, 1:], d[:, :-1])[:, : 1 + SPACINGS]
        further = (gaps[:, 1:] * np.arange(2, gaps.shape[1] + 1)).mean(1)
        found["dimension"] = np.minimum(gaps[:, 0] / np.maximum(further, np.exp(-CAP)), np.exp(CAP))
    if matches.spacing is not None:
        found["spacing"] = _log_ratio(matches.spacing, d[:, 0])
    return found


def _log_ratio(far: Floats, near: Floats) -> Floats:
    """log(far / near) between -CAP and CAP; 0 where both are 0."""
    least = np.maximum(np.maximum(far, near) * np.exp(-CAP), np.finfo(np.float64).tiny)
    logs: Floats = np.log(np.maximum(far, least) / np.maximum(near, least))
    return logs


@dataclass(frozen=True)
class _Tail:
    """The distribution of one statistic over the reference, continued beyond its largest values."""

    ordered: Floats
    start: float
    excess: float

    @classmethod
    def of(cls, reference: Floats) -> "_Tail":
        ordered = np.sort(reference)
        start = float(np.quantile(ordered, 1 - TAIL))
        beyond = ordered[ordered > start] - start
        return cls(ordered, start, max(float(beyond.mean()) if len(beyond) else 0.0, 1e-6))

    def __call__(self, values: Floats) -> Floats:
        larger = len(self.ordered) - np.searchsorted(self.ordered, values, side="left")
        inside = -np.log(np.maximum(larger, 1) / (len(self.ordered) + 1))
        return np.where(values > self.start, -np.log(TAIL) + (values - self.start) / self.excess, inside)


class Surprise:
    """The surprise of samples in some spaces, given training images left out in turn.

    Args:
        reference: what leaving out gave, for each space.
    """

    def __init__(self, reference: Mapping[str, Matches]) -> None:
        self._tails = {
            (space, name): _Tail.of(values)
            for space, matches in reference.items()
            for name, values in statistics(matches).items()
        }

    def __call__(self, found: Mapping[str, Matches]) -> dict[str, Floats]:
        """The surprise in each space, (n,) in nats; the overall one is the largest of a sample."""
        return {
            space: np.max(
                [self._tails[space, name](v) for name, v in statistics(m).items() if (space, name) in self._tails],
                axis=0,
            )
            for space, m in found.items()
        }
