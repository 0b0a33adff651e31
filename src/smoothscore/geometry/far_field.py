r"""The far field: at large noise every training set looks like a Gaussian.

For :math:`\sigma\to\infty` the optimal denoiser tends to that of the Gaussian with the same mean and
covariance ("Two calm ends and the wild middle", Thm. 4.11; "Gaussian score approximation", eq. 24-27). How
well one score stands for another at a level is the *fraction of unexplained variance* (eq. 28 there),

.. math:: \frac{\mathrm E\|s(x)-s_{ref}(x)\|^2}{\mathrm E\|s(x)\|^2},\qquad x=y+\sigma z,

a ratio of means over noised images. Far above the level where it falls below one percent, sampling can jump: the
Gaussian's path is known in closed form. Where a jump may end is decided by the denoisers rather than by the scores,
which both are mostly noise (:class:`smoothscore.sampling.Teleport`). How many directions of the data stand above the
noise is :math:`\sum_k\lambda_k/(\lambda_k+\sigma^2)`, the trace of the Gaussian denoiser, with :math:`\lambda_k` the
eigenvalues of the covariance.
"""

from collections.abc import Iterator
from dataclasses import dataclass

import numpy as np
import torch
from torch import Tensor

from smoothscore import progress
from smoothscore.data import ImageSet
from smoothscore.geometry.curve import Array, Curve, Levels, as_levels
from smoothscore.geometry.pairs import NoisedPairs, Points, choose, own_generator
from smoothscore.scores import GaussianScore, Score

__all__ = ["FarField", "far_field", "images_at", "noised", "unexplained_share", "unexplained_variance"]


@dataclass(frozen=True, eq=False)
class FarField:
    """How a training set approaches its Gaussian.

    Attributes:
        unexplained: fraction of the empirical score's variance that the Gaussian score leaves unexplained.
        start: noise level from which that fraction stays below one percent; ``None`` if it does at no level.
        directions: (L,) number of directions above the noise, the trace of the Gaussian denoiser.
        spectrum: (r,) eigenvalues of the covariance, descending.
        gaussian: the Gaussian itself.
    """

    unexplained: Curve
    start: float | None
    directions: Array
    spectrum: Array
    gaussian: GaussianScore

    def to_dict(self) -> dict[str, object]:
        """All but the Gaussian."""
        return {name: value for name, value in vars(self).items() if name != "gaussian"}


def far_field(train: Tensor | ImageSet, sigmas: Levels, seed: int = 0, points: int = 128) -> FarField:
    """Where the Gaussian approximation of a training set is good enough to start from.

    Args:
        train: (N, *shape) tensor in [-1, 1], or an ImageSet.
        sigmas: noise levels.
        seed: of the noised images and the noises.
        points: number of noised training images a level.

    Cost: one Gaussian fit, the distances of ``points`` images to all, and at most 2 N d ``points`` operations a
    level.
    """
    levels = as_levels(sigmas)
    gaussian = GaussianScore.fit(train)
    spectrum = np.sort(gaussian.variances.numpy())[::-1].copy()
    directions = (spectrum / (spectrum + levels[:, None] ** 2)).sum(1)
    clean, noise = noised(train, points, seed)
    center, pure = (
        (part.double().flatten(1) - by) @ gaussian.directions for part, by in ((clean, gaussian.mean), (noise, 0))
    )
    outside = (noise.double().flatten(1).square().sum(1) - pure.square().sum(1)).clamp_(min=0)
    parts = []
    for sigma, optimal in zip(levels.tolist(), _optimal(train, gaussian, clean, noise, levels), strict=True):
        x = center + sigma * pure
        answer = gaussian.variances / (gaussian.variances + sigma**2) * x
        missed, whole = (optimal - answer).square().sum(1), (optimal - x).square().sum(1) + sigma**2 * outside
        parts.append(_share(missed, whole))
    unexplained = Curve(levels, *np.array(parts).T)
    return FarField(unexplained, _start(unexplained, 0.01), directions, spectrum, gaussian)


def _optimal(
    train: Tensor | ImageSet, gaussian: GaussianScore, clean: Tensor, noise: Tensor, levels: Array
) -> Iterator[Tensor]:
    """The empirical denoiser's answers to ``clean + sigma * noise``, level by level, in the Gaussian's coordinates.

    All training images lie in the span of the Gaussian's directions. Distances are taken once.
    """
    centers = Points(train)
    points = Points(clean, like=centers).rows(slice(0, len(clean)))
    pairs = NoisedPairs.build(points, centers, noise.flatten(1).double())
    own_noise = pairs.center_noise.T.contiguous() - pairs.point_noise.diagonal()[:, None]
    mean, axes = gaussian.mean.float(), gaussian.directions.float()
    few = len(centers) <= centers.dim
    images = (images_at(train, torch.arange(len(centers))).flatten(1) - mean) @ axes if few else None
    with progress.task("far field", total=len(levels)) as advance:
        for sigma in levels.tolist():
            weights = torch.softmax(own_noise / sigma - pairs.squares / (2 * sigma**2), dim=1)
            matter = torch.nonzero(weights.amax(0) > 1e-9 / len(centers)).squeeze(1)
            if images is not None:
                answer = weights[:, matter].float() @ images[matter]
            else:
                answer = torch.zeros(len(clean), centers.dim)
                for index in torch.split(matter, 1024):
                    answer += weights[:, index].float() @ (images_at(train, index).flatten(1) - mean)
                answer = answer @ axes
            yield answer.double()
            advance(1)


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
            ratio[level], error[level] = unexplained_share(score.denoise(x, sigma), reference.denoise(x, sigma), x)
            advance(1)
    return Curve(levels, ratio, error)


def unexplained_share(answer: Tensor, reference: Tensor, x: Tensor) -> tuple[float, float]:
    """The fraction at one level and its standard error, from the two denoisers' answers to ``x`` (n, *shape)."""
    answer, reference, x = (part.double().flatten(1) for part in (answer, reference, x))
    return _share((answer - reference).square().sum(1), (answer - x).square().sum(1))


def _share(missed: Tensor, whole: Tensor) -> tuple[float, float]:
    """Ratio of the means of two (n,) squares and its standard error."""
    ratio = missed.mean() / whole.mean()
    error = (missed - ratio * whole).std(correction=0) / whole.mean() / len(whole) ** 0.5
    return float(ratio), float(error)


def images_at(images: Tensor | ImageSet, index: Tensor) -> Tensor:
    """The chosen images as float32 in [-1, 1]."""
    if isinstance(images, Tensor):
        return images[index].float()
    return torch.from_numpy(images.take(index.numpy())).float() / 127.5 - 1


def noised(images: Tensor | ImageSet, points: int, seed: int) -> tuple[Tensor, Tensor]:
    """``points`` of the images, drawn without replacement while they last, and a noise for each; float32."""
    index = np.resize(choose(len(images), points, seed), points)
    clean = images_at(images, torch.from_numpy(index))
    return clean, torch.randn(clean.shape, generator=own_generator(seed))


def _start(curve: Curve, level: float) -> float | None:
    """The noise level above which the curve stays below ``level``."""
    if curve.mean[np.argmax(curve.sigmas)] >= level:
        return None
    return max(curve.crossings(level), default=float(curve.sigmas.min()))
