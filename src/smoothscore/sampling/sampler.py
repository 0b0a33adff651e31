"""What a sampler is: a walk from noise to images, level by level."""

import warnings
from abc import ABC, abstractmethod
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from itertools import pairwise
from typing import ClassVar

from torch import Tensor

from smoothscore import schedules
from smoothscore.errors import DataWarning
from smoothscore.sampling.evaluator import Evaluator
from smoothscore.scores import Score

__all__ = ["Sampler", "Stepwise"]


@dataclass(frozen=True)
class Sampler(ABC):
    """A way from noise to images; subclasses are frozen dataclasses of their options.

    Attributes:
        name: under which it is asked for.
        scheduled: whether it takes the levels of the schedule for the noise that is in the image.
        stochastic: whether it adds noise on the way.
    """

    name: ClassVar[str]
    scheduled: ClassVar[bool] = True
    stochastic: ClassVar[bool] = False

    @abstractmethod
    def walk(self, model: Evaluator, x: Tensor, levels: Sequence[float]) -> Iterator[Tensor]:
        """The images after each step.

        Args:
            model: the score, counted, with each image's noise.
            x: (batch, *shape) at ``levels[0]``.
            levels: descending, the last of them 0.

        Yields:
            At most ``len(levels) - 1`` states (batch, *shape), the last of them the images. What one step
            remembers for the next are local variables of the generator.
        """

    def schedule(self, score: Score, steps: int | None) -> Tensor:
        """The levels, descending and without the last 0, when none are given."""
        return schedules.karras(18 if steps is None else steps)

    def prepare(self, score: Score) -> Score:
        """The score as the sampler asks it; warns of one that it, or a part of it, will go wrong with.

        A scheduled step of the ODE is too long for an image whose noise has fallen below the schedule, which a
        noise-unconditional score cannot know: it overshoots, by a factor that grows (Smoothing the score function,
        appendix A.7). The noise of stochastic samplers puts a floor under this.
        """
        blind = [part for part in score.modules() if isinstance(part, Score) and not part.noise_conditional]
        if self.scheduled and not self.stochastic and blind:
            remedy = "'true-level', which measures it, or 'sde'" if blind[0] is score else "'sde'"
            warnings.warn(
                f"{type(blind[0]).__name__} does not know the noise level, so the schedule of sampler {self.name!r} "
                f"will overshoot where an image has less noise than it says; take {remedy}.",
                DataWarning,
                stacklevel=2,
            )
        return score


class Stepwise(Sampler):
    """A sampler that forgets: a step depends on the state and the two levels only."""

    @abstractmethod
    def step(self, model: Evaluator, x: Tensor, sigma: float, sigma_next: float) -> Tensor:
        """Images at level ``sigma_next`` from images ``x`` (batch, *shape) at level ``sigma``."""

    def walk(self, model: Evaluator, x: Tensor, levels: Sequence[float]) -> Iterator[Tensor]:
        """One step after the other."""
        for sigma, sigma_next in pairwise(levels):
            x = self.step(model, x, sigma, sigma_next)
            yield x
