r"""Exact ends for mixtures of Gaussians.

At low noise one component of the mixture owns the image, and from there the flow is that component's, which is known.
The owner's share of the posterior only grows along the flow, so the error of leaving out the others is of the order of
their share.
"""

from collections.abc import Iterator, Sequence
from dataclasses import dataclass, field
from itertools import pairwise
from typing import ClassVar

import torch
from torch import Tensor

from smoothscore.errors import InputError
from smoothscore.sampling.evaluator import Evaluator
from smoothscore.sampling.flow import Heun
from smoothscore.sampling.sampler import Sampler, Stepwise
from smoothscore.scores import GaussianMixtureScore, Score

__all__ = ["Settling"]


@dataclass(frozen=True)
class Settling(Sampler):
    """Steps of ``base`` until one component of a :class:`GaussianMixtureScore` has all but ``rest`` of the weight.

    From that level on the image follows the exact flow of this component, at 1 / K of the cost of a step (and no
    evaluation of the mixture). Finding the weights costs one evaluation a step before.

    Raises:
        InputError: the score is no mixture of Gaussians, or ``rest`` is not in (0, 1).
    """

    base: Stepwise = field(default_factory=Heun)
    rest: float = 1e-9

    name: ClassVar[str] = "settling"

    def __post_init__(self) -> None:
        if not 0 < self.rest < 1:
            raise InputError(f"rest is {self.rest}; give a small share of the weight, between 0 and 1.")

    def prepare(self, score: Score) -> Score:
        """The same score.

        Raises:
            InputError: it is no mixture of Gaussians.
        """
        if not isinstance(score, GaussianMixtureScore):
            raise InputError(f"{type(score).__name__} is no mixture of Gaussians; take sampler 'heun'.")
        return score

    def walk(self, model: Evaluator, x: Tensor, levels: Sequence[float]) -> Iterator[Tensor]:
        """See :class:`Sampler`."""
        mixture = model.score_model
        assert isinstance(mixture, GaussianMixtureScore)
        x = x.clone()
        owner = torch.full((len(x),), -1, device=x.device)
        for sigma, sigma_next in pairwise(levels):
            free = (owner < 0).nonzero().squeeze(1)
            if len(free):
                share, index = model.weights(x[free], sigma).max(1)
                owner[free] = torch.where(1 - share < self.rest, index, owner[free])
            for component in set(owner[owner >= 0].tolist()):
                rows = (owner == component).nonzero().squeeze(1)
                x[rows] = mixture.gaussians[component].solve(x[rows], sigma, sigma_next)
            free = (owner < 0).nonzero().squeeze(1)
            if len(free):
                x[free] = self.base.step(model, x[free], sigma, sigma_next)
            yield x.clone() if sigma_next > 0 else model.project(x)
