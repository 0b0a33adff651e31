"""Compiled loops over pairs of points and centers."""

import numpy as np

from smoothscore.loops import Array, loop

__all__ = ["add_overlaps", "climb"]


def climb(order: Array, squares: Array, center_noise: Array, steep: Array, bent: Array, out: Array) -> None:
    """``out[l, k]`` is the largest of ``steep[l] * center_noise[j, k] + bent[l] * squares[j]`` over the centers j.

    ``order`` (M,) has the nearest center first, ``steep`` is positive and ``bent`` negative: only a center that is a
    record in its column of ``center_noise`` (M, K) can be largest. Infinite ``squares`` (M,) are left out.
    """
    noises, levels = center_noise.shape[1], len(steep)
    buffers = np.empty(noises), np.empty((noises, levels))
    loop("geometry_climb")(order, squares, len(order), center_noise, noises, steep, bent, levels, *buffers, out)


def add_overlaps(distances: Array, rows: Array, sigma: float, end: float, pieces: Array, out: Array) -> None:
    """``out[n]`` is the sum of the overlaps with all centers of the point ``rows[n]``, or 1 where it is more.

    Args:
        distances: (I, M) of points and centers.
        rows: (R,) int64.
        sigma: the noise level.
        end: separation, in sigmas, from which the overlap is 0.
        pieces: (4, P) coefficients, highest power first, of the cubics that give it on P equal parts of [0, end].
        out: (R,) float64.
    """
    parts, centers = pieces.shape[1], distances.shape[1]
    loop("geometry_add_overlaps")(distances, centers, rows, len(rows), float(sigma), float(end), pieces, parts, out)
