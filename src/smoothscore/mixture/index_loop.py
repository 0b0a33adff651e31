"""The bounds of the index for few queries, in one compiled pass over what it stores.

For many queries matrix products are faster; for few of them they spend their time on writing the stored integers out
as floats.
"""

from typing import Any

import numpy as np

from smoothscore.loops import compiled

__all__ = ["add"]

Array = np.ndarray[Any, np.dtype[Any]]


@compiled
def add(
    stored: Array, query: Array, norms: Array, factors: Array, values: Array, peaks: Array, estimate: Array
) -> None:
    """Add to the bounds what some stored coordinates and the norms give, in one thread: a second one gains less than
    it costs to be woken.

    Args:
        stored: (M, k) integers.
        query: (B, k) float32.
        norms: (M, n) float32.
        factors: (B, n) float32.
        values: (M, B) float32, added to.
        peaks: (pieces, B), receives the largest value of each piece.
        estimate: (pieces, B), receives the same without the share of the norms.
    """
    size = -(-len(values) // len(peaks))
    for piece in range(len(peaks)):
        for b in range(len(query)):
            most, near = np.float32(-np.inf), np.float32(-np.inf)
            for j in range(piece * size, min(piece * size + size, len(stored))):
                value = values[j, b] + _product(stored[j], query[b])
                near = max(near, value)
                value += _product(norms[j], factors[b])
                values[j, b] = value
                most = max(most, value)
            peaks[piece, b], estimate[piece, b] = most, near


@compiled
def _product(row: Array, x: Array) -> Any:
    s = np.float32(0)
    for i in range(len(x)):
        s += np.float32(row[i]) * x[i]
    return s
