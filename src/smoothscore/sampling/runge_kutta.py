r"""The probability-flow ODE with steps that choose themselves.

In :math:`\tau=-\log\sigma` the flow is :math:`dx/d\tau=D(x;e^{-\tau})-x`, without the stiffness of the end. Dormand and
Prince's pair of orders 5 and 4, with the coefficients of :class:`scipy.integrate.RK45` and its rule for the step. Every
image has its own steps, so that a sample does not depend on the others in its batch; only images that are still on
their way are evaluated.
"""

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from itertools import pairwise
from typing import ClassVar

import torch
from torch import Tensor

from smoothscore import schedules
from smoothscore.errors import InputError
from smoothscore.sampling.evaluator import Evaluator
from smoothscore.sampling.sampler import Sampler
from smoothscore.scores import Score

__all__ = ["RungeKutta"]

SAFETY, SHRINK, GROW = 0.9, 0.2, 10.0
FIRST = 0.05  # of log sigma, the first step of an image
MOST = 1_000  # steps between two levels


@dataclass(frozen=True)
class RungeKutta(Sampler):
    """Adaptive steps of order 5: the local error of each image stays below ``atol + rtol * |x|``, in the mean square.

    Six evaluations a step. It stops at each level that is given, so give few: the first and the last when none are.

    Raises:
        InputError: a tolerance that is not positive; an image whose steps become too many.
    """

    rtol: float = 1e-4
    atol: float = 1e-4

    name: ClassVar[str] = "rk45"

    def __post_init__(self) -> None:
        if not (self.rtol > 0 and self.atol > 0):
            raise InputError(f"The tolerances are {self.rtol} and {self.atol}; both must be positive.")

    def schedule(self, score: Score, steps: int | None) -> Tensor:
        """The first and the last level of the EDM schedule."""
        return schedules.karras(2 if steps is None else steps)

    def walk(self, model: Evaluator, x: Tensor, levels: Sequence[float]) -> Iterator[Tensor]:
        """See :class:`Sampler`."""
        step = torch.full((len(x),), FIRST, dtype=torch.float64, device=x.device)
        for sigma, sigma_next in pairwise(levels[:-1]):
            x, step = self._between(model, x, sigma, sigma_next, step)
            yield x
        yield model.denoise(x, levels[-2])

    def _between(
        self, model: Evaluator, x: Tensor, sigma: float, sigma_next: float, step: Tensor
    ) -> tuple[Tensor, Tensor]:
        """All images from one level to the next, and the step (batch,) that each would take there."""
        x, step = x.clone(), step.clone()
        log_level = torch.full_like(step, sigma).log()
        end = torch.tensor(sigma_next, dtype=torch.float64).log().to(x.device)
        slope = model.denoise(x, sigma) - x
        active = torch.isfinite(slope).flatten(1).all(1).nonzero().squeeze(1)
        for _ in range(MOST):
            size = torch.minimum(step[active], log_level[active] - end)
            new, new_slope, error = self._try(model, x[active], slope[active], log_level[active], size)
            accepted = ~(error > 1)  # a NaN is accepted, and found by the loop
            took = active[accepted]
            x[took], slope[took] = new[accepted], new_slope[accepted]
            log_level[took] = log_level[took] - size[accepted]
            factor = (SAFETY * error.clamp(min=1e-10) ** -0.2).clamp(SHRINK, GROW)
            whole = size == step[active]  # one cut short by the level says nothing of the next
            step[active] = torch.where(whole | ~accepted, size * factor, step[active])
            going = (log_level[active] - end > 1e-12) & torch.isfinite(error)
            active = active[going]
            if len(active) == 0:
                return x, step
        raise InputError(f"rk45 took {MOST} steps from sigma {sigma:.3g} to {sigma_next:.3g}; take larger tolerances.")

    def _try(
        self, model: Evaluator, x: Tensor, slope: Tensor, log_level: Tensor, size: Tensor
    ) -> tuple[Tensor, Tensor, Tensor]:
        """The states after one step, their slopes, and the errors (batch,) in units of the tolerance."""
        from scipy.integrate import RK45

        column = (-1, *(1,) * (x.ndim - 1))
        h = size.to(x.dtype).reshape(column)
        slopes = [slope]
        for row, time in zip(RK45.A[1:], RK45.C[1:], strict=True):
            slopes.append(self._slope(model, x + h * _combine(row, slopes), log_level - time * size))
        new = x + h * _combine(RK45.B, slopes)
        slopes.append(self._slope(model, new, log_level - size))
        scale = self.atol + self.rtol * torch.maximum(x.abs(), new.abs())
        error = (h * _combine(RK45.E, slopes) / scale).flatten(1).double().square().mean(1).sqrt()
        return new, slopes[-1], error

    @staticmethod
    def _slope(model: Evaluator, x: Tensor, log_level: Tensor) -> Tensor:
        return model.denoise(x, log_level.exp().to(x.dtype)) - x


def _combine(coefficients: Sequence[float], slopes: Sequence[Tensor]) -> Tensor:
    pairs = [(float(c), s) for c, s in zip(coefficients, slopes, strict=False) if c]
    total = pairs[0][0] * pairs[0][1]
    for c, s in pairs[1:]:
        total = total + c * s
    return total
