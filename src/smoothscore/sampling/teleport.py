r"""Analytical teleportation: the first part of the way in closed form.

At large noise a trained score is nearly that of the Gaussian with the mean and covariance of the data, whose flow is
known, so any sampler may begin at a level :math:`\sigma'` with

.. math:: x_{\sigma'}=\mu+\frac{\sigma'}{\sigma_T}x_T^\perp
    +\sum_k\sqrt{\frac{\sigma'^2+\lambda_k}{\sigma_T^2+\lambda_k}}\,c_ku_k

and is spared the steps above it (*Gaussian score approximation*, algorithm 1 and eq. 15). Variance preserving models
are wrapped: their state over :math:`\alpha` is a state here.
"""

import warnings
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Self

import torch
from torch import Tensor

from smoothscore.data import ImageSet
from smoothscore.encoders.components import principal
from smoothscore.errors import DataWarning, InputError
from smoothscore.sampling.evaluator import device_of, noise
from smoothscore.scores import (
    EmpiricalScore,
    GaussianMixtureScore,
    GaussianScore,
    MollifiedScore,
    NetworkScore,
    PiecewiseScore,
    Score,
    UnifiedScore,
)
from smoothscore.scores.covariance import Covariance

__all__ = ["Teleport", "far_field_error", "fit_gaussian", "gaussian_of", "shrinkage"]

AGREE = 0.01  # of the data's variance
MOST = 0.1
PROBES = 64
FEW = 4  # directions of so many in all: sought by themselves
ROUNDS = 5  # of that search


@dataclass(frozen=True, eq=False)
class Teleport:
    """A jump from the first level to ``sigma`` along the flow of ``gaussian``; no evaluation of the score.

    Raises:
        InputError: ``sigma`` is not positive.
    """

    gaussian: GaussianScore
    sigma: float

    def __post_init__(self) -> None:
        if not self.sigma > 0:
            raise InputError(f"teleport is {self.sigma}; give a positive noise level.")

    def levels(self, levels: Sequence[float]) -> list[float]:
        """The levels that are left: ``sigma``, and those of ``levels`` below it.

        Raises:
            InputError: ``sigma`` is not below the first of ``levels``.
        """
        if self.sigma >= levels[0]:
            raise InputError(
                f"teleport is {self.sigma:.4g}, but sampling begins at {levels[0]:.4g}; give a lower level, or none."
            )
        return [self.sigma, *(level for level in levels if level < self.sigma * (1 - 1e-9))]

    def jump(self, x: Tensor, sigma: float) -> Tensor:
        """The state (batch, *shape) at the level of the jump, from ``x`` at ``sigma``."""
        return self.gaussian.to(x.device).solve(x, sigma, self.sigma)

    @classmethod
    def auto(cls, score: Score, gaussian: GaussianScore, levels: Sequence[float], seed: int = 0) -> Self | None:
        """The jump to the lowest of the levels, not the last, down to which the two denoisers agree.

        They do until :func:`far_field_error` has risen by 1 % over its least value so far: that is what the network
        itself misses at large noise, none for an exact score. More than 10 % is no agreement. ``levels`` descend from
        the first of the schedule; 64 evaluations for each that is tried.

        Returns:
            ``None``, with a warning, when they differ at the second level already.
        """
        start = levels[0] * noise(seed, 0, PROBES, score.shape)
        images = gaussian.solve(start.to(gaussian.mean.device), levels[0], 0.0).cpu()
        good, least = list[float](), MOST - AGREE
        for level in levels[:-1]:
            error = far_field_error(score, gaussian, images, level, seed)
            if error >= least + AGREE:
                break
            good, least = [*good, level], min(least, error)
        if len(good) < 2:
            warnings.warn(
                f"The Gaussian is no good approximation soon below sigma {levels[0]:.3g}, where sampling begins, so "
                "nothing is teleported; give a level, or more steps.",
                DataWarning,
                stacklevel=2,
            )
            return None
        return cls(gaussian, good[-1])


def far_field_error(score: Score, gaussian: GaussianScore, images: Tensor, sigma: float, seed: int = 0) -> float:
    """How far the denoiser of a score is from a Gaussian's at level ``sigma``, as a share of the data's variance.

    The mean squared difference over noised ``images`` (n, *shape), divided by the trace of the covariance. What is left
    of it at the end of the path is less: the difference falls with the level, and the path forgets (eq. 23).
    """
    x = (images + sigma * noise(seed + 1, 0, len(images), score.shape)).float()
    with torch.no_grad():
        answer = score.denoise(x.to(device_of(score)), sigma).cpu().double()
        missed = answer - gaussian.denoise(x.double().to(gaussian.mean.device), sigma).cpu()
    variance = gaussian.variances.sum() + (gaussian.dim - gaussian.rank) * gaussian.residual
    return float(missed.flatten(1).square().sum(1).mean() / float(variance))


def gaussian_of(score: Score) -> GaussianScore:
    """The Gaussian with the moments of the data that a closed-form score was made of.

    That of an empirical, unified or mollified score is fitted to its centers, which takes N d^2 and an
    eigendecomposition of size d; a mixture of Gaussians is matched without its data. No shrinkage: these scores are
    those of the centers themselves. A network has the one that its run keeps.

    Raises:
        InputError: the score does not hold its data; give the moments.
    """
    if isinstance(score, GaussianScore):
        return score
    if isinstance(score, GaussianMixtureScore):
        return _matched(score)
    if isinstance(score, MollifiedScore):
        return gaussian_of(score.inner)
    if isinstance(score, PiecewiseScore):
        return gaussian_of(score.regions[-1][1])
    if isinstance(score, NetworkScore) and score.moments is not None:
        return score.moments
    if isinstance(score, EmpiricalScore | UnifiedScore):
        centers = score.centers
        if centers.uniform and centers.images is not None:
            return GaussianScore.fit(centers.images)
        if centers.uniform and centers.values is not None:
            return GaussianScore.fit(centers.values.reshape(-1, *centers.shape))
    raise InputError(
        f"Teleportation needs the mean and covariance of the data that {type(score).__name__} was made of; give "
        "moments, those images or a GaussianScore."
    )


def fit_gaussian(images: Tensor | ImageSet, rank: int | None = None) -> GaussianScore:
    """The Gaussian for a model trained on ``images``: its covariance shrunk when they are fewer than their values.

    With a ``rank``, the variance outside of the largest directions is spread evenly over the others; a rank far below
    the number of images and of values costs no decomposition of all of them.
    """
    shape = images.shape if isinstance(images, ImageSet) else images.shape[1:]
    count, dim = len(images), shape.numel()
    if rank is not None and FEW * rank < min(count, dim):
        return _leading(images, rank)
    gaussian = GaussianScore.fit(images)
    covariance = Covariance(gaussian.directions, gaussian.variances, float(gaussian.residual))
    if count < dim:
        covariance = covariance.shrunk(shrinkage(gaussian.variances, dim, count))
    if rank is not None and rank < len(covariance.variances):
        rest = covariance.variances[rank:].sum() + (dim - len(covariance.variances)) * covariance.residual
        kept = covariance.truncated(rank)
        covariance = Covariance(kept.directions, kept.variances, float(rest) / (dim - rank))
    return GaussianScore(gaussian.mean.reshape(gaussian.shape), covariance)


def _leading(images: Tensor | ImageSet, rank: int) -> GaussianScore:
    """The same from the largest directions alone; for the shrinkage the others are taken as alike."""
    shape = images.shape if isinstance(images, ImageSet) else images.shape[1:]
    count, dim = len(images), shape.numel()
    found = principal(images, rank, ROUNDS)
    variances, others = found.variances, min(count - 1, dim) - rank
    if count < dim:
        rest = (found.total - float(variances.sum())) / others
        amount = shrinkage(torch.cat([variances, variances.new_full((others,), rest)]), dim, count)
        variances = (1 - amount) * variances + amount * found.total / dim
    residual = (found.total - float(variances.sum())) / (dim - rank)
    return GaussianScore(found.mean.reshape(shape), Covariance(found.directions, variances, residual))


def shrinkage(variances: Tensor, dim: int, count: int) -> float:
    """The weight of an isotropic covariance that estimates best, from the (r,) variances of ``count`` samples.

    Oracle approximating shrinkage for Gaussian data, as in :func:`sklearn.covariance.oas`; Chen et al. 2010, eq. 23.
    """
    mean, square = float(variances.sum()) / dim, float(variances.square().sum()) / dim**2
    spread = (count + 1) * (square - mean**2 / dim)
    return 1.0 if spread <= 0 else min((square + mean**2) / spread, 1.0)


def _matched(mixture: GaussianMixtureScore) -> GaussianScore:
    """The Gaussian with the mean and covariance of a mixture of Gaussians."""
    weights, gaussians = mixture.log_weights.exp(), mixture.gaussians
    means = torch.stack([gaussian.mean for gaussian in gaussians])
    residuals = torch.stack([gaussian.residual for gaussian in gaussians])
    mean, residual = weights @ means, float(weights @ residuals)
    own = [g.directions * (w * (g.variances - g.residual)).sqrt() for w, g in zip(weights, gaussians, strict=True)]
    factor = torch.cat([(weights.sqrt()[:, None] * (means - mean)).mT, *own], 1)
    scatter = factor @ factor.mT if factor.shape[1] >= mixture.dim else factor
    covariance = Covariance.of(scatter, mixture.dim)
    shifted = Covariance(covariance.directions, covariance.variances + residual, residual)
    return GaussianScore(mean.reshape(mixture.shape), shifted)
