r"""Centers as matrix products take them, chunk by chunk.

:math:`S_j=x\cdot\mu_j-\tfrac12\|\mu_j\|^2` holds all of :math:`\|x-\mu_j\|^2=\|x\|^2-2S_j` that
differs between centers. Products of a chunk of centers with the queries are much faster than the other way round.

Pixels are read as bytes :math:`v=u-128`, which differ from the scaled centers :math:`c\mu` (c = 127.5) by one half
everywhere: to subtract the bytes' offset from floats would take as long as the conversion. What is missing, and half
the norm, stand in a tail that each row has, so that S is one product of rows :math:`(v_j,h_j,1)` with columns,

.. math:: S_j=\tfrac1cx\cdot v_j-h_j+\tfrac1{2c}\mathbf 1\cdot x,\qquad h_j=\tfrac12\|\mu_j\|^2 .
"""

import math

import torch
from torch import Tensor

from smoothscore.mixture.centers import CHUNK, Centers

__all__ = ["Rows", "gamma", "multiply"]

TAIL = 16  # values of an extended row past the stored ones
HALF = 0.5  # by which scaled pixels exceed their bytes


def gamma(terms: int) -> float:
    """Error of a float32 sum of this many products, in any order, relative to the sum of their moduli."""
    unit = terms * 2.0**-24
    return unit / (1 - unit)


class Rows:
    """Centers as matrix products take them, read into one buffer: stored values, pixels as bytes, and a tail.

    Args:
        x: (B, d) float64 queries.
        dtype: of products and sums.

    Attributes:
        size: centers read at a time, at most.
        values: the dtype of S.
        error: (B,) float64, a bound of the error of S in float32, with the rounding of x.

    Memory: a chunk of centers in ``dtype``, and of bytes.
    """

    size = CHUNK

    def __init__(self, x: Tensor, centers: Centers, dtype: torch.dtype) -> None:
        self.centers, self.values, self.held = centers, dtype, slice(0)
        self.columns = _extended_columns(x, centers, dtype)
        self.out = torch.zeros(CHUNK, centers.dim + TAIL, dtype=dtype, device=centers.device)
        self.bytes = torch.empty(CHUNK * centers.pixels, centers.dim, dtype=torch.uint8, device=centers.device)
        half, none = centers.half_norms, centers.half_norms.isinf()
        barrier = torch.zeros_like(half).masked_fill_(none, -torch.inf)
        self.tails = torch.stack([half.masked_fill(none, 0.0), torch.ones_like(half), barrier], 1).to(dtype)
        length: Tensor = torch.linalg.vector_norm(x, dim=1)
        stored = centers.largest + 2 * HALF * math.sqrt(centers.dim) / centers.scale * centers.pixels
        self.error = gamma(centers.dim + TAIL) * (length * stored + centers.largest**2) * (1 + 2.0**-10)
        self.pulled = torch.zeros(len(x), centers.dim + TAIL, dtype=dtype, device=x.device)

    def products(self, start: int, stop: int, out: Tensor) -> Tensor:
        """S of centers ``start`` to ``stop`` (n, B), written into ``out``."""
        return multiply(self._read(start, stop), self.columns, out)

    def add(self, weights: Tensor, start: int, stop: int, some: Tensor | None) -> None:
        """Add to the sums these centers, or ``some`` of them (indices from ``start``), by ``weights`` (B, n)."""
        if some is None:
            block = self._read(start, stop)
        elif self.held == slice(start, stop):
            block = self.out[some]
        else:
            block = self._extended(self.centers.take(some + start), self.tails[some + start])
            self.held = slice(0)
        self.pulled.addmm_(weights, block)

    def shrink(self, factors: Tensor) -> None:
        """Multiply the sums (B,)."""
        self.pulled *= factors[:, None].to(self.pulled.dtype)

    def apart(self) -> "Rows":
        """Itself: its products take all threads."""
        return self

    def means(self, weight: Tensor) -> tuple[Tensor, Tensor]:
        """The mean center (B, d) and half its squared norm on the average (B,), by the sum of the weights (B,)."""
        mean = self.pulled.double() / weight[:, None]
        stored, half = mean[:, : self.centers.dim], mean[:, self.centers.dim]
        return (stored + HALF) / self.centers.scale if self.centers.pixels else stored, half

    def _read(self, start: int, stop: int) -> Tensor:
        if self.held == slice(start, stop):
            return self.out[: stop - start]
        self.held = slice(start, stop)
        return self._extended(self.centers.raw(start, stop), self.tails[start:stop])

    def _extended(self, stored: Tensor, tails: Tensor) -> Tensor:
        block, dim = self.out[: len(stored)], self.centers.dim
        if self.centers.pixels:
            stored = torch.bitwise_xor(stored, 128, out=self.bytes[: len(stored)]).view(torch.int8)
        block[:, :dim] = stored
        block[:, dim : dim + tails.shape[1]] = tails
        return block


def _extended_columns(x: Tensor, centers: Centers, dtype: torch.dtype) -> Tensor:
    """Columns (d + TAIL, B) in ``dtype`` whose products with extended rows are S, for queries x (B, d)."""
    columns = torch.zeros(centers.dim + TAIL, len(x), dtype=dtype, device=x.device)
    stored, tail = torch.split(columns, [centers.dim, TAIL])
    stored.copy_((x / centers.scale).T)
    tail[0] = -1
    tail[1] = stored.sum(0, dtype=torch.float64) * HALF * centers.pixels
    tail[2] = 1
    return columns


def multiply(block: Tensor, columns: Tensor, out: Tensor) -> Tensor:
    """``block @ columns`` into ``out`` (n, B), the way round that is faster for B columns."""
    if columns.shape[1] == 1 or columns.shape[1] % 16 == 0:
        return torch.mm(block, columns, out=out)
    return out.copy_((columns.T @ block.T).T)
