r"""Principal components, from a few passes over images that stay where they are.

With the covariance C of the images and a random block B, the space of :math:`B,CB,\dots,C^{r-1}B` holds the first axes
of C far better than :math:`C^{r-1}B` alone: the axes of C within it are taken (block Krylov, Rayleigh and Ritz). C is
never written out; it is applied by products of the images, in float32, which are summed in float64.
"""

from collections.abc import Iterator
from dataclasses import dataclass

import torch
from torch import Tensor

from smoothscore.data import ImageSet
from smoothscore.encoders.base import Encoder, values
from smoothscore.errors import InputError

__all__ = ["Components", "Principal", "principal"]

ROUNDS = 8  # applications of the covariance
SPARE = 10  # axes sought beyond those that are kept, for which the last ones are better
CHUNK = 2**22  # values written out as floats at a time


class Components(Encoder):
    """Principal components, fitted to a training set of (N, d) values.

    Cost and memory: those of :func:`principal`.
    """

    def __init__(self, count: int, train: ImageSet | Tensor) -> None:
        most = min(len(train), next(_chunks(train[:1])).shape[1])
        if not 1 <= count <= most:
            raise InputError(f"pca:{count} needs a DIM from 1 to {most}, the lesser of images and values.")
        self.name = f"pca:{count}"
        found = principal(train, count)
        self._mean, self._directions = found.mean.float(), found.directions.float()

    def __call__(self, images: ImageSet | Tensor) -> Tensor:
        """The components (n, count)."""
        return torch.cat([(chunk - self._mean) @ self._directions for chunk in _chunks(images)])


@dataclass(frozen=True)
class Principal:
    """The first principal axes of some images, in float64; variances are divided by the number of images.

    Attributes:
        mean: (d,).
        directions: (d, count) orthonormal, the largest entry of each positive.
        variances: (count,) descending.
        total: variance of the images along all axes together.
    """

    mean: Tensor
    directions: Tensor
    variances: Tensor
    total: float


def principal(images: ImageSet | Tensor, count: int, rounds: int = ROUNDS) -> Principal:
    """The first ``count`` axes of some images, at most d; more rounds find the last ones better.

    Cost: two products of the images with ``count`` + 10 directions a round. Memory: 16 (``count`` + 10) d bytes a
    round.
    """
    first = next(_chunks(images[:1]))
    mean, dim = torch.zeros(first.shape[1], dtype=torch.float64), first.shape[1]
    for chunk in _chunks(images):
        mean += chunk.sum(0, dtype=torch.float64) / len(images)
    total = sum(float((chunk - mean.float()).square().sum(dtype=torch.float64)) for chunk in _chunks(images))
    width = count + SPARE
    block = torch.randn(dim, width, dtype=torch.float64, generator=torch.Generator().manual_seed(0))
    basis = torch.empty(dim, min(rounds * width, dim), dtype=torch.float64)
    applied = torch.zeros_like(basis)
    for start in range(0, basis.shape[1], width):
        known, new = basis[:, :start], slice(start, min(start + width, basis.shape[1]))
        block = block[:, : new.stop - start]
        for _ in range(2):  # once leaves rounding of the size of what was taken away
            block = torch.linalg.qr(block - known @ (known.mT @ block)).Q
        basis[:, new] = block
        for chunk in _chunks(images):
            rows = chunk - mean.float()
            applied[:, new] += rows.mT @ (rows @ block.float())
        block = applied[:, new].div_(len(images))
    within = basis.mT @ applied
    variances, turned = torch.linalg.eigh((within + within.mT) / 2)
    axes = basis @ turned[:, -count:].flip(1)
    signs = axes.gather(0, axes.abs().argmax(0, keepdim=True)).sign()
    return Principal(mean, axes * signs, variances[-count:].flip(0).clamp_min(0), total / len(images))


def _chunks(images: ImageSet | Tensor) -> Iterator[Tensor]:
    """The images as rows (n, d) in [-1, 1], float32."""
    step = max(1, CHUNK // (images.shape.numel() if isinstance(images, ImageSet) else images[0].numel()))
    for start in range(0, len(images), step):
        yield values(images[start : start + step]).flatten(1)
