r"""Near duplicates: pairs of images much closer than their surroundings explain.

Where images are spread like a Poisson process of some local dimension m, the distances
:math:`d_1\le\dots\le d_k` from an image to its k nearest others satisfy, whatever m and the density are,

.. math:: \{(d_j/d_k)^m\}_{j<k}\ \text{are ordered uniform numbers},

so the spacings :math:`E_j=j\,m\log(d_{j+1}/d_j)` are independent exponential variables. A gap after the j-th
neighbor that is too large for the gaps beyond it is therefore tested exactly, with neither m nor a threshold to
choose:

.. math:: F_j=\frac{E_j}{\frac1n\sum_{i=j+1}^{k-1}E_i}\sim F(2,2n),\quad n=k-1-j,\qquad
    P(F_j>f)=(1+f/n)^{-n}.

An image's p-value is the smallest over the first few gaps, times their number; the images are then selected by
Benjamini and Hochberg's rule. Distances are the smallest over mirror images and, between pixels, over small shifts; the
features of an encoder hardly change with a shift.
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
from smoothscore.neighbors import nearest

__all__ = ["NearGroup", "gap_p_values", "near_duplicates"]

GAPS = 3  # a near duplicate may have up to two more
BLOCK = 32  # images whose neighbors are shifted at a time


@dataclass(frozen=True)
class NearGroup:
    """Images that are near duplicates of each other, directly or through one another.

    Attributes:
        indices: ascending indices of the images.
        distance: smallest distance within the group over mirror images and shifts; between pixels in [-1, 1] units.
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
    shift: int = 1,
    encoder: str = "pixel",
) -> list[NearGroup]:
    """Groups of near duplicates, the closest first.

    Args:
        images: (N, C, H, W) tensor in [-1, 1], or an ImageSet. Exact duplicates count once: the first stands for all.
        alpha: expected share of false discoveries among the selected images, if images are spread evenly enough
            for their ``neighbors`` nearest to tell the local density.
        neighbors: number k of nearest images that tell it.
        mirror: compare mirror images too.
        shift: largest shift tried, in pixels each way; distances then leave out a margin that wide. With another
            encoder than "pixel" none is tried.
        encoder: where images are near, "pixel" or any other of :func:`smoothscore.encoders.encoder`.

    Raises:
        InputError: the images are not (C, H, W), or smaller than the shifts; ``alpha`` or ``neighbors`` is out of
            range; the encoder cannot be had.

    Cost: one search for the ``neighbors`` nearest images, two with ``mirror``, and N k (2 shift + 1)^2 d
    operations in float32. With fewer than 8 different images nothing can be told and no group is returned.
    """
    shape = images.shape[1:] if isinstance(images, Tensor) else images.shape
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
    p_values, sizes = gap_p_values(distances)
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


def gap_p_values(distances: Array) -> tuple[Array, NDArray[np.int64]]:
    """For ascending distances (N, k), the p-value of the most surprising of the first gaps and where it lies.

    The second array counts the neighbors before that gap.
    """
    logs = np.log(np.maximum(distances, np.finfo(np.float64).tiny))
    count = distances.shape[1]
    spacings = np.arange(1, count) * np.diff(logs, axis=1)
    gaps = min(GAPS, count - 2)
    p_values = np.empty((gaps, len(distances)))
    for gap in range(gaps):
        rest = count - 2 - gap
        beyond = spacings[:, gap + 1 :].mean(1)
        with np.errstate(divide="ignore"):  # neighbors all equally far beyond the gap: any gap is infinitely large
            ratio = np.divide(spacings[:, gap], beyond, out=np.zeros(len(beyond)), where=spacings[:, gap] > 0)
        p_values[gap] = (1 + ratio / rest) ** -rest
    best = p_values.argmin(0)
    return np.minimum(gaps * p_values.min(0), 1.0), best + 1


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
    """Distances (rows, tried) between the inner parts of images, the smallest over shifts and mirror images."""
    others, place = np.unique(tried, return_inverse=True)
    pool, base = (images_at(images, torch.from_numpy(part)) for part in (others, rows))
    index = torch.from_numpy(place.reshape(tried.shape))
    _, _, height, width = base.shape
    inner = base[:, :, shift : height - shift, shift : width - shift]
    sides = torch.stack([inner, inner.flip(-1)] if mirror else [inner], dim=1).flatten(2)
    norms = sides.square().sum(2)[:, None]
    best = torch.full(tried.shape, torch.inf)
    for down in range(2 * shift + 1):
        for right in range(2 * shift + 1):
            moved = pool[:, :, down : height - 2 * shift + down, right : width - 2 * shift + right].flatten(1)
            inner_products = torch.bmm(moved[index], sides.transpose(1, 2))
            squares = moved.square().sum(1)[index][:, :, None] - 2 * inner_products + norms
            best = torch.minimum(best, squares.amin(2))
    return best.clamp(min=0).double().sqrt().numpy()
