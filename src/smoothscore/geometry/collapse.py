r"""When a sampling path is decided: the first step at which one center carries almost all the weight.

The path follows the score at the *actual* noise level of the point instead of a scheduled one,

.. math::
    x_{n+1}=x_n+\alpha\,\sigma_{n*}^2\,s(x_n),\qquad \sigma_{n*}=\min_j\|x_n-\mu_j\|/\sqrt d,

so that it cannot overshoot; near one center each step shrinks the distance by the factor :math:`1-\alpha`.

Source: Smoothing the score function, section 5 and appendix B.4.1 and B.4.3.
"""

import math
from collections.abc import Callable, Iterable, Iterator

import torch
from torch import Tensor

from smoothscore import progress
from smoothscore.data import ImageSet
from smoothscore.neighbors import Search
from smoothscore.scores import Score

__all__ = ["collapse_time", "true_level_path"]


def true_level_path(
    score: Score, centers: Tensor | ImageSet, x: Tensor, steps: int, contraction: float
) -> Iterator[tuple[Tensor, Tensor]]:
    """The points of a path and their actual noise levels: ``steps`` pairs of x (n, *shape) and sigma (n,).

    Args:
        score: any score; one that is noise conditional is called at the actual level.
        centers: (M, *shape) in [-1, 1] or an ImageSet: the training images that define the level.
        x: (n, *shape) where the paths start.
        steps: number of points, the start included.
        contraction: alpha in (0, 1); for a geometric schedule, 1 minus the ratio of a level to the one above it.

    Cost: a step is one evaluation of the score and one search for the nearest center.
    """
    root = math.sqrt(x[0].numel())
    nearest = Search(centers)
    with torch.no_grad(), progress.task("sampling at the true noise level", total=steps) as advance:
        for _ in range(steps):
            sigma = (nearest(x, 1).distances[:, 0] / root).to(x)
            yield x, sigma
            force = score.score(x, sigma if score.noise_conditional else None)
            x = x + contraction * sigma.reshape(-1, *(1,) * (x.ndim - 1)) ** 2 * force
            advance(1)


def collapse_time(
    weights: Callable[[Tensor, Tensor], Tensor], path: Iterable[tuple[Tensor, Tensor]], threshold: float = 0.95
) -> Tensor:
    """The first step of each path at which the largest weight exceeds ``threshold``: (n,) float64.

    Args:
        weights: gives the (n, M) weights of the centers at points x (n, *shape) of level sigma (n,): the method of that
            name of an :class:`EmpiricalScore` or a :class:`UnifiedScore`.
        path: pairs of x and sigma, step by step, not necessarily driven by the same score.
        threshold: a weight in (0, 1).

    Returns:
        Steps counted from 1; infinity for a path that never collapses.
    """
    time = torch.empty(0)
    for step, (x, sigma) in enumerate(path, start=1):
        if step == 1:
            time = torch.full((len(x),), math.inf, dtype=torch.float64)
        time[(weights(x, sigma).amax(1) > threshold).cpu() & time.isinf()] = step
    return time
