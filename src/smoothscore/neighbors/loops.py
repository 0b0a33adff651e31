"""Exact looks at the stored rows of centers, and the nearest k that they leave.

The k nearest centers of a query so far are a heap: no entry is nearer than its two children, those after it at twice
its place, so the first is the farthest; equal distances are ordered by the centers' numbers. Beginning with k empty
places at infinity, a center nearer than the first takes its place.

Squared distances between uint8 pixels are integers, summed as such; all others are summed in float64.
"""

from collections.abc import Callable
from typing import Any

import numpy as np
from numba.extending import overload

from smoothscore.loops import compiled, threaded

__all__ = ["WIDTH", "look", "measure", "ordered"]

Array = np.ndarray[Any, np.dtype[Any]]

WIDTH = 16  # queries that share a look at the bounds
_SAFE = 2**15  # integers summed in 32 bits: 2^15 times 255^2 is less than 2^31


def look(
    low: Array, rest: Array, own_rest: Array, limit: Array, scale: float, offset: Array,
    x: Array, y: Array, row: Array, index: Array, square: Array,
) -> None:  # fmt: skip
    """Measure each center whose bound is not above the limit, once, and keep the nearest k.

    A limit falls with the k-th smallest square T found, to ``scale * T + offset``. The table's entries of measured
    centers become infinite.

    Args:
        low: (M, W) float32 table; the bound of center j and query q is ``low[j, q] - rest[j] * own_rest[q]``.
        rest: (M,) float32.
        own_rest, limit: (W,) float32, W a multiple of 16; the limit of a column that is no query is below all bounds.
        scale, offset: a number and (B,) float64.
        x: (B, d) queries, uint8 if the centers are and these have integer distances, or else float64.
        y, row: (N, d) stored rows and (M,) which of them the centers are.
        index, square: (B, k) the heaps.
    """
    threaded(_look, low.shape[1] // WIDTH, low, rest, own_rest, limit, scale, offset, x, y, row, index, square)


def measure(found: Array, x: Array, y: Array, row: Array, index: Array, square: Array) -> None:
    """The same for the centers ``found`` (B, width), each once, below 0 where there is none."""
    threaded(_measure, len(x), found, x, y, row, index, square)


def ordered(index: Array, square: Array) -> None:
    """Heaps (B, k) into ascending order."""
    threaded(_ordered, len(index), index, square)


@compiled
def _look(
    start: int, stop: int, low: Array, rest: Array, own_rest: Array, limit: Array, scale: float, offset: Array,
    x: Array, y: Array, row: Array, index: Array, square: Array,
) -> None:  # fmt: skip
    for center in range(len(row)):
        further = rest[center]
        for first in range(start * WIDTH, stop * WIDTH, WIDTH):
            hits = np.int32(0)
            for query in range(first, first + WIDTH):
                bound = low[center, query] - further * own_rest[query]
                hits += np.int32(1) if bound <= limit[query] else np.int32(0)
            if hits > 0:
                for query in range(first, first + WIDTH):
                    if low[center, query] - further * own_rest[query] <= limit[query]:
                        low[center, query] = np.inf
                        _keep(index[query], square[query], center, _apart(x[query], y[row[center]]))
                        least = np.float32(scale * square[query, 0] + offset[query])
                        if least < limit[query]:
                            limit[query] = least


@compiled
def _measure(start: int, stop: int, found: Array, x: Array, y: Array, row: Array, index: Array, square: Array) -> None:
    for query in range(start, stop):
        for center in found[query]:
            if center >= 0:
                _keep(index[query], square[query], center, _apart(x[query], y[row[center]]))


@compiled
def _ordered(start: int, stop: int, index: Array, square: Array) -> None:
    for query in range(start, stop):
        for last in range(index.shape[1] - 1, 0, -1):
            number, value = index[query, last], square[query, last]
            index[query, last], square[query, last] = index[query, 0], square[query, 0]
            _sink(index[query, :last], square[query, :last], number, value)


@compiled
def _keep(index: Array, square: Array, number: int, value: float) -> None:
    """Put a center into a heap (k,) in the place of the farthest, if it is nearer."""
    if value < square[0] or (value == square[0] and number < index[0]):
        _sink(index, square, number, value)


@compiled
def _sink(index: Array, square: Array, number: int, value: float) -> None:
    """Put an entry in the place of the first and down to where it belongs."""
    count, at = len(index), 0
    while 2 * at + 1 < count:
        child = 2 * at + 1
        if child + 1 < count and (
            square[child + 1] > square[child]
            or (square[child + 1] == square[child] and index[child + 1] > index[child])
        ):
            child += 1
        if value > square[child] or (value == square[child] and number > index[child]):
            break
        index[at], square[at] = index[child], square[child]
        at = child
    index[at], square[at] = number, value


def _apart(a: Array, b: Array) -> float:
    """Squared distance of two rows."""
    raise NotImplementedError  # compiled as what follows


@overload(_apart)
def _by_type(a: Array, b: Array) -> Callable[[Array, Array], float]:
    square = _integer if str(a.dtype) == str(b.dtype) == "uint8" else _real

    def apart(a: Array, b: Array) -> float:
        return square(a, b)

    return apart


@compiled
def _integer(a: Array, b: Array) -> float:
    whole = np.int64(0)
    for start in range(0, len(a), _SAFE):
        part, other, total = a[start : start + _SAFE], b[start : start + _SAFE], np.int32(0)
        for i in range(len(part)):
            apart = np.int32(part[i]) - np.int32(other[i])
            total = np.int32(total + apart * apart)
        whole += total
    return float(whole)


@compiled
def _real(a: Array, b: Array) -> float:
    total = 0.0
    for i in range(len(a)):
        apart = a[i] - np.float64(b[i])
        total += apart * apart
    return total
