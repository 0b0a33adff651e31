r"""Sampling with a score that knows no noise level.

The step of *Smoothing the score function* (section 5 and appendix B.4.3),

.. math:: x_{n+1}=x_n+\alpha\,\sigma_*^2\,s(x_n),

with the noise :math:`\sigma_*` that is really in the image, is Euler's method of the probability-flow ODE for the
denoiser :math:`D_*(x)=x+\sigma_*^2s(x)`, with :math:`\alpha=1-\sigma'/\sigma`: a constant :math:`\alpha` is a geometric
schedule, of which only the ratios count. So every sampler of the flow serves, given this denoiser.
"""

from collections.abc import Iterator, Sequence
from dataclasses import dataclass, field
from typing import ClassVar

from torch import Tensor

from smoothscore import schedules
from smoothscore.errors import InputError
from smoothscore.sampling.evaluator import Evaluator
from smoothscore.sampling.flow import Euler
from smoothscore.sampling.level import LevelRule, level_rule, residual_level
from smoothscore.sampling.sampler import Sampler
from smoothscore.scores import Score
from smoothscore.scores.base import Sigma

__all__ = ["TrueLevel", "TrueLevelScore"]


class TrueLevelScore(Score):
    """A noise-unconditional score with the denoiser of the noise that is in each image; a sigma given is not used.

    Args:
        base: the score.
        rule: how the noise is found; see :mod:`smoothscore.sampling.level`.

    Raises:
        InputError: ``base`` is noise-conditional, or has no level by that rule.
    """

    def __init__(self, base: Score, rule: str | LevelRule = "auto") -> None:
        super().__init__(base.shape)
        if base.noise_conditional:
            raise InputError(
                f"{type(base).__name__} takes its noise level from a schedule; sample it with 'heun', or give a "
                "noise-unconditional score."
            )
        self.base, self.rule = base, level_rule(base, rule)

    def denoise(self, x: Tensor, sigma: Sigma | None = None) -> Tensor:
        """``x + sigma*^2 s(x)``: same shape as ``x`` (batch, *shape); one evaluation."""
        if self.rule is not None:
            return self.base.denoise(x, self.rule(x).to(x))
        score = self.base.score(x)
        return x + self.expand(residual_level(score)) ** 2 * score

    def score(self, x: Tensor, sigma: Sigma | None = None) -> Tensor:
        """The score of ``base``."""
        return self.base.score(x)

    def log_density(self, x: Tensor, sigma: Sigma | None = None) -> Tensor:
        """The potential of ``base``, (batch,), where it has one."""
        return self.base.log_density(x)

    def level(self, x: Tensor, score: Tensor) -> Tensor:
        """The noise level in each image (batch,), given the score there."""
        return residual_level(score) if self.rule is None else self.rule(x).to(x)


@dataclass(frozen=True)
class TrueLevel(Sampler):
    """Steps by the noise that is in the image, for a noise-unconditional score.

    Args:
        level: how that noise is found, see :mod:`smoothscore.sampling.level`; ``"auto"`` is the network's own
            estimate, else the nearest center of a score that has centers, else the residual; or any function of
            images (batch, *shape), for instance :func:`nearest_level` of the training images.
        base: the sampler of the flow whose steps are taken.

    The cost is that of ``base``, and of a search for the nearest image where that is asked for.
    """

    level: str | LevelRule = "auto"
    base: Sampler = field(default_factory=Euler)

    name: ClassVar[str] = "true-level"
    scheduled: ClassVar[bool] = False

    def schedule(self, score: Score, steps: int | None) -> Tensor:
        """Geometric from 100 to 0.02, 50 levels when no number is given."""
        return schedules.log_uniform(50 if steps is None else steps, 0.02, 100.0)

    def prepare(self, score: Score) -> Score:
        """The score with the denoiser of the true level."""
        return TrueLevelScore(score, self.level)

    def walk(self, model: Evaluator, x: Tensor, levels: Sequence[float]) -> Iterator[Tensor]:
        """See :class:`Sampler`."""
        return self.base.walk(model, x, levels)
