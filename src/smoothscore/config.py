r"""How a score network is trained, as one value that can be checked, written down and read again.

Every field has a default that trains; what can only be judged beside the data (the number of neighbors, a temperature
rule, the channels a network can take) is judged when the training starts, before any work.
"""

import math
from collections.abc import Mapping
from dataclasses import dataclass, field, fields
from difflib import get_close_matches
from typing import Any, Literal, get_args

from smoothscore.errors import InputError

__all__ = ["METHODS", "NOISES", "PRECISIONS", "Method", "TrainConfig", "noise_gap"]

Method = Literal["conditional", "unconditional", "temperature", "gap", "dummy"]
Noise = Literal["lognormal", "log-uniform", "shell-touch"]
Precision = Literal["float32", "bfloat16", "float16"]

METHODS: tuple[str, ...] = get_args(Method)
NOISES: tuple[str, ...] = get_args(Noise)
PRECISIONS: tuple[str, ...] = get_args(Precision)

COUNTS = ("steps", "batch_size", "neighbors", "checkpoint_every", "keep", "watch_samples")
FROM_ZERO = ("weight_decay", "warmup", "watch_every", "seed")
POSITIVE = ("learning_rate", "noise_std", "sigma_min")


@dataclass(frozen=True)
class TrainConfig:
    """Everything that decides a training run beside the images.

    Attributes:
        method: "conditional" (the ordinary loss), "unconditional" (a network that never sees sigma), "temperature"
            (smoothed targets over neighbors), "gap" (noise levels in ``gaps`` are never trained) or "dummy" (noise
            images as a second class).
        steps: optimizer steps. batch_size: images in one step, over all processes together.
        learning_rate: of AdamW, reached after ``warmup`` steps.
        network: a preset of :mod:`smoothscore.networks`.
        network_options: its options by name, e.g. ``{"dropout": 0.1}``.
        linear_bypass: the network learns what the Gaussian score of the training set leaves over.
        preconditioning: "edm", "ve", "vp", "noise", "scaled-noise", "score" or "denoiser"; None for "scaled-noise" with
            "unconditional" and "temperature", which leaves the noise level out, and "edm" with the others.
        noise: law of the noise levels in [``sigma_min``, ``sigma_max``]: "lognormal" with ``noise_mean`` and
            ``noise_std`` of log sigma (EDM), "log-uniform", or "shell-touch", uniform over levels whose shells touch.
        gaps: intervals (low, high) of sigma that are never drawn; required by "gap", allowed with every method.
        temperature: of "temperature": a number, or a rule of sigma such as "5/sigma" or "perplexity:20"
            (:mod:`smoothscore.scores.temperature`).
        sigma_collapse: with "temperature", levels from which on the target is the ordinary one; None: where a rule has
            come down to 1.
        neighbors: images that share a target, the image itself included. space: where they are near, an encoder's name.
            within_class: they have the image's own label.
        flips: mirror half of the images. augment: share of images that EDM's augmentation moves, 0 for none.
        weight_decay: of AdamW. warmup: steps over which the learning rate rises. gradient_clip: largest norm of a
            gradient; None for no limit.
        ema: half-lives in images of the averaged weights, each beginning at 5 % of the images seen.
        precision: "float32", or "bfloat16" or "float16" inside the network.
        seed: of weights, batches and noise.
        checkpoint_every: steps between checkpoints. keep: how many of the last ones stay.
        watch_every: steps between looks for copies; 0 for none. watch_samples: samples drawn at each.
        stop_on_memorization: largest memorized fraction of a look; above it the run stops and keeps the last
            checkpoint before. None: it goes on.
        deduplicate: train on one of each group of identical images.
        reasons: for some settings, one sentence on why they are what they are; no part of equality.

    Raises:
        InputError: a value that is impossible, by name.
    """

    method: Method = "conditional"
    steps: int = 10_000
    batch_size: int = 64
    learning_rate: float = 2e-4
    network: str = "tiny"
    network_options: Mapping[str, Any] = field(default_factory=dict)
    linear_bypass: bool = False
    preconditioning: str | None = None
    noise: Noise = "lognormal"
    noise_mean: float = -1.2
    noise_std: float = 1.2
    sigma_min: float = 0.002
    sigma_max: float = 80.0
    gaps: tuple[tuple[float, float], ...] = ()
    temperature: float | str = "5/sigma"
    sigma_collapse: float | None = None
    neighbors: int = 30
    space: str = "pixel"
    within_class: bool = False
    flips: bool = False
    augment: float = 0.0
    weight_decay: float = 0.0
    warmup: int = 100
    gradient_clip: float | None = 1.0
    ema: tuple[float, ...] = (50_000.0, 500_000.0)
    precision: Precision = "float32"
    seed: int = 0
    checkpoint_every: int = 1000
    keep: int = 3
    watch_every: int = 0
    watch_samples: int = 256
    stop_on_memorization: float | None = None
    deduplicate: bool = False
    reasons: Mapping[str, str] = field(default_factory=dict, compare=False)

    def __post_init__(self) -> None:
        object.__setattr__(self, "gaps", tuple(noise_gap(gap) for gap in _listed("gaps", self.gaps)))
        object.__setattr__(self, "ema", tuple(_number("ema", life) for life in _listed("ema", self.ema)))
        for name in ("network_options", "reasons"):
            if not isinstance(getattr(self, name), Mapping):
                raise InputError(f"{name} is {getattr(self, name)!r}; give values by name.")
            object.__setattr__(self, name, dict(getattr(self, name)))
        self._check_choices()
        self._check_numbers()
        self._check_gaps()

    def to_dict(self) -> dict[str, Any]:
        """All settings in JSON's own types, in the order of the fields."""
        values = {item.name: getattr(self, item.name) for item in fields(self)}
        return values | {"gaps": [list(gap) for gap in self.gaps], "ema": list(self.ema)}

    @classmethod
    def from_dict(cls, values: Mapping[str, Any]) -> "TrainConfig":
        """The settings that :meth:`to_dict` gave; missing ones have their defaults.

        Raises:
            InputError: an unknown name or an impossible value.
        """
        known = [item.name for item in fields(cls)]
        for name in values:
            if name not in known:
                near = get_close_matches(str(name), known, 1)
                hint = f"did you mean {near[0]!r}?" if near else f"take some of {', '.join(known)}."
                raise InputError(f"There is no setting {name!r} of a training run; {hint}")
        return cls(**values)

    def _check_choices(self) -> None:
        for name, choices in (("method", METHODS), ("noise", NOISES), ("precision", PRECISIONS)):
            if getattr(self, name) not in choices:
                raise InputError(f"{name} is {getattr(self, name)!r}; take one of {', '.join(choices)}.")
        for name in ("linear_bypass", "within_class", "flips", "deduplicate"):
            if not isinstance(getattr(self, name), bool):
                raise InputError(f"{name} is {getattr(self, name)!r}; give true or false.")
        for name in ("network", "space", *(() if self.preconditioning is None else ("preconditioning",))):
            if not isinstance(getattr(self, name), str):
                raise InputError(f"{name} is {getattr(self, name)!r}; give a name.")

    def _check_numbers(self) -> None:
        for name in (*COUNTS, "warmup", "watch_every", "seed"):
            if not isinstance(getattr(self, name), int) or isinstance(getattr(self, name), bool):
                raise InputError(f"{name} is {getattr(self, name)!r}; give a whole number.")
        for name in COUNTS:
            if getattr(self, name) < 1:
                raise InputError(f"{name} is {getattr(self, name)}; give at least 1.")
        if self.seed >= 2**63:
            raise InputError(f"seed is {self.seed}; give less than 2^63.")
        for name in FROM_ZERO:
            if _number(name, getattr(self, name)) < 0:
                raise InputError(f"{name} is {getattr(self, name)}; give 0 or more.")
        for name in POSITIVE:
            if not _number(name, getattr(self, name)) > 0:
                raise InputError(f"{name} is {getattr(self, name)}; give a positive number.")
        for name in ("gradient_clip", "sigma_collapse"):
            value = getattr(self, name)
            if value is not None and not _number(name, value) > 0:
                raise InputError(f"{name} is {value}; give a positive number, or leave it out.")
        _number("noise_mean", self.noise_mean)
        if not self.sigma_min < _number("sigma_max", self.sigma_max):
            raise InputError(f"sigma_max is {self.sigma_max}; it must be above sigma_min, {self.sigma_min}.")
        if not 0 <= _number("augment", self.augment) <= 1:
            raise InputError(f"augment is {self.augment}; a share of images lies between 0 and 1.")
        if not all(life > 0 for life in self.ema):
            raise InputError(f"ema is {self.ema}; half-lives are positive numbers of images.")
        if len({round(life) for life in self.ema}) < len(self.ema):
            raise InputError(f"ema is {self.ema}; half-lives, rounded to images, must differ: they are names.")
        limit = self.stop_on_memorization
        if limit is not None and not 0 <= _number("stop_on_memorization", limit) < 1:
            raise InputError(f"stop_on_memorization is {limit}; give a fraction from 0 to below 1.")
        if limit is not None and not self.watch_every:
            raise InputError("stop_on_memorization needs looks for copies; set watch_every, too.")
        if not isinstance(self.temperature, str) and not _number("temperature", self.temperature) > 0:
            raise InputError(f"temperature is {self.temperature}; give a positive number or a rule such as '5/sigma'.")

    def _check_gaps(self) -> None:
        if self.method == "gap" and not self.gaps:
            raise InputError("The method 'gap' needs an interval of noise levels to leave out; give gaps.")
        covered = self.sigma_min
        for low, high in sorted(self.gaps):
            if low <= covered:
                covered = max(covered, high)
        if covered >= self.sigma_max:
            raise InputError(
                f"The gaps {[list(gap) for gap in self.gaps]} cover every noise level from {self.sigma_min} to "
                f"{self.sigma_max}; leave some to train."
            )


def _number(name: str, value: object) -> float:
    if isinstance(value, bool) or not isinstance(value, int | float) or not math.isfinite(value):
        raise InputError(f"{name} is {value!r}; give a finite number.")
    return float(value)


def _listed(name: str, values: Any) -> tuple[Any, ...]:
    if not isinstance(values, list | tuple):
        raise InputError(f"{name} is {values!r}; give a list.")
    return tuple(values)


def noise_gap(gap: Any) -> tuple[float, float]:
    """An interval (low, high) of noise levels, 0 <= low < high.

    Raises:
        InputError: anything else.
    """
    if not isinstance(gap, list | tuple) or len(gap) != 2:
        raise InputError(f"A gap is {gap!r}; give two noise levels, low and high.")
    low, high = (_number("gaps", end) for end in gap)
    if not 0 <= low < high:
        raise InputError(f"The gap from {low:g} to {high:g} is empty; give 0 <= low < high.")
    return low, high
