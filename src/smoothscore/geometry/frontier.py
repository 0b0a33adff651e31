r"""The largest logit over centers at every noise level at once.

For a point and a noise the logit of center j, :math:`\ell_j=-a_j/2\sigma^2+b_j/\sigma` up to a constant, falls with
its squared distance :math:`a_j` and rises with its inner product :math:`b_j` with the noise. Whatever the level, the
largest is therefore that of a center that no other beats in both: of all centers by ascending distance, one whose
:math:`b_j` is a record. Of M centers in random order about log M are; they are found once and serve all levels.
"""

import numpy as np

from smoothscore.geometry.curve import Array
from smoothscore.geometry.pairs import NoisedPairs

__all__ = ["largest_logits"]


def largest_logits(pairs: NoisedPairs, sigmas: Array) -> Array:
    """``max_j ell[i, j, k]`` over the centers j at finite distance, exactly: (levels, I, K).

    Cost: M log M + M K operations for each point, then one for every record, level and noise; the records are few
    unless distance and noise order the centers alike, as on a line, where half of the centers can be.
    """
    points, noises = pairs.point_noise.shape
    if len(sigmas) == 0:
        return np.empty((0, points, noises))
    from smoothscore.geometry.loops import climb
    from smoothscore.loops import threaded

    largest = np.empty((points, len(sigmas), noises))
    squares, center_noise = pairs.squares.numpy(), pairs.center_noise.numpy()
    steep, bent = 1 / sigmas, -1 / (2 * sigmas**2)

    def find(start: int, stop: int) -> None:
        for point in range(start, stop):
            climb(np.argsort(squares[point]), squares[point], center_noise, steep, bent, largest[point])

    threaded(find, len(squares))
    largest -= steep[:, None] * pairs.point_noise.numpy()[:, None]
    return largest.transpose(1, 0, 2)
