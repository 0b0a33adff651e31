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
from collections.abc import Sequence

import numpy as np

from smoothscore.errors import DataWarning, InputError
from smoothscore.memorization import checks
from smoothscore.memorization.calibration import Side, halves, unjudged, verdict
from smoothscore.memorization.detector import Detector, largest
from smoothscore.memorization.images import Images, alike, at, check, shape_of
from smoothscore.memorization.leaks import NO_CONTROL, Leaks, near_leaks
from smoothscore.memorization.leaks import leaks as find_leaks
from smoothscore.memorization.literature import literature
from smoothscore.memorization.protocol import LISTED, LOOSE
from smoothscore.memorization.verdict import Audit

__all__ = ["audit"]


def audit(
    samples: Images,
    train: Images,
    held_out: Images | None = None,
    encoder: str | Sequence[str] = "pixel",
    threshold: float = LOOSE,
    alpha: float = 0.05,
    tolerant: bool = True,
    leaks: Leaks = "identical",
) -> Audit:
    """Test generated images for copies of training images.

    Args:
        samples: (n, *shape) generated images, in [-1, 1] if a tensor; floats are compared as they are, unrounded.
        train: the training images; identical ones count once.
        held_out: real images of the same kind that the model was not trained on; those that are training images
            are left out with a warning. Without them ``held_out_fraction`` and ``excess`` are None, and the two
            halves of the training set calibrate each other; see :mod:`smoothscore.memorization.calibration`.
        encoder: the space of ratio and neighbors, see :func:`smoothscore.encoders.encoder`; or several, of which
            the first is that space and all take part in the p-values, as pixels always do.
        threshold: of the ratio, in (0, 1]; 2/3 and 1/3 are in use and do not compare.
        alpha: the share of false discoveries that the flagged samples may hold on average.
        tolerant: look for mirrored, shifted, cropped and brightened copies, and for copied parts, too.
        leaks: which held-out images are left out of the control: those ``"identical"`` to a training image, or
            ``"near"`` duplicates, too; see :mod:`smoothscore.memorization.leaks` for what that changes.

    Raises:
        InputError: shapes differ, a set is empty or holds NaN, the training set has fewer than two distinct images,
            or all held-out images are training images.

    Cost: one product of samples, held-out images and up to 2,000 training images with the training images in each
    space; without held-out images about two, and half of one for every 10,000 of up to 20,000 training images. Memory:
    the features, and some 200 MB.
    """
    encoders = (encoder,) if isinstance(encoder, str) else tuple(encoder)
    if not 0 < threshold <= 1:
        raise InputError(f"threshold is {threshold}; a ratio lies in (0, 1], and 2/3 and 1/3 are in use.")
    if not 0 < alpha < 1:
        raise InputError(f"alpha is {alpha}; a false discovery rate lies between 0 and 1.")
    if leaks not in ("identical", "near"):
        raise InputError(f"leaks is {leaks!r}; take identical or near.")
    if not encoders:
        raise InputError("encoder names no space; give pixel or another encoder.")
    _check(samples, train, held_out)
    mistakes = checks.mistakes(samples, train, held_out)
    for mistake in mistakes:
        warnings.warn(mistake, DataWarning, stacklevel=2)
    asked = len(samples) + (0 if held_out is None else len(held_out))
    detector = Detector(train, encoders, tolerant and held_out is not None, asked)
    found = detector.find(samples)
    control, leaked, near = None, np.empty(0, dtype=np.int64), np.empty(0, dtype=np.int64)
    if held_out is None:
        sides = halves(train, detector.first, samples, encoders, tolerant, alpha)
    else:
        control = detector.find(held_out, "held-out images")
        leaked, kept = find_leaks(held_out, control, encoders, leaks)
        held_out = at(held_out, kept)
        control = {space: matches.at(kept) for space, matches in control.items()}
        near = near_leaks(control, encoders) if leaks == "identical" else leaked[:0]
        usual = largest(detector.surprise(control))
        sides = [Side(detector, np.arange(len(train)), usual, found, alpha)]
    judged = verdict(sides) if sides else unjudged(detector, found)
    same = found["pixel"].distances[:, 0] == 0
    identical = np.flatnonzero(same)
    main = found[detector.main]
    return Audit(
        ratio=main.ratio,
        memorized=main.ratio < threshold,
        neighbors=main.indices[:, :LISTED],
        distances=main.distances[:, :LISTED],
        held_out_ratio=None if control is None else control[detector.main].ratio,
        judged=judged,
        sides=sides,
        flagged=np.union1d(judged.passed, identical) if sides else None,
        identical=identical,
        matches=np.where(same, found["pixel"].indices[:, 0], judged.like),
        leaked=leaked,
        near_leaks=near,
        findings=mistakes or checks.suspicions(samples, train),
        literature=literature(detector, samples, held_out, found, control),
        threshold=threshold,
        alpha=alpha,
        leaks=leaks,
        samples=samples,
        train=train,
        held_out=held_out,
        detector=detector,
    )


def _check(samples: Images, train: Images, held_out: Images | None) -> None:
    """Refuse what cannot be audited, before any search."""
    for name, images in {"training images": train, "samples": samples, "held-out images": held_out}.items():
        if images is not None:
            check(images, name, shape_of(train))
    if held_out is not None and alike(train, held_out):
        raise InputError(NO_CONTROL)
