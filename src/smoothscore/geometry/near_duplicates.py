r"""Near duplicates: pairs of images much closer than their surroundings, or the set as a whole, explain.

Whether the nearest others of an image are too close is tested on the gaps between their distances
(:mod:`smoothscore.geometry.gap_tests`); images are then selected by Benjamini and Hochberg's rule. Distances are the
smallest over mirror images and, between pixels, over small shifts and changes of brightness
(:mod:`smoothscore.geometry.transformed`); the features of an encoder hardly change with these.
"""

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray
from torch import Tensor

from smoothscore.data import ImageSet
from smoothscore.errors import InputError
from smoothscore.geometry.curve import Array
from smoothscore.geometry.duplicates import first_of_each
from smoothscore.geometry.gap_tests import GAPS, copy_p_values
from smoothscore.geometry.pairs import shape_of
from smoothscore.geometry.transformed import nearest_features, nearest_transformed

__all__ = ["NearGroup", "near_duplicates"]


@dataclass(frozen=True)
class NearGroup:
    """Images that are near duplicates of each other, directly or through one another.

    Attributes:
        indices: ascending indices of the images.
        distance: smallest distance within the group over mirror images, shifts and brightness; between pixels in
            [-1, 1] units.
        p_value: smallest p-value of an image of the group.
        space: the encoder whose vectors are near, "pixel" for the images themselves.
    """

    indices: list[int]
    distance: float
    p_value: float
    space: str = "pixel"


def near_duplicates(
    images: Tensor | ImageSet,
    alpha: float = 0.05,
    neighbors: int = 20,
    mirror: bool = True,
    shift: int | None = None,
    encoder: str = "pixel",
) -> list[NearGroup]:
    """Groups of near duplicates, the closest first.

    Args:
        images: (N, C, H, W) tensor in [-1, 1], or an ImageSet. Exact duplicates count once: the first stands for all.
        alpha: expected share of false discoveries among the selected images, if the assumptions of
            :mod:`~smoothscore.geometry.gap_tests` hold.
        neighbors: number k of nearest images that tell the local density.
        mirror: compare mirror images too.
        shift: largest shift tried, in pixels each way; distances then leave out a margin that wide. ``None``: 2, or 1
            for images of less than 24 pixels a side. With another encoder than "pixel" none is tried.
        encoder: where images are near, "pixel" or any other of :func:`smoothscore.encoders.encoder`.

    Raises:
        InputError: the images are not (C, H, W), or smaller than the shifts; ``alpha`` or ``neighbors`` is out of
            range; the encoder cannot be had.

    Cost: up to three searches for the ``neighbors`` nearest images, and 6 N k (2 shift + 1)^2 d operations in
    float32. With fewer than 8 different images nothing can be told and no group is returned.
    """
    shape = shape_of(images)
    if shift is None:
        shift = 2 if len(shape) == 3 and min(shape[1:]) >= 24 else 1
    if len(shape) != 3 or min(shape[1:]) <= 2 * shift:
        raise InputError(f"near duplicates need images (C, H, W) larger than twice shift={shift}, not {tuple(shape)}.")
    if not 0 < alpha < 1 or neighbors < GAPS + 3:
        raise InputError(f"alpha is {alpha} and neighbors {neighbors}; take 0 < alpha < 1 and {GAPS + 3} or more.")
    first = first_of_each(images)
    if len(first) < 8:
        return []
    count = min(neighbors, len(first) - 1)
    if encoder == "pixel":
        distances, partners = nearest_transformed(images[first], count, mirror, shift)
    else:
        distances, partners = nearest_features(images[first], count, mirror, encoder)
    p_values, sizes = copy_p_values(distances)
    selected = _benjamini_hochberg(p_values, alpha)
    leader = np.arange(len(first))
    for i in selected:
        for j in partners[i, : sizes[i]]:
            leader[leader == leader[j]] = leader[i]
    groups = []
    for name in np.unique(leader[selected]):
        members = np.flatnonzero(leader == name)
        chosen = np.intersect1d(members, selected)
        groups.append(
            NearGroup(
                first[members].tolist(), float(distances[chosen, 0].min()), float(p_values[chosen].min()), encoder
            )
        )
    return sorted(groups, key=lambda group: (group.distance, group.indices))


def _benjamini_hochberg(p_values: Array, alpha: float) -> NDArray[np.int64]:
    order = np.argsort(p_values, kind="stable")
    passed = np.flatnonzero(p_values[order] <= alpha * np.arange(1, len(order) + 1) / len(order))
    return np.sort(order[: passed[-1] + 1]) if len(passed) else order[:0]
