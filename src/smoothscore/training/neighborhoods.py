r"""The neighbors of some images, and the two sums over them that a softened target needs.

.. math:: n_b\cdot\mu_j\qquad\text{and}\qquad\sum_js_{bj}\mu_j

Pixels are read where they are stored, one byte a value; where the neighbors are moved with their image, lie on another
device or are few they are written out as floats: multiples of the images, so that pixels need no division.
"""

from dataclasses import dataclass
from typing import Protocol

import numpy as np
import torch
from torch import Tensor

from smoothscore.mixture import Centers

__all__ = ["Listed", "Neighborhoods", "Stored"]


class Neighborhoods(Protocol):
    """The K neighbors of b images."""

    def along(self, noise: Tensor) -> Tensor:
        """Products of ``noise`` (b, d) with the neighbors, in its precision: (b, K) float64."""
        ...

    def sum(self, shares: Tensor) -> Tensor:
        """The neighbors weighted by ``shares`` (b, K) float64: (b, d)."""
        ...


@dataclass(frozen=True)
class Listed:
    """Neighbors written out: ``rows`` (b, K, d), ``scale`` times the images in [-1, 1]."""

    rows: Tensor
    scale: float = 1.0

    def along(self, noise: Tensor) -> Tensor:
        """In the precision of the rows."""
        found = [rows @ one for rows, one in zip(self.rows, noise, strict=True)]  # torch.bmm is slower for one column
        return torch.stack(found).double().div_(self.scale)

    def sum(self, shares: Tensor) -> Tensor:
        """In the precision of the rows."""
        weights = (shares / self.scale).to(self.rows.dtype)
        return torch.stack([own @ rows for own, rows in zip(weights, self.rows, strict=True)])

    def squares(self) -> Tensor:
        """Squared distances from the first of each: (b, K) float64."""
        return (self.rows - self.rows[:, :1]).square().sum(2).double().div_(self.scale**2)


@dataclass(frozen=True)
class Stored:
    """Neighbors ``indices`` (b, K) among ``centers``, whose stored values are read in place."""

    centers: Centers
    indices: Tensor

    def along(self, noise: Tensor) -> Tensor:
        """Sums of 256 values in the precision of the noise, at least float32, these in float64."""
        from smoothscore.loops import threaded
        from smoothscore.mixture.compiled_sums import products

        assert self.centers.stored is not None
        values, places = self.centers.stored
        x = noise.to(torch.promote_types(noise.dtype, torch.float32)).contiguous().numpy()
        rows, out = places[self.indices.numpy()], np.empty((*self.indices.shape, 1))

        def some(start: int, stop: int) -> None:
            for b in range(start, stop):
                products(values, rows[b], self.centers.shift, x[b : b + 1], out[b])

        threaded(some, len(x))
        return torch.from_numpy(out).squeeze(2).div_(self.centers.scale)

    def sum(self, shares: Tensor) -> Tensor:
        """In float64."""
        from smoothscore.mixture.pairs import accumulate

        query = torch.arange(len(shares)).repeat_interleave(shares.shape[1])
        out = torch.zeros(len(shares), self.centers.dim, dtype=torch.float64)
        return accumulate(out, query, self.indices.flatten(), self.centers, shares.flatten())
