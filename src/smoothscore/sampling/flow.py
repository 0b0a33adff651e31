r"""Samplers of the probability-flow ODE with fixed steps, one class each.

With :math:`x=y+\sigma n` the flow is (EDM, Karras et al. 2022; *Gaussian score approximation*, eq. 2)

.. math:: \frac{dx}{d\sigma}=\frac{x-D(x;\sigma)}{\sigma},

and a sampler is one step from level ``sigma`` to the lower level ``sigma_next``. The step to level 0 returns
the denoised image itself, so that no residual noise is left in a sample.
"""

import math
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from itertools import pairwise
from typing import ClassVar

import torch
from torch import Tensor

from smoothscore import schedules
from smoothscore.sampling.evaluator import Evaluator
from smoothscore.sampling.sampler import Sampler, Stepwise
from smoothscore.scores import Score

__all__ = ["DPMSolver", "Euler", "Exact", "Heun", "VarianceEuler"]


@dataclass(frozen=True)
class Euler(Stepwise):
    """Euler's method, first order, one evaluation a step; exact when the denoiser is constant.

    In variance preserving variables this is deterministic DDIM.
    """

    name: ClassVar[str] = "euler"

    def step(self, model: Evaluator, x: Tensor, sigma: float, sigma_next: float) -> Tensor:
        """One step; see :class:`Stepwise`."""
        return torch.lerp(model.denoise(x, sigma), x, sigma_next / sigma)


@dataclass(frozen=True)
class VarianceEuler(Stepwise):
    r"""Euler's method in the variance: :math:`x'=x+\tfrac12(\sigma^2-\sigma'^2)s`, the ODE of Song et al.'s code.

    First order, one evaluation a step. From the last level the image is denoised, by twice this step.
    Smoothing the score function, appendix A.7.1.
    """

    name: ClassVar[str] = "variance-euler"

    def step(self, model: Evaluator, x: Tensor, sigma: float, sigma_next: float) -> Tensor:
        """One step; see :class:`Stepwise`."""
        if sigma_next == 0:
            return model.denoise(x, sigma)
        return x + (sigma**2 - sigma_next**2) / 2 * model.score(x, sigma)


@dataclass(frozen=True)
class Heun(Stepwise):
    """Heun's method (EDM, algorithm 1 without churn): second order, two evaluations a step, one at the last."""

    name: ClassVar[str] = "heun"

    def step(self, model: Evaluator, x: Tensor, sigma: float, sigma_next: float) -> Tensor:
        """One step; see :class:`Stepwise`."""
        clean = model.denoise(x, sigma)
        predicted = torch.lerp(clean, x, sigma_next / sigma)
        if sigma_next == 0:
            return predicted
        half = (sigma_next - sigma) / 2
        x = x.add(x - clean, alpha=half / sigma)
        return x.add_(predicted - model.denoise(predicted, sigma_next), alpha=half / sigma_next)


@dataclass(frozen=True)
class DPMSolver(Sampler):
    r"""DPM-Solver++ (2M): second order with one evaluation a step, from the denoiser of this step and the last.

    With :math:`h=\log(\sigma/\sigma')` and the ratio r of the last step's h to this one's,

    .. math:: x'=\frac{\sigma'}\sigma x+\Big(1-\frac{\sigma'}\sigma\Big)\Big(D+\frac{D-D_{last}}{2r}\Big).

    The first step and the one to level 0 are Euler's. Lu et al. 2022, algorithm 2.
    """

    name: ClassVar[str] = "dpm-solver"

    def walk(self, model: Evaluator, x: Tensor, levels: Sequence[float]) -> Iterator[Tensor]:
        """See :class:`Sampler`."""
        last: tuple[Tensor, float] | None = None
        for sigma, sigma_next in pairwise(levels):
            clean = model.denoise(x, sigma)
            target = clean
            if sigma_next > 0:
                h = math.log(sigma / sigma_next)
                if last is not None:
                    target = torch.lerp(last[0], clean, 1 + h / (2 * last[1]))
                last = clean, h
            x = torch.lerp(target, x, sigma_next / sigma)
            yield x


@dataclass(frozen=True)
class Exact(Stepwise):
    """The flow itself, for scores that have it in closed form (``solve``, as the Gaussian's): no error at any step.

    A step counts as one evaluation. A projection is applied to the last state only.
    """

    name: ClassVar[str] = "exact"

    def schedule(self, score: Score, steps: int | None) -> Tensor:
        """One step is enough."""
        return schedules.karras(1 if steps is None else steps)

    def step(self, model: Evaluator, x: Tensor, sigma: float, sigma_next: float) -> Tensor:
        """One step; see :class:`Stepwise`.

        Raises:
            InputError: the flow of the score is not known in closed form.
        """
        x = model.solve(x, sigma, sigma_next)
        return model.project(x) if sigma_next == 0 else x
