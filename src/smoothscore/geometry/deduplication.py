"""A training set without its repeated images.

All mitigations smooth over *different* images; an image that is there k times has k times the weight of the others and
is copied first. Of every group of equal, and on request of near, duplicates the first image is kept.
"""

import warnings
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import ClassVar

import numpy as np
from numpy.typing import NDArray

from smoothscore.data import ImageSet, write_images
from smoothscore.errors import DataWarning
from smoothscore.geometry.duplicates import exact_duplicates
from smoothscore.geometry.near_duplicates import NearGroup, near_duplicates
from smoothscore.geometry.pictures import duplicate_blocks
from smoothscore.report import Fact, Facts, Section, Text
from smoothscore.report.result import Result

__all__ = ["Deduplication", "deduplicate"]

LISTED = 10
REMOVED = "Images of which an equal or near duplicate stands before them in the set; that one is kept."
EQUAL = "Groups of images that agree in every pixel."
NEAR = "Groups of images much closer to each other than their surroundings explain, also mirrored, shifted or brighter."


@dataclass(frozen=True, eq=False, repr=False)
class Deduplication(Result):
    """Which images repeat others, and the set without them.

    Attributes:
        images: the whole set.
        kept: ascending indices of the images that stay.
        duplicates: groups of indices of equal images, the largest first.
        near: groups of near duplicates, the closest first; empty if not asked for.
        alerts: what a person should look at, in sentences.
        options: what was done.
    """

    kind: ClassVar[str] = "deduplication"
    title: ClassVar[str] = "Repeated images"

    images: ImageSet
    kept: NDArray[np.int64]
    duplicates: list[list[int]]
    near: list[NearGroup]
    alerts: list[str]
    options: Mapping[str, object]

    @property
    def removed(self) -> list[str]:
        """Names of the images that go, in order."""
        return [self.images.names[i] for i in np.setdiff1d(np.arange(len(self.images)), self.kept)]

    @property
    def clean(self) -> ImageSet:
        """The images that stay, with their names and labels; a view."""
        return self.images[self.kept]

    def save_images(self, out: str | Path) -> Path:
        """Write the images that stay into a new folder or zip, as :func:`smoothscore.write_images` does."""
        return write_images(self.clean, out)

    def values(self) -> Mapping[str, object]:
        """Counts, groups and names."""
        return {
            "kept": len(self.kept),
            "removed": self.removed,
            "duplicates": self.duplicates,
            "near": self.near,
            "alerts": self.alerts,
        }

    def setting(self) -> Mapping[str, object]:
        """Options and fingerprints."""
        return self.options

    def summary(self) -> Sequence[tuple[str, str]]:
        """What went and what stays."""
        names = self.removed
        more = f" and {len(names) - LISTED:,} more" if len(names) > LISTED else ""
        lines = [
            ("images", f"{len(self.images):,}"),
            ("groups of equal images", f"{len(self.duplicates):,}"),
            ("groups of near duplicates", f"{len(self.near):,}" if self.options["near"] else "not looked for"),
            ("kept", f"{len(self.kept):,}"),
            ("removed", f"{len(names):,}" + (f": {', '.join(names[:LISTED])}{more}" if names else "")),
        ]
        return lines + [("warning", alert) for alert in self.alerts]

    def lead(self) -> str:
        """The result in a sentence."""
        return f"{len(self.removed):,} of {len(self.images):,} images repeat others; {len(self.kept):,} stay."

    def sections(self) -> Sequence[Section]:
        """The groups as pictures, worst first; the first picture of each is the one kept."""
        facts = Facts(
            [
                Fact("Removed", len(self.removed), definition=REMOVED),
                Fact("Groups of equal images", len(self.duplicates), definition=EQUAL),
                Fact("Groups of near duplicates", len(self.near), definition=NEAR),
            ]
        )
        alerts = [Text(alert, "warning") for alert in self.alerts]
        intro = "Of each group the first picture is kept."
        return [Section("Groups", [facts, *alerts, *duplicate_blocks(self.images, self.duplicates, self.near)], intro)]


def deduplicate(
    images: ImageSet,
    near: bool = False,
    encoder: str = "pixel",
    alpha: float = 0.05,
    mirror: bool = True,
    shift: int | None = None,
) -> Deduplication:
    """Find the images that repeat others.

    Args:
        images: the set; it is not changed.
        near: look for near duplicates, too.
        encoder: where these are near: "pixel", or another encoder, whose groups are added to those between pixels.
        alpha: expected share of false discoveries among images found to be near duplicates.
        mirror: count mirror images.
        shift: largest shift tried, in pixels each way; ``None``: 2, or 1 for images of less than 24 pixels a side.

    Raises:
        InputError: as for :func:`~smoothscore.geometry.near_duplicates.near_duplicates`.

    Warns:
        DataWarning: images of one group have different labels.

    Cost: one pass over the images; with ``near`` that of the search for near duplicates, once for each space.
    """
    duplicates = exact_duplicates(images)
    found: list[NearGroup] = []
    if near:
        for space in dict.fromkeys(("pixel", encoder)):
            found += near_duplicates(images, alpha, mirror=mirror, shift=shift, encoder=space)
    leader = np.arange(len(images))
    for group in [*duplicates, *(group.indices for group in found)]:
        joined = np.isin(leader, leader[group])
        leader[joined] = leader[group].min()
    alerts = _labels(images, leader)
    for alert in alerts:
        warnings.warn(alert, DataWarning, stacklevel=2)
    options = {
        "images": len(images),
        "source": images.source,
        "near": near,
        "encoder": encoder if near else None,
        "alpha": alpha,
        "mirror": mirror,
        "shift": shift,
        "fingerprint": images.fingerprint,
    }
    return Deduplication(images, np.unique(leader), duplicates, found, alerts, options)


def _labels(images: ImageSet, leader: NDArray[np.int64]) -> list[str]:
    """A sentence if equal or near images bear different labels."""
    if images.labels is None:
        return []
    apart = np.flatnonzero(images.labels != images.labels[leader])
    if len(apart) == 0:
        return []
    names = ", ".join(images.names[i] for i in apart[:5])
    return [
        f"{len(apart)} removed images have another label than the image kept for them (first {names}); check these."
    ]
