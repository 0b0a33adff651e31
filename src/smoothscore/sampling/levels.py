"""The noise levels that are asked for: a number of steps, a schedule by name, or the levels themselves."""

from collections.abc import Sequence

import numpy as np
import torch
from torch import Tensor

from smoothscore import schedules
from smoothscore.errors import InputError
from smoothscore.sampling.sampler import Sampler
from smoothscore.scores import Score

__all__ = ["SCHEDULES", "levels_for", "schedule_named"]

SCHEDULES = ("karras", "log-uniform", "shell-touch", "vp")
STEPS = 18


def schedule_named(text: str, steps: int | None, dim: int) -> Tensor:
    """The levels of ``"NAME"`` or ``"NAME:LOWEST:HIGHEST"``: descending, float64, without the last 0.

    ``karras`` and ``log-uniform`` take ``steps`` levels, 18 when absent, from 0.002 to 80; ``shell-touch`` as many as
    touch in dimension ``dim`` (so no ``steps``); ``vp`` takes ``steps`` of the 1,000 of a linear DDPM and no range.

    Raises:
        InputError: an unknown name, or a range or a number of steps that it does not take.
    """
    name, *ends = text.split(":")
    if name not in SCHEDULES:
        raise InputError(f"There is no schedule {name!r}; take one of {', '.join(SCHEDULES)}.")
    try:
        low, high = (float(end) for end in ends) if ends else (0.002, 80.0)
    except ValueError:
        raise InputError(f"{text!r} is no schedule; write {name}, or {name}:LOWEST:HIGHEST.") from None
    if name == "vp":
        if ends:
            raise InputError("The vp schedule has its own range; leave out the levels after its name.")
        levels = schedules.vp().variance_exploding
        count = STEPS if steps is None else steps
        if not 1 <= count <= len(levels):
            raise InputError(f"steps is {count}; the vp schedule has 1 to {len(levels)} levels.")
        return levels[torch.linspace(0, len(levels) - 1, count).round().long()]
    if name == "shell-touch":
        if steps is not None:
            raise InputError("The number of shell-touch levels follows from their range; leave out steps.")
        return schedules.shell_touch(low, high, dim)
    chosen = schedules.karras if name == "karras" else schedules.log_uniform
    return chosen(STEPS if steps is None else steps, low, high)


def levels_for(
    score: Score,
    sampler: Sampler,
    steps: int | None = None,
    sigmas: Tensor | Sequence[float] | None = None,
    schedule: str | None = None,
) -> list[float]:
    """The levels that are asked for, descending, without the last 0; the sampler's own when nothing is.

    Raises:
        InputError: levels together with steps or a schedule, or levels that cannot be used.
    """
    if steps is not None and not isinstance(steps, int | np.integer):
        raise InputError(f"steps is {steps!r}; give a whole number of noise levels.")
    if sigmas is None:
        levels = sampler.schedule(score, steps) if schedule is None else schedule_named(schedule, steps, score.dim)
        return [float(s) for s in levels]
    if steps is not None or schedule is not None:
        raise InputError("Give either steps or sigmas, not both: the levels fix the number of steps.")
    try:
        levels = torch.as_tensor(sigmas, dtype=torch.float64)
    except (TypeError, ValueError):
        levels = torch.empty(0)
    descending = levels.ndim == 1 and len(levels) > 0 and bool((levels[1:] < levels[:-1]).all())
    if not (descending and torch.isfinite(levels).all() and levels[-1] > 0):
        raise InputError("sigmas must be a list of positive, finite, strictly descending noise levels.")
    return [float(s) for s in levels]
