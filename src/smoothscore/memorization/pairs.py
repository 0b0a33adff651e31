"""The pairs that a person should look at: the most suspicious samples beside the training images they look like."""

from typing import TYPE_CHECKING

import numpy as np
from numpy.typing import NDArray

from smoothscore.data import ImageSet, fingerprint, to_images
from smoothscore.memorization.images import Images, shape_of
from smoothscore.memorization.protocol import PAIRS, VERSION
from smoothscore.report import Block, Text
from smoothscore.report.review import Item, Review

if TYPE_CHECKING:
    from smoothscore.memorization.verdict import Audit

__all__ = ["pairs"]

Integers = NDArray[np.int64]
OTHERS = 2  # further training images shown


def pairs(audit: "Audit") -> Block:
    """The samples of largest surprise, each with its match, the difference, and further near training images."""
    shape = shape_of(audit.samples)
    if len(shape) != 3 or shape[0] not in (1, 3):
        return Text("The data are not images, so no pairs are shown.", "note")
    order = np.lexsort((audit.ratio, -audit.surprise, ~np.isin(np.arange(len(audit.ratio)), audit.identical)))
    worst = order[:PAIRS]
    flagged = set() if audit.flagged is None else set(audit.flagged.tolist())
    return Review(
        [_item(audit, int(index), int(index) in flagged) for index in worst],
        question="a copy of the training image?",
        answers=("copy", "no copy"),
        caption=f"The {len(worst)} most surprising of {len(audit.ratio):,} samples, each with the training image it "
        "looks most like, their difference (gray is none), and the next nearest training images.",
        about={"protocol": VERSION, "samples": fingerprint(audit.samples), "train": fingerprint(audit.train)},
    )


def _item(audit: "Audit", index: int, flagged: bool) -> Item:
    match = int(audit.matches[index])
    others = [int(other) for other in audit.neighbors[index] if other != match][:OTHERS]
    sample = _pixels(audit.samples, [index])[0]
    near = _pixels(audit.train, [match, *others])
    difference = (128 + (sample.astype(np.int16) - near[0]) / 2).clip(0, 255).astype(np.uint8)
    labels = [f"train {match}", *(f"train {other}" for other in others)]
    pictures = [
        (f"sample {index}", sample),
        (labels[0], near[0]),
        ("difference", difference),
        *zip(labels[1:], near[1:], strict=True),
    ]
    numbers = {"ratio": float(audit.ratio[index]), "surprise": float(audit.surprise[index])}
    space = max(audit.surprise_by_space, key=lambda name: audit.surprise_by_space[name][index])
    text = f"ratio {audit.ratio[index]:.3f} = {audit.distances[index, 0]:.3g} / {audit.distances[index, 1]:.3g}, "
    text += f"surprise {audit.surprise[index]:.1f} in {space} space"
    if audit.p_values is not None:
        numbers["p-value"] = float(audit.p_values[index])
        text += f", p = {audit.p_values[index]:.2g}"
    identical = index in audit.identical
    votes = [name for name, vote in audit.literature.votes.items() if vote.samples[index]]
    text += ", identical" if identical else ", flagged" if flagged else ""
    text += f"; by other tests: {', '.join(votes)}" if votes else ""
    text += _files(audit, index, match)
    tags = ["flagged"] * flagged + ["identical"] * identical + [f"by {space}"] + votes
    return Item(f"sample {index}", pictures, numbers, tags, text)


def _files(audit: "Audit", index: int, match: int) -> str:
    """The names of both images, where they have any."""
    sets = {"sample": (audit.samples, index), "training image": (audit.train, match)}
    named = [f"{what} {images.names[row]}" for what, (images, row) in sets.items() if isinstance(images, ImageSet)]
    return f"; {', '.join(named)}" if named else ""


def _pixels(images: Images, index: list[int]) -> NDArray[np.uint8]:
    if isinstance(images, ImageSet):
        return images.take(index)
    return to_images(images[index]).take(range(len(index)))
