r"""Stability of the optimal denoiser over noise levels: where a small change of the input decides the image.

Two numbers a level, both of the empirical score with all training images as centers:

- the *expansiveness*: by what factor one sampling step drives two nearby points between two training images apart
  (:mod:`smoothscore.geometry.expansiveness`; "Smoothing the score function", section 3.2);
- the *largest gain*, the largest eigenvalue of the denoiser's Jacobian :math:`\nabla D=\operatorname{Cov}_w/\sigma^2`
  at noisy training images, which is :math:`1+\sigma^2\mu` with :math:`\mu` the largest eigenvalue of the score's. Above
  1 the denoiser enlarges a difference; near 0 its answer is decided.
"""

from dataclasses import dataclass

import numpy as np
import torch
from torch import Tensor

from smoothscore import progress
from smoothscore.data import ImageSet
from smoothscore.geometry.curve import Array, Curve, Levels, as_levels
from smoothscore.geometry.duplicates import first_of_each
from smoothscore.geometry.expansiveness import expansion_pairs, expansion_ratio
from smoothscore.geometry.far_field import images_at, noised
from smoothscore.scores import EmpiricalScore, Score
from smoothscore.scores.jacobian import lanczos

__all__ = ["Stability", "expansion_curve", "stability"]


@dataclass(frozen=True, eq=False)
class Stability:
    """How the optimal denoiser answers to small changes.

    Attributes:
        expansion: mean expansiveness between pairs of training images; NaN where their shells do not meet.
        gain: mean largest eigenvalue of the denoiser's Jacobian at noisy training images.
    """

    expansion: Curve
    gain: Curve


def stability(
    train: Tensor | ImageSet, sigmas: Levels, seed: int = 0, points: int = 4, pairs: int = 16
) -> Stability | None:
    """Expansiveness and Jacobian spectra of the empirical score; ``None`` with fewer than two different images.

    Args:
        train: (N, *shape) tensor in [-1, 1], or an ImageSet.
        sigmas: noise levels.
        seed: of the images, noises and pairs.
        points: noisy training images whose Jacobian's spectrum is found.
        pairs: pairs of training images.

    Cost: at every level ``2 pairs`` evaluations of the empirical score and at most ``60 points`` products with its
    Jacobian, each two passes over the training images.
    """
    levels = as_levels(sigmas)
    if len(first_of_each(train)) < 2:
        return None
    score = EmpiricalScore(train)
    clean, noise = noised(train, points, seed)
    gain = []
    with progress.task("Jacobian spectra", total=len(levels)) as advance:
        for sigma in levels.tolist():
            x = clean.double() + sigma * noise.double()
            jacobian = score.jacobian(x, sigma)
            largest = lanczos(lambda v: jacobian.matvec(v.reshape(x.shape)).flatten(1), x.flatten(1))[1]  # noqa: B023
            gain.append(_mean((1 + sigma**2 * largest).numpy()))
            advance(1)
    return Stability(expansion_curve(score, train, levels, seed, pairs), Curve(levels, *np.array(gain).T))


def expansion_curve(
    score: Score,
    train: Tensor | ImageSet,
    sigmas: Levels,
    seed: int = 0,
    pairs: int = 16,
    dtype: torch.dtype = torch.float64,
) -> Curve:
    """Mean expansiveness of a score, called in ``dtype``, between random pairs of at least two different images."""
    levels = as_levels(sigmas)
    distinct = first_of_each(train)
    rng = np.random.default_rng(seed)
    drawn = np.array([rng.choice(len(distinct), 2, replace=False) for _ in range(pairs)])
    first, second = (images_at(train, torch.from_numpy(distinct[side])).to(dtype) for side in drawn.T)
    values = []
    with progress.task("expansiveness", total=len(levels)) as advance, torch.no_grad():
        for sigma in levels.tolist():
            found = expansion_pairs(first, second, sigma, seed=seed)
            ratio = expansion_ratio(score, found.x, found.y, sigma).numpy() if len(found.index) else np.array([])
            values.append(_mean(np.asarray(ratio, dtype=np.float64)))
            advance(1)
    return Curve(levels, *np.array(values).T)


def _mean(values: Array) -> tuple[float, float]:
    """Mean and standard error; NaN where there is nothing to average."""
    if len(values) == 0:
        return np.nan, np.nan
    return float(values.mean()), float(values.std(ddof=1) / len(values) ** 0.5) if len(values) > 1 else np.nan
