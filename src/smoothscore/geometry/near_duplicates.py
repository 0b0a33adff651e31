r"""Near duplicates: pairs of images much closer than their surroundings, or the set as a whole, explain.

Whether the nearest others of an image are too close is tested on the gaps between their distances
(:mod:`smoothscore.geometry.gap_tests`); images are then selected by Benjamini and Hochberg's rule. Distances are the
smallest over mirror images and, between pixels, over small shifts and changes of brightness; the features of an
encoder hardly change with these.
"""

from dataclasses import dataclass
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from smoothscore import progress
from smoothscore.data import ImageSet
from smoothscore.encoders import encoder as encoder_called
from smoothscore.errors import InputError
from smoothscore.geometry.curve import Array
from smoothscore.geometry.duplicates import first_of_each
from smoothscore.geometry.far_field import images_at
from smoothscore.geometry.gap_tests import GAPS, copy_p_values
from smoothscore.neighbors import nearest

__all__ = ["NearGroup", "near_duplicates"]

BLOCK = 32  # images whose neighbors are shifted at a time


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

    Cost: one search for the ``neighbors`` nearest images, two with ``mirror``, and 2 N k (2 shift + 1)^2 d
    operations in float32. With fewer than 8 different images nothing can be told and no group is returned.
    """
    shape = images.shape[1:] if isinstance(images, Tensor) else images.shape
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
        distances, partners = _nearest_transformed(images[first], count, mirror, shift)
    else:
        distances, partners = _nearest_features(images[first], count, mirror, encoder)
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


def _nearest_transformed(
    images: Tensor | ImageSet, k: int, mirror: bool, shift: int
) -> tuple[Array, NDArray[np.int64]]:
    """Ascending distances (N, k) to the k nearest others over mirror images and shifts, and their indices."""
    count = len(images)
    own = np.arange(count)[:, None]
    plain = nearest(images, images, k + 1).indices.numpy()
    found = [_drop(plain, plain == own)]
    if mirror:
        flipped = nearest(_mirrored(images), images, k + 1).indices.numpy()
        found.append(_drop(flipped, flipped == own))
    distances, partners = np.empty((count, k)), np.empty((count, k), dtype=np.int64)
    with progress.task("near duplicates", total=count) as advance:
        for start in range(0, count, BLOCK):
            rows = slice(start, min(start + BLOCK, count))
            tried = np.concatenate([part[rows] for part in found], axis=1)
            table = _shifted_distances(images, np.arange(count)[rows], tried, mirror, shift)
            repeated = np.array([[j in row[:c] for c, j in enumerate(row)] for row in tried.tolist()])
            table[repeated] = np.inf
            order = np.argsort(table, axis=1, kind="stable")[:, :k]
            distances[rows] = np.take_along_axis(table, order, 1)
            partners[rows] = np.take_along_axis(tried, order, 1)
            advance(len(tried))
    return distances, partners


def _nearest_features(images: Tensor | ImageSet, k: int, mirror: bool, name: str) -> tuple[Array, NDArray[np.int64]]:
    """The same between feature vectors, over mirror images."""
    place = encoder_called(name, images)
    centers = place(images)
    own = np.arange(len(images))[:, None]
    found = []
    for version in (images, _mirrored(images)) if mirror else (images,):
        near = nearest(place(version), centers, k + 1)
        drop = near.indices.numpy() == own
        found.append((_drop(near.indices.numpy(), drop), _drop(near.distances.numpy(), drop)))
    partners, distances = (np.concatenate(part, axis=1) for part in zip(*found, strict=True))
    order = np.argsort(distances, axis=1, kind="stable")
    partners, distances = (np.take_along_axis(part, order, 1) for part in (partners, distances))
    repeated = np.array([[j in row[:c] for c, j in enumerate(row)] for row in partners.tolist()])
    distances[repeated] = np.inf
    order = np.argsort(distances, axis=1, kind="stable")[:, :k]
    return np.take_along_axis(distances, order, 1), np.take_along_axis(partners, order, 1)


def _drop(indices: NDArray[Any], own: NDArray[np.bool_]) -> NDArray[Any]:
    """Every row without its own index, or without its last where that is not among them."""
    place = np.where(own.any(1), own.argmax(1), indices.shape[1] - 1)
    keep = np.arange(indices.shape[1])[None] != place[:, None]
    return np.asarray(indices[keep].reshape(len(indices), -1))


def _mirrored(images: Tensor | ImageSet) -> Tensor | ImageSet:
    if isinstance(images, Tensor):
        return images.flip(-1)
    return ImageSet.from_array(np.ascontiguousarray(images.read(0, len(images))[..., ::-1]))


def _shifted_distances(
    images: Tensor | ImageSet, rows: NDArray[np.int64], tried: NDArray[np.int64], mirror: bool, shift: int
) -> Array:
    """Distances (rows, tried) between the inner parts of images, the smallest over shifts, brightness and mirrors."""
    others, place = np.unique(tried, return_inverse=True)
    pool, base = (images_at(images, torch.from_numpy(part)) for part in (others, rows))
    _, _, height, width = base.shape
    size, across = height - 2 * shift, width - 2 * shift
    inner = _centered(pool[:, :, shift : height - shift, shift : width - shift])
    near, norms = (part[torch.from_numpy(place.reshape(tried.shape))] for part in (inner, inner.square().sum(1)))
    moved = torch.stack(
        [
            _centered(version[:, :, down : down + size, right : right + across])
            for version in ([base, base.flip(-1)] if mirror else [base])
            for down in range(2 * shift + 1)
            for right in range(2 * shift + 1)
        ],
        dim=1,
    )
    squares = norms[:, :, None] - 2 * torch.bmm(near, moved.transpose(1, 2)) + moved.square().sum(2)[:, None]
    return squares.amin(2).clamp(min=0).double().sqrt().numpy()


def _centered(images: Tensor) -> Tensor:
    """Rows whose mean is 0, so that no change of brightness brings two of them closer."""
    rows = images.flatten(1)
    return rows - rows.mean(1, keepdim=True)
