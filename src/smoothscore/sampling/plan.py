"""What is asked of the loop: all that an image depends on, but its number."""

from collections.abc import Sequence
from dataclasses import dataclass, fields, is_dataclass, replace

import torch
from torch import Tensor

from smoothscore.errors import InputError
from smoothscore.sampling.evaluator import Projection
from smoothscore.sampling.levels import levels_for
from smoothscore.sampling.sampler import Sampler
from smoothscore.sampling.samplers import sampler_named
from smoothscore.sampling.teleport import Teleport
from smoothscore.scores import Score

__all__ = ["Plan", "plan"]


@dataclass(frozen=True, eq=False)
class Plan:
    """All that an image depends on, but its number.

    Attributes:
        score: as it was given.
        guide: as the sampler sees it.
        sampler: with its options.
        levels: descending, without the last 0; those before a teleportation included.
        seed: image i is a function of ``(seed, i)``.
        teleport: a jump in front of the sampler.
        projection: a constraint on the images.
        dtype: of the states.
        title: of the score, as it was asked for.
    """

    score: Score
    guide: Score
    sampler: Sampler
    levels: list[float]
    seed: int
    teleport: Teleport | None
    projection: Projection | None
    dtype: torch.dtype
    title: str

    @property
    def walked(self) -> list[float]:
        """The levels that the sampler walks, the last of them 0."""
        return [*(self.teleport.levels(self.levels) if self.teleport else self.levels), 0.0]

    def teleported(self, teleport: Teleport | None) -> "Plan":
        """The same with a jump in front; refuses one that does not go down."""
        made = replace(self, teleport=teleport)
        _ = made.walked
        return made

    def setting(self) -> dict[str, object]:
        """What is asked for, so that it can be asked again."""
        setting: dict[str, object] = {
            "score": self.title,
            "sampler": self.sampler.name,
            "sigmas": self.levels,
            "seed": self.seed,
            "dtype": str(self.dtype).removeprefix("torch."),
        }
        if options := _options(self.sampler):
            setting["sampler_options"] = options
        if self.teleport:
            setting["teleport"] = self.teleport.sigma
        if self.projection is not None:
            setting["projection"] = getattr(self.projection, "__name__", type(self.projection).__name__)
        return setting


def plan(
    score: Score,
    sampler: str | Sampler = "heun",
    steps: int | None = None,
    sigmas: Tensor | Sequence[float] | None = None,
    seed: int = 0,
    projection: Projection | None = None,
    schedule: str | None = None,
    dtype: torch.dtype = torch.float32,
    title: str | None = None,
) -> Plan:
    """Check what is asked for; the arguments are those of :func:`draw`, and a title for the score."""
    if seed < 0:
        raise InputError(f"seed is {seed}; take a whole number from 0.")
    chosen = sampler_named(sampler)
    return Plan(
        score=score,
        guide=chosen.prepare(score),
        sampler=chosen,
        levels=levels_for(score, chosen, steps, sigmas, schedule),
        seed=seed,
        teleport=None,
        projection=projection,
        dtype=dtype,
        title=title or type(score).__name__,
    )


def _options(sampler: object) -> dict[str, object]:
    """The options of a sampler that is a dataclass, in JSON's own types where they have them."""
    options: dict[str, object] = {}
    for field in fields(sampler) if is_dataclass(sampler) else ():
        value = getattr(sampler, field.name)
        if isinstance(value, Sampler):
            value = {"name": value.name} | _options(value)
        options[field.name] = value if isinstance(value, int | float | str | dict) else type(value).__name__
    return options
