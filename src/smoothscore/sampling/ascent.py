r"""Sampling as optimization: gradient ascent on the log-density of a noise-unconditional score.

.. math:: x_{n+1}=P\big(x_n+v_n\big),\qquad v_n=\beta v_{n-1}+\alpha_n s(x_n)

Near a training image at distance r the score is about :math:`-(x-\mu)/\sigma_*^2`, so a step is stable for
:math:`\alpha<2\sigma_*^2` only, and :math:`\alpha=\sigma_*^2` lands on what the score points at. A small fixed step
therefore is slow at first and must stop before :math:`\sigma_*` falls below it; the two rules that choose the step
are bounded by a share of :math:`\sigma_*^2` instead. Source: Smoothing the score function, appendix B.4.3.
"""

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from typing import ClassVar, Literal

import torch
from torch import Tensor

from smoothscore import schedules
from smoothscore.errors import InputError
from smoothscore.sampling.evaluator import Evaluator
from smoothscore.sampling.level import LevelRule
from smoothscore.sampling.sampler import Sampler
from smoothscore.sampling.unconditional import TrueLevelScore
from smoothscore.scores import Score

__all__ = ["Ascent"]

INCREASE = 1e-4  # of what the slope promises, that Armijo's rule asks for
HALVINGS = 20


@dataclass(frozen=True)
class Ascent(Sampler):
    """Gradient ascent with stopping rules; ``steps`` (1,000 when absent) is the most it takes, whatever the levels.

    Args:
        step: a positive number, the fixed step alpha; ``"armijo"``, halved from ``share`` sigma*^2 until the
            log-density rises enough (for scores that have one; each trial costs an evaluation); or
            ``"barzilai-borwein"``, the last change of x over that of the score, at most ``share`` sigma*^2.
        share: the largest step of the two rules in units of sigma*^2, in (0, 1].
        momentum: beta, in [0, 1).
        level: how the noise in an image is found; see :mod:`smoothscore.sampling.level`.
        stop_level: an image stops when its sigma* is at most this. (The levels of a
            :class:`~smoothscore.UnifiedScore` begin at its own smallest: below that, only the next two can stop it.)
        stop_gradient: or when the root mean square of its score is at most this;
        stop_change: or when that of its last change is.

    A stopped image is denoised by one more step of sigma*^2, so that no noise is left in it.

    Raises:
        InputError: an option out of its range.
    """

    step: float | Literal["armijo", "barzilai-borwein"] = "barzilai-borwein"
    share: float = 0.5
    momentum: float = 0.0
    level: str | LevelRule = "auto"
    stop_level: float = 0.02
    stop_gradient: float = 0.0
    stop_change: float = 1e-6

    name: ClassVar[str] = "ascent"
    scheduled: ClassVar[bool] = False

    def __post_init__(self) -> None:
        if isinstance(self.step, str):
            if self.step not in ("armijo", "barzilai-borwein"):
                raise InputError(f"step is {self.step!r}; give a number, 'armijo' or 'barzilai-borwein'.")
        elif not self.step > 0:
            raise InputError(f"step is {self.step}; it must be positive.")
        if not (0 < self.share <= 1 and 0 <= self.momentum < 1):
            raise InputError(f"share is {self.share} and momentum {self.momentum}; they lie in (0, 1] and [0, 1).")

    def schedule(self, score: Score, steps: int | None) -> Tensor:
        """Of these levels the first says where to start, and their number is that of the steps."""
        return schedules.log_uniform(1000 if steps is None else steps, 0.02, 100.0)

    def prepare(self, score: Score) -> Score:
        """The score with its true level."""
        return TrueLevelScore(score, self.level)

    def walk(self, model: Evaluator, x: Tensor, levels: Sequence[float]) -> Iterator[Tensor]:
        """See :class:`Sampler`."""
        guide = model.score_model
        assert isinstance(guide, TrueLevelScore)
        x = model.project(x).clone()
        active = torch.isfinite(x).flatten(1).all(1).nonzero().squeeze(1)
        velocity, last = torch.zeros_like(x), _Last(torch.full_like(x, torch.nan), torch.full_like(x, torch.nan))
        for _ in levels[1:-1]:
            here = x[active]
            score = model.score(here)
            level = guide.level(here, score)
            size = self._size(model, guide, here, score, level, last.at(active))
            velocity[active] = self.momentum * velocity[active] + guide.expand(size) * score
            last.x[active], last.score[active] = here, score
            x[active] = model.project(here + velocity[active])
            change = _rms(x[active] - here)
            going = (level > self.stop_level) & (_rms(score) > self.stop_gradient) & (change > self.stop_change)
            active = active[going & torch.isfinite(change)]
            yield x.clone()
            if len(active) == 0:
                break
        yield model.denoise(x, levels[0])

    def _size(
        self, model: Evaluator, guide: TrueLevelScore, x: Tensor, score: Tensor, level: Tensor, last: "_Last"
    ) -> Tensor:
        """The step alpha of each image: (batch,)."""
        most = self.share * level**2
        if self.step == "armijo":
            return self._armijo(model, guide, x, score, most)
        if self.step == "barzilai-borwein":
            moved, turned = (x - last.x).flatten(1), (score - last.score).flatten(1)
            size = moved.square().sum(1) / (moved * turned).sum(1).abs()
            return torch.where(torch.isfinite(size), torch.minimum(size, most), most)
        return torch.full_like(level, float(self.step))

    @staticmethod
    def _armijo(model: Evaluator, guide: TrueLevelScore, x: Tensor, score: Tensor, size: Tensor) -> Tensor:
        before, slope = model.log_density(x), score.flatten(1).double().square().sum(1)
        for _ in range(HALVINGS):
            reached = model.log_density(model.project(x + guide.expand(size) * score))
            short = reached.double() < before.double() + INCREASE * size.double() * slope
            if not short.any():
                break
            size = torch.where(short, size / 2, size)
        return size


@dataclass
class _Last:
    """Where each image was a step ago, and the score there."""

    x: Tensor
    score: Tensor

    def at(self, rows: Tensor) -> "_Last":
        return _Last(self.x[rows], self.score[rows])


def _rms(values: Tensor) -> Tensor:
    return values.flatten(1).square().mean(1).sqrt()
