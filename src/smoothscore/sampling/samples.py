"""What sampling gives."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import ClassVar

from torch import Tensor

from smoothscore.data import to_images, write_images
from smoothscore.errors import InputError
from smoothscore.report import Gallery, Group, Picture, Result, Section, image_grid

__all__ = ["Samples"]


@dataclass(frozen=True, eq=False)
class Samples(Result):
    """Generated images and how they were drawn.

    Attributes:
        images: (n, *shape) float, in [-1, 1] units, not clipped.
        evaluations: evaluations of the score for each image; the mean where images took different numbers.
        trajectory: (steps + 1, n, *shape) from noise to image, when it was asked for.
        options: what was asked: score, sampler, levels, seed, precision.
        failed: number of an image -> the step at which it became NaN or infinite; its image is NaN.
    """

    images: Tensor
    evaluations: int | float
    trajectory: Tensor | None = None
    options: Mapping[str, object] = field(default_factory=dict)
    failed: Mapping[int, str] = field(default_factory=dict)

    kind: ClassVar[str] = "samples"
    title: ClassVar[str] = "Samples"

    def __len__(self) -> int:
        return len(self.images)

    @property
    def finite(self) -> Tensor:
        """The images without the failed ones."""
        return self.images[[i for i in range(len(self)) if i not in self.failed]] if self.failed else self.images

    def values(self) -> Mapping[str, object]:
        """Counts and range; the images themselves are written by :meth:`save_images`."""
        return {
            "n": len(self),
            "shape": list(self.images.shape[1:]),
            "evaluations": self.evaluations,
            "failed": self.failed,
            "lowest": float(self.finite.min()) if len(self.finite) else None,
            "highest": float(self.finite.max()) if len(self.finite) else None,
        }

    def setting(self) -> Mapping[str, object]:
        """What was asked."""
        return self.options

    def summary(self) -> Sequence[tuple[str, str]]:
        """The terminal's lines."""
        shape = " x ".join(map(str, self.images.shape[1:]))
        lines = [
            ("samples", f"{len(self)} of shape {shape}"),
            ("score", str(self.options.get("score", "unknown"))),
            ("sampler", f"{self.options.get('sampler', 'unknown')}, {self.evaluations:.6g} evaluations an image"),
            ("seed", str(self.options.get("seed", "unknown"))),
        ]
        return [*lines, ("failed", f"{len(self.failed)} images")] if self.failed else lines

    def lead(self) -> str:
        """The sentence at the head of the page."""
        return f"{len(self)} images drawn with {self.evaluations:.6g} evaluations of the score each."

    def sections(self) -> Sequence[Section]:
        """The images, at most 400 of them."""
        kept = [i for i in range(len(self)) if i not in self.failed][:400]
        pixels = to_images(self.images[kept]).take(range(len(kept)))
        pictures = [Group((Picture(image, f"sample {i}"),)) for i, image in zip(kept, pixels, strict=True)]
        return [Section("Images", (Gallery(pictures, caption=f"The first {len(pictures)} of {len(self)}."),))]

    def save_images(self, path: str | Path) -> None:
        """Write every image that did not fail as PNG to a new folder, or to a zip when the path ends in ``.zip``.

        Raises:
            InputError: the samples are points rather than images, or the place is taken or not writable.
        """
        if self.images.ndim != 4:
            raise InputError(f"Samples of shape {tuple(self.images.shape[1:])} are no images; save them as an array.")
        write_images(to_images(self.finite), path)

    def grid(self, count: int) -> bytes:
        """The first ``count`` images as one PNG, ten in a row."""
        kept = min(count, len(self.finite))
        return image_grid(to_images(self.finite[:kept]).take(range(kept)), columns=min(10, kept))
