"""The diagnosis in words: what a reader hears first, and what every number means."""

import math
from typing import TYPE_CHECKING

import numpy as np

from smoothscore.geometry.curve import Curve
from smoothscore.geometry.danger import DangerZone, doubt
from smoothscore.geometry.duplicates import distinct_share
from smoothscore.geometry.forecast import Forecast
from smoothscore.geometry.pairs import shape_of
from smoothscore.report import Region

if TYPE_CHECKING:
    from smoothscore.geometry.diagnosis import Diagnosis

__all__ = ["DEFINITIONS", "closing", "crossing", "interval", "lead", "regions", "risk", "summary"]

FAR = 1000  # times as many images: no line through subsets foresees more

DEFINITIONS = {
    "Risk of copying": (
        "High if there is a danger zone; moderate if posterior weight and shell coverage are both above one half "
        "somewhere; unknown if the noise levels given may miss it; low otherwise. The share is the lesser of the two "
        "at the worst noise level."
    ),
    "Danger zone": (
        "The noise levels at which posterior weight and shell coverage are both high: the loss asks for copies, and "
        "the network is trained where it is used."
    ),
    "Posterior weight": (
        "The weight of the one training image that counts most in the optimal denoiser's answer to a noisy training "
        "image, averaged over images and noise. Near 1 the optimal denoiser returns a training image."
    ),
    "Own weight": "The weight of the very image that the noise was added to; never more than the posterior weight.",
    "Effective number": (
        "How many training images share the optimal denoiser's answer: the exponential of the entropy of their weights."
    ),
    "Shell coverage": (
        "The share of noisy held-out images that fall where noisy training images lie. Near 1 a network has been "
        "trained where it is used; near 0 it has to extrapolate."
    ),
    "Weight equals coverage": "The noise level at which posterior weight and shell coverage are equal.",
    "Surely copied below": (
        "The noise level, for the median image, below which its own weight is above 0.95 with probability 0.95, proven "
        "from distances alone."
    ),
    "Surely shared above": "The noise level, for the median image, above which its own weight is surely below 0.95.",
    "Sigma": "The noise level: the standard deviation of the noise that is added to images in [-1, 1].",
    "EDM step": "The index of the noise level among the 18 of EDM's sampler, counted from 0 at the largest noise.",
    "DDPM timestep": "The index of the noise level among DDPM's 1,000, counted from 0 at the smallest noise.",
    "Flow matching time": "The time at which flow matching has this noise level, from 0, noise, to 1, data.",
    "Images": "The number of images in each random subset.",
    "With a zone": "How many of the subsets have a danger zone at all.",
    "Gaussian good to one percent": (
        "Above this noise level the Gaussian with the training set's mean and covariance explains 99 percent of the "
        "empirical score; from well above it sampling can start in closed form (--teleport auto finds the level)."
    ),
    "Unexplained": "The share of the empirical score's variance that the Gaussian's score leaves unexplained.",
    "Directions above the noise": "The trace of the Gaussian denoiser: how many directions of the data it still sees.",
    "Sampling error": (
        "How far the optimal answer would move had other images been drawn: its standard error, relative to the noise."
    ),
    "Expansiveness": (
        "The factor by which one step of sampling drives two points between two training images apart: points at a "
        "fifth of the noise level, and points ever closer (from the score's Jacobian)."
    ),
    "Largest gain": "The largest eigenvalue of the denoiser's Jacobian; above 1 it enlarges a difference.",
    "Memorized": (
        "The share of noisy held-out images that one denoising step turns into a training image: nearest training "
        "image less than a third as far as the second nearest."
    ),
    "The zone closes": (
        "The number of images at which the danger zone's width, extrapolated from smaller subsets, reaches zero."
    ),
}


def risk(diagnosis: "Diagnosis") -> tuple[str, float, float] | None:
    """A word, the lesser of weight and coverage at the worst level, and that level; ``None`` without coverage."""
    coverage = diagnosis.shell_coverage
    if coverage is None:
        return None
    least = np.minimum(diagnosis.posterior_weight.mean, coverage.mean)
    worst = int(least.argmax())
    share = float(least[worst])
    heavy, covered = (
        float(str(diagnosis.options[f"{name} of the zone"])) for name in ("posterior weight", "shell coverage")
    )
    distinct = distinct_share(diagnosis.duplicates, int(str(diagnosis.options["training images"])))
    unseen = doubt(diagnosis.posterior_weight, coverage, heavy, covered, distinct)
    word = "high" if diagnosis.zone else "unknown" if unseen else "moderate" if share >= 0.5 else "low"
    return word, share, float(diagnosis.sigmas[worst])


def summary(diagnosis: "Diagnosis") -> list[tuple[str, str]]:
    """Name and value, a line each; with the commands at most 25 lines of a terminal."""
    shape = shape_of(diagnosis.pictures)
    kind = f" (points of {shape[0]} values)" if len(shape) == 1 else ""
    lines = [("training images", f"{diagnosis.options['training images']:,}{kind}")]
    found = risk(diagnosis)
    if found:
        word, share, sigma = found
        lines.append(("risk of copying", f"{word}: {share:.0%} at its worst noise level, sigma {sigma:.2g}"))
    else:
        lines.append(("risk of copying", "not measured"))
    lines += _zone(diagnosis.zone)
    if diagnosis.zone is None:
        lines.append(("one image decides below", crossing(diagnosis.posterior_weight, 0.9)))
        if diagnosis.shell_coverage:
            lines.append(("new images are reached above", crossing(diagnosis.shell_coverage, 0.9)))
    lines.append(("many images share above", crossing(diagnosis.posterior_weight, 0.1)))
    if diagnosis.far_field.start is not None:
        lines.append(("a Gaussian is enough above", f"sigma {diagnosis.far_field.start:.3g}"))
    if diagnosis.model:
        lines.append(
            ("copies at the worst level", f"{diagnosis.model.memorized.mean.max():.1%} of the score's answers")
        )
    if diagnosis.forecast:
        lines.append(("danger zone closes", "; ".join(closing(diagnosis.forecast))))
    if not diagnosis.duplicates:  # else there is a warning
        lines.append(("repeated training images", "none"))
    if diagnosis.near is not None:
        lines.append(("groups of near duplicates", f"{len(diagnosis.near):,}"))
    lines += [("warning", alert) for alert in diagnosis.alerts]
    return lines + [("note", note) for note in diagnosis.notes[: max(1 - len(diagnosis.alerts), 0)]]  # the page has all


def _zone(zone: DangerZone | None) -> list[tuple[str, str]]:
    if zone is None:
        return [("danger zone", "none at these noise levels")]
    edm, ddpm = zone.edm_steps(), zone.ddpm_timesteps()
    return [
        ("danger zone", f"sigma {zone.low:.3g} to {zone.high:.3g}"),
        ("  in EDM's 18 steps", f"step {edm[0]:.1f} to {edm[1]:.1f}"),
        ("  in DDPM's 1,000 timesteps", f"{ddpm[0]:.0f} to {ddpm[1]:.0f}"),
    ]


def lead(diagnosis: "Diagnosis") -> str:
    """The result in a sentence or two."""
    found, total = risk(diagnosis), f"{diagnosis.options['training images']:,}"
    if found is None:
        return "The danger zone needs held-out images."
    if diagnosis.zone:
        zone = diagnosis.zone
        return (
            f"The risk of copying is high: a diffusion model fitted to these {total} images is asked to copy, and is "
            f"trained where that matters, at noise levels {zone.low:.2g} to {zone.high:.2g}."
        )
    return (
        f"The risk of copying is {found[0]}: at no noise level given are posterior weight and shell coverage of these "
        f"{total} images high together."
    )


def regions(diagnosis: "Diagnosis", named: bool = False) -> list[Region]:
    """The danger zone, and with ``named`` the three regimes that it lies between."""
    zone, found = diagnosis.zone, []
    if named and diagnosis.shell_coverage:
        low, high = float(diagnosis.sigmas.min()), float(diagnosis.sigmas.max())
        first = min(diagnosis.shell_coverage.crossings(0.1), default=low)
        last = max(diagnosis.posterior_weight.crossings(0.1), default=high)
        if low < first < last < high:
            found = [
                Region("small noise", low, first),
                Region("wild middle", first, last),
                Region("large noise", last, high),
            ]
    return [*found, Region("danger zone", zone.low, zone.high, shaded=True)] if zone else found


def closing(forecast: Forecast) -> tuple[str, str]:
    """The size at which the zone closes, and its interval, to two digits."""
    size, (low, high) = forecast.closing_size, forecast.interval
    if math.isinf(low):
        return "at no number of images", "the zone does not narrow as images are added"
    most = FAR * float(forecast.sizes.max())
    if low > most:
        return f"beyond {_rounded(most)} images", f"more than {FAR:,} times as many as there are (95 %)"
    value = f"about {_rounded(size)} images" if size <= most else f"beyond {_rounded(most)} images"
    ends = f"between {_rounded(low)} and {_rounded(high)}" if high <= most else f"more than {_rounded(low)}"
    return value, f"{ends} (95 %)"


def _rounded(count: float) -> str:
    return f"{float(f'{count:.2g}'):,.0f}"


def crossing(curve: Curve, level: float) -> str:
    """The highest noise level at which a curve passes ``level``, as text."""
    found = curve.crossings(level)
    return f"sigma {found[-1]:.3g}" if found else "no level given"


def interval(ends: tuple[float, float]) -> str:
    """An interval as text."""
    return f"{ends[0]:.3g} to {ends[1]:.3g}"
