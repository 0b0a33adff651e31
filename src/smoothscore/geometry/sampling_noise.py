r"""Sampling noise: how the optimal denoiser would move if other training images had been drawn.

The empirical denoiser :math:`\hat m(x)=\sum_jw_jx_j` of N images scatters about that of the distribution they were
drawn from. By the delta method its covariance is :math:`\hat C/N` with

.. math:: \hat C=N\sum_jw_j^2(x_j-\hat m)(x_j-\hat m)^\top,\qquad \hat\kappa=N\sum_jw_j^2,

("Kernel-smoothed scores", Thm. 2i). Because squared Gaussian weights are those of half the variance, this is a local
principal component analysis: large eigenvalues lie along the images' manifold, small ones across it (Figs. 3 and 8).
On a linear manifold of dimension k with density p the limit at small noise is
:math:`\hat C\to\frac{\sigma^2}2\frac{(4\pi\sigma^2)^{-k/2}}pP_T` with :math:`P_T` the tangent projection (Thm. 2ii).
"""

from dataclasses import dataclass

import torch
from torch import Tensor

from smoothscore.data import ImageSet
from smoothscore.errors import InputError
from smoothscore.geometry.far_field import images_at
from smoothscore.scores import EmpiricalScore

__all__ = ["SamplingNoise", "sampling_noise"]

NEGLIGIBLE = 1e-9  # weights relative to the largest that are left out; their squares count
HEAVIEST = 4096  # images that are looked at where only some directions are wanted
SPARE = 10  # directions more than wanted in a randomized decomposition
UNSEEN = 1e-8  # share of the variance that may be left out of such a decomposition: no eigenvalue is off by more


@dataclass(frozen=True, eq=False)
class SamplingNoise:
    """The covariance :math:`\\hat C` at one noisy image, by its principal directions; never a d x d matrix.

    Attributes:
        sigma: noise level, in [-1, 1] units.
        mean: (*shape) the empirical denoiser's answer.
        variances: (r,) float64, descending: the eigenvalues that may differ from 0, or the largest asked for.
        directions: (r, *shape) float64, orthonormal: the eigenvectors, as images.
        trace: total variance, the sum of all eigenvalues.
        concentration: :math:`\\hat\\kappa`, between 1 (all images share the answer) and N (one gives it).
        images: number N of training images.
    """

    sigma: float
    mean: Tensor
    variances: Tensor
    directions: Tensor
    trace: float
    concentration: float
    images: int

    @property
    def relative_error(self) -> float:
        """Standard error of the answer by the root-mean-square of the noise, ``sigma * sqrt(d)``."""
        return float((self.trace / self.images / self.mean.numel()) ** 0.5 / self.sigma)

    def to_dict(self) -> dict[str, object]:
        """The numbers, without the images."""
        return {name: value for name, value in vars(self).items() if name not in ("mean", "directions")}

    def matvec(self, v: Tensor) -> Tensor:
        """The covariance, within its ``directions``, times images ``v`` (n, *shape)."""
        axes = self.directions.flatten(1)
        product = (v.double().flatten(1) @ axes.T * self.variances) @ axes
        return product.reshape(v.shape).to(v.dtype)

    def split(self, tangent: Tensor) -> tuple[float, float]:
        """Variance along orthonormal ``tangent`` directions (k, *shape), and across them; they add up to the trace."""
        along = float(((self.directions.flatten(1) @ tangent.double().flatten(1).T) ** 2).sum(1) @ self.variances)
        return along, self.trace - along


def sampling_noise(train: Tensor | ImageSet, x: Tensor, sigma: float, rank: int | None = None) -> list[SamplingNoise]:
    """The sampling noise of the empirical denoiser at noisy images.

    Args:
        train: (N, *shape) in [-1, 1], or an ImageSet.
        x: (n, *shape) noisy images.
        sigma: their noise level.
        rank: number of directions, of the 4,096 images of largest weight, by a randomized decomposition; ``None``: all,
            of all images.

    Raises:
        InputError: shapes differ, ``sigma`` or ``rank`` is not positive.

    Cost: the weights of all N images; for each x with m images of non-negligible weight a singular value
    decomposition of (m, d), or of (d, d) where m is larger, or ``10 rank`` products with (m, d).
    """
    if not sigma > 0 or (rank is not None and rank < 1):
        raise InputError(f"sigma is {sigma} and rank {rank}; both must be positive.")
    score = EmpiricalScore(train)
    found = []
    for weights in score.weights(x.double(), sigma):
        heaviest = len(weights) if rank is None else min(HEAVIEST, len(weights))
        active = weights.topk(heaviest).indices
        active = active[weights[active] > NEGLIGIBLE * weights.max()]
        rows = images_at(train, active).double().flatten(1)
        share = weights[active]
        mean = share @ rows
        columns = (rows - mean) * (share * len(train) ** 0.5)[:, None]
        power = columns.square().sum(1)
        seen = power > (UNSEEN / len(power) * power.sum() if rank is not None else -1)
        variances, directions = _principal(columns[seen], rank)
        found.append(
            SamplingNoise(
                sigma,
                mean.reshape(x.shape[1:]),
                variances,
                directions.reshape(-1, *x.shape[1:]),
                float(power.sum()),
                float(len(train) * share.square().sum()),
                len(train),
            )
        )
    return found


def _principal(columns: Tensor, rank: int | None) -> tuple[Tensor, Tensor]:
    """Eigenvalues, descending, and eigenvectors in rows of ``columns.T @ columns``: all, or the ``rank`` largest."""
    if rank is not None and rank + SPARE < min(columns.shape):
        with torch.random.fork_rng(devices=[]):
            torch.manual_seed(0)
            _, roots, vectors = torch.svd_lowrank(columns, rank + SPARE, niter=4)
        return roots[:rank].square(), vectors.T[:rank]
    if len(columns) > columns.shape[1]:
        values, vectors = torch.linalg.eigh(columns.T @ columns)
        return values.flip(0).clamp_min(0)[:rank], vectors.T.flip(0)[:rank]
    _, roots, vectors = torch.linalg.svd(columns, full_matrices=False)
    return roots.square()[:rank], vectors[:rank]
