"""The table of all noise levels, looked up in one compiled loop; its columns are those of ``levels.Levels``."""

from typing import Any

import numpy as np

from smoothscore.loops import Array, constant, loop

__all__ = ["relative", "weigh"]


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
    count, queries = offset.shape
    fields = table, *table.shape, first, drop, shift, last, tail
    loop("levels_relative", offset.dtype)(*fields, base, cold, queries, offset, count, ratio, precision)


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
    count, queries = s.shape
    fields = table, *table.shape, first, drop, shift, last, tail
    limits = float(floor), float(room), float(least)
    buffers = np.empty((constant("levels_line"), count), np.float32), np.empty(count, np.float32)
    reference = base, cold, middle.astype(np.float64)
    return loop("levels_weigh")(*fields, *reference, queries, s, count, *limits, *buffers, weights, sums, carries)
