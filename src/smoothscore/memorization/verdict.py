"""What an audit found: numbers, flags, and the filter that follows from them."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any, ClassVar

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from smoothscore.data import as_given
from smoothscore.memorization.calibration import Side, Verdict, tail_excess
from smoothscore.memorization.conformal import shortest_list
from smoothscore.memorization.detector import Detector
from smoothscore.memorization.evidence import sections
from smoothscore.memorization.images import Images, check, shape_of
from smoothscore.memorization.intervals import Difference, Rate, difference
from smoothscore.memorization.leaks import Leaks
from smoothscore.memorization.literature import Literature
from smoothscore.memorization.record import counts, setting, values
from smoothscore.memorization.sources import Source, sources, spread_over_classes
from smoothscore.memorization.words import lead, summary
from smoothscore.report import Section
from smoothscore.report.result import Result

__all__ = ["Audit"]

Floats = NDArray[np.float64]
Integers = NDArray[np.int64]


@dataclass(frozen=True, eq=False)
class Audit(Result):
    """What :func:`smoothscore.memorization.audit` found about n samples.

    Attributes:
        ratio: (n,) distance to the nearest over that to the second distinct nearest training image, in [0, 1].
        memorized: (n,) bool, ratio below the threshold.
        neighbors: (n, k) int64, indices into the training set of the nearest distinct images, nearest first.
        distances: (n, k) float64, to those; unsquared, for pixels in the units of [-1, 1].
        held_out_ratio: (h,) the ratio of the held-out images, or None without them.
        judged: what the calibrated test says; see :attr:`surprise`, :attr:`p_values`.
        sides: what that rests on: the training set with held-out images, or its two halves with each other's images.
        flagged: indices of the samples called copies at false discovery rate alpha, and of those identical to a
            training image; None where p_values is.
        identical: indices of the samples that equal a training image value by value.
        matches: (n,) the training image that each sample looks most like a copy of, by the space of its surprise.
        leaked: indices of held-out images that were left out of the control, see ``leaks``.
        near_leaks: of those kept, indices of near duplicates of training images. They hide copies; with
            ``leaks="near"`` they are left out.
        findings: what looks wrong about the set of samples, one sentence each.
        literature: the tests in use, and the measures of quality.
        threshold: of the ratio.
        alpha: the false discovery rate.
        leaks: which held-out images were left out, "identical" to training images or "near" duplicates, too.
    """

    kind: ClassVar[str] = "audit"
    title: ClassVar[str] = "Audit for copies of training images"

    ratio: Floats
    memorized: NDArray[np.bool_]
    neighbors: Integers
    distances: Floats
    held_out_ratio: Floats | None
    judged: Verdict
    sides: Sequence[Side]
    flagged: Integers | None
    identical: Integers
    matches: Integers
    leaked: Integers
    near_leaks: Integers
    findings: Sequence[str]
    literature: Literature
    threshold: float
    alpha: float
    leaks: Leaks
    samples: Images
    train: Images
    held_out: Images | None
    detector: Detector

    @property
    def surprise(self) -> Floats:
        """(n,) in nats, the largest of :attr:`surprise_by_space`."""
        return self.judged.surprise

    @property
    def surprise_by_space(self) -> Mapping[str, Floats]:
        """(n,) for each space."""
        return self.judged.by_space

    @property
    def control(self) -> Floats | None:
        """(h,) surprise of the held-out images; without them, of the images of each half of the training set."""
        return self.judged.control if self.sides else None

    @property
    def p_values(self) -> Floats | None:
        """(n,); None where a training set of less than 20 distinct images has no held-out images beside it."""
        return self.judged.p_values if self.sides else None

    @property
    def spaces(self) -> list[str]:
        """The spaces that the surprise looks into."""
        return list(self.surprise_by_space)

    @property
    def memorized_fraction(self) -> Rate:
        """The share of samples with a ratio below the threshold, a float with Wilson's interval."""
        return Rate(int(self.memorized.sum()), len(self.memorized))

    @property
    def held_out_fraction(self) -> Rate | None:
        """The same share of the held-out images: what new real images show; None without them."""
        if self.held_out_ratio is None:
            return None
        return Rate(int((self.held_out_ratio < self.threshold).sum()), len(self.held_out_ratio))

    @property
    def excess(self) -> Difference | None:
        """Memorized minus held-out fraction: (value, low, high), Newcombe's interval; None without held-out images."""
        control = self.held_out_fraction
        return None if control is None else difference(self.memorized_fraction, control)

    @property
    def leaked_as(self) -> str:
        """What :attr:`leaked` are."""
        return "training images" + (" or near duplicates of them" if self.leaks == "near" else "")

    @property
    def tail_excess(self) -> Difference | None:
        """How many more samples than controls are as surprising as the 1 % most surprising controls; None without any.

        A value near the share of copies, found in any space, also where the ratio separates nothing.
        """
        return tail_excess(self.sides) if self.sides else None

    @property
    def frechet(self) -> dict[str, Any]:
        """Squared Frechet distances ``to_train``, ``to_held_out``, ``reference`` (None where not known), with ``space``
        and ``n``, the images of each set that were given."""
        return self.literature.frechet() | {"n": counts(self)}

    @property
    def sources(self) -> list[Source]:
        """The training images that flagged samples are copies of, the most copied first."""
        if self.flagged is None:
            return []
        nearest = self.matches[self.flagged]
        usual = self.detector.reference["pixel"].spacing if self.detector.reference else None
        repeats = self.detector.repeats(np.unique(nearest))
        return sources(self.train, self.flagged, self.matches, repeats, self.detector.spacing(self.matches), usual)

    @property
    def classes(self) -> list[dict[str, Any]]:
        """Flagged samples and copied training images by class of the latter; empty without labels."""
        flagged = self.identical if self.flagged is None else self.flagged
        return spread_over_classes(self.train, flagged, self.matches)

    @property
    def cut(self) -> float:
        """The surprise from which :meth:`flag` calls a sample a copy; of two halves, that of the lower one.

        That of the least surprising sample that the false discovery rate let pass; if there is none, more than any
        control has.
        """
        return min((side.cut for side in self.sides), default=float("inf"))

    @property
    def false_alarms(self) -> float | None:
        """The share of new real images that :meth:`flag` would call copies, estimated from above by the control."""
        return sum(side.alarms for side in self.sides) if self.sides else None

    def flag(self, batch: Images | NDArray[Any]) -> Tensor:
        """Which of a batch of new samples (b, *shape) are copies, by the rule that this audit came to: (b,) bool.

        Those identical to a training image, and those as surprising as the flagged samples; see :attr:`cut` and
        :attr:`false_alarms`. Where nothing could be calibrated, those of a ratio below the threshold. For use while
        generating: ``keep = batch[~audit.flag(batch)]``.

        Raises:
            InputError: they are no images, have another shape than the training images, or hold NaN.
        """
        images = as_given(batch)
        if len(images) == 0:
            return torch.zeros(0, dtype=torch.bool)
        check(images, "images of the batch", shape_of(self.train))
        if not self.sides:
            return torch.from_numpy(self.detector.find(images, keep=False)[self.detector.main].ratio < self.threshold)
        return torch.from_numpy(np.any([side.flag(images) for side in self.sides], axis=0))

    @property
    def shortest_list(self) -> int | None:
        """How many samples, all more surprising than every control, it takes to flag any that is not identical."""
        lists = [shortest_list(len(self.ratio), len(side.control), side.level) for side in self.sides]
        return min(lists, default=None)

    def values(self) -> Mapping[str, object]:
        """The results by name."""
        return values(self)

    def setting(self) -> Mapping[str, object]:
        """Options, counts, seed and fingerprints."""
        return setting(self)

    def summary(self) -> Sequence[tuple[str, str]]:
        """The verdict in a few lines."""
        return summary(self)

    def lead(self) -> str:
        """The verdict in a sentence or two."""
        return lead(self)

    def sections(self) -> Sequence[Section]:
        """The numbers, the nearest pairs, the distributions and the methods."""
        return sections(self)
