r"""Langevin steps: noise and drift that hold the distribution of one level.

.. math:: x\leftarrow x+\epsilon\,s(x;\sigma)+\sqrt{2\epsilon}\,z .

The predictor-corrector methods of Song et al. 2021 set :math:`\epsilon=2(\mathrm{snr}\,\|z\|/\|s\|)^2`. Their code
averages the two norms over the batch; here each image has its own, so that it does not depend on the others. A step
that shortens where the score is large raises the variance by a share of about 2 / d: nothing in an image, much in a
point of few dimensions.
"""

import math
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from itertools import pairwise
from typing import ClassVar

from torch import Tensor

from smoothscore.sampling.evaluator import Evaluator
from smoothscore.sampling.flow import VarianceEuler
from smoothscore.sampling.sampler import Sampler, Stepwise
from smoothscore.sampling.stochastic import ReverseSDE, song_levels
from smoothscore.scores import Score

__all__ = ["AnnealedLangevin", "FlowCorrected", "PredictorCorrector"]


def langevin(model: Evaluator, x: Tensor, sigma: float, snr: float) -> Tensor:
    """One corrector step at level ``sigma`` with the step size of Song et al."""
    drift, noise = model.score(x, sigma), model.noise(x)
    ratio: Tensor = noise.flatten(1).norm(dim=1) / drift.flatten(1).norm(dim=1)
    size = (2 * (snr * ratio) ** 2).reshape(-1, *(1,) * (x.ndim - 1))
    return x + size * drift + (2 * size).sqrt() * noise


@dataclass(frozen=True)
class PredictorCorrector(Sampler):
    """ "SDE (PC)": at each level Langevin corrections, then a step of the reverse SDE.

    ``corrections`` + 1 evaluations a step; 500 levels, 1,000 evaluations, when none are given. ``snr`` is 0.16 for
    CIFAR-10 and 0.17 for CelebA in Song et al. From the last level the image is denoised.
    """

    snr: float = 0.16
    corrections: int = 1

    name: ClassVar[str] = "sde-pc"
    stochastic: ClassVar[bool] = True
    predictor: ClassVar[Stepwise] = ReverseSDE()

    def schedule(self, score: Score, steps: int | None) -> Tensor:
        """500 geometric levels when none are given."""
        return song_levels(500 if steps is None else steps)

    def walk(self, model: Evaluator, x: Tensor, levels: Sequence[float]) -> Iterator[Tensor]:
        """See :class:`Sampler`."""
        for sigma, sigma_next in pairwise(levels):
            for _ in range(self.corrections):
                x = langevin(model, x, sigma, self.snr)
            x = self.predictor.step(model, x, sigma, sigma_next)
            yield x


@dataclass(frozen=True)
class FlowCorrected(PredictorCorrector):
    """ "ODE (PC)": at each level Langevin corrections, then an Euler step of the flow, in the variance."""

    name: ClassVar[str] = "ode-pc"
    predictor: ClassVar[Stepwise] = VarianceEuler()


@dataclass(frozen=True)
class AnnealedLangevin(Sampler):
    r"""Annealed Langevin dynamics: many Langevin steps a level, with :math:`\epsilon=\text{size}\,\sigma^2`.

    ``corrections`` evaluations a level. Song and Ermon 2019, algorithm 1: 100 steps at each of 10 levels with
    size 0.1. From the last level the image is denoised.
    """

    size: float = 0.1
    corrections: int = 5

    name: ClassVar[str] = "langevin"
    stochastic: ClassVar[bool] = True

    def schedule(self, score: Score, steps: int | None) -> Tensor:
        """200 geometric levels when none are given."""
        return song_levels(200 if steps is None else steps)

    def walk(self, model: Evaluator, x: Tensor, levels: Sequence[float]) -> Iterator[Tensor]:
        """See :class:`Sampler`."""
        for sigma, sigma_next in pairwise(levels):
            step = self.size * sigma**2
            for _ in range(self.corrections):
                x = x + step * model.score(x, sigma) + math.sqrt(2 * step) * model.noise(x)
            yield x if sigma_next > 0 else model.denoise(x, sigma)
