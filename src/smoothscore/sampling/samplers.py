r"""Samplers of the probability-flow ODE, one class each.

With :math:`x=y+\sigma n` the flow is (EDM, Karras et al. 2022; *Gaussian score approximation*, eq. 2)

.. math:: \frac{dx}{d\sigma}=\frac{x-D(x;\sigma)}{\sigma},

and a sampler is one step from level ``sigma`` to the lower level ``sigma_next``. The step to level 0 returns
the denoised image itself, so that no residual noise is left in a sample.
"""

from collections.abc import Callable
from dataclasses import dataclass
from typing import Protocol

from torch import Tensor

from smoothscore.errors import InputError

__all__ = ["SAMPLERS", "Denoiser", "Euler", "Heun", "Sampler", "sampler_named"]

Denoiser = Callable[[Tensor, float], Tensor]


class Sampler(Protocol):
    """One step of a sampler: what the common loop needs to know."""

    @property
    def name(self) -> str:
        """The name under which the sampler is asked for."""

    def step(self, denoise: Denoiser, x: Tensor, sigma: float, sigma_next: float) -> Tensor:
        """Images at level ``sigma_next`` from images ``x`` (batch, *shape) at level ``sigma``."""


@dataclass(frozen=True)
class Euler:
    """Euler's method, first order, one evaluation a step; exact when the denoiser is constant."""

    name: str = "euler"

    def step(self, denoise: Denoiser, x: Tensor, sigma: float, sigma_next: float) -> Tensor:
        """One step; see :class:`Sampler`."""
        clean = denoise(x, sigma)
        return clean + (sigma_next / sigma) * (x - clean)


@dataclass(frozen=True)
class Heun:
    """Heun's method (EDM, algorithm 1 without churn): second order, two evaluations a step, one at the last."""

    name: str = "heun"

    def step(self, denoise: Denoiser, x: Tensor, sigma: float, sigma_next: float) -> Tensor:
        """One step; see :class:`Sampler`."""
        clean = denoise(x, sigma)
        predicted = clean + (sigma_next / sigma) * (x - clean)
        if sigma_next == 0:
            return predicted
        slope = (x - clean) / sigma
        slope_next = (predicted - denoise(predicted, sigma_next)) / sigma_next
        return x + (sigma_next - sigma) * (slope + slope_next) / 2


SAMPLERS: dict[str, Sampler] = {sampler.name: sampler for sampler in (Euler(), Heun())}


def sampler_named(name: str) -> Sampler:
    """The sampler of that name.

    Raises:
        InputError: there is none.
    """
    if name not in SAMPLERS:
        raise InputError(f"There is no sampler {name!r}; take one of {', '.join(sorted(SAMPLERS))}.")
    return SAMPLERS[name]
