"""The audit of generated images for copies of training images, with real images as the control.

Each sample has its ratio r to the training set (:mod:`smoothscore.memorization.copies`). The share with r below the
threshold is the memorized fraction. It says little alone: real images that no model was trained on have such
neighbors too, the more the lower the dimension and the more alike the images. So the same share among held-out
images stands beside it, and their difference is the excess.

A sample is flagged by another number, its surprise (:mod:`smoothscore.memorization.surprise`), where that is larger
than held-out images' is, at a stated false discovery rate (:mod:`smoothscore.memorization.conformal`); and, whatever
the rate, where it equals a training image value by value.
"""

import warnings
from collections.abc import Mapping, Sequence

import numpy as np
from numpy.typing import NDArray
from torch import Tensor

from smoothscore.data import ImageSet
from smoothscore.errors import DataWarning, InputError
from smoothscore.memorization import checks
from smoothscore.memorization.conformal import discoveries, p_values
from smoothscore.memorization.copies import Matches
from smoothscore.memorization.detector import Detector, Found, largest
from smoothscore.memorization.literature import literature
from smoothscore.memorization.protocol import LISTED, LOOSE
from smoothscore.memorization.verdict import Audit

__all__ = ["audit"]

Images = ImageSet | Tensor
Floats = NDArray[np.float64]
Integers = NDArray[np.int64]


def audit(
    samples: Images,
    train: Images,
    held_out: Images | None = None,
    encoder: str | Sequence[str] = "pixel",
    threshold: float = LOOSE,
    alpha: float = 0.05,
    tolerant: bool = True,
) -> Audit:
    """Test generated images for copies of training images.

    Args:
        samples: (n, *shape) generated images, in [-1, 1] if a tensor; floats are compared as they are, unrounded.
        train: the training images; identical ones count once.
        held_out: real images of the same kind that the model was not trained on; those that are training images
            are left out with a warning. Without them ``held_out_fraction`` and ``excess`` are None, and training
            images left out in turn calibrate the p-values, which then are approximate.
        encoder: the space of ratio and neighbors, see :func:`smoothscore.encoders.encoder`; or several, of which
            the first is that space and all take part in the p-values, as pixels always do.
        threshold: of the ratio, in (0, 1]; 2/3 and 1/3 are in use and do not compare.
        alpha: the share of false discoveries that the flagged samples may hold on average.
        tolerant: look for mirrored, shifted, cropped and brightened copies, too.

    Raises:
        InputError: shapes differ, a set is empty or holds NaN, the training set has fewer than two distinct images,
            or all held-out images are training images.

    Cost: one product of samples, held-out images and up to 2,000 training images (10,000 without held-out images)
    with the training images in each space. Memory: the features, and some 200 MB.
    """
    encoders = (encoder,) if isinstance(encoder, str) else tuple(encoder)
    if not 0 < threshold <= 1:
        raise InputError(f"threshold is {threshold}; a ratio lies in (0, 1], and 2/3 and 1/3 are in use.")
    if not 0 < alpha < 1:
        raise InputError(f"alpha is {alpha}; a false discovery rate lies between 0 and 1.")
    if not encoders:
        raise InputError("encoder names no space; give pixel or another encoder.")
    _check(samples, train, held_out)
    mistakes = checks.mistakes(samples, train)
    for mistake in mistakes:
        warnings.warn(mistake, DataWarning, stacklevel=2)
    asked = len(samples) + (0 if held_out is None else len(held_out))
    detector = Detector(train, encoders, tolerant, asked, calibrate=held_out is None)
    found = detector.find(samples)
    control = detector.reference or None
    leaked = np.empty(0, dtype=np.int64)
    if held_out is not None:
        control = detector.find(held_out)
        leaked, kept = _leaks(held_out, control["pixel"])
        held_out = held_out[kept]
        control = {space: matches.at(kept) for space, matches in control.items()}
    by_space = detector.surprise(found)
    surprise = largest(by_space)
    usual = None if control is None else largest(detector.surprise(control))
    p = None
    if usual is not None:
        p = p_values(surprise, usual, None if held_out is not None else _beside(detector, found))
    identical = np.flatnonzero(found["pixel"].distances[:, 0] == 0)
    main = found[detector.main]
    return Audit(
        ratio=main.ratio,
        memorized=main.ratio < threshold,
        neighbors=main.indices[:, :LISTED],
        distances=main.distances[:, :LISTED],
        held_out_ratio=None if held_out is None or control is None else control[detector.main].ratio,
        surprise=surprise,
        surprise_by_space=by_space,
        control=usual,
        p_values=p,
        flagged=None if p is None else np.union1d(discoveries(p, alpha), identical),
        identical=identical,
        matches=_most_like(by_space, found, identical),
        leaked=leaked,
        findings=[*mistakes, *checks.suspicions(samples, train)],
        literature=literature(detector, samples, held_out, found, control if held_out is not None else None),
        threshold=threshold,
        alpha=alpha,
        samples=samples,
        train=train,
        held_out=held_out,
        detector=detector,
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
        if isinstance(images, Tensor) and not bool(images.isfinite().all()):
            raise InputError(f"The {name} have NaN or infinite values; mend or drop those images first.")


def _shape(images: Images) -> tuple[int, ...]:
    return tuple(images.shape if isinstance(images, ImageSet) else images.shape[1:])


def _leaks(held_out: Images, pixels: Matches) -> tuple[Integers, Integers]:
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


def _most_like(by_space: Mapping[str, Floats], found: Found, identical: Integers) -> Integers:
    """The nearest training image of each sample, in the space of its largest surprise."""
    spaces = list(by_space)
    nearest = np.stack([found[space].indices[:, 0] for space in spaces])
    chosen = np.argmax([by_space[space] for space in spaces], axis=0)
    like = np.asarray(nearest[chosen, np.arange(nearest.shape[1])])
    like[identical] = found["pixel"].indices[identical, 0]
    return like


def _beside(detector: Detector, found: Found) -> NDArray[np.bool_]:
    """Whether a training image nearest to each sample is among those left out in turn."""
    chosen = detector.first[detector.left_out]
    nearest = np.stack([matches.indices[:, 0] for matches in found.values()])
    return np.asarray(np.isin(nearest, chosen).any(0))
