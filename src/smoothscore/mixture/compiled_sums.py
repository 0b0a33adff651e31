r"""Sums straight from the stored rows, for few queries or for chosen pairs: nothing is written out as floats first.

A value is read as ``stored - shift``: with the shift 127.5 a pixel becomes 127.5 times the center, exactly. Products
with float32 queries are summed in float32 over ``BLOCK`` values and these sums in float64, so that
:math:`\sum_i x_iv_i` is off by

.. math:: \gamma_{BLOCK+1}\,|x|\cdot|v|\le\gamma_{BLOCK+1}\|x\|\|v\|,\qquad \gamma_n=\frac{nu}{1-nu},\quad u=2^{-24},

at most, whatever the order within a block: each term has the rounding of its product and those of at most BLOCK - 1
additions, and one is left for the rounding of x (what float64 adds is some 2^-40 of it). That is a twelfth of the bound
for 3,072 values summed in float32. Weighted sums of rows are taken in the same way, over ``GROUP`` rows at a time.
"""

from collections.abc import Callable

import numpy as np

from smoothscore.loops import Array, constant, loop, threaded

__all__ = ["BLOCK", "GROUP", "products", "squares", "total", "totals"]

BLOCK = constant("sums_block")  # values summed in the precision of the query
GROUP = constant("sums_group")  # rows, likewise
LITTLE = 2**23  # values read below which one thread is faster than several


def products(stored: Array, rows: Array, shift: float, x: Array, out: Array) -> None:
    """``out[j, b]`` is the product of query ``x[b]`` with row ``rows[j]``: (n, B) float64.

    Args:
        stored: (N, d) of any real dtype.
        rows: (n,) int64.
        shift: subtracted from what is stored.
        x: (B, d) float32 or float64; the dtype says in which precision a block is summed.
        out: (n, B) float64.
    """
    loop("sums_products", stored.dtype, x.dtype)(stored, stored.shape[1], rows, len(rows), float(shift), x, len(x), out)


def total(stored: Array, rows: Array, shift: float, weights: Array, out: Array) -> None:
    """Add to ``out`` (B, d) float64 the rows weighted by ``weights`` (n, B), in blocks of their dtype."""
    dim, (count, queries), buffer = stored.shape[1], weights.shape, np.empty(stored.shape[1], weights.dtype)
    loop("sums_total", stored.dtype, weights.dtype)(
        stored, dim, rows, count, float(shift), weights, queries, buffer, out
    )


def squares(stored: Array, shift: float, x: Array, query: Array, row: Array, out: Array) -> None:
    """``out[p]`` is the squared distance of query ``x[query[p]]`` from row ``row[p]``, in float64: (P,)."""
    dim, function = stored.shape[1], loop("sums_squares", stored.dtype)
    _spread(function, len(row), len(row) * dim, stored, dim, float(shift), x, query, row, out)


def totals(stored: Array, shift: float, query: Array, row: Array, factors: Array, out: Array) -> None:
    """Add to ``out[query[p]]`` (B, d) float64 the rows ``row[p]`` times ``factors[p]``."""
    dim, function = stored.shape[1], loop("sums_totals", stored.dtype)
    _spread(function, dim, len(row) * dim, stored, dim, float(shift), query, row, factors, len(row), out)


def _spread(function: Callable[..., object], count: int, work: int, *arguments: object) -> None:
    if work < LITTLE:
        function(0, count, *arguments)
    else:
        threaded(function, count, *arguments)
