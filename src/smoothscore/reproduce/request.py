"""What a reader asks of an entry: scale, seed, and the data or score that it needs."""

from dataclasses import dataclass
from pathlib import Path
from typing import Literal

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

    @property
    def full(self) -> bool:
        """Whether the paper's own counts are wanted."""
        return self.scale == "full"

    def images(self, default: str | None = None) -> ImageSet:
        """The data given, or the built-in set named ``default``.

        Raises:
            InputError: no data were given and there is no default.
        """
        source = default if self.data is None else self.data
        if source is None:
            raise InputError(f"{self.name} needs CIFAR-10's training images; pass data=, e.g. 'cifar10-train.zip'.")
        return as_images(source)

    def given_score(self) -> Score:
        """The score given.

        Raises:
            InputError: none was.
        """
        if self.score is None:
            raise InputError(
                f"{self.name} measures a score; pass score=, an object or a text like 'empirical:mnist-5k'."
            )
        return load_score(self.score) if isinstance(self.score, str) else self.score
