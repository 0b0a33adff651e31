r"""Noisy points against centers, at every noise level from one pass over the images.

For points :math:`x_i`, noises :math:`z_k` and centers :math:`y_j`,

.. math::
    \|x_i+\sigma z_k-y_j\|^2=\sigma^2\|z_k\|^2-2\sigma^2\,\ell_{ijk},\qquad
    \ell_{ijk}=-\frac{\|x_i-y_j\|^2}{2\sigma^2}+\frac{z_k\cdot(y_j-x_i)}{\sigma},

so the distances and the inner products :math:`z_k\cdot y_j` serve all levels. Up to a constant of (i, k)
the :math:`\ell_{ijk}` are the log weights of the posterior, and :math:`\ell=0` for a center that is the
point itself.

Because :math:`\ell` splits into a part of (i, j) and a part of (k, j), sums over centers are matrix
products, :math:`\sum_j e^{\ell_{ijk}}\propto\sum_j e^{-\|x_i-y_j\|^2/2\sigma^2}\,e^{z_k\cdot y_j/\sigma}`.
Below its *critical* level, which follows from :math:`\max_k|z_k\cdot(y_j-x_i)|`, a pair does not matter for
any noise; where few pairs matter they are evaluated one by one instead.
"""

from dataclasses import dataclass

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from smoothscore.data import ImageSet
from smoothscore.errors import InputError

__all__ = ["NoisedPairs", "Points", "choose", "draw_noises", "own_generator", "row_blocks", "shape_of"]

BLOCK_VALUES = 2**24  # float64 values of one point-by-center array


class Points:
    """Images as float64 rows whose pairwise squared distances come out exact where that is possible.

    An :class:`~smoothscore.data.ImageSet` is read as whole numbers u - 128, so that squared distances are
    integers and a product of float64 matrices gives them without rounding. A tensor is taken as it is,
    about its own mean.

    Args:
        data: an ImageSet, or a tensor (N, *shape) in [-1, 1].
        like: points whose units and origin to share; both must be of one kind and shape.

    Raises:
        InputError: there are no images, values are not finite, or the shape differs from ``like``'s.
    """

    def __init__(self, data: Tensor | ImageSet, like: "Points | None" = None) -> None:
        if len(data) == 0:
            raise InputError("there are no images to measure; pass at least one.")
        self.shape = shape_of(data)
        if like is not None and like.shape != self.shape:
            raise InputError(
                f"images of shape {tuple(self.shape)} cannot be compared with training images of shape "
                f"{tuple(like.shape)}; load both with the same resolution=."
            )
        self.dim = self.shape.numel()
        self._data = data
        if like is not None:
            self._origin: Tensor | None = like._origin
        elif isinstance(data, Tensor):
            self._origin = data.double().flatten(1).mean(0)
        else:
            self._origin = None
        if isinstance(data, Tensor) and not torch.isfinite(data).all():
            raise InputError("the images have NaN or infinite values; mend or drop those images first.")

    def __len__(self) -> int:
        return len(self._data)

    @property
    def unit(self) -> float:
        """The length, on the [-1, 1] scale, of one unit of the rows."""
        return 1.0 if self._origin is not None else 1 / 127.5

    def rows(self, index: slice | Tensor) -> Tensor:
        """The chosen images as (n, d) float64 rows."""
        if isinstance(self._data, Tensor):
            rows = self._data[index].flatten(1).double()
            return rows - self._origin if self._origin is not None else (rows + 1) * 127.5 - 128
        if isinstance(index, slice):
            start, stop, _ = index.indices(len(self))
            pixels = torch.from_numpy(self._data.read(start, stop))
        else:
            pixels = torch.from_numpy(self._data.take(index.numpy()))
        rows = pixels.flatten(1).double()
        return rows.sub_(128) if self._origin is None else rows.div_(127.5).sub_(1).sub_(self._origin)


def shape_of(data: Tensor | ImageSet) -> torch.Size:
    """The shape of one image."""
    return data.shape[1:] if isinstance(data, Tensor) else data.shape


def choose(total: int, most: int | None, seed: int) -> NDArray[np.int64]:
    """Ascending indices of ``most`` of ``total`` images, drawn without replacement; ``None``: all."""
    if most is None or most >= total:
        return np.arange(total)
    if most < 1:
        raise InputError(f"images is {most}; noise at least one.")
    return np.sort(np.random.default_rng(seed).choice(total, most, replace=False))


def draw_noises(count: int, dim: int, seed: int) -> Tensor:
    """``count`` standard normal vectors (count, dim) in float64, the same for the same seed."""
    return torch.randn(count, dim, generator=own_generator(seed), dtype=torch.float64)


def own_generator(seed: int) -> torch.Generator:
    """A generator whose numbers are not those that the same seed gives elsewhere, in the data for example."""
    state = np.random.SeedSequence((seed, *b"smoothscore.geometry")).generate_state(1, np.uint64)
    return torch.Generator().manual_seed(int(state[0] >> np.uint64(1)))


def row_blocks(counts: NDArray[np.int64], most: int) -> list[tuple[int, int]]:
    """Consecutive rows (first, last) whose counts add up to at most ``most``, or single rows."""
    blocks, first, held = [], 0, 0
    for row, count in enumerate(counts):
        if held + count > most and row > first:
            blocks.append((first, row))
            first, held = row, 0
        held += int(count)
    return [*blocks, (first, len(counts))]


@dataclass(frozen=True, eq=False)
class NoisedPairs:
    """One block of points with all centers and noises, ready for any noise level.

    Attributes:
        squares: (I, M) squared distances of points and centers; ``inf`` leaves a pair out.
        point_noise: (I, K) inner products of points and noises.
        center_noise: (M, K) inner products of centers and noises.
    """

    squares: Tensor
    point_noise: Tensor
    center_noise: Tensor

    @classmethod
    def build(cls, points: Tensor, centers: Points, noises: Tensor, rows: int = 1024) -> "NoisedPairs":
        """From points (I, d), as ``centers.rows`` would give them, in one pass over the centers.

        Cost: 2 M d (I + K) operations in float64. Memory: (I + K) M numbers and ``rows`` centers.
        """
        squares = points.new_empty(len(points), len(centers))
        center_noise = points.new_empty(len(centers), len(noises))
        for start in range(0, len(centers), rows):
            chunk = slice(start, min(start + rows, len(centers)))
            block = centers.rows(chunk)
            norms = block.square().sum(1)
            squares[:, chunk] = torch.addmm(norms[None], points, block.T, alpha=-2)
            center_noise[chunk] = block @ noises.T
        squares += points.square().sum(1, keepdim=True)
        scale = centers.unit
        return cls(squares.clamp_(min=0).mul_(scale**2), (points @ noises.T).mul_(scale), center_noise.mul_(scale))

    def critical(self, threshold: float) -> Tensor:
        """(I, M) noise level up to which ``ell`` of a pair is at most ``threshold`` (negative) for every noise."""
        reach = torch.cdist(self.point_noise, self.center_noise, p=float("inf"))
        reach += reach.square().sub_(self.squares, alpha=2 * threshold).sqrt_()
        never = self.squares.isinf()
        return (self.squares / reach).masked_fill_(self.squares == 0, 0.0).masked_fill_(never, torch.inf)

    def logits(self, sigma: float, rows: Tensor, columns: Tensor) -> Tensor:
        """``ell`` of the given pairs for every noise: (pairs, K)."""
        inner = self.center_noise[columns] - self.point_noise[rows]
        return inner.div_(sigma).sub_(self.squares[rows, columns, None] / (2 * sigma**2))

    def shift(self, sigma: float) -> Tensor:
        """(I, K) what :meth:`split` leaves out of left and right; no ``ell`` is above it."""
        return (self.center_noise.amax(0) - self.point_noise) / sigma

    def split(self, sigma: float) -> tuple[Tensor, Tensor, Tensor]:
        """``ell[i, k, j] = left[i, j] + right[k, j] + shift[i, k]``, with no value of left or right above 0."""
        right = (self.center_noise - self.center_noise.amax(0)).T.contiguous().div_(sigma)
        return self.squares / (-2 * sigma**2), right, self.shift(sigma)
