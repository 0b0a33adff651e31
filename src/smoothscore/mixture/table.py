r"""A value for each center and query, and the centers above a threshold among them.

One row a center, as products of a chunk of centers with the queries come; the largest value of each few rows is kept
beside them, so that most rows need not be looked at.
"""

from dataclasses import dataclass

import torch
from torch import Tensor

from smoothscore.mixture.centers import Centers

__all__ = ["PIECE", "Table"]

PIECE = 16  # centers whose largest value is kept beside the table
PAIRS = 2**14  # of a query and a piece looked at together
ROWS = 4096  # of the table handled together


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
