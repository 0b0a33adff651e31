r"""Products of many queries with stored rows, and sums of the rows weighted for many queries, in compiled loops.

A library's matrix product takes matrices of floats, as which pixels would have to be written out first, and orders
both factors anew in memory before it multiplies. Here some rows at a time are widened to floats in a buffer that stays
in the cache, where all queries meet them, in tiles of twelve vectors (:mod:`smoothscore.mixture.registers`): for
products, vectors of queries times values of rows; for weighted sums, vectors of columns times weights of queries.

Products are summed in the precision of the queries over ``BLOCK`` values, and these sums in float64: they are off by
:math:`\gamma_{BLOCK+1}\|x\|\|v\|` at most (see :mod:`smoothscore.mixture.compiled_sums`) before they are rounded to
the precision of the result. Weighted sums are taken in the same way over ``GROUP`` rows at most.

One thread does it all: the callers give each thread rows of its own.
"""

from typing import Any

import numpy as np

from smoothscore.loops import compiled
from smoothscore.mixture.registers import VECTOR, tile

__all__ = ["BLOCK", "FOUR", "GROUP", "joined", "packed", "products", "strips", "total"]

Array = np.ndarray[Any, np.dtype[Any]]

SIX, THREE, FOUR = 6, 3, 4
BLOCK = 256  # values of a row summed in the precision of the queries
ROWS = 240  # widened together, a multiple of twice SIX
GROUP = 256  # rows summed in the precision of the weights
SINGLE, DOUBLE = THREE * VECTOR // 4, THREE * VECTOR // 8  # values in three vectors, by precision
APART = 16  # values between rows, which would else compete for the same places of the cache

U = np.uint64  # of indices: a signed one could be negative, which loops over vectors cannot allow for

pair_of_queries, lone_queries, columns_of_rows = tile(2, SIX), tile(1, 2 * SIX), tile(THREE, FOUR)


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
    _products(stored, rows, x.dtype.type(shift), x, less, out)


def total(stored: Array, rows: Array, shift: float, weights: Array, more: Array, out: Array, extra: Array) -> None:
    """Add to ``out``, of :func:`strips`, the rows weighted by ``weights`` (n, B rounded up to whole tiles).

    To ``extra``, float64 of as many values, add the sums of ``more`` (n,) float64 with the same weights.
    """
    _total(stored, rows, weights.dtype.type(shift), weights, more, out, extra)


def strips(queries: int, dim: int, kind: np.dtype[Any]) -> Array:
    """Zeros for the sums of :func:`total`, (strips of columns, queries, columns) float64, for weights of this kind."""
    columns = THREE * VECTOR // kind.itemsize
    return np.zeros((-(-dim // columns), -(-queries // FOUR) * FOUR, columns))


def joined(sums: Array, queries: int, dim: int) -> Array:
    """Those sums as (queries, dim)."""
    return sums.transpose(1, 0, 2).reshape(sums.shape[1], -1)[:queries, :dim]


@compiled
def _products(stored: Array, rows: Array, shift: Any, x: Array, less: Array, out: Array) -> None:
    vectors, dim, lanes = x.shape
    length, width = BLOCK + APART, vectors * lanes
    block, part = np.zeros((ROWS, length), x.dtype), np.empty((ROWS, width), np.float64)
    for low in range(0, len(rows), ROWS):
        count = min(ROWS, len(rows) - low)
        part[:] = 0
        for start in range(0, dim, BLOCK):
            size = min(BLOCK, dim - start)
            for j in range(count):
                _widen(stored, U(rows[low + j]), U(start), U(size), shift, block, U(j))
            for i in range(0, vectors, 2):  # past the last row: what the buffer held before, and nobody reads
                at, side = (i * dim + start) * lanes, i * lanes
                if i + 1 < vectors:
                    for j in range(0, count, SIX):
                        pair_of_queries(
                            x, block, part, size, at, lanes, dim * lanes, j * length, 1, length, j * width + side, width
                        )
                else:
                    for j in range(0, count, 2 * SIX):
                        lone_queries(
                            x, block, part, size, at, lanes, dim * lanes, j * length, 1, length, j * width + side, width
                        )
        for j in range(count):
            for b in range(out.shape[1]):
                out[low + j, b] = part[j, b] - less[low + j]


@compiled
def _widen(stored: Array, row: Any, start: Any, size: Any, shift: Any, out: Array, j: Any) -> None:
    for i in range(size):
        out[j, i] = type(shift)(stored[row, start + i]) - shift


@compiled
def _total(stored: Array, rows: Array, shift: Any, weights: Array, more: Array, out: Array, extra: Array) -> None:
    for j in range(len(rows)):
        for b in range(len(extra)):
            extra[b] += weights[j, b] * more[j]
    dim, (places, queries, columns) = stored.shape[1], out.shape
    strip, heavy = np.zeros((GROUP, columns), weights.dtype), np.empty((queries // FOUR, GROUP, FOUR), weights.dtype)
    for low in range(0, len(rows), GROUP):
        several = min(GROUP, len(rows) - low)
        for b in range(0, queries, FOUR):
            for j in range(several):
                for k in range(FOUR):
                    heavy[b // FOUR, j, k] = weights[low + j, b + k]
        for place in range(places):
            start = place * columns
            for j in range(several):
                row = U(rows[low + j])
                if start + columns > dim:
                    _widen(stored, row, U(start), U(dim - start), shift, strip, U(j))
                elif columns == SINGLE:  # numbers that the compiler knows make this several times as fast
                    _widen(stored, row, U(start), U(SINGLE), shift, strip, U(j))
                else:
                    _widen(stored, row, U(start), U(DOUBLE), shift, strip, U(j))
            for b in range(0, queries, FOUR):
                at = (place * queries + b) * columns
                columns_of_rows(
                    strip, heavy, out, several, 0, columns, columns // THREE, b * GROUP, FOUR, 1, at, columns
                )
