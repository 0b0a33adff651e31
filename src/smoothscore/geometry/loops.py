"""Compiled loops over pairs of points and centers."""

from typing import Any

import numpy as np

from smoothscore.loops import compiled

__all__ = ["add_overlaps", "climb"]

Array = np.ndarray[Any, np.dtype[Any]]


@compiled
def climb(order: Array, squares: Array, center_noise: Array, steep: Array, bent: Array, out: Array) -> None:
    """``out[l, k]`` is the largest of ``steep[l] * center_noise[j, k] + bent[l] * squares[j]`` over the centers j.

    ``order`` (M,) has the nearest center first, ``steep`` is positive and ``bent`` negative: only a center that is a
    record in its column of ``center_noise`` (M, K) can be largest. Infinite ``squares`` (M,) are left out.
    """
    noises, levels = center_noise.shape[1], len(steep)
    record = np.full(noises, -np.inf)
    top = np.full((noises, levels), -np.inf)
    for j in order:
        distant, row = squares[j], center_noise[j]
        if distant == np.inf:
            break
        higher = 0
        for k in range(noises):
            higher += row[k] > record[k]
        if higher == 0:
            continue
        for k in range(noises):
            if row[k] > record[k]:
                record[k] = row[k]
                for level in range(levels):
                    top[k, level] = max(top[k, level], steep[level] * row[k] + bent[level] * distant)
    for k in range(noises):
        for level in range(levels):
            out[level, k] = top[k, level]


@compiled
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
    width = end / pieces.shape[1]
    for n in range(len(rows)):
        total = 0.0
        for distance in distances[rows[n]]:
            if distance < end * sigma:
                place = distance / sigma
                p = min(int(place / width), pieces.shape[1] - 1)
                x = place - p * width
                overlap = ((pieces[0, p] * x + pieces[1, p]) * x + pieces[2, p]) * x + pieces[3, p]
                total += min(max(overlap, 0.0), 1.0)
                if total >= 1:
                    break
        out[n] = min(total, 1.0)
