"""Images of a set as pictures of a page: groups of duplicates, and directions in image space."""

from collections.abc import Sequence

import numpy as np
from numpy.typing import NDArray
from torch import Tensor

from smoothscore.data import ImageSet
from smoothscore.geometry.near_duplicates import NearGroup
from smoothscore.geometry.pairs import shape_of
from smoothscore.report import Gallery, Group, Picture

__all__ = ["can_be_drawn", "direction", "duplicate_blocks", "pixels"]

SHOWN = 6  # pictures of a group


def can_be_drawn(images: Tensor | ImageSet) -> bool:
    """Whether the images are gray or color pictures (C, H, W)."""
    shape = shape_of(images)
    return len(shape) == 3 and shape[0] in (1, 3, 4)


def duplicate_blocks(images: Tensor | ImageSet, equal: list[list[int]], near: Sequence[NearGroup]) -> list[Gallery]:
    """Galleries of equal images and of near duplicates, worst first; none for data that cannot be drawn."""
    if not can_be_drawn(images):
        return []
    same = [_group(images, group, f"{len(group)} equal images") for group in equal]
    alike = [
        _group(
            images,
            group.indices,
            f"{len(group.indices)} images, distance {group.distance:.3g} ({group.space}), p-value {group.p_value:.1g}",
        )
        for group in near
    ]
    return [
        Gallery(groups, caption)
        for groups, caption in (
            (same, "Images that equal each other pixel by pixel, the largest groups first."),
            (
                alike,
                "Near duplicates, the closest first: closer than their surroundings explain, over mirror images and "
                "small shifts.",
            ),
        )
        if groups
    ]


def pixels(image: Tensor) -> NDArray[np.uint8]:
    """A picture of an image in [-1, 1], or of uint8 pixels."""
    if image.is_floating_point():
        image = ((image + 1) * 127.5).round().clamp(0, 255).byte()
    return np.asarray(image.numpy(), dtype=np.uint8)


def direction(image: Tensor) -> NDArray[np.uint8]:
    """A picture of a direction in image space: gray is 0, its largest modulus is black or white."""
    return pixels(image / image.abs().max().clamp_min(1e-30))


def _group(images: Tensor | ImageSet, indices: list[int], caption: str) -> Group:
    hidden = f"; {len(indices) - SHOWN} of them not shown" if len(indices) > SHOWN else ""
    names = [f"train {i}" if isinstance(images, Tensor) else images.names[i] for i in indices[:SHOWN]]
    pictures = [Picture(pixels(images[i]), name) for i, name in zip(indices, names, strict=False)]
    return Group(pictures, caption + hidden)
