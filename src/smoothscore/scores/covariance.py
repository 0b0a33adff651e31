r"""Covariances that never become d x d matrices unless they came as one.

.. math:: \Sigma=U\,\mathrm{diag}(\lambda)\,U^\top+\nu\,(I-UU^\top)

with r orthonormal directions U, their variances :math:`\lambda` and one variance :math:`\nu` for everything
orthogonal to them, which is zero for data on a linear manifold and positive after shrinkage.
"""

from dataclasses import dataclass
from typing import Self

import torch
from torch import Tensor

from smoothscore.errors import InputError
from smoothscore.mixture import Centers

__all__ = ["Covariance", "fit_moments"]

ROWS = 4096
"""Images in memory at a time while moments are summed."""


@dataclass(frozen=True)
class Covariance:
    """A covariance by its principal axes, in float64.

    Attributes:
        directions: (d, r), orthonormal columns.
        variances: (r,), descending, not negative.
        residual: variance of every direction orthogonal to the columns.
    """

    directions: Tensor
    variances: Tensor
    residual: float = 0.0

    @classmethod
    def of(cls, matrix: Tensor, dim: int) -> Self:
        """From a covariance (d, d), or from a factor F (d, r) with r < d and covariance ``F @ F.T``.

        Raises:
            InputError: another shape, not finite, not symmetric, or with a negative eigenvalue.
        """
        if matrix.ndim != 2 or len(matrix) != dim or matrix.shape[1] > dim:
            raise InputError(
                f"The covariance has shape {tuple(matrix.shape)}; for images of {dim} values give "
                f"({dim}, {dim}), or a factor ({dim}, r) with r < {dim}."
            )
        matrix = matrix.to(torch.float64)
        if not torch.isfinite(matrix).all():
            raise InputError("The covariance has NaN or infinite values; mend the data it was computed from.")
        if matrix.shape[1] < dim:
            directions, roots, _ = torch.linalg.svd(matrix, full_matrices=False)
            return cls._significant(directions, roots**2)
        scale = matrix.abs().max()
        if (matrix - matrix.mT).abs().max() > 1e-6 * scale:
            raise InputError("The covariance is not symmetric; give (d, d) with equal halves, or a factor (d, r).")
        variances, directions = torch.linalg.eigh((matrix + matrix.mT) / 2)
        if variances[0] < -1e-6 * scale:
            raise InputError("The covariance has a negative eigenvalue; a variance cannot be below zero.")
        return cls._significant(directions.flip(1), variances.flip(0))

    @classmethod
    def _significant(cls, directions: Tensor, variances: Tensor) -> Self:
        """Without the directions whose variance is rounding error of the largest."""
        floor = variances[:1] * len(directions) * torch.finfo(variances.dtype).eps
        kept = int((variances > floor).sum())
        return cls(directions[:, :kept].contiguous(), variances[:kept].contiguous())

    def truncated(self, rank: int | None) -> "Covariance":
        """The ``rank`` largest directions; the variance of the others is dropped."""
        if rank is None:
            return self
        if not isinstance(rank, int) or rank < 0:
            raise InputError(f"rank is {rank!r}; give the number of directions to keep, or None for all.")
        return Covariance(self.directions[:, :rank].contiguous(), self.variances[:rank], self.residual)

    def shrunk(self, amount: float) -> "Covariance":
        """``(1 - amount) * covariance + amount * v * I``, where v is the mean variance of the d values."""
        if not (isinstance(amount, int | float) and 0 <= amount <= 1):
            raise InputError(f"shrinkage is {amount!r}; give a number between 0 (none) and 1 (isotropic).")
        dim, rank = self.directions.shape
        mean = float(self.variances.sum() + (dim - rank) * self.residual) / dim
        return Covariance(
            self.directions,
            (1 - amount) * self.variances + amount * mean,
            (1 - amount) * self.residual + amount * mean,
        )


def fit_moments(centers: Centers, indices: Tensor | None = None) -> tuple[Tensor, Covariance]:
    """The mean (d,) and the covariance of some of the centers, in float64, divided by their number.

    Reads the images twice in chunks. With n images the cost is n d^2 and one eigendecomposition of size d,
    for n <= d one singular value decomposition of (n, d); memory is min(n, d) * d values and a few copies.
    """
    indices = torch.arange(centers.count) if indices is None else indices
    count, dim = len(indices), centers.dim
    chunks = torch.split(indices, ROWS)
    mean = torch.zeros(dim, dtype=torch.float64)
    for chunk in chunks:
        mean += centers.rows(chunk, torch.float64).sum(0) / count
    if count <= dim:
        rows = centers.rows(indices, torch.float64) - mean
        _, roots, directions = torch.linalg.svd(rows, full_matrices=False)
        return mean, Covariance._significant(directions.mT, roots**2 / count)
    scatter = torch.zeros(dim, dim, dtype=torch.float64)
    for chunk in chunks:
        rows = centers.rows(chunk, torch.float64) - mean
        scatter.addmm_(rows.mT, rows)
    variances, directions = torch.linalg.eigh(scatter / count)
    return mean, Covariance._significant(directions.flip(1), variances.flip(0))
