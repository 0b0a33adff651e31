"""Exact looks at the stored rows of centers, and the nearest k that they leave.

The k nearest centers of a query so far are a heap: no entry is nearer than its two children, those after it at twice
its place, so the first is the farthest; equal distances are ordered by the centers' numbers. Beginning with k empty
places at infinity, a center nearer than the first takes its place.

Squared distances between uint8 pixels are integers, summed as such; all others are summed in float64.
"""

from smoothscore.loops import Array, constant, loop, threaded

__all__ = ["WIDTH", "look", "measure", "ordered"]

WIDTH = constant("neighbors_width")  # queries that share a look at the bounds


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
    function, width, dim, k = loop("neighbors_look", x.dtype, y.dtype), low.shape[1], x.shape[1], index.shape[1]
    bounds, pairs = (low, width, rest, own_rest, limit, float(scale), offset), (x, dim, y, row, len(row))
    threaded(function, width // WIDTH, *bounds, *pairs, index, square, k)


def measure(found: Array, x: Array, y: Array, row: Array, index: Array, square: Array) -> None:
    """The same for the centers ``found`` (B, width), each once, below 0 where there is none."""
    function = loop("neighbors_measure", x.dtype, y.dtype)
    threaded(function, len(x), found, found.shape[1], x, x.shape[1], y, row, index, square, index.shape[1])


def ordered(index: Array, square: Array) -> None:
    """Heaps (B, k) into ascending order."""
    threaded(loop("neighbors_ordered"), len(index), index, square, index.shape[1])
