"""The table of all noise levels, looked up in one compiled loop; its columns are those of ``levels.Levels``."""

from typing import Any

import numpy as np

from smoothscore.loops import compiled
from smoothscore.mixture.weights_loop import exponential

__all__ = ["relative", "weigh"]

Array = np.ndarray[Any, np.dtype[Any]]

LINE = 16  # float32 values in a line of the cache


@compiled
def relative(
    table: Array,
    first: int,
    drop: int,
    shift: float,
    last: float,
    tail: float,
    base: Array,
    cold: Array,
    offset: Array,
    ratio: Array,
    precision: Array,
) -> None:
    """F(base + offset) - F(base) times ``cold``, and kappa, of ``offset`` (n, B), in float64 but for what is stored."""
    for b in range(len(base)):
        middle, _ = _look_up(table, first, drop, shift, last, tail, base[b])
        for j in range(len(offset)):
            value, slope = _look_up(table, first, drop, shift, last, tail, base[b] + offset[j, b])
            ratio[j, b] = (value - middle) * cold[b]
            precision[j, b] = -2 * slope


@compiled
def weigh(
    table: Array,
    first: int,
    drop: int,
    shift: float,
    last: float,
    tail: float,
    base: Array,
    cold: Array,
    middle: Array,
    s: Array,
    floor: Any,
    room: Any,
    least: Any,
    weights: Array,
    sums: Array,
    carries: Array,
) -> int:
    """What :func:`smoothscore.mixture.weights_loop.weigh` does, with these weights and precisions.

    ``base``, ``cold`` and ``middle`` (B,): squared distance of the center that weights are relative to, 1/T, and its S.
    """
    above, (count, queries) = 0, s.shape
    carries[:] = False
    columns = np.empty((LINE, count), np.float32)  # some queries at a time: theirs lie far apart in ``s``
    precision = np.empty(count, np.float32)
    for start in range(0, queries, LINE):
        some = min(LINE, queries - start)
        for j in range(count):
            for k in range(some):
                columns[k, j] = s[j, start + k]
        for k in range(some):
            b = start + k
            zero, _ = _look_up(table, first, drop, shift, last, tail, base[b])
            for j in range(count):
                r2 = base[b] + 2 * (np.float64(middle[b]) - np.float64(columns[k, j]))
                value, slope = _look_up(table, first, drop, shift, last, tail, r2)
                columns[k, j], precision[j] = (value - zero) * cold[b], -2 * slope
            heavy, steep = 0.0, 0.0
            for j in range(count):
                logit = columns[k, j]
                carries[j] |= logit > floor
                above |= logit > room
                weight = exponential(least if logit < least else logit)
                heavy += weight
                steep += weight * precision[j]
                columns[k, j] = weight * precision[j]
            sums[0, b], sums[1, b] = heavy, steep
        for j in range(count):
            for k in range(some):
                weights[j, start + k] = columns[k, j]
    return -1 if above else carries.sum()


@compiled
def _look_up(
    table: Array, first: int, drop: int, shift: float, last: float, tail: float, r2: float
) -> tuple[float, float]:
    """F and its derivative."""
    near = min(max(r2, 0.0), last)
    cell: Any = (np.float64(near + shift).view(np.int64) >> drop) - first
    row = table[min(max(cell, 0), len(table) - 1)]
    t = (near + shift - row[6]) * row[7]
    value = ((((row[5] * t + row[4]) * t + row[3]) * t + row[2]) * t + row[1]) * t + row[0]
    slope = (((5 * row[5] * t + 4 * row[4]) * t + 3 * row[3]) * t + 2 * row[2]) * t + row[1]
    return value - tail * (r2 - near), slope * row[7]
