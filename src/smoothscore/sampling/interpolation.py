r"""Interpolation between two images at a noise level.

Noise of level :math:`\sigma`, the same for all, is added to the images on the straight line between the two, and every
one of them walks down from there,

.. math:: x_w=(1-w)\,a+w\,b+\sigma n .

A score that copies falls back to one of the training images wherever it starts; one that generalizes passes through
images between them (*Smoothing the score function*, figure 1). The larger the level, the more of the two is forgotten.
"""

import torch
from torch import Tensor

from smoothscore.errors import InputError
from smoothscore.sampling.evaluator import noise
from smoothscore.sampling.levels import levels_for
from smoothscore.sampling.loop import draw
from smoothscore.sampling.sampler import Sampler
from smoothscore.sampling.samplers import sampler_named
from smoothscore.sampling.samples import Samples
from smoothscore.scores import Score

__all__ = ["interpolate"]


def interpolate(
    score: Score,
    first: Tensor,
    second: Tensor,
    sigma: float,
    count: int = 9,
    sampler: str | Sampler = "heun",
    steps: int | None = None,
    seed: int = 0,
    trajectory: bool = False,
) -> Samples:
    """Images between two, by noising to ``sigma`` and sampling from there.

    Args:
        score: any score.
        first: (*shape), in [-1, 1]; the first of the samples starts from it.
        second: (*shape), the last one's.
        sigma: the level at which sampling begins; levels of the sampler's schedule below it follow.
        count: number of images, at least 2.
        sampler: as in :func:`draw`.
        steps: levels of the sampler's whole schedule, of which those below ``sigma`` are used.
        seed: of the one noise.
        trajectory: as in :func:`draw`.

    Raises:
        InputError: images of another shape, a level that is not positive, or a count below 2.
    """
    if not (first.shape == second.shape == score.shape):
        raise InputError(
            f"The images have shapes {tuple(first.shape)} and {tuple(second.shape)}; give two of {tuple(score.shape)}."
        )
    if not sigma > 0 or count < 2:
        raise InputError(f"sigma is {sigma} and count {count}; give a positive level and at least 2 images.")
    chosen = sampler_named(sampler)
    below = [level for level in levels_for(score, chosen, steps) if level < sigma]
    weight = torch.linspace(0, 1, count, dtype=torch.float64).reshape(-1, *(1,) * first.ndim)
    start = (1 - weight) * first + weight * second + sigma * noise(seed, 0, 1, score.shape)
    return draw(score, count, chosen, sigmas=[sigma, *below], seed=seed, trajectory=trajectory, start=start)
