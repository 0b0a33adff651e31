"""What an encoder is, and the one that needs nothing: the pixels."""

from abc import ABC, abstractmethod

import torch
from torch import Tensor

from smoothscore.data import ImageSet

__all__ = ["PIXEL", "Encoder", "values"]


class Encoder(ABC):
    """A named map from images to vectors.

    Attributes:
        name: as :func:`encoder` takes it.
    """

    name: str

    @abstractmethod
    def __call__(self, images: ImageSet | Tensor) -> Tensor:
        """The vectors (n, f), float32, of an ImageSet or of images (n, C, H, W) in [-1, 1]."""

    def place(self, images: ImageSet | Tensor) -> ImageSet | Tensor:
        """What distances are measured between: the vectors; in pixel space the images themselves, exactly."""
        return self(images)


class _Pixel(Encoder):
    name = "pixel"

    def __call__(self, images: ImageSet | Tensor) -> Tensor:
        return values(images).flatten(1)

    def place(self, images: ImageSet | Tensor) -> ImageSet | Tensor:
        return images


PIXEL = _Pixel()


def values(images: ImageSet | Tensor) -> Tensor:
    """Images in [-1, 1], float32."""
    if isinstance(images, ImageSet):
        return images.tensor()
    values = images.detach().float().cpu()
    return values / 127.5 - 1 if images.dtype == torch.uint8 else values
