r"""Stability of the optimal denoiser over noise levels: where a small change of the input decides the image.

Three numbers a level, of the empirical score with all training images as centers or of any other score:

- the *expansiveness*: by what factor one sampling step drives two nearby points between two training images apart
  (:mod:`smoothscore.geometry.expansiveness`; "Smoothing the score function", section 3.2);
- the *local expansiveness*, its limit for points ever closer, from a product with the score's Jacobian;
- the *largest gain*, the largest eigenvalue of the denoiser's Jacobian at noisy training images, which is
  :math:`1+\sigma^2\mu` with :math:`\mu` the largest eigenvalue of the score's; for the empirical score the Jacobian is
  :math:`\operatorname{Cov}_w/\sigma^2`. Above 1 the denoiser enlarges a difference; near 0 its answer is decided.
"""

from dataclasses import dataclass

import numpy as np
import torch
from torch import Tensor

from smoothscore import progress
from smoothscore.data import ImageSet
from smoothscore.geometry.curve import Array, Curve, Levels, as_levels
from smoothscore.geometry.duplicates import first_of_each
from smoothscore.geometry.expansiveness import expansion_pairs, expansion_ratio, local_expansion
from smoothscore.geometry.far_field import images_at, noised
from smoothscore.scores import EmpiricalScore, Score
from smoothscore.scores.jacobian import JvpJacobian, lanczos

__all__ = ["Stability", "stability", "thinned"]


@dataclass(frozen=True, eq=False)
class Stability:
    """How a denoiser answers to small changes.

    Attributes:
        expansion: mean expansiveness between pairs of training images; NaN where their shells do not meet.
        local: mean local expansiveness between the same pairs.
        gain: mean largest eigenvalue of the denoiser's Jacobian at noisy training images, at up to 12 of the levels.
    """

    expansion: Curve
    local: Curve
    gain: Curve


def stability(
    train: Tensor | ImageSet,
    sigmas: Levels,
    seed: int = 0,
    points: int = 4,
    pairs: int = 16,
    score: Score | None = None,
) -> Stability | None:
    """Expansiveness and Jacobian spectra of a score; ``None`` with fewer than two different images.

    Args:
        train: (N, *shape) tensor in [-1, 1], or an ImageSet.
        sigmas: noise levels.
        seed: of the images, noises and pairs.
        points: noisy training images whose Jacobian's spectrum is found.
        pairs: pairs of training images.
        score: ``None``: the empirical score of the training images, in float64; another one is called in float32.

    Cost: at every level ``2 pairs`` evaluations and ``pairs`` products with the Jacobian, and at 12 of them at most
    ``60 points`` products more, for a score without a closed form forward and backward; for the empirical score each
    is two passes over the training images.
    """
    levels = as_levels(sigmas)
    distinct = first_of_each(train)
    if len(distinct) < 2:
        return None
    dtype = torch.float64 if score is None else torch.float32
    score = EmpiricalScore(train) if score is None else score
    rng = np.random.default_rng(seed)
    drawn = np.array([rng.choice(len(distinct), 2, replace=False) for _ in range(pairs)])
    first, second = (images_at(train, torch.from_numpy(distinct[side])).to(dtype) for side in drawn.T)
    spread = []
    with progress.task("expansiveness", total=len(levels)) as advance, torch.no_grad():
        for sigma in levels.tolist():
            found = expansion_pairs(first, second, sigma, seed=seed)
            kinds = (expansion_ratio, local_expansion) if len(found.index) else ()
            ratios = [kind(score, found.x, found.y, sigma).double().numpy() for kind in kinds] or [np.array([])] * 2
            spread.append([_mean(ratio) for ratio in ratios])
            advance(1)
    expansion, local = (Curve(levels, *column.T) for column in np.array(spread).transpose(1, 0, 2))
    return Stability(expansion, local, _gain(score, *noised(train, points, seed), thinned(levels), dtype))


def _gain(score: Score, clean: Tensor, noise: Tensor, levels: Array, dtype: torch.dtype) -> Curve:
    gain = []
    with progress.task("Jacobian spectra", total=len(levels)) as advance, torch.no_grad():
        for sigma in levels.tolist():
            x = clean.to(dtype) + sigma * noise.to(dtype)
            jacobian = score.jacobian(x, sigma if score.noise_conditional else None)
            if isinstance(jacobian, JvpJacobian):
                largest = jacobian.largest_eigenvalue()
            else:
                largest = lanczos(lambda v: jacobian.matvec(v.reshape(x.shape)).flatten(1), x.flatten(1))[1]  # noqa: B023
            gain.append(_mean((1 + sigma**2 * largest).double().numpy()))
            advance(1)
    return Curve(levels, *np.array(gain).T)


def thinned(levels: Array) -> Array:
    """At most 12 of the levels, evenly."""
    return np.asarray(levels[np.unique(np.linspace(0, len(levels) - 1, 12).astype(int))])


def _mean(values: Array) -> tuple[float, float]:
    """Mean and standard error; NaN where there is nothing to average."""
    if len(values) == 0:
        return np.nan, np.nan
    return float(values.mean()), float(values.std(ddof=1) / len(values) ** 0.5) if len(values) > 1 else np.nan
