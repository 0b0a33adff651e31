"""What an encoder is, and the two that need no network: the pixels, and their principal components."""

from abc import ABC, abstractmethod

import numpy as np
import torch
from torch import Tensor

from smoothscore.data import ImageSet
from smoothscore.errors import InputError

__all__ = ["PIXEL", "Components", "Encoder", "values"]


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


class Components(Encoder):
    """Principal components, fitted to a training set; memory: one float32 copy of it while fitting."""

    def __init__(self, count: int, train: ImageSet | Tensor) -> None:
        values = PIXEL(train).numpy()
        if not 1 <= count <= min(values.shape):
            raise InputError(f"pca:{count} needs a DIM from 1 to {min(values.shape)}, the lesser of images and values.")
        self.name = f"pca:{count}"
        from sklearn.decomposition import PCA  # scikit-learn takes a second to import and 90 MB

        self._fit = PCA(count, random_state=0).fit(values)

    def __call__(self, images: ImageSet | Tensor) -> Tensor:
        """The components (n, count)."""
        return torch.from_numpy(self._fit.transform(PIXEL(images).numpy()).astype(np.float32))


def values(images: ImageSet | Tensor) -> Tensor:
    """Images in [-1, 1], float32."""
    if isinstance(images, ImageSet):
        return images.tensor()
    values = images.detach().float().cpu()
    return values / 127.5 - 1 if images.dtype == torch.uint8 else values
