r"""The largest logit over centers at every noise level at once.

For a point and a noise the logit of center j, :math:`\ell_j=-a_j/2\sigma^2+b_j/\sigma` up to a constant, falls with
its squared distance :math:`a_j` and rises with its inner product :math:`b_j` with the noise. Whatever the level, the
largest is therefore that of a center that no other beats in both: of all centers by ascending distance, one whose
:math:`b_j` is a record. Of M centers in random order about log M are; they are found once and serve all levels.
"""

import numpy as np
from numpy.typing import NDArray

from smoothscore.geometry.curve import Array
from smoothscore.geometry.pairs import NoisedPairs

__all__ = ["largest_logits"]

FIRST, ROWS = 64, 4096  # nearest centers whose records are found one by one, and most centers looked at together


def largest_logits(pairs: NoisedPairs, sigmas: Array) -> Array:
    """``max_j ell[i, j, k]`` over the centers j at finite distance, exactly: (levels, I, K).

    Cost: M log M + M K operations for each point, then one for every record, level and noise; the records are few
    unless distance and noise order the centers alike, as on a line, where half of the centers can be.
    """
    squares, center_noise = pairs.squares.numpy(), pairs.center_noise.numpy()
    factors = np.stack((1 / sigmas, -1 / (2 * sigmas**2)), axis=1)
    largest = np.empty((len(sigmas), *pairs.point_noise.shape))
    for point, distant in enumerate(squares if len(sigmas) else ()):
        order = np.argsort(distant)
        near = distant[order]
        order = order[: np.searchsorted(near, np.inf)]
        places, noises = _risers(center_noise, order)
        logits = factors @ np.stack((center_noise[order[places], noises], near[places]))
        starts = np.searchsorted(noises, np.arange(largest.shape[2]))
        np.maximum.reduceat(logits, starts, axis=1, out=largest[:, point])
    largest -= factors[:, :1, None] * pairs.point_noise.numpy()
    return largest


def _risers(values: Array, order: NDArray[np.int64]) -> tuple[NDArray[np.int64], NDArray[np.int64]]:
    """Places in ``order`` where a column of ``values`` may reach a record, all records among them; by column."""
    count = values.shape[1]
    block = values.take(order[:FIRST], axis=0)
    running = np.maximum.accumulate(block, axis=0)
    found = [np.flatnonzero(block >= running)]
    best, start = running[-1], FIRST
    while start < len(order):
        block = values.take(order[start : start + min(3 * start, ROWS)], axis=0)
        found.append(np.flatnonzero(block > best) + start * count)
        start += len(block)
        if start < len(order):
            best = np.maximum(best, block.max(0))
    places, columns = np.divmod(np.concatenate(found), count)
    by_column = np.argsort(columns.astype(np.min_scalar_type(count)), kind="stable")  # short integers sort faster
    return places[by_column], columns[by_column]
