r"""Products of many queries with stored rows, and sums of the rows weighted for many queries, in compiled loops.

A library's matrix product takes matrices of floats, as which pixels would have to be written out first, and orders
both factors anew in memory before it multiplies. Here some rows at a time are widened to floats in a buffer that stays
in the cache, where all queries meet them, in tiles of twelve vectors: for products, vectors of queries times values of
rows; for weighted sums, vectors of columns times weights of queries.

Products are summed in the precision of the queries over ``BLOCK`` values, and these sums in float64: they are off by
:math:`\gamma_{BLOCK+1}\|x\|\|v\|` at most (see :mod:`smoothscore.mixture.compiled_sums`) before they are rounded to
the precision of the result. Weighted sums are taken in the same way over ``GROUP`` rows at most.

One thread does it all: the callers give each thread rows of its own.
"""

from typing import Any

import numpy as np

from smoothscore.loops import Array, constant, loop

__all__ = ["BLOCK", "FOUR", "GROUP", "joined", "packed", "products", "strips", "total"]

BLOCK = constant("tiles_block")  # values of a row summed in the precision of the queries
GROUP = constant("tiles_group")  # rows summed in the precision of the weights
VECTOR = constant("tiles_vector")  # bytes
FOUR = constant("tiles_queries")  # in a tile of weighted sums
COLUMNS = constant("tiles_columns")  # bytes of columns in it
ROWS, LENGTH = constant("tiles_rows"), constant("tiles_length")  # of the buffer of widened rows


def packed(x: Array) -> Array:
    """Queries (B, d) as :func:`products` takes them: (vectors, d, queries in a vector), filled up with zeros."""
    lanes = VECTOR // x.itemsize
    out = np.zeros((-(-len(x) // lanes) * lanes, x.shape[1]), x.dtype)
    out[: len(x)] = x
    return np.ascontiguousarray(out.reshape(-1, lanes, x.shape[1]).transpose(0, 2, 1))


def products(stored: Array, rows: Array, shift: float, x: Array, less: Array, out: Array) -> None:
    """``out[j, b]`` is the product of query b with row ``rows[j]``, less ``less[j]``: (n, B), rounded once.

    Args:
        stored: (N, d) of any real dtype.
        rows: (n,) int64.
        shift: subtracted from what is stored.
        x: the queries in float32 or float64, :func:`packed`.
        less: (n,) float64.
        out: (n, B), of the queries' dtype.
    """
    vectors, dim, lanes = x.shape
    block, part = np.zeros((ROWS, LENGTH), x.dtype), np.empty((ROWS, vectors * lanes))
    loop("tiles_products", stored.dtype, x.dtype)(
        stored, dim, rows, len(rows), float(shift), x, vectors, less, out.shape[1], block, part, out
    )


def total(stored: Array, rows: Array, shift: float, weights: Array, more: Array, out: Array, extra: Array) -> None:
    """Add to ``out``, of :func:`strips`, the rows weighted by ``weights`` (n, B rounded up to whole tiles).

    To ``extra``, float64 of as many values, add the sums of ``more`` (n,) float64 with the same weights.
    """
    dim, (places, queries, columns) = stored.shape[1], out.shape
    strip, heavy = np.zeros((GROUP, columns), weights.dtype), np.empty((GROUP, queries), weights.dtype)
    loop("tiles_total", stored.dtype, weights.dtype)(
        stored, dim, rows, len(rows), float(shift), weights, more, places, queries, strip, heavy, out, extra
    )


def strips(queries: int, dim: int, kind: np.dtype[Any]) -> Array:
    """Zeros for the sums of :func:`total`, (strips of columns, queries, columns) float64, for weights of this kind."""
    columns = COLUMNS // kind.itemsize
    return np.zeros((-(-dim // columns), -(-queries // FOUR) * FOUR, columns))


def joined(sums: Array, queries: int, dim: int) -> Array:
    """Those sums as (queries, dim)."""
    return sums.transpose(1, 0, 2).reshape(sums.shape[1], -1)[:queries, :dim]
