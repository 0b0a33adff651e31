r"""*Smoothing the score function*, appendix A.7: a schedule and a score that does not know it.

One center :math:`\mu`, the noise-unconditional score :math:`s=-(x-\mu)/\sigma_*^2` with the actual noise level
:math:`\sigma_*^2=\|x-\mu\|^2/d`, and steps of the schedule :math:`\sigma_n`. With
:math:`\lambda=(\sigma_n^2-\sigma_{n+1}^2)/2\sigma_*^2` and :math:`\beta=2\lambda`,

.. math::
    \text{ODE:}\quad\sigma_*\to|1-\lambda|\,\sigma_*,\qquad
    \text{SDE:}\quad\mathrm E[\sigma_*^2]\to(1-\beta+\beta^2)\,\sigma_*^2 .

The ODE overshoots where :math:`\lambda>2`; the noise of the SDE keeps :math:`\sigma_*` above
:math:`\sqrt{\sigma_n^2-\sigma_{n+1}^2}`. On a geometric schedule with :math:`q=(\sigma_n/\sigma_{n+1})^2\le4/3` the
ratio :math:`\sigma_*/\sigma` of the SDE has two fixed points: with :math:`b=\tfrac12(1\pm\sqrt{1-4(1-1/q)})` it is
:math:`\sqrt{(1-1/q)/b}`. The larger one, near 1, is unstable; the smaller one is where every start below it ends.
"""

import math
from itertools import pairwise

import numpy as np
from numpy.typing import NDArray
from torch import Tensor

from smoothscore import schedules
from smoothscore.report import Figure, Series, curves
from smoothscore.reproduce.request import Request
from smoothscore.reproduce.result import Findings, Row
from smoothscore.sampling import noise
from smoothscore.sampling.evaluator import Evaluator
from smoothscore.sampling.flow import VarianceEuler
from smoothscore.sampling.sampler import Stepwise
from smoothscore.sampling.stochastic import ReverseSDE
from smoothscore.scores import Score
from smoothscore.scores.base import Sigma

__all__ = ["SingleCenter", "fixed_points", "mismatch", "ode_level", "sde_level"]

Array = NDArray[np.float64]

STEP = (1.0, 0.9, 0.2)  # scheduled level, the next one, the actual one
RATIOS = (0.5, 0.9, 1.0)
REASONABLE = (0.1, 10)


class SingleCenter(Score):
    """The noise-unconditional score of one center at the origin, at the actual noise level of each point."""

    noise_conditional = False

    def score(self, x: Tensor, sigma: Sigma | None = None) -> Tensor:
        """``-x / sigma*^2`` with ``sigma*^2 = |x|^2 / d``; ``sigma`` is not read."""
        return -x * self.expand(self.dim / x.flatten(1).square().sum(1))


def ode_level(level: float, sigma: float, sigma_next: float) -> float:
    """The actual noise level after a step of the ODE from the scheduled ``sigma`` to ``sigma_next``.

    Source: Smoothing the score function, appendix A.7.1.
    """
    return abs(1 - (sigma**2 - sigma_next**2) / (2 * level**2)) * level


def sde_level(level: float, sigma: float, sigma_next: float) -> float:
    """The root of the mean square of the actual level after a step of the SDE; appendix A.7.2."""
    beta = (sigma**2 - sigma_next**2) / level**2
    return math.sqrt(1 - beta + beta**2) * level


def fixed_points(q: float) -> tuple[float, float]:
    """The stable and the unstable ratio of actual to scheduled level on a geometric schedule of variance ratio q."""
    share = 1 - 1 / q
    root = math.sqrt(1 - 4 * share)
    return math.sqrt(share / ((1 + root) / 2)), math.sqrt(share / ((1 - root) / 2))


def mismatch(request: Request) -> Findings:
    """One step against its closed form, and the ratio of actual to scheduled level along 1,000 levels."""
    dim, points = (3072, 64) if request.full else (768, 8)
    levels = schedules.log_uniform(1000, 0.01, 50.0).tolist()
    q = (levels[0] / levels[1]) ** 2
    stable, unstable = fixed_points(q)
    sigma, after, level = STEP
    paths = {f"ODE from {r}": _path(VarianceEuler(), r, levels, dim, 1, request.seed) for r in RATIOS}
    paths |= {f"SDE from {r}": _path(ReverseSDE(), r, levels, dim, points, request.seed) for r in RATIOS}
    ode = _one_step(VarianceEuler(), dim, points, request.seed)
    sde = _one_step(ReverseSDE(), dim, 64 * points, request.seed)
    expected = sde_level(level, sigma, after) ** 2
    tolerance = 4 * math.sqrt(2 / (dim * 64 * points)) * expected
    place = f"step {sigma:g} to {after:g} at the actual level {level:g}"
    rows = [
        Row(f"ODE, {place}: factor", ode / level, "1.375", _near(1.375, 1e-12), digits=".6f"),
        Row(
            f"SDE, {place}: mean square of the level after it",
            sde**2,
            f"{expected:.4f}",
            _near(expected, tolerance),
            digits=".5f",
            note="the paper's formula at this step; accepted: four standard errors of the draws",
        ),
        Row(
            "largest difference of an ODE step to the recursion, over the step",
            max(_difference(paths[f"ODE from {r}"], levels) for r in RATIOS),
            "0",
            (0, 1e-12),
            digits=".1e",
            note="step by step: rounding grows along a path that passes near its center",
        ),
        Row(
            "SDE: smallest ratio of an actual level to the floor of its step",
            min(_above_floor(paths[f"SDE from {r}"], levels) for r in RATIOS),
            "1 or more",
            (1 - 5 / math.sqrt(2 * dim * points), math.inf),
            note="the floor holds for the mean square; accepted: five standard errors below",
        ),
        Row("SDE: stable ratio of actual to scheduled level", stable),
        Row("SDE: the ratio where it is unstable", unstable),
    ]
    for r in RATIOS:
        rows.append(_end("ODE", r, paths[f"ODE from {r}"], levels))
        rows.append(_end("SDE", r, paths[f"SDE from {r}"], levels))
    setting = {
        "levels": "1000, geometric, 50 to 0.01",
        "dimension": dim,
        "points": f"{points} for the SDE, 1 for the ODE",
        "arithmetic": "float64",
        "samplers": "variance-euler and sde of this library",
    }
    return Findings(rows, setting, [_figure(levels, paths)])


def _end(kind: str, ratio: float, path: Array, levels: list[float]) -> Row:
    """Where a path ends: the ODE must have failed, the SDE must still be near the schedule."""
    level = ratio * levels[0]
    for sigma, after in pairwise(levels):
        level = (ode_level if kind == "ODE" else sde_level)(level, sigma, after)
    note = f"by the recursion {level / levels[-1]:.4g}"
    name = f"{kind} from {ratio}: ratio at the last level"
    if kind == "ODE":
        return Row(name, float(path[-1]), "overshoot", (REASONABLE[1], math.inf), note=note)
    if path[-1] > REASONABLE[1]:
        note += ": above the unstable ratio the noise never comes down; residual noise stays in the sample"
    return Row(name, float(path[-1]), "within a reasonable range", REASONABLE, note=note)


def _path(sampler: Stepwise, ratio: float, levels: list[float], dim: int, points: int, seed: int) -> Array:
    """Ratio of actual to scheduled level at every level, from root mean squares over the points."""
    score = SingleCenter((dim,))
    model = Evaluator(score, range(points), seed)
    start = noise(seed + 1, 0, points, score.shape)
    x = ratio * levels[0] * math.sqrt(dim) * start / start.norm(dim=1, keepdim=True)
    ratios = [ratio]
    for sigma, after in pairwise(levels):
        x = sampler.step(model, x, sigma, after)
        ratios.append(_level(x) / after)
    return np.array(ratios)


def _one_step(sampler: Stepwise, dim: int, points: int, seed: int) -> float:
    """The actual level after one step, from the root mean square over the points."""
    sigma, after, level = STEP
    score = SingleCenter((dim,))
    start = noise(seed + 1, 0, points, score.shape)
    x = level * math.sqrt(dim) * start / start.norm(dim=1, keepdim=True)
    return _level(sampler.step(Evaluator(score, range(points), seed), x, sigma, after))


def _level(x: Tensor) -> float:
    return float(x.square().mean().sqrt())


def _difference(path: Array, levels: list[float]) -> float:
    """Largest difference of a step to its closed form, over the length of the step."""
    differences: list[float] = []
    for ratio, after, (sigma, sigma_next) in zip(path, path[1:], pairwise(levels), strict=False):
        level = ratio * sigma
        length = (sigma**2 - sigma_next**2) / (2 * level) + level
        differences.append(float(abs(after * sigma_next - ode_level(level, sigma, sigma_next)) / length))
    return max(differences)


def _above_floor(path: Array, levels: list[float]) -> float:
    """Smallest actual level over the root of the variance that the step before it added."""
    sigmas = np.array(levels)
    return float((path[1:] * sigmas[1:] / np.sqrt(sigmas[:-1] ** 2 - sigmas[1:] ** 2)).min())


def _near(value: float, margin: float) -> tuple[float, float]:
    return value - margin, value + margin


def _figure(levels: list[float], paths: dict[str, Array]) -> Figure:
    lines = [Series(name, path) for name, path in paths.items()]
    return Figure(
        curves(levels, lines, x_label="scheduled level σ", y_label="actual over scheduled level", log_y=True),
        caption="A scheduled sampler on a score without a noise level: the ODE is thrown out once the actual level is "
        "behind; the SDE settles at a fixed share of the schedule if it begins below it.",
        alt="The ODE lines fall to zero and jump to thousands; the SDE lines end at 0.13.",
    )
