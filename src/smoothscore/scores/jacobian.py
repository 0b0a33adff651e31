r"""Jacobians of scores: low rank plus a multiple of the identity, never a d x d matrix.

For a score that is a sum over centers, with :math:`\delta_j=\mu_j-x`, :math:`s=\sum_jw_j\kappa_j\delta_j` and
:math:`c=\sum_jw_j\kappa_j`,

.. math::
    \nabla s=C-cI,\qquad C=\tfrac1T\sum_jw_j(\kappa_j\delta_j-s)(\kappa_j\delta_j-s)^\top
    +\sum_jw_j\eta_j\delta_j\delta_j^\top ,

:math:`\eta=-2\,d\kappa/dr^2`. The columns of C that carry weight are few, and its nonzero eigenvalues are those of
their Gram matrix. Where they are many, the Lanczos process on products with C finds its largest eigenvalue; any
other score has only such products, by forward-mode differentiation.
"""

from abc import ABC, abstractmethod
from collections.abc import Callable

import torch
from torch import Tensor
from torch.autograd import forward_ad

from smoothscore.errors import InputError
from smoothscore.mixture import Active, Centers, Kernel, active, spread, sums

__all__ = ["CenterJacobian", "Jacobian", "JvpJacobian", "lanczos"]

GRAM = 2048  # columns of C up to which its Gram matrix is formed
STEPS = 60  # Lanczos steps at most
PRECISION = 10  # of the Lanczos residuals, in units of rounding of the larger modulus of the extremes


class Jacobian(ABC):
    """The symmetric Jacobian of a score at B points; every result has one entry a point.

    Attributes:
        shape: (B, *shape) of the points.
    """

    shape: torch.Size

    def matvec(self, v: Tensor) -> Tensor:
        """The Jacobian times ``v`` (B, *shape); same shape and dtype.

        Raises:
            InputError: not one vector for each point.
        """
        if v.shape != self.shape:
            raise InputError(f"The vectors have shape {tuple(v.shape)}; give one for each point, {tuple(self.shape)}.")
        return self._product(v)

    @abstractmethod
    def _product(self, v: Tensor) -> Tensor:
        """:meth:`matvec`."""

    @abstractmethod
    def trace(self) -> Tensor:
        """The divergence of the score: (B,)."""

    @abstractmethod
    def extremes(self) -> tuple[Tensor, Tensor]:
        """Smallest and largest eigenvalue: two (B,) tensors."""

    def largest_eigenvalue(self) -> Tensor:
        """The largest eigenvalue, which may be negative: (B,). Positive where the score drives points apart."""
        return self.extremes()[1]

    def spectral_radius(self) -> Tensor:
        """The largest modulus of an eigenvalue: (B,)."""
        smallest, largest = self.extremes()
        return torch.maximum(smallest.abs(), largest.abs())


class CenterJacobian(Jacobian):
    """:math:`C-cI` of a score that is a sum over centers.

    Args:
        x: (B, *shape) points.
        centers, kernel: as for :func:`smoothscore.mixture.sums`.

    Attributes:
        c: (B,) float64, the diagonal: minus ``c`` is an eigenvalue whenever C has not full rank.

    Eigenvalues and trace are float64. Cost: the active centers of a point are gathered once (K d float64
    values), their K x K products formed and its eigenvalues found; above 2,048 of them, Lanczos steps that
    each cost two sums over the centers.

    Source: "Smoothing the score function", eq. 18 (for a temperature and shells held fixed).
    """

    def __init__(self, x: Tensor, centers: Centers, kernel: Kernel) -> None:
        self.x, self.centers, self.kernel, self.shape = x.detach(), centers, kernel, x.shape
        found = sums(self.x.double(), centers, kernel)
        self.c = found.precision
        self._pull, self._trace = found.pull, found.trace

    def _product(self, v: Tensor) -> Tensor:
        wide = self.x.double()
        diagonal = self.c.reshape(-1, *(1,) * (v.ndim - 1))
        product = spread(wide, self.centers, self.kernel, v.double()).reshape(v.shape) - diagonal * v.double()
        return product.to(v.dtype)

    def trace(self) -> Tensor:
        """The divergence of the score: (B,) float64."""
        return self._trace - self.centers.dim * self.c

    def extremes(self) -> tuple[Tensor, Tensor]:
        """Smallest and largest eigenvalue: two (B,) float64 tensors."""
        found = active(self.x.double(), self.centers, self.kernel)
        counts = found.log_weights.isfinite().sum(1)
        low, high = torch.zeros_like(self.c), torch.zeros_like(self.c)
        for i in (counts <= GRAM).nonzero()[:, 0].tolist():
            low[i], high[i] = self._gram(i, found, int(counts[i]))
        many = counts > GRAM
        if many.any():
            x, kernel = self.x[many].double(), self.kernel.select(many.nonzero()[:, 0])
            low[many], high[many] = lanczos(lambda v: spread(x, self.centers, kernel, v), x.flatten(1))
            low = torch.where(many & (counts <= self.centers.dim), 0, low)
        return low - self.c, high - self.c

    def _gram(self, i: int, found: Active, n: int) -> tuple[Tensor, Tensor]:
        kernel = self.kernel.select(slice(i, i + 1))
        weights, r2 = found.log_weights[i, :n].exp(), found.r2[i : i + 1, :n]
        delta = self.centers.rows(found.indices[i, :n]) - self.x[i].double().flatten()
        force = kernel.precision(r2)[0, :, None] * delta - self._pull[i]
        columns = (weights * kernel.inverse_temperature(r2)[0]).sqrt()[:, None] * force
        softening = kernel.softening(r2)
        if softening is not None:
            columns = torch.cat([columns, (weights * softening[0]).sqrt()[:, None] * delta])
        full = len(columns) > self.centers.dim  # else minus c is an eigenvalue: the forces sum to zero
        values = torch.linalg.eigvalsh(columns.T @ columns if full else columns @ columns.T).clamp_min(0)
        return values[0] if full else values.new_zeros(()), values[-1]


class JvpJacobian(Jacobian):
    """The Jacobian of any score, by products with it.

    They are found by forward-mode differentiation, or, where an operation inside the score has none (PyTorch's group
    norm behind some convolutions, fused attention), by differentiating backward twice, at about twice the cost.

    Args:
        score: a function of x (B, *shape) alone, e.g. ``lambda x: score.score(x, sigma)``.
        x: (B, *shape) points.

    Eigenvalues are those of the symmetric part (for the gradient of a log-density, the Jacobian itself), found
    by the Lanczos process in the dtype of x. Cost: one forward-mode and one
    reverse-mode product a step, at most 60 steps; ``trace`` takes d forward-mode products.
    """

    def __init__(self, score: Callable[[Tensor], Tensor], x: Tensor) -> None:
        self.score, self.x, self.shape = score, x.detach(), x.shape
        self._forward = True

    def _product(self, v: Tensor) -> Tensor:
        out: Tensor
        if self._forward:
            try:
                with forward_ad.dual_level():
                    dual = self.score(forward_ad.make_dual(self.x, v))  # type: ignore[no-untyped-call]
                    tangent = forward_ad.unpack_dual(dual).tangent  # type: ignore[no-untyped-call]
            except RuntimeError:
                self._forward = False
            else:
                return torch.zeros_like(v) if tangent is None else tangent
        out = torch.autograd.functional.jvp(self.score, self.x, v)[1]  # type: ignore[no-untyped-call]
        return out

    def trace(self) -> Tensor:
        """The divergence of the score, (B,): d products."""
        total = self.x.new_zeros(len(self.x))
        for k in range(self.x[0].numel()):
            direction = torch.zeros_like(self.x)
            direction.flatten(1)[:, k] = 1
            total += self.matvec(direction).flatten(1)[:, k]
        return total

    def extremes(self) -> tuple[Tensor, Tensor]:
        """Smallest and largest eigenvalue of the symmetric part: two (B,) tensors."""
        return lanczos(self._symmetric, self.x.flatten(1))

    def _symmetric(self, v: Tensor) -> Tensor:
        shaped = v.reshape(self.shape)
        with torch.enable_grad():
            x = self.x.clone().requires_grad_()
            (transposed,) = torch.autograd.grad(self.score(x), x, shaped)
        return ((self.matvec(shaped) + transposed) / 2).flatten(1)


def lanczos(product: Callable[[Tensor], Tensor], like: Tensor) -> tuple[Tensor, Tensor]:
    """Extreme eigenvalues of B symmetric operators at once, from products with (B, d) vectors shaped ``like``.

    Every basis vector is kept and orthogonalized against (B * 60 * d values). Stops when the
    residuals of both extremes are a few times the rounding of the larger modulus.
    """
    generator = torch.Generator().manual_seed(0)
    v = torch.randn(like.shape, generator=generator, dtype=torch.float64).to(like)
    basis = [v / torch.linalg.vector_norm(v, dim=1, keepdim=True)]
    diagonal: list[Tensor] = []
    coupling: list[Tensor] = []
    low, high = like.new_zeros(2, len(like))
    found = torch.zeros(len(like), dtype=torch.bool, device=like.device)
    for _ in range(min(STEPS, like.shape[1])):
        image = product(basis[-1])
        diagonal.append((image * basis[-1]).sum(1))
        stack = torch.stack(basis, dim=1)
        for _ in range(2):
            image = image - torch.einsum("bk,bkd->bd", torch.einsum("bkd,bd->bk", stack, image), stack)
        norm = torch.linalg.vector_norm(image, dim=1)
        triangle = torch.diag_embed(torch.stack(diagonal, 1))
        if coupling:
            beside = torch.diag_embed(torch.stack(coupling, 1), offset=1)
            triangle = triangle + beside + beside.mT
        values, vectors = torch.linalg.eigh(triangle)
        low, high = torch.where(found, low, values[:, 0]), torch.where(found, high, values[:, -1])
        residual = norm * torch.maximum(vectors[:, -1, 0].abs(), vectors[:, -1, -1].abs())
        found |= residual <= PRECISION * torch.finfo(like.dtype).eps * torch.maximum(low.abs(), high.abs())
        if found.all():
            break
        coupling.append(norm.masked_fill(found, 0))
        basis.append((image / norm[:, None]).masked_fill(found[:, None], 0))
    return low, high
