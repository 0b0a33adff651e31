"""The audit of generated images for copies of training images, with real images as the control.

Each sample has its ratio r to the training set (:mod:`smoothscore.memorization.copies`). The share with r below the
threshold is the memorized fraction. It says little alone: real images that no model was trained on have such
neighbors too, the more the lower the dimension and the more alike the images. So the same share among held-out
images stands beside it, their difference is the excess, and a sample is flagged only where its ratio is smaller than
held-out ratios are, at a stated false discovery rate (:mod:`smoothscore.memorization.conformal`).
"""

import warnings
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any, ClassVar

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from smoothscore import progress
from smoothscore.data import ImageSet
from smoothscore.encoders import PIXEL, Encoder
from smoothscore.encoders import encoder as encoder_called
from smoothscore.errors import DataWarning, InputError
from smoothscore.memorization.conformal import discoveries, p_values
from smoothscore.memorization.copies import LOOSE, CopyTest, Matches
from smoothscore.memorization.evidence import lead, sections, summary
from smoothscore.memorization.frechet import COMPARED, frechet_distance, moments
from smoothscore.memorization.intervals import Difference, Rate, difference
from smoothscore.report.page import Section
from smoothscore.report.result import Result

__all__ = ["Audit", "audit"]

Images = ImageSet | Tensor


@dataclass(frozen=True, eq=False)
class Audit(Result):
    """What :func:`audit` found about n samples.

    Attributes:
        ratio: (n,) distance to the nearest over that to the second distinct nearest training image, in [0, 1].
        memorized: (n,) bool, ratio below the threshold.
        neighbors: (n, k) int64, indices into the training set of the nearest distinct images, nearest first.
        distances: (n, k) float64, to those; unsquared, for pixels in the units of [-1, 1].
        held_out_ratio: (h,) the ratio of the held-out images, or None without them.
        p_values: (n,) calibrated by the held-out images, or None without them.
        flagged: indices of the samples called copies at false discovery rate alpha, or None without held-out images.
        leaked: indices of held-out images that are training images and were left out of the control.
        frechet: squared Frechet distances ``to_train``, ``to_held_out`` and between train and held-out
            (``reference``), with the ``space`` and the numbers of images ``n``; None where a set is missing or has
            fewer than two images.
        threshold: of the ratio.
        alpha: the false discovery rate.
    """

    kind: ClassVar[str] = "audit"
    title: ClassVar[str] = "Audit for copies of training images"

    ratio: NDArray[np.float64]
    memorized: NDArray[np.bool_]
    neighbors: NDArray[np.int64]
    distances: NDArray[np.float64]
    held_out_ratio: NDArray[np.float64] | None
    p_values: NDArray[np.float64] | None
    flagged: NDArray[np.int64] | None
    leaked: NDArray[np.int64]
    frechet: Mapping[str, Any]
    threshold: float
    alpha: float
    samples: Images
    train: Images
    held_out: Images | None
    test: CopyTest

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

    def flag(self, batch: Images) -> Tensor:
        """Which of a batch of new samples (b, *shape) have a ratio below the threshold: (b,) bool.

        For use while generating: ``keep = batch[~audit.flag(batch)]``.
        """
        return torch.from_numpy(self.test(batch).ratio < self.threshold)

    def values(self) -> Mapping[str, object]:
        """The results by name."""
        excess = self.excess
        return {
            "memorized_fraction": self.memorized_fraction,
            "held_out_fraction": self.held_out_fraction,
            "excess": None if excess is None else excess._asdict(),
            "flagged": self.flagged,
            "frechet": self.frechet,
            "leaked": self.leaked,
            "ratio": self.ratio,
            "memorized": self.memorized,
            "p_values": self.p_values,
            "neighbors": self.neighbors,
            "distances": self.distances,
            "held_out_ratio": self.held_out_ratio,
        }

    def setting(self) -> Mapping[str, object]:
        """Options, counts and fingerprints."""
        sets = {"samples": self.samples, "train": self.train, "held_out": self.held_out}
        return {
            "encoder": self.test.space.name,
            "threshold": self.threshold,
            "alpha": self.alpha,
            "images": {name: 0 if images is None else len(images) for name, images in sets.items()},
            "distinct_train": len(self.test.first),
            "leaked": len(self.leaked),
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


def audit(
    samples: Images,
    train: Images,
    held_out: Images | None = None,
    encoder: str = "pixel",
    threshold: float = LOOSE,
    alpha: float = 0.05,
    neighbors: int = 5,
) -> Audit:
    """Test generated images for copies of training images.

    Args:
        samples: (n, *shape) generated images, in [-1, 1] if a tensor; floats are compared as they are, unrounded.
        train: the training images; identical ones count once.
        held_out: real images of the same kind that the model was not trained on; those that are training images
            are left out with a warning. Without them there is no control: ``held_out_fraction``, ``excess``,
            ``p_values`` and ``flagged`` are None.
        encoder: the space of the distances; see :func:`smoothscore.encoders.encoder`.
        threshold: of the ratio, in (0, 1]; 2/3 and 1/3 are in use and do not compare.
        alpha: the share of false discoveries that the flagged samples may hold on average.
        neighbors: nearest training images to list for each sample.

    Raises:
        InputError: shapes differ, a set is empty or holds NaN, the training set has fewer than two distinct images,
            or all held-out images are training images.

    Cost: one product of samples and held-out images with the training images; the Frechet distances add that of
    singular values in min(n, d) dimensions.
    """
    if not 0 < threshold <= 1:
        raise InputError(f"threshold is {threshold}; a ratio lies in (0, 1], and 2/3 and 1/3 are in use.")
    if not 0 < alpha < 1:
        raise InputError(f"alpha is {alpha}; a false discovery rate lies between 0 and 1.")
    if neighbors < 2:
        raise InputError(f"neighbors is {neighbors}; the ratio needs at least 2.")
    _check(samples, train, held_out)
    space = encoder_called(encoder, train)
    test = CopyTest(train, space)
    matches = test(samples, neighbors)
    ratio = matches.ratio
    leaked, control = np.empty(0, dtype=np.int64), None
    if held_out is not None:
        found = test(held_out)
        leaked, kept = _leaks(held_out, found if space.name == "pixel" else CopyTest(train, PIXEL)(held_out))
        held_out, control = held_out[kept], found.ratio[kept]
    p = None if control is None else p_values(ratio, control)
    return Audit(
        ratio=ratio,
        memorized=ratio < threshold,
        neighbors=matches.indices,
        distances=matches.distances,
        held_out_ratio=control,
        p_values=p,
        flagged=None if p is None else discoveries(p, alpha),
        leaked=leaked,
        frechet=_frechet(space, samples, train, held_out),
        threshold=threshold,
        alpha=alpha,
        samples=samples,
        train=train,
        held_out=held_out,
        test=test,
    )


def _check(samples: Images, train: Images, held_out: Images | None) -> None:
    """Refuse an empty set and sets of different shapes, by their names."""
    shape = _shape(train)
    for name, images in {"training images": train, "samples": samples, "held-out images": held_out}.items():
        if images is None:
            continue
        if len(images) == 0:
            raise InputError(f"There are no {name}; an audit needs at least one.")
        if _shape(images) != shape:
            raise InputError(
                f"The {name} have shape {_shape(images)} and the training images {shape}; bring them to one."
            )


def _shape(images: Images) -> tuple[int, ...]:
    return tuple(images.shape if isinstance(images, ImageSet) else images.shape[1:])


def _leaks(held_out: Images, pixels: Matches) -> tuple[NDArray[np.int64], NDArray[np.int64]]:
    """Indices of the held-out images that are training images, with a warning, and of the others."""
    same = pixels.distances[:, 0] == 0
    leaked, kept = np.flatnonzero(same), np.flatnonzero(~same)
    if not len(kept):
        raise InputError("Every held-out image is a training image; give images that the model was not trained on.")
    if len(leaked):
        names = held_out.names if isinstance(held_out, ImageSet) else [f"number {i}" for i in range(len(held_out))]
        which = ", ".join(names[i] for i in leaked[:3]) + (", ..." if len(leaked) > 3 else "")
        warnings.warn(
            f"{len(leaked)} of {len(same)} held-out images are training images and were left out of the control: "
            f"{which}.",
            DataWarning,
            stacklevel=3,
        )
    return leaked, kept


def _frechet(space: Encoder, samples: Images, train: Images, held_out: Images | None) -> dict[str, Any]:
    """Squared Frechet distances between the three sets, where each has two images or more."""
    sets = {"samples": samples, "train": train} | ({} if held_out is None else {"held_out": held_out})
    known = {}
    values: dict[str, Any] = dict.fromkeys(COMPARED)
    with progress.task("Frechet distances", total=len(sets) + len(COMPARED)) as advance:
        for name, images in sets.items():
            if len(images) > 1:
                known[name] = moments(space(images).numpy())
            advance(1)
        for name, (first, second) in COMPARED.items():
            if first in known and second in known:
                values[name] = frechet_distance(known[first], known[second])
            advance(1)
    return values | {"space": space.name, "n": {name: len(images) for name, images in sets.items()}}
