r"""The score of one Gaussian, and its flow in closed form.

For images with mean :math:`\mu` and covariance :math:`\Sigma=U\Lambda U^\top`, with :math:`e=x-\mu` and
:math:`c=U^\top e`,

.. math::
    D(x;\sigma)&=\mu+U\,\mathrm{diag}\Big(\frac{\lambda_k}{\lambda_k+\sigma^2}\Big)c,
    \qquad s=-(\Sigma+\sigma^2I)^{-1}e, \\
    -2\log p_\sigma(x)&=\frac{\|e\|^2-\|c\|^2}{\sigma^2}+\sum_k\frac{c_k^2}{\lambda_k+\sigma^2}
    +\sum_k\log(\lambda_k+\sigma^2)+(d-r)\log\sigma^2+d\log2\pi .

The matrix :math:`\Sigma+\sigma^2I` is never formed. At large noise every score of data with these two moments
tends to this one.
"""

import math
from typing import Self

import torch
from torch import Tensor

from smoothscore.data import ImageSet
from smoothscore.errors import InputError
from smoothscore.mixture import Centers
from smoothscore.scores.base import Score, Sigma
from smoothscore.scores.covariance import Covariance, fit_moments
from smoothscore.scores.gaussian_flow import denoiser_gain, state_gain
from smoothscore.scores.jacobian import Jacobian
from smoothscore.scores.listed import listed

__all__ = ["GaussianJacobian", "GaussianScore"]


class GaussianScore(Score):
    """The score of Gaussian data, of any rank.

    Cost: two products with (d, rank) a call. Memory: d * rank values. It computes in the dtype of its
    buffers, float64 as built, and returns the dtype of ``x``; ``.float()`` halves cost and memory.

    Args:
        mean: (*shape), finite.
        covariance: (d, d) symmetric and not negative; or a factor F (d, r), r < d, of the covariance
            ``F @ F.T``; or a :class:`Covariance`. d is the number of values in one image.

    Raises:
        InputError: shapes do not fit, or ``covariance`` is not one.

    Source: Gaussian score approximation, eq. 5-6 and 12-20.
    """

    mean: Tensor
    directions: Tensor
    variances: Tensor
    residual: Tensor

    def __init__(self, mean: Tensor, covariance: Tensor | Covariance) -> None:
        for name, value, wanted in (("mean", mean, Tensor), ("covariance", covariance, Tensor | Covariance)):
            if not isinstance(value, wanted):
                raise InputError(f"The {name} is a {type(value).__name__}; pass a tensor.")
        super().__init__(mean.shape)
        if not torch.isfinite(mean).all():
            raise InputError("The mean has NaN or infinite values; mend the data it was computed from.")
        if isinstance(covariance, Tensor):
            covariance = Covariance.of(covariance, self.dim)
        self.register_buffer("mean", mean.detach().to(torch.float64).flatten())
        self.register_buffer("directions", covariance.directions)
        self.register_buffer("variances", covariance.variances)
        self.register_buffer("residual", torch.tensor(covariance.residual, dtype=torch.float64))

    @classmethod
    def fit(cls, images: Tensor | ImageSet, rank: int | None = None, shrinkage: float = 0.0) -> Self:
        """The Gaussian with the mean and covariance of the images (divided by their number, not one less).

        Args:
            images: (N, *shape) in [-1, 1], or an ImageSet, read in chunks.
            rank: keep this many principal directions and drop the variance of the others; None keeps all.
            shrinkage: weight in [0, 1] of an isotropic covariance of the same total variance.

        Cost: N d^2, then an eigendecomposition of size d. Memory: 3 d^2 values (226 MB at d = 3,072).
        """
        centers = Centers(images)
        mean, covariance = fit_moments(centers)
        return cls(mean.reshape(centers.shape), covariance.truncated(rank).shrunk(shrinkage))

    @property
    def rank(self) -> int:
        """Number of directions with a variance of their own."""
        return len(self.variances)

    def score(self, x: Tensor, sigma: Sigma | None = None) -> Tensor:
        """The gradient of the log-density; same shape as ``x`` (batch, *shape)."""
        x, sigma = self.check(x, sigma)
        error, coefficients, level = self.project(x, sigma)
        inside, outside = -1 / (self.variances + level**2), -1 / (self.residual + level**2)
        return self.assemble(error, coefficients, inside, outside).to(x.dtype).reshape(x.shape)

    def denoise(self, x: Tensor, sigma: Sigma) -> Tensor:
        """The posterior mean of the clean image: every principal axis shrunk toward the mean."""
        x, sigma = self.check(x, sigma)
        denoised = self.denoise_projected(*self.project(x, sigma))
        return denoised.to(x.dtype).reshape(x.shape)

    def log_density(self, x: Tensor, sigma: Sigma | None = None) -> Tensor:
        """Log-density of ``x`` at noise level ``sigma``, in nats: (batch,)."""
        x, sigma = self.check(x, sigma)
        return self.log_density_projected(*self.project(x, sigma)).to(x.dtype)

    def jacobian(self, x: Tensor, sigma: Sigma | None = None) -> "GaussianJacobian":
        """Minus the inverse of the noisy covariance: the same at every x of one level."""
        x, sigma = self.check(x, sigma)
        return GaussianJacobian(self, x.shape, sigma.to(self.mean).unsqueeze(1))

    def solve(
        self,
        x: Tensor,
        sigma_from: Sigma,
        sigma_to: Sigma,
        alpha_from: Sigma = 1.0,
        alpha_to: Sigma = 1.0,
    ) -> Tensor:
        """The exact end at ``sigma_to`` of the probability-flow path through ``x`` at ``sigma_from``.

        Args:
            x: (batch, *shape).
            sigma_from: noise level of ``x``, positive; a float or (batch,).
            sigma_to: noise level to reach, 0 or more, below or above ``sigma_from``.
            alpha_from: scale of the image in ``x``; 1 for variance exploding paths.
            alpha_to: scale of the image in the result.

        Returns:
            The state, same shape as ``x``. Eq. 15 and 18.
        """
        x, start, end = self._ends(x, sigma_from, sigma_to)
        before, after = self._scale(x, "alpha_from", alpha_from), self._scale(x, "alpha_to", alpha_to)
        error = self._compute(x) - before * self.mean
        inside = state_gain(self.variances, start, end, before, after)
        outside = state_gain(self.residual, start, end, before, after)
        path = self.assemble(error, error @ self.directions, inside, outside)
        return (after * self.mean + path).to(x.dtype).reshape(x.shape)

    def denoiser_trajectory(
        self,
        x: Tensor,
        sigma_from: Sigma,
        sigmas: Tensor,
        alpha_from: Sigma = 1.0,
        alphas: Tensor | None = None,
    ) -> Tensor:
        """What the denoiser shows along the path from ``x`` at ``sigma_from``: (n, batch, *shape).

        Args:
            x: (batch, *shape).
            sigma_from: noise level of ``x``, positive; a float or (batch,).
            sigmas: (n,) positive levels in any order.
            alpha_from: scale of the image in ``x``; 1 for variance exploding paths.
            alphas: (n,) scales of the image at ``sigmas``; 1 when absent.

        Eq. 16 and 19.
        """
        x, start = self.check(x, sigma_from)
        levels = listed("sigmas", sigmas)
        scales = torch.ones_like(levels) if alphas is None else listed("alphas", alphas, len(levels), zero=True)
        before = self._scale(x, "alpha_from", alpha_from)
        error, start = self._compute(x) - before * self.mean, start.to(self.mean).unsqueeze(1)
        coefficients, frames = error @ self.directions, []
        for level, alpha in zip(levels.tolist(), scales.tolist(), strict=True):
            inside = denoiser_gain(self.variances, start, level, before, alpha)
            outside = denoiser_gain(self.residual, start, level, before, alpha)
            frames.append(self.mean + self.assemble(error, coefficients, inside, outside))
        return torch.stack(frames).to(x.dtype).reshape(len(levels), *x.shape)

    def project(self, x: Tensor, sigma: Tensor) -> tuple[Tensor, Tensor, Tensor]:
        """``x - mean`` (batch, d), its coefficients (batch, rank), and ``sigma`` (batch, 1)."""
        error = self._compute(x) - self.mean
        return error, error @ self.directions, sigma.to(error).unsqueeze(1)

    def denoise_projected(self, error: Tensor, coefficients: Tensor, level: Tensor) -> Tensor:
        """The denoiser (batch, d) from what :meth:`project` returns."""
        inside = self.variances / (self.variances + level**2)
        outside = self.residual / (self.residual + level**2)
        return self.mean + self.assemble(error, coefficients, inside, outside)

    def log_density_projected(self, error: Tensor, coefficients: Tensor, level: Tensor) -> Tensor:
        """The log-density (batch,) from what :meth:`project` returns."""
        inside, outside = self.variances + level**2, (self.residual + level**2).squeeze(1)
        quadratic = (coefficients**2 / inside).sum(1) + inside.log().sum(1) + self.dim * math.log(2 * math.pi)
        if self.rank < self.dim:
            rest = ((error**2).sum(1) - (coefficients**2).sum(1)).clamp(min=0)
            quadratic = quadratic + rest / outside + (self.dim - self.rank) * outside.log()
        return -quadratic / 2

    def assemble(self, error: Tensor, coefficients: Tensor, inside: Tensor, outside: Tensor) -> Tensor:
        """``inside`` times the part of ``error`` along the directions, plus ``outside`` times the rest."""
        if self.rank == self.dim:
            return (inside * coefficients) @ self.directions.mT
        return outside * error + ((inside - outside) * coefficients) @ self.directions.mT

    def _compute(self, x: Tensor) -> Tensor:
        return x.flatten(1).to(self.mean.dtype)

    def _ends(self, x: Tensor, sigma_from: Sigma, sigma_to: Sigma) -> tuple[Tensor, Tensor, Tensor]:
        x, start = self.check(x, sigma_from)
        return x, start.to(self.mean.dtype).unsqueeze(1), self._scale(x, "sigma_to", sigma_to)

    def _scale(self, x: Tensor, name: str, value: Sigma) -> Tensor:
        """A number or (batch,) that may be zero, as (batch, 1)."""
        wanted = f"{name} must be 0 or more and finite: one number, or one for each of the {len(x)} images."
        try:
            scale = torch.as_tensor(value, dtype=self.mean.dtype, device=x.device)
        except (TypeError, ValueError, RuntimeError):
            raise InputError(wanted) from None
        fits = scale.ndim == 0 or scale.shape == (len(x),)
        if not (fits and torch.isfinite(scale).all() and (scale >= 0).all()):
            raise InputError(wanted)
        return scale.expand(len(x)).unsqueeze(1)


class GaussianJacobian(Jacobian):
    """The Jacobian of a Gaussian score, diagonal in the principal axes.

    Args:
        score: the score.
        shape: (B, *shape) of the points.
        level: (B, 1) their noise levels.
    """

    def __init__(self, score: GaussianScore, shape: torch.Size, level: Tensor) -> None:
        self.score, self.shape = score, shape
        self.inside, self.outside = -1 / (score.variances + level**2), -1 / (score.residual + level**2)

    def _product(self, v: Tensor) -> Tensor:
        flat = v.flatten(1).to(self.inside)
        product = self.score.assemble(flat, flat @ self.score.directions, self.inside, self.outside)
        return product.to(v.dtype).reshape(v.shape)

    def trace(self) -> Tensor:
        """The divergence of the score: (B,)."""
        return self.inside.sum(1) + (self.score.dim - self.score.rank) * self.outside.squeeze(1)

    def extremes(self) -> tuple[Tensor, Tensor]:
        """Smallest and largest eigenvalue: two (B,) tensors, both negative."""
        values = self.inside if self.score.rank == self.score.dim else torch.cat([self.inside, self.outside], 1)
        return values.amin(1), values.amax(1)
