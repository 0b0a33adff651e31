r"""Products of queries with all centers.

:math:`S_j=x\cdot\mu_j-\tfrac12\|\mu_j\|^2` holds all of :math:`\|x-\mu_j\|^2=\|x\|^2-2S_j` that
differs between centers.
"""

from collections.abc import Callable

import torch
from torch import Tensor

from smoothscore.mixture.centers import Centers
from smoothscore.mixture.rows import Rows
from smoothscore.mixture.stored import Bytes, few
from smoothscore.mixture.table import PIECE, Table

__all__ = ["direct", "over", "products", "rows_for"]

LOOPS = (
    8192  # centers from which loops serve many queries: with fewer, waking a second thread costs more than is gained
)


def direct(queries: int, centers: Centers) -> bool:
    """Whether the centers are summed from the pixels as they are stored."""
    return centers.pixels and centers.stored is not None and (few(queries) or centers.count >= LOOPS)


def rows_for(x: Tensor, centers: Centers, dtype: torch.dtype) -> Rows | Bytes:
    """Who reads the centers for queries x (B, d) in float64."""
    return (Bytes if direct(len(x), centers) else Rows)(x, centers, dtype)


def over(rows: Rows | Bytes, count: int, some: Callable[[int, int], None]) -> None:
    """Call ``some(first, last)`` on parts of ``count`` centers, whole pieces; one a thread where each has its own."""
    if isinstance(rows, Rows):
        some(0, count)
        return
    from smoothscore.loops import threaded

    threaded(lambda first, last: some(first * PIECE, min(last * PIECE, count)), -(-count // PIECE))


def products(x: Tensor, centers: Centers, dtype: torch.dtype) -> Table:
    """The table of S for queries x (B, d) in float64, by products in ``dtype``."""
    rows = rows_for(x, centers, dtype)
    table = Table.empty(centers, len(x), rows.values)
    table.error = rows.error

    def fill(first: int, last: int) -> None:
        for start in range(first, last, rows.size):
            stop = min(start + rows.size, last)
            rows.products(start, stop, table.values[start:stop])
            table.settle(start, stop)

    over(rows, centers.count, fill)
    return table
