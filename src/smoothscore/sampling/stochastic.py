r"""Samplers that add noise on the way: the reverse SDE and its discrete kin.

The variance exploding SDE in reverse has, over a step from :math:`\sigma` to :math:`\sigma'` (Song et al. 2021;
*Smoothing the score function*, appendix A.7.2),

.. math:: x'=x+(\sigma^2-\sigma'^2)\,s(x;\sigma)+\sqrt{\sigma^2-\sigma'^2}\,z .

The step to level 0 adds no noise: it returns the denoised image.
"""

import math
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from itertools import pairwise
from typing import ClassVar

import torch
from torch import Tensor

from smoothscore import schedules
from smoothscore.errors import InputError
from smoothscore.sampling.evaluator import Evaluator
from smoothscore.sampling.flow import Heun
from smoothscore.sampling.sampler import Sampler, Stepwise
from smoothscore.scores import Score

__all__ = ["DDIM", "Ancestral", "Churn", "ReverseSDE", "song_levels"]


def song_levels(steps: int) -> Tensor:
    """Geometric levels as in Song et al.: 0.01 to 50 for images in [0, 1] is 0.02 to 100 here."""
    return schedules.log_uniform(steps, 0.02, 100.0)


@dataclass(frozen=True)
class ReverseSDE(Stepwise):
    """Euler-Maruyama steps of the reverse SDE: one evaluation a step, weak order 1; many steps (1,000 by default)."""

    name: ClassVar[str] = "sde"
    stochastic: ClassVar[bool] = True

    def schedule(self, score: Score, steps: int | None) -> Tensor:
        """1,000 geometric levels when none are given."""
        return song_levels(1000 if steps is None else steps)

    def step(self, model: Evaluator, x: Tensor, sigma: float, sigma_next: float) -> Tensor:
        """One step; see :class:`Stepwise`."""
        if sigma_next == 0:
            return model.denoise(x, sigma)
        variance = sigma**2 - sigma_next**2
        x = torch.lerp(x, model.denoise(x, sigma), variance / sigma**2)
        return x.add_(model.noise(x), alpha=math.sqrt(variance))


@dataclass(frozen=True)
class DDIM(Stepwise):
    r"""DDIM: of the noise of the next level, the share that ``eta`` allows is new, the rest is the old one.

    .. math:: x'=D+\frac{\sqrt{\sigma'^2-\nu^2}}{\sigma}(x-D)+\nu z,\qquad
        \nu=\eta\,\frac{\sigma'}{\sigma}\sqrt{\sigma^2-\sigma'^2} .

    The formula is the same in variance preserving variables. ``eta=0`` is deterministic, and Euler's method here;
    ``eta=1`` is ancestral sampling (:class:`Ancestral`): exact when the denoiser is constant. One evaluation a step.
    Song et al. 2020, eq. 12 and 16.
    """

    eta: float = 0.0

    name: ClassVar[str] = "ddim"

    def __post_init__(self) -> None:
        if not 0 <= self.eta <= 1:
            raise InputError(f"eta is {self.eta}; give a share of new noise from 0 (none) to 1 (ancestral).")

    def step(self, model: Evaluator, x: Tensor, sigma: float, sigma_next: float) -> Tensor:
        """One step; see :class:`Stepwise`."""
        clean = model.denoise(x, sigma)
        fresh = self.eta * sigma_next / sigma * math.sqrt(sigma**2 - sigma_next**2)
        x = torch.lerp(clean, x, math.sqrt(sigma_next**2 - fresh**2) / sigma)
        return x.add_(model.noise(x), alpha=fresh) if fresh > 0 else x


@dataclass(frozen=True)
class Ancestral(DDIM):
    """Ancestral sampling: the noise of the next level as new as the forward process allows; DDIM with ``eta=1``."""

    eta: float = 1.0

    name: ClassVar[str] = "ancestral"
    stochastic: ClassVar[bool] = True

    def schedule(self, score: Score, steps: int | None) -> Tensor:
        """250 levels when none are given: the error of a stochastic step shrinks slowly."""
        return schedules.karras(250 if steps is None else steps)


@dataclass(frozen=True)
class Churn(Sampler):
    r"""EDM's stochastic sampler (algorithm 2): raise the noise a little, then a Heun step from there.

    At levels within [``lowest``, ``highest``] the level rises to :math:`\hat\sigma=(1+\gamma)\sigma`,
    :math:`\gamma=\min(\text{churn}/N,\sqrt2-1)` for N levels, by noise of standard deviation ``inflation`` times what
    that takes. Two evaluations a step, one at the last.
    """

    churn: float = 40.0
    lowest: float = 0.05
    highest: float = 50.0
    inflation: float = 1.003

    name: ClassVar[str] = "edm"
    stochastic: ClassVar[bool] = True

    def schedule(self, score: Score, steps: int | None) -> Tensor:
        """64 levels when none are given."""
        return schedules.karras(64 if steps is None else steps)

    def walk(self, model: Evaluator, x: Tensor, levels: Sequence[float]) -> Iterator[Tensor]:
        """See :class:`Sampler`."""
        most = min(self.churn / (len(levels) - 1), math.sqrt(2) - 1)
        heun = Heun()
        for sigma, sigma_next in pairwise(levels):
            raised = sigma * (1 + most) if self.lowest <= sigma <= self.highest else sigma
            if raised > sigma:
                x = x + math.sqrt(raised**2 - sigma**2) * self.inflation * model.noise(x)
            x = heun.step(model, x, raised, sigma_next)
            yield x
