r"""The nearest other images when mirror images, small shifts and changes of brightness do not count.

Comparing every image with every shift of every other one takes (2 shift + 1)^2 times as long as one search. So three
searches name the candidates, and only these are shifted: among the images, among their mirror images, and among their
*spectra* :math:`|\mathcal F y|`. A shift that wraps around changes only the phases of a Fourier transform, and a
mirror image has the spectrum at :math:`-k_x`, so

.. math:: \sqrt P,\qquad P(k)=\tfrac12\big(|\mathcal F y(k_x,k_y)|^2+|\mathcal F y(-k_x,k_y)|^2\big),

is the same for an image and its shifted or mirrored copy; and two images are never farther apart there than any such
copies of theirs are, by :math:`||a|-|b||\le|a-b|` and Parseval.
"""

from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from smoothscore import progress
from smoothscore.data import ImageSet
from smoothscore.encoders import encoder as encoder_called
from smoothscore.geometry.curve import Array
from smoothscore.geometry.far_field import images_at
from smoothscore.neighbors import nearest

__all__ = ["nearest_features", "nearest_transformed"]

Indices = NDArray[np.int64]

BLOCK = 32  # images whose neighbors are shifted at a time
ROWS = 1024  # images whose spectra are taken at a time


def nearest_transformed(images: Tensor | ImageSet, k: int, mirror: bool, shift: int) -> tuple[Array, Indices]:
    """Ascending distances (N, k) to the k nearest others over mirror images and shifts, and their indices.

    Cost: a search for each way of naming candidates (the images; with ``mirror`` their mirror images; with ``shift``
    their spectra), and 2 N k (2 shift + 1)^2 d operations in float32 for each.
    """
    count = len(images)
    own = np.arange(count)[:, None]
    searches: list[tuple[Tensor | ImageSet, Tensor | ImageSet]] = [(images, images)]
    if mirror:
        searches.append((_mirrored(images), images))
    if shift:
        spectra = _spectra(images)
        searches.append((spectra, spectra))
    named = [nearest(queries, centers, k + 1).indices.numpy() for queries, centers in searches]
    found = [_drop(near, near == own) for near in named]
    distances, partners = np.empty((count, k)), np.empty((count, k), dtype=np.int64)
    with progress.task("near duplicates", total=count) as advance:
        for start in range(0, count, BLOCK):
            rows = slice(start, min(start + BLOCK, count))
            tried = np.concatenate([part[rows] for part in found], axis=1)
            table = _shifted_distances(images, np.arange(count)[rows], tried, mirror, shift)
            distances[rows], partners[rows] = _first(table, tried, k)
            advance(len(tried))
    return distances, partners


def nearest_features(images: Tensor | ImageSet, k: int, mirror: bool, name: str) -> tuple[Array, Indices]:
    """The same between the vectors of the encoder ``name``, over mirror images."""
    place = encoder_called(name, images)
    centers = place(images)
    own = np.arange(len(images))[:, None]
    found = []
    for version in (images, _mirrored(images)) if mirror else (images,):
        near = nearest(place(version), centers, k + 1)
        drop = near.indices.numpy() == own
        found.append((_drop(near.indices.numpy(), drop), _drop(near.distances.numpy(), drop)))
    partners, distances = (np.concatenate(part, axis=1) for part in zip(*found, strict=True))
    return _first(distances, partners, k)


def _first(distances: Array, partners: Indices, k: int) -> tuple[Array, Indices]:
    """The k smallest of every row, ascending, each partner once, and the partners."""
    order = np.argsort(distances, axis=1, kind="stable")
    partners, distances = np.take_along_axis(partners, order, 1), np.take_along_axis(distances, order, 1)
    repeated = np.array([[j in row[:c] for c, j in enumerate(row)] for row in partners.tolist()])
    distances = np.where(repeated, np.inf, distances)
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


def _spectra(images: Tensor | ImageSet) -> Tensor:
    """(N, p) the moduli sqrt(P) of centered images, each frequency and its mirror images once, with their weight."""
    parts = []
    for index in torch.split(torch.arange(len(images)), ROWS):
        rows = images_at(images, index)
        rows = rows - rows.mean((1, 2, 3), keepdim=True)
        height, width = rows.shape[2:]
        power = torch.fft.rfft2(rows, norm="ortho").abs().square()
        power = (power + power[:, :, -torch.arange(height) % height]) / 2
        down, across = (1 + (2 * torch.arange(n // 2 + 1) % n != 0).float() for n in (height, width))
        parts.append((power[:, :, : height // 2 + 1] * down[:, None] * across).sqrt().flatten(1))
    return torch.cat(parts)


def _shifted_distances(images: Tensor | ImageSet, rows: Indices, tried: Indices, mirror: bool, shift: int) -> Array:
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
