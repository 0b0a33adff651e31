"""A set of samples on disk."""

import json
import zipfile
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import ClassVar, Self

import numpy as np
import numpy.typing as npt
from PIL import Image

from smoothscore.data import ImageSet, load_images
from smoothscore.data.resize import pixels_of
from smoothscore.errors import InputError
from smoothscore.report import Gallery, Group, Picture, Result, Section, image_grid

__all__ = ["SampleSet", "image_name"]


def image_name(number: int) -> str:
    """The file of an image, as :func:`smoothscore.write_images` numbers them."""
    return f"{number // 1000:05d}/img{number:08d}.png"


@dataclass(frozen=True, eq=False)
class SampleSet(Result):
    """Generated images in a folder or a zip, and how they were drawn; its JSON is the set's ``manifest.json``.

    Attributes:
        path: where they are.
        n: how many were asked for.
        shape: of one image, (C, H, W).
        evaluations: of the score for each image; the mean where images took different numbers.
        failed: number of an image -> the step at which it became NaN or infinite; it has no file.
        options: what was asked: score, sampler, levels, seed, precision, fingerprint of the data.
        kept: images that an interrupted call had already written.
    """

    path: Path
    n: int
    shape: tuple[int, ...]
    evaluations: int | float
    failed: Mapping[int, str]
    options: Mapping[str, object]
    kept: int = 0

    kind: ClassVar[str] = "sample set"
    title: ClassVar[str] = "Samples"

    def __len__(self) -> int:
        return self.n - len(self.failed)

    @classmethod
    def load(cls, path: str | Path, kept: int = 0) -> Self:
        """The set at a path, from its manifest.

        Raises:
            InputError: there is no manifest.
        """
        path = Path(path)
        try:
            found = json.loads(_root(path).joinpath("manifest.json").read_text())
        except (OSError, KeyError, zipfile.BadZipFile, ValueError) as problem:
            raise InputError(
                f"{path} has no manifest.json that can be read; give a set that sample wrote."
            ) from problem
        failed = {int(number): what for number, what in found["failed"].items()}
        return cls(path, found["n"], tuple(found["shape"]), found["evaluations"], failed, found["setting"], kept)

    @property
    def images(self) -> ImageSet:
        """The images, as :func:`smoothscore.load_images` reads them."""
        return load_images(self.path)

    def first(self, count: int) -> tuple[list[int], list[npt.NDArray[np.uint8]]]:
        """The numbers and the pixels (C, H, W) of the first ``count`` images."""
        numbers = [i for i in range(min(self.n, count + len(self.failed))) if i not in self.failed][:count]
        root, pictures = _root(self.path), []
        for i in numbers:
            with root.joinpath(image_name(i)).open("rb") as file, Image.open(file) as picture:
                pictures.append(pixels_of(picture))
        return numbers, pictures

    def grid(self, count: int) -> bytes:
        """The first ``count`` images as one PNG, ten in a row."""
        pixels = self.first(count)[1]
        return image_grid(np.stack(pixels), columns=min(10, len(pixels)))

    def values(self) -> Mapping[str, object]:
        """Counts; the images are in their files."""
        return {"n": self.n, "shape": self.shape, "evaluations": self.evaluations, "failed": self.failed}

    def setting(self) -> Mapping[str, object]:
        """What was asked."""
        return self.options

    def summary(self) -> Sequence[tuple[str, str]]:
        """The terminal's lines."""
        lines = [
            ("samples", f"{len(self)} of shape {' x '.join(map(str, self.shape))} in {self.path}"),
            ("score", str(self.options.get("score", "unknown"))),
            ("sampler", f"{self.options.get('sampler', 'unknown')}, {self.evaluations:.6g} evaluations an image"),
            ("seed", str(self.options.get("seed", "unknown"))),
        ]
        if self.failed:
            lines.append(("failed", f"{len(self.failed)} images"))
        return [*lines, ("continued", f"{self.kept} images were there already")] if self.kept else lines

    def lead(self) -> str:
        """The sentence at the head of the page."""
        return f"{len(self)} images drawn with {self.evaluations:.6g} evaluations of the score each."

    def sections(self) -> Sequence[Section]:
        """The images, at most 400 of them."""
        numbers, pixels = self.first(400)
        pictures = [Group((Picture(image, f"sample {i}"),)) for i, image in zip(numbers, pixels, strict=True)]
        return [Section("Images", (Gallery(pictures, caption=f"The first {len(pictures)} of {len(self)}."),))]


def _root(path: Path) -> zipfile.Path | Path:
    return zipfile.Path(path) if path.is_file() else path
