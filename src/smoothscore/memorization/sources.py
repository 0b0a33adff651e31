"""The training side: which training images are copied, how often, and what is special about them."""

from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray
from torch import Tensor

from smoothscore.data import ImageSet

__all__ = ["Source", "sources", "spread_over_classes"]

Integers = NDArray[np.int64]


@dataclass(frozen=True)
class Source:
    """A training image that flagged samples are copies of.

    Attributes:
        index: of the training image, the first of its identical ones.
        name: of it, where it has one.
        label: its class, or None.
        copies: indices of the flagged samples nearest to it.
        repeats: how often it stands in the training set.
        isolation: share of training images, out of those left out in turn, that have a nearer neighbor than this one
            has; near 1, it stands alone. None where that was not measured.
    """

    index: int
    name: str
    label: int | None
    copies: list[int]
    repeats: int
    isolation: float | None


def sources(
    train: ImageSet | Tensor,
    flagged: Integers,
    nearest: Integers,
    repeats: dict[int, int],
    spacing: NDArray[np.float64] | None,
    usual: NDArray[np.float64] | None,
) -> list[Source]:
    """The training images copied, the most copied first.

    Args:
        train: the training images.
        flagged: (f,) indices of samples.
        nearest: (n,) the training image that each sample is nearest to.
        repeats: how often each training image stands in the set.
        spacing: (n,) distance from that image to the one next to it.
        usual: (m,) the same distance for training images drawn at random.
    """
    found = []
    for index in np.unique(nearest[flagged]).tolist():
        copies = flagged[nearest[flagged] == index].tolist()
        labels = train.labels if isinstance(train, ImageSet) else None
        found.append(
            Source(
                index=index,
                name=train.names[index] if isinstance(train, ImageSet) else f"number {index}",
                label=None if labels is None else int(labels[index]),
                copies=copies,
                repeats=repeats.get(index, 1),
                isolation=None if spacing is None or usual is None else float((usual < spacing[copies[0]]).mean()),
            )
        )
    return sorted(found, key=lambda source: (-len(source.copies), source.index))


def spread_over_classes(train: ImageSet | Tensor, flagged: Integers, nearest: Integers) -> list[dict[str, Any]]:
    """For each class of the training images: samples nearest to it, flagged ones, and training images copied."""
    if not isinstance(train, ImageSet) or train.labels is None:
        return []
    labels = train.labels
    rows = []
    for label in np.unique(labels).tolist():
        mine = labels[nearest] == label
        copied = flagged[labels[nearest[flagged]] == label]
        named = train.class_names is not None and 0 <= label < len(train.class_names)
        rows.append(
            {
                "label": label,
                "name": train.class_names[label] if named and train.class_names else str(label),
                "train": int((labels == label).sum()),
                "samples": int(mine.sum()),
                "flagged": len(copied),
                "sources": len(np.unique(nearest[copied])),
            }
        )
    return rows
