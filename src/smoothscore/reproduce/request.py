"""What a reader asks of an entry: scale, seed, and the images or score that it needs."""

from dataclasses import dataclass
from pathlib import Path
from typing import Literal

import numpy as np
from torch import Tensor

from smoothscore.data import ImageSet, as_images
from smoothscore.errors import InputError
from smoothscore.scores import Score, load_score

__all__ = ["Request", "Scale"]

Scale = Literal["quick", "full"]


@dataclass(frozen=True)
class Request:
    """The arguments of :func:`smoothscore.reproduce.reproduce` as an entry's function receives them."""

    name: str
    scale: Scale
    seed: int
    data: str | Path | ImageSet | Tensor | None = None
    score: Score | str | None = None
    held_out: str | Path | ImageSet | Tensor | None = None

    @property
    def full(self) -> bool:
        """Whether the paper's own counts are wanted."""
        return self.scale == "full"

    def images(self, default: str | None = None, quick: int | None = None) -> ImageSet:
        """The data given, or the built-in set named ``default``; at quick scale at most ``quick`` of them.

        Raises:
            InputError: no data were given and there is no default.
        """
        source = default if self.data is None else self.data
        if source is None:
            raise InputError(f"{self.name} needs CIFAR-10's training images; pass data=, e.g. 'cifar10-train.zip'.")
        images = as_images(source)
        return images if self.full or quick is None else images.subset(min(quick, len(images)), self.seed)

    def split(self, train: int | None, held_out: int, label: int | None = None) -> tuple[ImageSet, ImageSet]:
        """Random training images and other images of the same kind, at most so many of each.

        Args:
            train: number of training images; None takes all there are.
            held_out: number of others, out of the held-out images given, or else out of the data.
            label: take images of this class only.

        Raises:
            InputError: there are no labels, no images of that class, or the data leave none to hold out.
        """
        images = _of_class(self.images(), label)
        train = len(images) if train is None else train
        if self.held_out is not None:
            others = _of_class(as_images(self.held_out), label)
            few, others_few = min(train, len(images)), min(held_out, len(others))
            return images.subset(few, self.seed), others.subset(others_few, self.seed)
        few = min(train, 3 * len(images) // 4)
        first, second = images.split((few, min(held_out, len(images) - few)), seed=self.seed)
        return first, second

    def given_score(self, images: ImageSet) -> Score:
        """The score given, for these images.

        Raises:
            InputError: none was, or it takes images of another shape.
        """
        if self.score is None:
            raise InputError(
                f"{self.name} measures a score; pass score=, an object or a text: the folder of a training run, or a "
                "closed form like 'empirical:mnist-5k'."
            )
        score = load_score(self.score) if isinstance(self.score, str) else self.score
        if score.shape != images.shape:
            raise InputError(
                f"The score takes images of shape {tuple(score.shape)} and data= has {tuple(images.shape)}; "
                "give the images that the score belongs to."
            )
        return score

    @property
    def score_name(self) -> str:
        """What to call the score given."""
        return self.score if isinstance(self.score, str) else type(self.score).__name__


def _of_class(images: ImageSet, label: int | None) -> ImageSet:
    if label is None:
        return images
    if images.labels is None or not (images.labels == label).any():
        raise InputError(f"{images.source} has no images of class {label}; pass CIFAR-10 with its labels.")
    return images[np.flatnonzero(images.labels == label)]
