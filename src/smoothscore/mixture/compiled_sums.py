r"""Sums straight from the stored rows, for few queries or for chosen pairs: nothing is written out as floats first.

A value is read as ``stored - shift``: with the shift 127.5 a pixel becomes 127.5 times the center, exactly. Products
with float32 queries are summed in float32 over ``BLOCK`` values and these sums in float64, so that
:math:`\sum_i x_iv_i` is off by

.. math:: \gamma_{BLOCK+1}\,|x|\cdot|v|\le\gamma_{BLOCK+1}\|x\|\|v\|,\qquad \gamma_n=\frac{nu}{1-nu},\quad u=2^{-24},

at most, whatever the order within a block: each term has the rounding of its product and those of at most BLOCK - 1
additions, and one is left for the rounding of x (what float64 adds is some 2^-40 of it). That is a twelfth of the bound
for 3,072 values summed in float32. Weighted sums of rows are taken in the same way, over ``GROUP`` rows at a time.
"""

from typing import Any

import numpy as np

from smoothscore.loops import compiled, threaded

__all__ = ["BLOCK", "Array", "products", "squares", "total", "totals"]

Array = np.ndarray[Any, np.dtype[Any]]

BLOCK = 256  # values summed in the precision of the query
GROUP = 64  # rows, likewise
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
    _products(stored, rows, x.dtype.type(shift), x, out)


def total(stored: Array, rows: Array, shift: float, weights: Array, out: Array) -> None:
    """Add to ``out`` (B, d) float64 the rows weighted by ``weights`` (n, B), in blocks of their dtype."""
    _total(stored, rows, weights.dtype.type(shift), weights, out)


def squares(stored: Array, shift: float, x: Array, query: Array, row: Array, out: Array) -> None:
    """``out[p]`` is the squared distance of query ``x[query[p]]`` from row ``row[p]``, in float64: (P,)."""
    _spread(_squares, len(row), len(row) * x.shape[1], stored, shift, x, query, row, out)


def totals(stored: Array, shift: float, query: Array, row: Array, factors: Array, out: Array) -> None:
    """Add to ``out[query[p]]`` (B, d) float64 the rows ``row[p]`` times ``factors[p]``."""
    _spread(_totals, out.shape[1], len(row) * out.shape[1], stored, shift, query, row, factors, out)


def _spread(function: Any, count: int, work: int, *arguments: object) -> None:
    if work < LITTLE:
        function(0, count, *arguments)
    else:
        threaded(function, count, *arguments)


@compiled
def _products(stored: Array, rows: Array, shift: Any, x: Array, out: Array) -> None:
    """Two queries at a time, which share the reading."""
    count, dim = x.shape
    for j in range(len(rows)):
        row = stored[rows[j]]
        for b in range(0, count - 1, 2):
            first, second = 0.0, 0.0
            for low in range(0, dim, BLOCK):
                one, two = _pair(row[low : low + BLOCK], shift, x[b, low : low + BLOCK], x[b + 1, low : low + BLOCK])
                first += one
                second += two
            out[j, b], out[j, b + 1] = first, second
        if count % 2:
            alone = 0.0
            for low in range(0, dim, BLOCK):
                alone += _single(row[low : low + BLOCK], shift, x[count - 1, low : low + BLOCK])
            out[j, count - 1] = alone


@compiled
def _single(row: Array, shift: Any, x: Array) -> Any:
    s = shift - shift
    for i in range(len(x)):
        s += x[i] * (type(shift)(row[i]) - shift)
    return s


@compiled
def _pair(row: Array, shift: Any, x: Array, y: Array) -> tuple[Any, Any]:
    s, t = shift - shift, shift - shift
    for i in range(len(x)):
        value = type(shift)(row[i]) - shift
        s += x[i] * value
        t += y[i] * value
    return s, t


@compiled
def _total(stored: Array, rows: Array, shift: Any, weights: Array, out: Array) -> None:
    """Four rows at a time."""
    part = np.empty(out.shape[1], weights.dtype)
    for b in range(weights.shape[1]):
        for low in range(0, len(rows), GROUP):
            high = min(low + GROUP, len(rows))
            whole = high - (high - low) % 4
            part[:] = 0
            for j in range(low, whole, 4):
                _four(
                    part,
                    stored[rows[j]],
                    stored[rows[j + 1]],
                    stored[rows[j + 2]],
                    stored[rows[j + 3]],
                    shift,
                    weights[j : j + 4, b],
                )
            for j in range(whole, high):
                row = stored[rows[j]]
                for i in range(len(part)):
                    part[i] += weights[j, b] * (type(shift)(row[i]) - shift)
            sums = out[b]
            for i in range(len(part)):
                sums[i] += part[i]


@compiled
def _four(part: Array, p: Array, q: Array, r: Array, s: Array, shift: Any, w: Array) -> None:
    a, b, c, d = w[0], w[1], w[2], w[3]
    back = (a + b + c + d) * shift
    for i in range(len(part)):
        part[i] += a * type(shift)(p[i]) + b * type(shift)(q[i]) + c * type(shift)(r[i]) + d * type(shift)(s[i]) - back


@compiled
def _squares(
    start: int, stop: int, stored: Array, shift: float, x: Array, query: Array, row: Array, out: Array
) -> None:
    for p in range(start, stop):
        out[p] = _square(stored[row[p]], shift, x[query[p]])


@compiled
def _square(row: Array, shift: float, x: Array) -> float:
    s = 0.0
    for i in range(len(x)):
        difference = row[i] - shift - x[i]
        s += difference * difference
    return s


@compiled
def _totals(
    start: int, stop: int, stored: Array, shift: float, query: Array, row: Array, factors: Array, out: Array
) -> None:
    """Four pairs of the same query at a time."""
    some, p = slice(start, stop), 0
    while p < len(row):
        sums = out[query[p], some]
        if p + 3 < len(row) and query[p] == query[p + 1] == query[p + 2] == query[p + 3]:
            one, two = stored[row[p], some], stored[row[p + 1], some]
            three, four = stored[row[p + 2], some], stored[row[p + 3], some]
            _four(sums, one, two, three, four, shift, factors[p : p + 4])
            p += 4
        else:
            _add(sums, stored[row[p], some], shift, factors[p])
            p += 1


@compiled
def _add(out: Array, row: Array, shift: float, factor: float) -> None:
    for i in range(len(out)):
        out[i] += factor * (row[i] - shift)
