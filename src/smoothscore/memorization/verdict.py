"""What an audit found: numbers, flags, and the filter that follows from them."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any, ClassVar

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from smoothscore.data import ImageSet
from smoothscore.memorization.conformal import discoveries, shortest_list
from smoothscore.memorization.detector import Detector, largest
from smoothscore.memorization.evidence import lead, sections, summary
from smoothscore.memorization.intervals import Difference, Rate, difference
from smoothscore.memorization.literature import Literature
from smoothscore.memorization.protocol import STRICT, TAIL_SHARE, VERSION
from smoothscore.memorization.sources import Source, sources, spread_over_classes
from smoothscore.report.page import Section
from smoothscore.report.result import Result

__all__ = ["Audit"]

Images = ImageSet | Tensor
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
        surprise: (n,) in nats, the largest of :attr:`surprise_by_space`.
        surprise_by_space: (n,) for each space.
        control: (h,) surprise of the held-out images; without them, of training images left out in turn.
        p_values: (n,) calibrated by the control; None where a training set of less than 10 distinct images has no
            held-out images beside it.
        flagged: indices of the samples called copies at false discovery rate alpha, and of those identical to a
            training image; None where p_values is.
        identical: indices of the samples that equal a training image value by value.
        matches: (n,) the training image that each sample looks most like a copy of, by the space of its surprise.
        leaked: indices of held-out images that are training images and were left out of the control.
        findings: what looks wrong about the set of samples, one sentence each.
        literature: the tests in use, and the measures of quality.
        threshold: of the ratio.
        alpha: the false discovery rate.
    """

    kind: ClassVar[str] = "audit"
    title: ClassVar[str] = "Audit for copies of training images"

    ratio: Floats
    memorized: NDArray[np.bool_]
    neighbors: Integers
    distances: Floats
    held_out_ratio: Floats | None
    surprise: Floats
    surprise_by_space: Mapping[str, Floats]
    control: Floats | None
    p_values: Floats | None
    flagged: Integers | None
    identical: Integers
    matches: Integers
    leaked: Integers
    findings: Sequence[str]
    literature: Literature
    threshold: float
    alpha: float
    samples: Images
    train: Images
    held_out: Images | None
    detector: Detector

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
    def near_leaks(self) -> Integers:
        """Indices of held-out images, of those kept, that may be training images in another form: ratio below 1/3.

        They stay in the control, since leaving out what looks like a copy would make every sample look like one; if a
        person finds them to be the same pictures, the audit without them finds more.
        """
        empty = np.empty(0, dtype=np.int64)
        return empty if self.held_out_ratio is None else np.flatnonzero(self.held_out_ratio < STRICT)

    @property
    def tail_excess(self) -> Difference | None:
        """How many more samples than controls are as surprising as the 1 % most surprising controls; None without any.

        A value near the share of copies, found in any space, also where the ratio separates nothing.
        """
        if self.control is None:
            return None
        beyond = max(1, int(TAIL_SHARE * len(self.control)))
        cut = np.sort(self.control)[-beyond]
        shares = (Rate(int((values >= cut).sum()), len(values)) for values in (self.surprise, self.control))
        return difference(*shares)

    @property
    def frechet(self) -> dict[str, Any]:
        """Squared Frechet distances ``to_train``, ``to_held_out``, ``reference`` (None where not known), with ``space``
        and ``n``, the images of each set that were given."""
        return self.literature.frechet() | {"n": self._counts()}

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
        """The surprise from which :meth:`flag` calls a sample a copy.

        That of the least surprising sample that the false discovery rate let pass; if there is none, more than any
        control has.
        """
        if self.control is None or self.p_values is None:
            return float("inf")
        passed = discoveries(self.p_values, self.alpha)
        least = float(self.surprise[passed].min()) if len(passed) else float("inf")
        return min(least, float(np.nextafter(self.control.max(), np.inf)))

    @property
    def false_alarms(self) -> float | None:
        """The share of new real images that :meth:`flag` would call copies, estimated from above by the control."""
        if self.control is None:
            return None
        return float((1 + (self.control >= self.cut).sum()) / (len(self.control) + 1))

    def flag(self, batch: Images) -> Tensor:
        """Which of a batch of new samples (b, *shape) are copies, by the rule that this audit came to: (b,) bool.

        Those identical to a training image, and those as surprising as the flagged samples; see :attr:`cut` and
        :attr:`false_alarms`. Where nothing could be calibrated, those of a ratio below the threshold. For use while
        generating: ``keep = batch[~audit.flag(batch)]``.
        """
        found = self.detector.find(batch, keep=False)
        same = found["pixel"].distances[:, 0] == 0
        if self.control is None:
            return torch.from_numpy(same | (found[self.detector.main].ratio < self.threshold))
        return torch.from_numpy(same | (largest(self.detector.surprise(found)) >= self.cut))

    def values(self) -> Mapping[str, object]:
        """The results by name."""
        excess, tail = self.excess, self.tail_excess
        return {
            "protocol": VERSION,
            "memorized_fraction": self.memorized_fraction,
            "held_out_fraction": self.held_out_fraction,
            "excess": None if excess is None else excess._asdict(),
            "tail_excess": None if tail is None else tail._asdict(),
            "flagged": self.flagged,
            "identical": self.identical,
            "shortest_list": self.shortest_list,
            "findings": self.findings,
            "literature": self.literature.values(),
            "frechet": self.frechet,
            "leaked": self.leaked,
            "near_leaks": self.near_leaks,
            "sources": self.sources,
            "classes": self.classes,
            "ratio": self.ratio,
            "memorized": self.memorized,
            "surprise": self.surprise,
            "surprise_by_space": self.surprise_by_space,
            "p_values": self.p_values,
            "matches": self.matches,
            "neighbors": self.neighbors,
            "distances": self.distances,
            "held_out_ratio": self.held_out_ratio,
            "control": self.control,
        }

    @property
    def shortest_list(self) -> int | None:
        """How many samples, all more surprising than every control, it takes to flag any that is not identical."""
        return None if self.control is None else shortest_list(len(self.ratio), len(self.control), self.alpha)

    def _counts(self) -> dict[str, int]:
        sets = {"samples": self.samples, "train": self.train, "held_out": self.held_out}
        return {name: 0 if images is None else len(images) for name, images in sets.items()}

    def setting(self) -> Mapping[str, object]:
        """Options, counts and fingerprints."""
        sets = {"samples": self.samples, "train": self.train, "held_out": self.held_out}
        return {
            "protocol": VERSION,
            "encoder": self.detector.main,
            "spaces": list(self.detector.tests),
            "threshold": self.threshold,
            "alpha": self.alpha,
            "images": self._counts(),
            "distinct_train": len(self.detector.first),
            "left_out_in_turn": len(self.detector.left_out),
            "leaked": len(self.leaked),
            "skipped": {k: len(v.skipped) for k, v in sets.items() if isinstance(v, ImageSet)},
            "skipped_files": [name for v in sets.values() if isinstance(v, ImageSet) for name in v.skipped],
            "fingerprints": {k: v.fingerprint for k, v in sets.items() if isinstance(v, ImageSet)},
        }

    def summary(self) -> Sequence[tuple[str, str]]:
        """The verdict in a few lines."""
        return summary(self)

    def lead(self) -> str:
        """The verdict in a sentence or two."""
        return lead(self)

    def sections(self) -> Sequence[Section]:
        """The numbers, the nearest pairs, the distributions and the methods."""
        return sections(self)
