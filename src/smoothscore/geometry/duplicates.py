"""Groups of equal training images: no smoothing helps against an image that is there twice."""

import hashlib
from collections import defaultdict

import numpy as np
from numpy.typing import NDArray
from torch import Tensor

from smoothscore.data import ImageSet

__all__ = ["distinct_share", "exact_duplicates", "first_of_each", "shared_images"]


def exact_duplicates(images: Tensor | ImageSet) -> list[list[int]]:
    """Index lists of images that equal each other value by value, the largest group first.

    Cost: one pass over the images.
    """
    groups: dict[object, list[int]] = defaultdict(list)
    for index, key in enumerate(_keys(images)):
        groups[key].append(index)
    return sorted((group for group in groups.values() if len(group) > 1), key=lambda group: (-len(group), group))


def distinct_share(groups: list[list[int]], total: int) -> float:
    """Distinct images as a share of all ``total``, given the groups of equal ones."""
    return 1 - sum(len(group) - 1 for group in groups) / total


def first_of_each(images: Tensor | ImageSet) -> NDArray[np.int64]:
    """Ascending indices of the images that equal none before them."""
    first: dict[object, int] = {}
    for index, key in enumerate(_keys(images)):
        first.setdefault(key, index)
    return np.array(list(first.values()))


def shared_images(train: Tensor | ImageSet, held_out: Tensor | ImageSet) -> list[int]:
    """Indices of held-out images that equal a training image value by value, both as float32 if their types differ."""
    if getattr(train, "dtype", None) != getattr(held_out, "dtype", None):
        train, held_out = (_as_float(images) for images in (train, held_out))
    known = set(_keys(train))
    return [index for index, key in enumerate(_keys(held_out)) if key in known]


def _as_float(images: Tensor | ImageSet) -> Tensor:
    return images.float() if isinstance(images, Tensor) else images.tensor()


def _keys(images: Tensor | ImageSet) -> list[object]:
    if isinstance(images, Tensor):
        rows = images.detach().cpu().flatten(1).add(0.0).numpy()  # adding 0 makes -0 and 0 one value
        return [hashlib.sha256(np.ascontiguousarray(row).tobytes()).digest() for row in rows]
    keys: list[object] = []
    for start in range(0, len(images), 1024):
        pixels = images.read(start, min(start + 1024, len(images)))
        keys += [hashlib.sha256(row.tobytes()).digest() for row in pixels]
    return keys
