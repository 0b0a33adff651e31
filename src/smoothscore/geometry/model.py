r"""A score under examination: which of its noise levels have memorized the training set.

At every level, on noised training images and on noised held-out images X (:math:`x=X+\sigma z`):

- the denoising error :math:`\mathrm E\|D(x)-X\|^2/d` and its gap, held out minus training;
- the share of held-out images that one denoising step turns into a training image: nearest training image less than
  ``ratio`` times as far from D(x) as the second nearest ("Two calm ends and the wild middle", Sec. 3; each
  distinct training image counts once);
- its stability: how far one step drives points between two training images apart, and the largest eigenvalue of its
  denoiser's Jacobian, by Jacobian-vector products (:mod:`smoothscore.geometry.stability`);
- the cosine of the score with the empirical score, and the fractions of its variance that the empirical and the
  Gaussian score leave unexplained ("Gaussian score approximation", eq. 28).
"""

from dataclasses import dataclass

import numpy as np
import torch
from torch import Tensor

from smoothscore import progress
from smoothscore.data import ImageSet
from smoothscore.errors import InputError
from smoothscore.geometry.curve import Array, Curve, Levels, as_levels
from smoothscore.geometry.duplicates import first_of_each
from smoothscore.geometry.far_field import noised
from smoothscore.geometry.stability import Stability, stability
from smoothscore.neighbors import nearest
from smoothscore.scores import EmpiricalScore, GaussianScore, Score

__all__ = ["ModelLevels", "by_chance", "examine"]


@dataclass(frozen=True, eq=False)
class ModelLevels:
    """What a score does at every noise level.

    Attributes:
        train_error: mean squared denoising error per value on noised training images.
        held_out_error: the same on held-out images.
        gap: ``held_out_error - train_error``.
        memorized: share of noised held-out images denoised onto a training image, with 95 % Wilson intervals as
            ``lower`` and ``upper``.
        cosine: mean cosine of the score with the empirical score of the training set, at held-out images.
        unexplained_by_empirical: fraction of the score's variance that the empirical score leaves unexplained.
        unexplained_by_gaussian: the same for the Gaussian score.
        stability: expansiveness and Jacobian spectra.
    """

    train_error: Curve
    held_out_error: Curve
    gap: Curve
    memorized: Curve
    cosine: Curve
    unexplained_by_empirical: Curve
    unexplained_by_gaussian: Curve
    stability: Stability


def examine(
    score: Score,
    train: Tensor | ImageSet,
    held_out: Tensor | ImageSet,
    sigmas: Levels,
    seed: int = 0,
    points: int = 256,
    ratio: float = 1 / 3,
) -> ModelLevels:
    """Examine a score level by level.

    Args:
        score: any score of images of this shape.
        train: the images it was trained on, (N, *shape) in [-1, 1] or an ImageSet.
        held_out: images of the same kind that it was not trained on.
        sigmas: noise levels.
        seed: of the images noised and of the noises; the same for all levels.
        points: number of training and of held-out images that are noised.
        ratio: threshold of the copy test, in (0, 1).

    Raises:
        InputError: fewer than two different training images, or levels that are not positive.

    Cost: at every level 2 ``points`` evaluations of the score, ``points`` of the empirical and of the
    Gaussian score, and ``points`` searches for the two nearest training images; and that of
    :func:`~smoothscore.geometry.stability.stability`.
    """
    levels = as_levels(sigmas)
    clean_train, noise_train = noised(train, points, seed)
    clean, noise = noised(held_out, points, seed + 1)
    empirical, gaussian = EmpiricalScore(train), GaussianScore.fit(train)
    distinct = train[first_of_each(train)]
    if len(distinct) < 2:
        raise InputError("the copy test needs two different training images; there is one.")
    rows = []
    with progress.task("examining the score", total=len(levels)) as advance, torch.no_grad():
        for sigma in levels.tolist():
            error = _mean_square(score.denoise(clean_train + sigma * noise_train, sigma) - clean_train)
            x = clean + sigma * noise
            denoised = score.denoise(x, sigma)
            held = _mean_square(denoised - clean)
            first, second = nearest(denoised, distinct, 2).distances.numpy().T
            step = (denoised - x).double().flatten(1)
            steps = [(other.denoise(x, sigma) - x).double().flatten(1) for other in (empirical, gaussian)]
            cosine = torch.cosine_similarity(step, steps[0], dim=1).numpy()
            rows.append(
                [
                    _mean(error),
                    _mean(held),
                    (held.mean() - error.mean(), np.hypot(_mean(held)[1], _mean(error)[1])),
                    _mean((first < ratio * second).astype(float)),
                    _mean(cosine),
                    *(_ratio((step - other).square().sum(1), step.square().sum(1)) for other in steps),
                ]
            )
            advance(1)
    table = np.array(rows)
    curves = [Curve(levels, column[:, 0], column[:, 1]) for column in table.transpose(1, 0, 2)]
    lower, upper = _wilson(curves[3].mean, points)
    curves[3] = Curve(levels, curves[3].mean, curves[3].stderr, lower, upper)
    stable = stability(train, levels, seed, score=score)
    assert stable is not None  # there are two different images
    a, b, c, d, e, f, g = curves
    return ModelLevels(a, b, c, d, e, f, g, stable)


def by_chance(dim: int, ratio: float = 1 / 3) -> float:
    """Share of independent points of ``dim`` values that pass for copies among evenly spread others: ratio^dim."""
    return float(ratio**dim)


def _mean_square(difference: Tensor) -> Array:
    return np.asarray(difference.double().flatten(1).square().mean(1).numpy())


def _mean(values: Array) -> tuple[float, float]:
    return float(values.mean()), float(values.std(ddof=1) / len(values) ** 0.5)


def _ratio(part: Tensor, whole: Tensor) -> tuple[float, float]:
    """Ratio of the means and its standard error."""
    value = part.mean() / whole.mean()
    return float(value), float((part - value * whole).std() / whole.mean() / len(whole) ** 0.5)


def _wilson(share: Array, count: int) -> tuple[Array, Array]:
    from scipy.special import ndtri

    z = -float(ndtri(0.025))
    middle = (share + z**2 / (2 * count)) / (1 + z**2 / count)
    half = z / (1 + z**2 / count) * np.sqrt(share * (1 - share) / count + z**2 / (4 * count**2))
    return np.asarray(middle - half), np.asarray(middle + half)
