r"""The averages of an empirical score over shifts, from one distance pass, differentiable in the query.

:func:`smoothscore.mixture.node_averages` gives :math:`\bar D=\tfrac1S\sum_sD(x+hz_s)` and the log masses at the
shifts, without a graph. Their derivatives are averages as well: :math:`\nabla\bar D=\tfrac1S\sum_s\nabla D(x+hz_s)`,
which is symmetric, and :math:`\nabla\overline{\log p}=(\bar D-x)/\sigma^2`.
"""

import math
from typing import Any

import torch
from torch import Tensor

from smoothscore.mixture import Centers, GaussianKernel, node_averages, spread
from smoothscore.scores.shifts import averaged

__all__ = ["average_denoiser", "average_log_density"]


def average_denoiser(x: Tensor, centers: Centers, level: Tensor, shifts: Tensor, width: Tensor) -> Tensor:
    """The average of the empirical denoiser over ``x + width * shifts``, in the shape of ``x`` (B, *shape).

    ``level`` and ``width`` are (B,), ``shifts`` (S, *shape) in pairs.
    """
    out: Tensor = _Denoiser.apply(x, centers, level, shifts, width)  # type: ignore[no-untyped-call]
    return out


def average_log_density(x: Tensor, centers: Centers, level: Tensor, shifts: Tensor, width: Tensor) -> Tensor:
    """The average of the empirical log-density over the same shifts: (B,)."""
    out: Tensor = _LogDensity.apply(x, centers, level, shifts, width)  # type: ignore[no-untyped-call]
    return out


class _Average(torch.autograd.Function):
    @staticmethod
    def setup_context(ctx: Any, inputs: tuple[Any, ...], output: Tensor) -> None:
        x, ctx.centers, ctx.level, ctx.shifts, ctx.width = inputs
        ctx.save_for_backward(x)
        ctx.save_for_forward(x)


class _Denoiser(_Average):
    @staticmethod
    def forward(x: Tensor, centers: Centers, level: Tensor, shifts: Tensor, width: Tensor) -> Tensor:
        return node_averages(x, centers, level, shifts.flatten(1), width).mean[0].reshape(x.shape)

    @staticmethod
    def backward(ctx: Any, vectors: Tensor) -> tuple[Tensor | None, ...]:
        return _Denoiser._product(ctx, vectors), None, None, None, None

    @staticmethod
    def jvp(ctx: Any, vectors: Tensor, *_: Any) -> Tensor:
        return _Denoiser._product(ctx, vectors)

    @staticmethod
    def _product(ctx: Any, vectors: Tensor) -> Tensor:
        (x,) = ctx.saved_tensors

        def product(moved: Tensor, level: Tensor) -> Tensor:
            repeated = vectors.repeat(len(moved) // len(x), *(1,) * (x.ndim - 1))
            spreading = spread(moved, ctx.centers, GaussianKernel(level), repeated).reshape(moved.shape)
            return level.reshape(-1, *(1,) * (x.ndim - 1)) ** 2 * spreading

        return averaged(product, x, ctx.level, ctx.shifts, ctx.width)


class _LogDensity(_Average):
    @staticmethod
    def forward(x: Tensor, centers: Centers, level: Tensor, shifts: Tensor, width: Tensor) -> Tensor:
        masses = node_averages(x, centers, level, shifts.flatten(1), width).log_mass
        constant = centers.dim / 2 * (math.log(2 * math.pi) + 2 * level.double().log())
        return (masses.mean(1) - constant).to(x.dtype)

    @staticmethod
    def backward(ctx: Any, weights: Tensor) -> tuple[Tensor | None, ...]:
        score = _LogDensity._score(ctx)
        return weights.reshape(-1, *(1,) * (score.ndim - 1)) * score, None, None, None, None

    @staticmethod
    def jvp(ctx: Any, vectors: Tensor, *_: Any) -> Tensor:
        return (_LogDensity._score(ctx) * vectors).flatten(1).sum(1)

    @staticmethod
    def _score(ctx: Any) -> Tensor:
        x: Tensor = ctx.saved_tensors[0]
        level: Tensor = ctx.level
        denoised = average_denoiser(x, ctx.centers, level, ctx.shifts, ctx.width)
        return (denoised - x) / level.reshape(-1, *(1,) * (x.ndim - 1)) ** 2
