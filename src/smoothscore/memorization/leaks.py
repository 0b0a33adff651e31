"""Held-out images that stand in the training set, too: identical ones, and, if asked for, near duplicates.

Identical ones always leave the control. Near duplicates are

- images whose gap to their nearest training images is larger than even surroundings explain, in pixels or in the space
  of an encoder (:func:`smoothscore.geometry.gap_tests.gap_p_values`, selected at a false discovery rate of
  0.05), and
- images that equal a training image up to a mirror image, shift, crop, brightness and contrast, at a correlation above
  7/8, and at less than 2/3 of the distance to the next one.

The rule looks at the held-out image and the training set, never at the samples. So the p-values of samples that are
not near duplicates by the same rule stay exactly valid; those of samples that are, which new images can be by chance,
become small: "copy" then means near duplicate, too, and a flag does not say who copied. Without the rule, near
duplicates in the control hide copies: the more a few copies are changed, the more.
"""

import warnings
from collections.abc import Sequence
from typing import Literal

import numpy as np
from numpy.typing import NDArray

from smoothscore.data import ImageSet
from smoothscore.errors import DataWarning, InputError
from smoothscore.geometry.gap_tests import gap_p_values
from smoothscore.memorization.conformal import discoveries
from smoothscore.memorization.detector import Found
from smoothscore.memorization.images import Images
from smoothscore.memorization.protocol import ALIKE, LEAK_NEIGHBORS, LEAKED, LOOSE

__all__ = ["NO_CONTROL", "Leaks", "leaks", "near_leaks"]

Integers = NDArray[np.int64]
Leaks = Literal["identical", "near"]

NO_CONTROL = "Every held-out image is a training image; give images that the model was not trained on."


def near_leaks(found: Found, encoders: Sequence[str]) -> Integers:
    """Indices of held-out images that are near duplicates of training images, identical ones included.

    Args:
        found: their neighbors.
        encoders: names of the spaces of encoders.
    """
    near = found["pixel"].distances[:, 0] == 0
    for space in dict.fromkeys(("pixel", *encoders)):
        distances = found[space].distances[:, :LEAK_NEIGHBORS]
        if distances.shape[1] == LEAK_NEIGHBORS:
            rows = np.flatnonzero(~near)
            near[rows[discoveries(gap_p_values(distances[rows])[0], LEAKED)]] = True
    if "aligned" in found:
        aligned = found["aligned"]
        near |= (aligned.distances[:, 0] < ALIKE) & (aligned.ratio < LOOSE)
    return np.flatnonzero(near)


def leaks(held_out: Images, found: Found, encoders: Sequence[str], kind: Leaks) -> tuple[Integers, Integers]:
    """Indices of the held-out images that leave the control, with a warning, and of the others.

    Raises:
        InputError: no other is left.
    """
    identical = np.flatnonzero(found["pixel"].distances[:, 0] == 0)
    leaked = near_leaks(found, encoders) if kind == "near" else identical
    kept = np.setdiff1d(np.arange(len(held_out)), leaked)
    if not len(kept):
        raise InputError(NO_CONTROL)
    if len(leaked):
        names = held_out.names if isinstance(held_out, ImageSet) else [f"number {i}" for i in range(len(held_out))]
        which = ", ".join(names[i] for i in leaked[:3]) + (", ..." if len(leaked) > 3 else "")
        what = "training images" + (" or near duplicates of them" if kind == "near" else "")
        warnings.warn(
            f"{len(leaked)} of {len(held_out)} held-out images are {what} and were left out of the control: {which}.",
            DataWarning,
            stacklevel=4,
        )
    return leaked, kept
