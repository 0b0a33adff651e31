"""The table of all noise levels, looked up in one compiled loop; its columns are those of ``levels.Levels``."""

from typing import Any

import numpy as np

from smoothscore.loops import compiled

__all__ = ["relative"]

Array = np.ndarray[Any, np.dtype[Any]]


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
