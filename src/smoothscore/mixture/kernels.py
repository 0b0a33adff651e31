r"""Weights as functions of the squared distance.

A kernel gives, for each query, a log weight :math:`\ell(r^2)` that never increases and a precision
:math:`\kappa(r^2)`. Their derivatives describe the Jacobian of :math:`s=\sum_jw_j\kappa_j\delta_j`,
:math:`\delta_j=\mu_j-x`:

.. math::
    -2\,\ell'=\kappa/T,\qquad q=\kappa^2/T-2\kappa',\qquad
    \nabla s=\sum_jw_jq_j\delta_j\delta_j^\top-\tfrac1T ss^\top-\sum_jw_j\kappa_jI .

At temperature T = 1 the field is the gradient of :math:`\log m`. The softening :math:`-2\kappa'` is zero when the
precision of a center is held fixed or does not depend on its distance.
"""

from abc import ABC, abstractmethod
from collections.abc import Callable
from functools import partial
from typing import Self

import torch
from torch import Tensor

__all__ = ["GaussianKernel", "Kernel", "Loop"]

# Called with ``s, floor, room, least, weights, sums, carries``, arrays and numbers of NumPy; see ``Kernel.loop``.
Loop = Callable[..., int]


class Kernel(ABC):
    """Log weight and precision of a center as functions of its squared distance, one row a query.

    In all methods ``r2`` is ``(B, n)`` with B the kernel's number of queries, and results have its shape.
    ``log_weight`` must not increase with ``r2``: candidates are chosen by bounds of the distance.

    Attributes:
        constant_precision: whether the precision is the same for all distances.
    """

    constant_precision: bool = False

    @abstractmethod
    def log_weight(self, r2: Tensor) -> Tensor:
        """Log weight, unnormalized, in the dtype of ``r2`` (the engine passes float64)."""

    @abstractmethod
    def precision(self, r2: Tensor) -> Tensor:
        """Precision :math:`\\kappa`: the factor of :math:`\\mu_j-x` in the field."""

    @abstractmethod
    def select(self, queries: Tensor | slice) -> Self:
        """The kernel of some of the queries (an index tensor may repeat them)."""

    def relative(self, base: Tensor, offset: Tensor) -> tuple[Tensor, Tensor]:
        """``log_weight(base + offset) - log_weight(base)`` and the precision there, in the dtype of ``offset``.

        ``base`` is (B, 1) float64, ``offset`` (B, n), in float32 where all centers are summed. Override it
        where they can be had without float64; the difference must not lose digits to cancellation.
        """
        r2 = base + offset.double()
        ratio = self.log_weight(r2) - self.log_weight(base)
        return ratio.to(offset.dtype), self.precision(r2).to(offset.dtype)

    def loop(self, base: Tensor, s: Tensor) -> Loop | None:
        """One compiled loop that weighs many centers, relative to one of squared distance ``base`` (B, 1) and S ``s``.

        None where there is none; see :mod:`smoothscore.mixture.weights_loop` for what it does, which spares a dozen
        operations on tensors.
        """
        if not self.constant_precision:
            return None
        from smoothscore.mixture.weights_loop import weigh

        steep = self.precision(base) * self.inverse_temperature(base)
        return partial(weigh, s.numpy(), steep[:, 0].float().numpy())

    def inverse_temperature(self, like: Tensor) -> Tensor:
        """1/T of each query, (B, 1), in the dtype of ``like``; 1 unless overridden."""
        return torch.ones(len(like), 1, dtype=like.dtype, device=like.device)

    def softening(self, r2: Tensor) -> Tensor | None:
        """:math:`-2\\,d\\kappa/dr^2`, nonnegative; ``None`` when zero everywhere."""
        return None

    def curvature(self, r2: Tensor) -> Tensor:
        """:math:`q=\\kappa^2/T-2\\kappa'`."""
        kappa, softening = self.precision(r2), self.softening(r2)
        steep = self.inverse_temperature(r2) * kappa**2
        return steep if softening is None else steep + softening

    def reach(self, r2: Tensor, nats: Tensor) -> Tensor:
        """The squared distance beyond which the log weight is ``nats`` or more below that at ``r2``.

        Both (B,) float64, as is the result, which may be too large but never too small. Bisection on
        :meth:`log_weight`; override it where a closed form exists.
        """
        floor = self.log_weight(r2[:, None])[:, 0] - nats
        low, high = r2.clone(), r2 * 2 + torch.finfo(torch.float64).tiny
        for _ in range(2048):
            short = self.log_weight(high[:, None])[:, 0] > floor
            if not short.any() or high.isinf().any():
                break
            low, high = torch.where(short, high, low), torch.where(short, high * 2, high)
        for _ in range(60):
            middle = low + (high - low) / 2
            short = self.log_weight(middle[:, None])[:, 0] > floor
            low, high = torch.where(short, middle, low), torch.where(short, high, middle)
        return high


class GaussianKernel(Kernel):
    """One noise level a query: :math:`\\ell=-r^2/2\\sigma^2` and :math:`\\kappa=1/\\sigma^2`.

    Args:
        sigma: (B,) positive noise levels.
    """

    constant_precision = True

    def __init__(self, sigma: Tensor) -> None:
        self.sigma = sigma.detach().double()
        self.variance = self.sigma[:, None] ** 2

    def log_weight(self, r2: Tensor) -> Tensor:
        """Logarithm of the Gaussian density, less its constant."""
        return r2 / (-2 * self.variance).to(r2.dtype)

    def precision(self, r2: Tensor) -> Tensor:
        """One over the variance."""
        return (1 / self.variance).to(r2.dtype).expand_as(r2)

    def select(self, queries: Tensor | slice) -> "GaussianKernel":
        """The levels of some of the queries."""
        return GaussianKernel(self.sigma[queries])

    def relative(self, base: Tensor, offset: Tensor) -> tuple[Tensor, Tensor]:
        """Linear in the offset, and constant."""
        return offset / (-2 * self.variance).to(offset.dtype), self.precision(offset)

    def reach(self, r2: Tensor, nats: Tensor) -> Tensor:
        """``r2`` plus two variances a nat."""
        return r2 + 2 * self.variance[:, 0] * nats
