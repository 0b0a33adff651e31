r"""The field :math:`s(x)=\sum_jw_j\kappa_j(\mu_j-x)` and the log mass, differentiable in x.

No graph is recorded through the sums: the Jacobian
:math:`\nabla s=\tfrac1T\operatorname{Cov}_w(\kappa_j\delta_j)-\sum_jw_j\kappa_j'\,2\delta_j\delta_j^\top-KI`,
:math:`K=\sum_jw_j\kappa_j`, is symmetric, so one function serves both directions.
"""

from typing import Any

import torch
from torch import Tensor
from torch.autograd.function import once_differentiable

from smoothscore.errors import InputError
from smoothscore.mixture.centers import Centers
from smoothscore.mixture.kernels import Kernel
from smoothscore.mixture.spread import spread
from smoothscore.mixture.sums import totals

__all__ = ["field", "log_mass", "mean"]


def field(x: Tensor, centers: Centers, kernel: Kernel) -> Tensor:
    """:math:`s(x)` for queries (B, *shape), in the shape and dtype of x; a derivative costs two more passes."""
    out: Tensor = _Field.apply(x, centers, kernel, "pull")[0]  # type: ignore[no-untyped-call]
    return out


def mean(x: Tensor, centers: Centers, kernel: Kernel) -> Tensor:
    """:math:`\\sum_jw_j\\mu_j=x+s(x)/K`, for kernels whose precision K does not depend on the distance."""
    if not kernel.constant_precision:
        raise InputError("The mean of the centers has a derivative for constant precision only; take field().")
    out: Tensor = _Field.apply(x, centers, kernel, "mean")[0]  # type: ignore[no-untyped-call]
    return out


def log_mass(x: Tensor, centers: Centers, kernel: Kernel, constant: Tensor | float = 0.0) -> Tensor:
    """:math:`\\operatorname{lse}_j(\\log\\pi_j+\\ell_j)` plus a constant: (B,) in the dtype of x.

    The constant (a float, or (B,) float64) is added before rounding. The gradient is :math:`s(x)/T`.
    """
    out: Tensor = _LogMass.apply(x, centers, kernel, constant)  # type: ignore[no-untyped-call]
    return out


class _Field(torch.autograd.Function):
    """``pull`` with Jacobian C - K, or ``mean`` with Jacobian C / K, where C is what :func:`spread` applies."""

    @staticmethod
    def forward(x: Tensor, centers: Centers, kernel: Kernel, which: str) -> tuple[Tensor, Tensor]:
        found = totals(x, centers, kernel)
        out = found.mean
        if which == "pull":
            out = found.precision[:, None] * (out - x.reshape(len(x), -1))
        return out.to(x.dtype).reshape(x.shape), found.precision.to(x.dtype)

    @staticmethod
    def setup_context(ctx: Any, inputs: tuple[Any, ...], output: tuple[Tensor, Tensor]) -> None:
        x, ctx.centers, ctx.kernel, ctx.which = inputs
        ctx.mark_non_differentiable(output[1])
        ctx.save_for_backward(x, output[1])
        ctx.save_for_forward(x, output[1])

    @staticmethod
    @once_differentiable
    def backward(ctx: Any, vectors: Tensor, _: Tensor) -> tuple[Tensor | None, ...]:
        return _Field._product(ctx, vectors), None, None, None

    @staticmethod
    def jvp(ctx: Any, vectors: Tensor, *_: Any) -> tuple[Tensor, None]:
        return _Field._product(ctx, vectors), None

    @staticmethod
    def _product(ctx: Any, vectors: Tensor) -> Tensor:
        x: Tensor
        precision: Tensor
        x, precision = ctx.saved_tensors
        precision = precision.reshape(-1, *(1,) * (x.ndim - 1))
        spreading: Tensor = spread(x, ctx.centers, ctx.kernel, vectors).reshape(x.shape)
        return spreading / precision if ctx.which == "mean" else spreading - precision * vectors


class _LogMass(torch.autograd.Function):
    @staticmethod
    def forward(x: Tensor, centers: Centers, kernel: Kernel, constant: Tensor | float) -> Tensor:
        return (totals(x, centers, kernel).log_mass + constant).to(x.dtype)

    @staticmethod
    def setup_context(ctx: Any, inputs: tuple[Any, ...], output: Tensor) -> None:
        x, ctx.centers, ctx.kernel, _ = inputs
        ctx.save_for_backward(x)
        ctx.save_for_forward(x)

    @staticmethod
    def backward(ctx: Any, weights: Tensor) -> tuple[Tensor | None, ...]:
        gradient = _LogMass._gradient(ctx)
        return weights.reshape(-1, *(1,) * (gradient.ndim - 1)) * gradient, None, None, None

    @staticmethod
    def jvp(ctx: Any, vectors: Tensor, *_: Any) -> Tensor:
        return (_LogMass._gradient(ctx) * vectors).flatten(1).sum(1)

    @staticmethod
    def _gradient(ctx: Any) -> Tensor:
        x: Tensor = ctx.saved_tensors[0]
        cold: Tensor = ctx.kernel.inverse_temperature(x.flatten(1)).reshape(-1, *(1,) * (x.ndim - 1))
        return cold * field(x, ctx.centers, ctx.kernel)
