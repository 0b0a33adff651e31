r"""Training settings that follow from a diagnosis, each with the sentence that justifies it.

``goal="quality"`` leaves the danger zone :math:`[\sigma_{low},\sigma_{high}]` out of training, the mitigation of "Two
calm ends and the wild middle" (Sec. 5) that also improved its Frechet distances. ``goal="privacy"`` softens the target
of every level with a temperature :math:`T(\sigma)=c/\sigma` over K neighbors ("Smoothing the score function", eq.
10-11). At one level a temperature acts as the larger noise :math:`\sigma\sqrt T`, here :math:`\sqrt{c\sigma}`; so

.. math:: c=\frac{\sigma_{1/2}^2}{\sigma_{low}}

makes the target at the zone's lower end, where copies first become learnable, as soft as the training set's own
posterior at :math:`\sigma_{1/2}`, where its largest weight is a half. Above the level :math:`\sigma_{0.1}` where the
largest weight is a tenth, the ordinary target is soft already.
"""

import math
import shlex
from collections.abc import Callable
from typing import TYPE_CHECKING, Any, Literal

from smoothscore.config import TrainConfig
from smoothscore.errors import InputError
from smoothscore.geometry.model import by_chance
from smoothscore.geometry.pairs import shape_of

if TYPE_CHECKING:
    from smoothscore.geometry.diagnosis import Diagnosis

__all__ = ["GOALS", "Goal", "command", "in_lines", "recommend"]

Goal = Literal["quality", "privacy"]
GOALS: tuple[Goal, ...] = ("quality", "privacy")

Choice = dict[str, tuple[Any, str]]
"""For each setting its value and the reason."""

FEWEST, MOST = 10, 100
"""Neighbors: the range of the papers' experiments."""


def recommend(diagnosis: "Diagnosis", goal: Goal = "quality") -> TrainConfig:
    """Settings for a training set of this geometry; ``reasons`` holds one sentence for each that was chosen.

    Raises:
        InputError: ``goal`` is neither "quality" nor "privacy".
    """
    if goal not in GOALS:
        raise InputError(f"goal is {goal!r}; take one of {', '.join(GOALS)}.")
    total = int(str(diagnosis.options["training images"]))
    softened = _temperature(diagnosis, total) if goal == "privacy" else None
    chosen = (softened or _gap(diagnosis)) | _effort(diagnosis, total, goal) | _data(diagnosis)
    values = {name: value for name, (value, _) in chosen.items()}
    return TrainConfig(**values, reasons={name: reason for name, (_, reason) in chosen.items()})


def command(config: TrainConfig, data: str = "DATA", out: str = "RUN") -> str:
    """The ``smoothscore train`` command of a configuration, its default settings left out."""
    default, words = TrainConfig(), ["smoothscore", "train", data, "-o", out]
    values = config.to_dict()
    for name, value in values.items():
        if name == "reasons" or value == default.to_dict()[name]:
            continue
        if name == "gaps":
            words += [word for low, high in value for word in ("--gap", f"{low:g}", f"{high:g}")]
        elif isinstance(value, bool):
            words.append(f"--{name.replace('_', '-')}")
        else:
            words += [f"--{name.replace('_', '-')}", f"{value:g}" if isinstance(value, float) else str(value)]
    return shlex.join(words)


def in_lines(line: str, width: int = 78) -> str:
    """A command in indented lines of at most ``width`` columns that a shell joins again, where words allow it."""
    lines = [""]
    for word in map(shlex.quote, shlex.split(line)):
        if lines[-1] and len(lines[-1]) + len(word) + 5 > width:
            lines.append("")
        lines[-1] += f" {word}" if lines[-1] else word
    return " \\\n".join(f"  {part}" for part in lines)


def _gap(diagnosis: "Diagnosis") -> Choice:
    zone = diagnosis.zone
    if zone is None:
        reason = (
            "There is no danger zone at the noise levels given, so the ordinary loss is kept."
            if diagnosis.shell_coverage
            else "Without a shell coverage there is no danger zone to leave out; give held-out images."
        )
        return {"method": ("conditional", reason)}
    levels = f"{diagnosis.options['posterior weight of the zone']:g}"
    covered = f"{diagnosis.options['shell coverage of the zone']:g}"
    return {
        "method": (
            "gap",
            "Noise levels in the danger zone are never trained: there the loss asks for copies and the network would "
            "learn to give them.",
        ),
        "gaps": (
            ((_short(zone.low, math.floor), _short(zone.high, math.ceil)),),
            f"Within it the posterior weight is above {levels} and the shell coverage above {covered}.",
        ),
    }


def _temperature(diagnosis: "Diagnosis", total: int) -> Choice | None:
    """The softened target; ``None`` where the levels do not show how far the weight has to fall."""
    weight = diagnosis.posterior_weight
    half, tenth = (max(weight.crossings(level), default=None) for level in (0.5, 0.1))
    if half is None:
        return None
    coverage = diagnosis.shell_coverage
    reached = coverage.crossings(float(str(diagnosis.options["shell coverage of the zone"]))) if coverage else []
    low = min(diagnosis.zone.low if diagnosis.zone else min(reached, default=half), half)
    number = float(diagnosis.effective_number.at(half))
    neighbors = min(max(math.ceil(3 * number), FEWEST), MOST, total - 1)
    scale = _short(half**2 / low)
    above = tenth if tenth is not None else half
    return {
        "method": (
            "temperature",
            "Targets softened over neighbors leave no level at which a single image is the goal.",
        ),
        "temperature": (
            f"{scale:g}/sigma",
            f"At sigma {low:.3g}, where copies first become learnable, this softens the target as noise of sigma "
            f"{half:.3g} would, at which the largest posterior weight is one half.",
        ),
        "sigma_collapse": (
            _short(above),
            f"Above sigma {above:.3g} no image carries more than {'a tenth' if tenth is not None else 'half'} of the "
            "weight, so the ordinary target cannot copy.",
        ),
        "neighbors": (
            neighbors,
            f"About {number:.1f} images share the answer at sigma {half:.3g}; three times as many, between {FEWEST} "
            f"and {MOST}, keep nearly all of the softened weight.",
        ),
        "space": ("pixel", "The danger zone was measured between pixels; a feature encoder makes sharper images."),
    }


def _effort(diagnosis: "Diagnosis", total: int, goal: Goal) -> Choice:
    shape = shape_of(diagnosis.pictures)
    points = len(shape) == 1
    default = TrainConfig()
    batch = min(default.batch_size, total)
    return {
        "network": (
            "mlp" if points else "tiny",
            "Points take a plain network."
            if points
            else "A small network that trains on any machine; with a graphics card take a larger preset.",
        ),
        "steps": (
            default.steps,
            f"Each image is seen about {default.steps * batch / total:,.0f} times; copying sets in with repetition.",
        ),
        "batch_size": (batch, "As many as a processor handles well, and no more than there are images."),
        "watch_every": (default.checkpoint_every, "At every checkpoint samples are drawn and tested for copies."),
        "stop_on_memorization": _stop(shape.numel(), 0.01 if goal == "privacy" else 0.05),
    }


def _stop(dim: int, limit: float) -> tuple[float | None, str]:
    """The share of copies that ends training, unless so many pass for copies by chance."""
    chance = by_chance(dim)
    if chance > limit / 10:
        return None, f"About {chance:.1%} of independent points of {dim} values pass for copies, so no run is stopped."
    reason = f"Training ends, and the checkpoint before is kept, when more than {limit:.0%} of the samples are copies."
    return limit, reason


def _data(diagnosis: "Diagnosis") -> Choice:
    repeated = sum(len(group) - 1 for group in diagnosis.duplicates)
    found = f"{repeated} training images repeat others exactly" if repeated else "No image repeats another exactly now"
    near = f"; {len(diagnosis.near)} groups of near duplicates remain, see smoothscore dedup" if diagnosis.near else ""
    return {
        "deduplicate": (True, f"{found}, and no smoothing helps against a repeated image{near}."),
        "flips": (False, "The diagnosis cannot tell whether mirror images are plausible; where they are, flips help."),
    }


def _short(value: float, rounded: Callable[[float], int] = round) -> float:
    """Three digits, as printed in a command."""
    unit = 10.0 ** (math.floor(math.log10(value)) - 2)
    return float(f"{rounded(value / unit) * unit:.3g}")
