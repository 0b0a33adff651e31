r"""Products of queries with all centers, and the centers above a threshold among them.

:math:`S_j=x\cdot\mu_j-\tfrac12\|\mu_j\|^2` holds all of :math:`\|x-\mu_j\|^2=\|x\|^2-2S_j` that
differs between centers. A table of S, or of bounds of it, has one row a center: products of a chunk of
centers with the queries are much faster than the other way round.

Pixels are read as bytes :math:`v=u-128`, which differ from the scaled centers :math:`c\mu` (c = 127.5) by one half
everywhere: to subtract the bytes' offset from floats would take as long as the conversion. What is missing, and half
the norm, stand in a tail that each row has, so that S is one product of rows :math:`(v_j,h_j,1)` with columns,

.. math:: S_j=\tfrac1cx\cdot v_j-h_j+\tfrac1{2c}\mathbf 1\cdot x,\qquad h_j=\tfrac12\|\mu_j\|^2 .
"""

import math
from dataclasses import dataclass

import torch
from torch import Tensor

from smoothscore.mixture.centers import CHUNK, PIXEL_SCALE, Centers

__all__ = ["PIECE", "Bytes", "Rows", "Table", "direct", "gamma", "multiply", "products", "rows_for"]

PIECE = 16  # centers whose largest value is kept beside the table
PAIRS = 2**14  # of a query and a piece looked at together
ROWS = 4096  # of the table handled together
TAIL = 16  # values of an extended row past the stored ones
HALF = 0.5  # by which scaled pixels exceed their bytes
ALONE = 2**15 - 1  # values up to which PyTorch uses one thread
FEW = 4  # queries up to which bytes are summed as they are stored


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


class Bytes:
    """The same for few queries, summed from the stored pixels (:mod:`compiled_sums`); S comes in float64.

    Its error is that of the products alone, by blocks. Chunks are as large as tensors can be that PyTorch handles in
    one thread: its others, which wait busily for more to do, would be in the way of those of the loops.
    """

    values = torch.float64

    def __init__(self, x: Tensor, centers: Centers, dtype: torch.dtype) -> None:
        from smoothscore.mixture import compiled_sums

        assert centers.stored is not None
        self.centers, self.loops = centers, compiled_sums
        self.stored, self.rows = centers.stored
        self.x = (x / centers.scale).to(dtype).numpy()
        self.size = ALONE // len(x) // PIECE * PIECE
        self.pulled = torch.zeros(len(x), centers.dim, dtype=torch.float64, device=x.device)
        self.half = torch.zeros(len(x), dtype=torch.float64, device=x.device)
        length: Tensor = torch.linalg.vector_norm(x, dim=1)
        self.error = (gamma(compiled_sums.BLOCK + 1) * length + 2.0**-40 * (length + centers.largest)) * centers.largest

    def products(self, start: int, stop: int, out: Tensor) -> Tensor:
        """S of centers ``start`` to ``stop`` (n, B), written into ``out``."""
        self.loops.products(self.stored, self.rows[start:stop], PIXEL_SCALE, self.x, out.numpy())
        return out.sub_(self.centers.half_norms[start:stop, None])

    def add(self, weights: Tensor, start: int, stop: int, some: Tensor | None) -> None:
        """Add to the sums these centers, or ``some`` of them (indices from ``start``), by ``weights`` (B, n)."""
        rows, half = self.rows[start:stop], self.centers.half_norms[start:stop]
        if some is not None:
            rows, half = rows[some.numpy()], half[some]
        self.loops.total(self.stored, rows, PIXEL_SCALE, weights.T.contiguous().numpy(), self.pulled.numpy())
        self.half += weights.double() @ half.nan_to_num(posinf=0.0)

    def shrink(self, factors: Tensor) -> None:
        """Multiply the sums (B,)."""
        self.pulled *= factors[:, None]
        self.half *= factors

    def means(self, weight: Tensor) -> tuple[Tensor, Tensor]:
        """The mean center (B, d) and half its squared norm on the average (B,), by the sum of the weights (B,)."""
        return self.pulled / (weight[:, None] * self.centers.scale), self.half / weight


def direct(queries: int, centers: Centers) -> bool:
    """Whether so few queries are summed from the pixels as they are stored."""
    return queries <= FEW and centers.pixels and centers.stored is not None


def rows_for(x: Tensor, centers: Centers, dtype: torch.dtype) -> Rows | Bytes:
    """Who reads the centers for queries x (B, d) in float64."""
    return (Bytes if direct(len(x), centers) else Rows)(x, centers, dtype)


@dataclass
class Table:
    """One value for each of M centers (rows) and B queries (columns).

    Attributes:
        values: (M rounded up to whole pieces, B), ``-inf`` past M.
        peaks: (pieces, B), the largest value of each piece.
        error: (B,) float64, by which a value may be off.
    """

    values: Tensor
    peaks: Tensor
    error: Tensor

    @classmethod
    def empty(cls, centers: Centers, queries: int, dtype: torch.dtype = torch.float32) -> "Table":
        """A table to be filled."""
        pieces = -(-centers.count // PIECE)
        values = torch.empty(pieces * PIECE, queries, dtype=dtype, device=centers.device)
        values[centers.count :] = -torch.inf
        peaks = torch.empty(pieces, queries, dtype=dtype, device=centers.device)
        return cls(values, peaks, torch.zeros(queries, dtype=torch.float64, device=centers.device))

    def settle(self, start: int, stop: int) -> None:
        """Take the peaks of rows ``start`` (of whole pieces) to ``stop``."""
        first, last = start // PIECE, -(-stop // PIECE)
        whole = self.values[first * PIECE : last * PIECE]
        torch.amax(whole.view(-1, PIECE, whole.shape[1]), 1, out=self.peaks[first:last])

    def best(self) -> Tensor:
        """The row of each query's largest value: (B,)."""
        rows = self.peaks.argmax(0) * PIECE + torch.arange(PIECE, device=self.values.device)[:, None]
        return rows.gather(0, self.values.gather(0, rows).argmax(0, keepdim=True))[0]

    def reaching(self, threshold: Tensor) -> Tensor:
        """About how many centers reach each query's threshold: (B,) float32.

        From the share h of the pieces that do, as if these centers were strewn: :math:`-\\log(1-h)` a piece.
        """
        hits = (self.peaks >= threshold.to(self.peaks.dtype)).sum(0)
        return -len(self.peaks) * torch.log1p(-hits / (len(self.peaks) + 0.5))

    def above(self, threshold: Tensor) -> tuple[Tensor, Tensor]:
        """Pairs (query, row), sorted by query, whose value reaches the query's threshold (B,)."""
        limit = threshold.to(self.values.dtype)
        query, piece = (self.peaks >= limit).T.nonzero(as_tuple=True)
        found = []
        for q, some in zip(torch.split(query, PAIRS), torch.split(piece, PAIRS), strict=True):
            rows = some[:, None] * PIECE + torch.arange(PIECE, device=some.device)
            entry, place = (self.values[rows, q[:, None]] >= limit[q, None]).nonzero(as_tuple=True)
            found.append((q[entry], rows[entry, place]))
        return torch.cat([q for q, _ in found]), torch.cat([r for _, r in found])

    def keep(self, queries: Tensor) -> "Table":
        """The table of some queries (a mask), in the memory of this one, which is lost."""
        if queries.all():
            return self
        width = int(queries.sum())
        for values in (self.values, self.peaks):
            for part in torch.split(values, ROWS):
                part[:, :width] = part[:, queries]
        return Table(self.values[:, :width], self.peaks[:, :width], self.error[queries])


def products(x: Tensor, centers: Centers, dtype: torch.dtype) -> Table:
    """The table of S for queries x (B, d) in float64, by products in ``dtype``."""
    rows = rows_for(x, centers, dtype)
    table = Table.empty(centers, len(x), rows.values)
    table.error = rows.error
    for start in range(0, centers.count, rows.size):
        stop = min(start + rows.size, centers.count)
        rows.products(start, stop, table.values[start:stop])
        table.settle(start, stop)
    return table


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
