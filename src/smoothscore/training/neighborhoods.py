r"""The neighbors of a batch's images, and the two sums over them that a softened target needs.

.. math:: n_b\cdot\mu_j\qquad\text{and}\qquad\sum_js_{bj}\mu_j

Pixels are read where they are stored, one byte a value; only where the neighbors are moved with their image, lie on
another device or are few are they written out as floats, (b, K, d).
"""

from typing import Protocol

import numpy as np
import torch
from torch import Tensor

from smoothscore.mixture import Centers

__all__ = ["Listed", "Neighborhoods", "Stored"]


class Neighborhoods(Protocol):
    """The K neighbors of b images."""

    def along(self, noise: Tensor) -> Tensor:
        """Products of ``noise`` (b, d) with the neighbors: (b, K) float64."""
        ...

    def sum(self, shares: Tensor, dtype: torch.dtype) -> Tensor:
        """The neighbors weighted by ``shares`` (b, K) float64: (b, d)."""
        ...


class Listed:
    """Neighbors written out: ``rows`` (b, K, d) in [-1, 1]."""

    def __init__(self, rows: Tensor) -> None:
        self.rows = rows

    def along(self, noise: Tensor) -> Tensor:
        """In the precision of the neighbors."""
        return torch.bmm(self.rows, noise.unsqueeze(2)).squeeze(2).double()

    def sum(self, shares: Tensor, dtype: torch.dtype) -> Tensor:
        """In the precision of the neighbors."""
        return torch.bmm(shares.to(self.rows.dtype).unsqueeze(1), self.rows).squeeze(1).to(dtype)


class Stored:
    """Neighbors ``indices`` (b, K) among ``centers``, whose ``stored`` values are read in place."""

    def __init__(self, centers: Centers, indices: Tensor) -> None:
        assert centers.stored is not None
        self.values, places = centers.stored
        self.rows = places[indices.numpy()]
        self.shift, self.scale = centers.shift, centers.scale

    def along(self, noise: Tensor) -> Tensor:
        """Sums of 256 values in the precision of the noise, these in float64."""
        from smoothscore.loops import threaded
        from smoothscore.mixture.compiled_sums import products

        x, out = noise.contiguous().numpy(), np.empty((*self.rows.shape, 1))

        def some(start: int, stop: int) -> None:
            for b in range(start, stop):
                products(self.values, self.rows[b], self.shift, x[b : b + 1], out[b])

        threaded(some, len(x))
        return torch.from_numpy(out).squeeze(2).div_(self.scale)

    def sum(self, shares: Tensor, dtype: torch.dtype) -> Tensor:
        """Sums of 64 neighbors in ``dtype``, these in float64."""
        from smoothscore.loops import threaded
        from smoothscore.mixture.compiled_sums import total

        weights = (shares / self.scale).to(dtype).unsqueeze(2).numpy()
        out = np.zeros((len(weights), self.values.shape[1]))

        def some(start: int, stop: int) -> None:
            for b in range(start, stop):
                total(self.values, self.rows[b], self.shift, weights[b], out[b : b + 1])

        threaded(some, len(weights))
        return torch.from_numpy(out).to(dtype)
