r"""The far field: at large noise every training set looks like a Gaussian.

For :math:`\sigma\to\infty` the optimal denoiser tends to that of the Gaussian with the same mean and
covariance ("Two calm ends and the wild middle", Thm. 4.11; "Gaussian score approximation", eq. 24-27). How
well one score stands for another at a level is the *fraction of unexplained variance* (eq. 28 there),

.. math:: \frac{\mathrm E\|s(x)-s_{ref}(x)\|^2}{\mathrm E\|s(x)\|^2},\qquad x=y+\sigma z,

a ratio of means over noised images. Above the level where it falls below one percent, sampling can jump:
the Gaussian's path is known in closed form (teleportation). How many directions of the data stand above the
noise is :math:`\sum_k\lambda_k/(\lambda_k+\sigma^2)`, the trace of the Gaussian denoiser, with
:math:`\lambda_k` the eigenvalues of the covariance.
"""

from dataclasses import dataclass

import numpy as np
import torch
from torch import Tensor

from smoothscore import progress
from smoothscore.data import ImageSet
from smoothscore.geometry.curve import Array, Curve, Levels, as_levels
from smoothscore.geometry.pairs import choose, own_generator
from smoothscore.scores import EmpiricalScore, GaussianScore, Score

__all__ = ["FarField", "far_field", "noised", "unexplained_variance"]


@dataclass(frozen=True, eq=False)
class FarField:
    """How a training set approaches its Gaussian.

    Attributes:
        unexplained: fraction of the empirical score's variance that the Gaussian score leaves unexplained.
        start: noise level from which that fraction stays below one percent; ``None`` if it does at no level.
        directions: (L,) number of directions above the noise, the trace of the Gaussian denoiser.
        spectrum: (r,) eigenvalues of the covariance, descending.
    """

    unexplained: Curve
    start: float | None
    directions: Array
    spectrum: Array


def far_field(train: Tensor | ImageSet, sigmas: Levels, seed: int = 0, points: int = 128) -> FarField:
    """Where the Gaussian approximation of a training set is good enough to start from.

    Args:
        train: (N, *shape) tensor in [-1, 1], or an ImageSet.
        sigmas: noise levels.
        seed: of the noised images and the noises.
        points: number of noised training images a level.

    Cost: one Gaussian fit and ``points`` evaluations of the empirical score a level.
    """
    levels = as_levels(sigmas)
    gaussian = GaussianScore.fit(train)
    spectrum = np.sort(gaussian.variances.numpy())[::-1].copy()
    unexplained = unexplained_variance(EmpiricalScore(train), gaussian, train, levels, seed, points)
    directions = (spectrum / (spectrum + levels[:, None] ** 2)).sum(1)
    return FarField(unexplained, _start(unexplained, 0.01), directions, spectrum)


def unexplained_variance(
    score: Score, reference: Score, images: Tensor | ImageSet, sigmas: Levels, seed: int = 0, points: int = 128
) -> Curve:
    """Fraction of the variance of ``score`` at noised ``images`` that ``reference`` leaves unexplained.

    Between 0, where both agree, and 1, where ``reference`` is of no use; above 1 where it is worse than none.
    The same ``points`` images and noises serve all levels; standard errors are those of the ratio.
    """
    levels = as_levels(sigmas)
    clean, noise = noised(images, points, seed)
    ratio, error = np.empty(len(levels)), np.empty(len(levels))
    with progress.task("unexplained variance", total=len(levels)) as advance:
        for level, sigma in enumerate(levels.tolist()):
            x = clean + sigma * noise
            target = score.denoise(x, sigma).double().flatten(1)
            missed = (target - reference.denoise(x, sigma).double().flatten(1)).square().sum(1)
            whole = (target - x.double().flatten(1)).square().sum(1)
            mean = whole.mean()
            ratio[level] = missed.mean() / mean
            error[level] = (missed - ratio[level] * whole).std(correction=0) / mean / len(x) ** 0.5
            advance(1)
    return Curve(levels, ratio, error)


def noised(images: Tensor | ImageSet, points: int, seed: int) -> tuple[Tensor, Tensor]:
    """``points`` of the images, drawn without replacement while they last, and a noise for each; float32."""
    chosen = choose(len(images), points, seed)
    index = torch.from_numpy(np.resize(chosen, points))
    if isinstance(images, Tensor):
        clean = images[index].float()
    else:
        clean = torch.from_numpy(images.take(index.numpy())).float() / 127.5 - 1
    return clean, torch.randn(clean.shape, generator=own_generator(seed))


def _start(curve: Curve, level: float) -> float | None:
    """The noise level above which the curve stays below ``level``."""
    if curve.mean[np.argmax(curve.sigmas)] >= level:
        return None
    return max(curve.crossings(level), default=float(curve.sigmas.min()))
