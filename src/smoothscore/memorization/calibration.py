r"""Calibration: a training set, or each half of it, with the real images that tell what is usual there.

With held-out images there is one side: samples and held-out images are compared with the whole training set.

Without them the training set is cut into two halves at random. To one half, the images of the other are what held-out
images are to the whole: drawn from the same source, and not in it. So samples are compared with half A, calibrated by
the images of B compared with A, and the other way round; a copy of an image in A is near to A only. If a sample is one
more image of the source, its rank among the images of B is uniform given A, hence both p-values are valid, and so is

.. math:: p=\min(1,\ 2\min(p_A,p_B)).

Each half flags samples by Benjamini and Hochberg's rule at level alpha / 2. Of R samples flagged at least once, V by
mistake, :math:`V/R\le V_A/R_A+V_B/R_B`, so the false discovery rate is at most alpha. Nothing is approximate. What is
lost: a half is sparser than the whole, and p is never below 2 / (h + 1) with h images of a half.
"""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from functools import cached_property

import numpy as np
from numpy.typing import NDArray

from smoothscore import progress
from smoothscore.memorization.conformal import discoveries, p_values
from smoothscore.memorization.detector import FEWEST, Detector, Found, largest
from smoothscore.memorization.images import Images, at
from smoothscore.memorization.intervals import Difference, Rate, difference
from smoothscore.memorization.protocol import CALIBRATION, SEED, TAIL_SHARE

__all__ = ["Side", "Verdict", "halves", "tail_excess", "unjudged", "verdict"]

Floats = NDArray[np.float64]
Integers = NDArray[np.int64]


@dataclass(frozen=True, eq=False)
class Side:
    """Samples beside real images, both compared with the same training images.

    Attributes:
        detector: of these training images.
        members: their indices in the whole training set.
        control: (h,) surprise of the real images.
        found: the neighbors of the n samples.
        level: the false discovery rate that this side may use.
    """

    detector: Detector
    members: Integers
    control: Floats
    found: Found
    level: float

    @cached_property
    def by_space(self) -> Mapping[str, Floats]:
        """Surprise of the samples in each space, (n,)."""
        return self.detector.surprise(self.found)

    @cached_property
    def surprise(self) -> Floats:
        """The largest of them (n,)."""
        return largest(dict(self.by_space))

    @cached_property
    def p_values(self) -> Floats:
        """Of the samples (n,)."""
        return p_values(self.surprise, self.control)

    @cached_property
    def passed(self) -> Integers:
        """Indices of the samples flagged at the level of this side."""
        return discoveries(self.p_values, self.level)

    @property
    def cut(self) -> float:
        """The surprise of the least surprising sample flagged; if there is none, more than any control has."""
        least = float(self.surprise[self.passed].min()) if len(self.passed) else np.inf
        return min(least, float(np.nextafter(self.control.max(), np.inf)))

    @property
    def alarms(self) -> float:
        """The share of new real images at or above the cut, estimated from above."""
        return float((1 + (self.control >= self.cut).sum()) / (len(self.control) + 1))

    @property
    def like(self) -> Integers:
        """The nearest training image (n,) of each sample in the space of its largest surprise."""
        nearest = np.stack([self.found[space].indices[:, 0] for space in self.by_space])
        chosen = np.argmax(list(self.by_space.values()), axis=0)
        return np.asarray(self.members[nearest[chosen, np.arange(nearest.shape[1])]])

    def flag(self, batch: Images) -> NDArray[np.bool_]:
        """Which of new samples (b, *shape) are at or above the cut, or identical to a training image."""
        found = self.detector.find(batch, keep=False)
        same = found["pixel"].distances[:, 0] == 0
        return np.asarray(same | (largest(self.detector.surprise(found)) >= self.cut))


@dataclass(frozen=True, eq=False)
class Verdict:
    """What the sides say together; a sample goes by the side of its smaller p-value.

    Attributes:
        surprise: (n,).
        by_space: (n,) for each space.
        p_values: (n,).
        passed: indices of the samples flagged by any side.
        like: (n,) the training image that each sample looks most like a copy of.
        control: (h,) surprise of the real images of all sides.
    """

    surprise: Floats
    by_space: Mapping[str, Floats]
    p_values: Floats
    passed: Integers
    like: Integers
    control: Floats


def verdict(sides: Sequence[Side]) -> Verdict:
    """The sides, one or two, together."""
    p, surprise, like = (
        np.stack(part) for part in zip(*((s.p_values, s.surprise, s.like) for s in sides), strict=True)
    )
    chosen = np.lexsort((-surprise, p), axis=0)[0], np.arange(p.shape[1])
    return Verdict(
        surprise=surprise[chosen],
        by_space={space: np.stack([side.by_space[space] for side in sides])[chosen] for space in sides[0].by_space},
        p_values=np.minimum(len(sides) * p.min(0), 1.0),
        passed=np.unique(np.concatenate([side.passed for side in sides])),
        like=like[chosen],
        control=np.concatenate([side.control for side in sides]),
    )


def unjudged(detector: Detector, found: Found) -> Verdict:
    """The samples in their order of suspicion, where nothing tells what is usual."""
    by_space = detector.surprise(found)
    nothing = np.empty(0)
    like = found[detector.main].indices[:, 0]
    return Verdict(largest(by_space), by_space, nothing, nothing.astype(np.int64), like, nothing)


def tail_excess(sides: Sequence[Side]) -> Difference:
    """How many more samples than controls are as surprising as the 1 % most surprising controls."""
    above, usual = np.zeros(len(sides[0].surprise), dtype=np.bool_), 0
    for side in sides:
        beyond = max(1, int(TAIL_SHARE / len(sides) * len(side.control)))
        cut = np.sort(side.control)[-beyond]
        above |= side.surprise >= cut
        usual += int((side.control >= cut).sum())
    each = sum(len(side.control) for side in sides) // len(sides)
    return difference(Rate(int(above.sum()), len(above)), Rate(min(usual, each), each))


def halves(
    train: Images, distinct: Integers, samples: Images, encoders: Sequence[str], tolerant: bool, alpha: float
) -> list[Side]:
    """The two sides of a training set without held-out images; none if half its ``distinct`` images are too few.

    Of a half, 10,000 images at most calibrate the other.
    """
    order = np.random.default_rng(SEED).permutation(distinct)
    parts = [np.sort(part) for part in (order[: len(order) // 2], order[len(order) // 2 :])]
    if min(map(len, parts)) < FEWEST:
        return []
    sides = []
    for number, (members, others) in enumerate((parts, parts[::-1]), 1):
        others = np.sort(np.random.default_rng(SEED).permutation(others)[:CALIBRATION])
        with progress.task(f"half {number} of the training set", total=3) as advance:
            detector = Detector(at(train, members), encoders, tolerant, len(samples) + len(others))
            advance(1)
            control = largest(detector.surprise(detector.find(at(train, others), "the other half")))
            advance(1)
            sides.append(Side(detector, members, control, detector.find(samples), alpha / 2))
            advance(1)
    return sides
