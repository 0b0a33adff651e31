"""The diagnosis of a training set: at which noise levels a diffusion model will find it easy to copy."""

import warnings
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, fields
from typing import ClassVar

import numpy as np
from rich.console import Group as RichGroup
from rich.text import Text as RichText
from torch import Tensor

from smoothscore.config import TrainConfig
from smoothscore.data import ImageSet, fingerprint
from smoothscore.errors import DataWarning, InputError
from smoothscore.geometry import diagnosis_page, diagnosis_words
from smoothscore.geometry.coverage import coverage
from smoothscore.geometry.curve import Array, Curve, Levels, as_levels
from smoothscore.geometry.danger import DangerZone, zone_with_interval
from smoothscore.geometry.duplicates import exact_duplicates, shared_images
from smoothscore.geometry.far_field import FarField, far_field, noised
from smoothscore.geometry.forecast import Forecast, forecast
from smoothscore.geometry.model import ModelLevels, examine
from smoothscore.geometry.near_duplicates import NearGroup, near_duplicates
from smoothscore.geometry.posterior import concentration, weight_thresholds
from smoothscore.geometry.recommendation import Goal, command, in_lines, recommend
from smoothscore.geometry.sampling_noise import SamplingNoise, sampling_noise
from smoothscore.geometry.sensitivity import Sensitivity, sensitivity
from smoothscore.geometry.stability import Stability, stability
from smoothscore.report.page import Section
from smoothscore.report.result import Result
from smoothscore.schedules import karras
from smoothscore.scores import Score

__all__ = ["Diagnosis", "diagnose"]

MOST_POINTS, LEAST_POINTS = 1000, 250
POINT_PAIRS = 20_000_000  # pairs of a noised image and a center beyond which fewer images are noised
THRESHOLD_IMAGES = 10_000  # beyond which all N^2 distances take too long for a side result


@dataclass(frozen=True, eq=False, repr=False)
class Diagnosis(Result):
    """What the geometry of a training set says about memorization, level by level.

    Attributes:
        sigmas: (L,) noise levels, in the units of images in [-1, 1].
        posterior_weight: expected largest posterior weight of a noisy training image.
        own_weight: expected posterior weight of the image that was noised.
        effective_number: expected number of training images that share the posterior.
        shell_coverage: coverage of held-out images by the training images' shells, with bounds; ``None`` for a
            single training image without held-out images.
        zone: the danger zone with the uncertainty of its ends; ``None`` if there is none.
        far_field: the Gaussian approximation at every level and the level from which it is good to one percent.
        thresholds: median levels below which an image's own weight is surely above 0.95, and above which surely below;
            ``None`` for a single training image and for more than 10,000.
        sampling_noise: of the optimal answer to three noisy training images where the posterior weight is one half.
        sensitivity: how far denoised pixels depend on noisy ones; ``None`` for data that are no images.
        stability: expansiveness and Jacobian spectra at up to 12 levels; ``None`` if not asked for.
        model: what the score under examination does at every level; ``None`` without a score.
        forecast: the zone by the number of images; ``None`` if not asked for or not to be had.
        duplicates: groups of indices of equal training images, the largest first.
        near: groups of near duplicates, the closest first; ``None`` if not asked for.
        leaked: indices of held-out images that are training images too (they were left out).
        alerts: what changes how the numbers must be read, in sentences; each was also a ``DataWarning``.
        notes: what else a reader should know.
        options: what was done, so that it can be done again.
        pictures: the training images.
    """

    kind: ClassVar[str] = "diagnosis"
    title: ClassVar[str] = "Diagnosis of a training set"

    sigmas: Array
    posterior_weight: Curve
    own_weight: Curve
    effective_number: Curve
    shell_coverage: Curve | None
    zone: DangerZone | None
    far_field: FarField
    thresholds: tuple[float, float] | None
    sampling_noise: list[SamplingNoise]
    sensitivity: Sensitivity | None
    stability: Stability | None
    model: ModelLevels | None
    forecast: Forecast | None
    duplicates: list[list[int]]
    near: list[NearGroup] | None
    leaked: list[int]
    alerts: list[str]
    notes: list[str]
    options: Mapping[str, object]
    pictures: Tensor | ImageSet

    @property
    def danger_zone(self) -> tuple[float, float] | None:
        """Lowest and highest noise level of the danger zone, or ``None``."""
        return None if self.zone is None else (self.zone.low, self.zone.high)

    def recommend(self, goal: Goal = "quality") -> TrainConfig:
        """Settings to train with; ``reasons`` of the result holds a sentence for each.

        Args:
            goal: "quality" leaves the danger zone out of training; "privacy" softens every level's target over
                neighboring images.

        Raises:
            InputError: another goal.

        Source: "Two calm ends and the wild middle", section 5; "Smoothing the score function", eq. 10-11.
        """
        return recommend(self, goal)

    def commands(self) -> Mapping[str, str]:
        """The ``smoothscore train`` command for each goal."""
        data = str(self.options["data"])
        return {
            "Train without the danger zone" if self.zone else "Train": command(self.recommend(), data),
            "Train for privacy": command(self.recommend("privacy"), data),
        }

    def __rich__(self) -> RichGroup:
        """The summary, and the commands in lines that a shell joins again."""
        lines = [f"{name}:\n{in_lines(line)}" for name, line in self.commands().items()]
        return RichGroup(super().__rich__(), *(RichText(line, no_wrap=True) for line in lines))

    def __repr__(self) -> str:
        return "\n".join([super().__repr__(), *(f"{name}: {line}" for name, line in self.commands().items())])

    def values(self) -> Mapping[str, object]:
        """The curves, the zone and the duplicates by name."""
        hidden = ("options", "pictures")
        found = {field.name: getattr(self, field.name) for field in fields(self) if field.name not in hidden}
        recommended = {goal: self.recommend(goal) for goal in ("quality", "privacy")}
        return found | {"danger_zone": self.danger_zone, "recommended": recommended}

    def setting(self) -> Mapping[str, object]:
        """Options, seed, counts and fingerprints."""
        return self.options

    def summary(self) -> Sequence[tuple[str, str]]:
        """The few lines a reader wants first."""
        return diagnosis_words.summary(self)

    def lead(self) -> str:
        """The result in a sentence or two."""
        return diagnosis_words.lead(self)

    def sections(self) -> Sequence[Section]:
        """The body of the page."""
        return diagnosis_page.sections(self)


def diagnose(
    train: Tensor | ImageSet,
    held_out: Tensor | ImageSet | None = None,
    score: Score | None = None,
    sigmas: Levels | None = None,
    seed: int = 0,
    noises: int = 100,
    images: int | None = None,
    weight_level: float = 0.9,
    coverage_level: float = 0.9,
    sizes: bool = False,
    near: bool = False,
    encoder: str = "pixel",
    stable: bool = False,
    data: str = "DATA",
) -> Diagnosis:
    """Where on the noise axis a training set will be memorized, before anything is trained.

    Args:
        train: (N, *shape) tensor in [-1, 1], or an ImageSet.
        held_out: other images of the same kind; without them the coverage is that of every training image by the
            others.
        score: a score to examine level by level, e.g. a trained network; needs ``held_out``.
        sigmas: noise levels; the 40 levels of the EDM sampler by default.
        seed: of the noises, of the choice of images and of the bootstrap.
        noises: noise vectors, shared by all images.
        images: at most so many training and so many held-out images are noised, always against all N; ``None``: 1,000,
            fewer for more than 20,000 training images, where the standard errors say what that costs.
        weight_level: least posterior weight of the danger zone.
        coverage_level: least shell coverage of the danger zone.
        sizes: also measure the zone of subsets and forecast the number of images at which it closes.
        near: also look for near duplicates.
        encoder: where near duplicates are near, "pixel" or another encoder.
        stable: also measure expansiveness and Jacobian spectra.
        data: what recommended commands call the training images.

    Raises:
        InputError: as for the curves; a ``score`` without held-out images; a level outside (0, 1).

    Warns:
        DataWarning: held-out images are training images (they are left out), training images are equal, or the
            danger zone reaches the end of ``sigmas``.

    Cost: that of :func:`~smoothscore.geometry.posterior.concentration` and
    :func:`~smoothscore.geometry.coverage.coverage`, a Gaussian fit and one pass for equal images.
    """
    levels = as_levels(karras(40) if sigmas is None else sigmas)
    if score is not None and held_out is None:
        raise InputError("examining a score needs images it was not trained on; pass held_out=.")
    for name, level in (("weight_level", weight_level), ("coverage_level", coverage_level)):
        if not 0 < level < 1:
            raise InputError(f"{name} is {level}; give a level between 0 and 1.")
    base = images if images is not None else max(LEAST_POINTS, min(MOST_POINTS, POINT_PAIRS // len(train)))
    alerts: list[str] = []
    leaked = [] if held_out is None else shared_images(train, held_out)
    if held_out is not None and leaked:
        held_out = _without(held_out, leaked, alerts)
    duplicates = exact_duplicates(train)
    if duplicates:
        alerts.append(_repeated(duplicates))
    alike = near_duplicates(train, encoder=encoder) if near else None
    found = concentration(train, levels, seed, noises, base)
    weight = found.largest.curve()
    covered = coverage(train, held_out, levels, seed, noises, base) if held_out is not None or len(train) > 1 else None
    if covered is None:
        alerts.append("A single training image has no neighbors: give held-out images to measure its coverage.")
    zone = None
    if covered:
        zone = zone_with_interval(found.largest, covered.covered, weight_level, coverage_level, seed=seed)
        alerts += _range(weight, covered.curve(), zone, weight_level, coverage_level)
    predicted = None
    if sizes and zone:
        ends = (zone.low, zone.high)
        predicted = forecast(train, held_out, ends, seed, weight_level, coverage_level)
    for alert in alerts:
        warnings.warn(alert, DataWarning, stacklevel=2)
    far = far_field(train, levels, seed, points=128 if len(train) * MOST_POINTS <= POINT_PAIRS else 64)
    return Diagnosis(
        sigmas=weight.sigmas,
        posterior_weight=weight,
        own_weight=found.own.curve(),
        effective_number=found.effective.curve(),
        shell_coverage=covered.curve() if covered else None,
        zone=zone,
        far_field=far,
        thresholds=_thresholds(train),
        sampling_noise=_sampling_noise(train, weight, seed),
        sensitivity=_sensitivity(train, weight, far, seed),
        stability=stability(train, _thinned(levels), seed) if stable else None,
        model=examine(score, train, held_out, levels, seed) if score and held_out is not None else None,
        forecast=predicted,
        duplicates=duplicates,
        near=alike,
        leaked=leaked,
        alerts=alerts,
        notes=_notes(train, held_out, len(found.images), bool(covered), sizes and predicted is None),
        options={
            "data": data,
            "training images": len(train),
            "training images noised": len(found.images),
            "held-out images": 0 if held_out is None else len(held_out),
            "held-out images noised": len(covered.images) if covered and held_out is not None else 0,
            "noises": noises,
            "posterior weight of the zone": weight_level,
            "shell coverage of the zone": coverage_level,
            "space of near duplicates": encoder if near else None,
            "seed": seed,
            "training set": fingerprint(train),
            "held-out set": None if held_out is None else fingerprint(held_out),
        },
        pictures=train,
    )


def _without(held_out: Tensor | ImageSet, leaked: list[int], alerts: list[str]) -> Tensor | ImageSet | None:
    names = [str(index) if isinstance(held_out, Tensor) else held_out.names[index] for index in leaked]
    listed = ", ".join(names[:5]) + (", ..." if len(names) > 5 else "")
    alerts.append(
        f"{len(leaked)} of {len(held_out)} held-out images are training images ({listed}); they were left out."
    )
    keep = np.setdiff1d(np.arange(len(held_out)), leaked)
    return held_out[keep] if len(keep) else None


def _repeated(duplicates: list[list[int]]) -> str:
    repeated = sum(len(group) - 1 for group in duplicates)
    return (
        f"{repeated} training images repeat others exactly ({len(duplicates)} groups); no smoothing helps "
        "against repeated images, so remove them first."
    )


def _range(
    weight: Curve, coverage: Curve, zone: DangerZone | None, weight_level: float, coverage_level: float
) -> list[str]:
    """Whether the noise levels show what there is to see."""
    if zone and (zone.low <= weight.sigmas.min() or zone.high >= weight.sigmas.max()):
        return ["The danger zone reaches the end of the noise levels given; widen sigmas to see all of it."]
    always_new = (coverage.mean >= coverage_level).all() and np.ptp(weight.mean) > 0.01
    if zone is None and ((weight.mean >= weight_level).all() or always_new):
        return ["The noise levels given may miss the danger zone: one curve is high at all of them; widen sigmas."]
    return []


def _notes(
    train: Tensor | ImageSet, held_out: Tensor | ImageSet | None, noised_images: int, covered: bool, no_forecast: bool
) -> list[str]:
    notes = []
    if held_out is None and covered:
        notes.append("No held-out images were given: the coverage is that of each training image by the others.")
    if noised_images < len(train):
        notes.append(
            f"Noise was added to {noised_images:,} of the {len(train):,} training images, drawn at random; all of them "
            "are centers. The standard errors count that."
        )
    if no_forecast:
        notes.append("There is no forecast by number of images: too few of the smaller subsets have a danger zone.")
    return notes


def _thresholds(train: Tensor | ImageSet) -> tuple[float, float] | None:
    if not 2 <= len(train) <= THRESHOLD_IMAGES:
        return None
    concentrated, spread = weight_thresholds(train)
    return float(np.median(concentrated)), float(np.median(spread))


def _middle(weight: Curve) -> float:
    """The level at which the posterior weight is one half, or the geometric middle of the levels."""
    found = weight.crossings(0.5)
    return found[-1] if found else float(np.sqrt(weight.sigmas.min() * weight.sigmas.max()))


def _sampling_noise(train: Tensor | ImageSet, weight: Curve, seed: int) -> list[SamplingNoise]:
    clean, noise = noised(train, min(3, len(train)), seed)
    sigma = _middle(weight)
    return sampling_noise(train, clean + sigma * noise, sigma, rank=16)


def _sensitivity(train: Tensor | ImageSet, weight: Curve, far: FarField, seed: int) -> Sensitivity | None:
    shape = train.shape[1:] if isinstance(train, Tensor) else train.shape
    if len(shape) != 3 or shape[2] < 2:
        return None
    middle = _middle(weight)
    return sensitivity(train, [4 * middle, middle, middle / 4], seed, far.gaussian)


def _thinned(levels: Array) -> Array:
    """At most 12 of the levels, evenly."""
    return np.asarray(levels[np.unique(np.linspace(0, len(levels) - 1, 12).astype(int))])
