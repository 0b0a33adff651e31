"""Everything that a diagnosis measures, in the order of its cost, and what a reader must be warned of."""

import warnings

import numpy as np
from torch import Tensor

from smoothscore.data import ImageSet, fingerprint
from smoothscore.errors import DataWarning, InputError
from smoothscore.geometry.coverage import coverage
from smoothscore.geometry.curve import Curve, Levels, as_levels
from smoothscore.geometry.danger import doubt, zone_with_interval
from smoothscore.geometry.diagnosis import Diagnosis
from smoothscore.geometry.duplicates import distinct_share, exact_duplicates, shared_images
from smoothscore.geometry.far_field import FarField, far_field, noised
from smoothscore.geometry.forecast import forecast
from smoothscore.geometry.model import by_chance, examine
from smoothscore.geometry.near_duplicates import near_duplicates
from smoothscore.geometry.pairs import shape_of
from smoothscore.geometry.posterior import concentration, weight_thresholds
from smoothscore.geometry.sampling_noise import SamplingNoise, sampling_noise
from smoothscore.geometry.sensitivity import Sensitivity, sensitivity
from smoothscore.geometry.stability import stability, thinned
from smoothscore.schedules import karras
from smoothscore.scores import Score

__all__ = ["diagnose"]

MOST_POINTS, LEAST_POINTS = 1000, 250
POINT_PAIRS = 20_000_000  # pairs of a noised image and a center beyond which fewer images are noised
THRESHOLD_IMAGES = 10_000  # beyond which all N^2 distances take too long for a side result


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
    _check_shapes(train, held_out, score)
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
        if zone and (zone.low <= weight.sigmas.min() or zone.high >= weight.sigmas.max()):
            alerts.append("The danger zone reaches the end of the noise levels given; widen sigmas to see all of it.")
        unsure = doubt(weight, covered.curve(), weight_level, coverage_level, distinct_share(duplicates, len(train)))
        alerts += [unsure] if unsure and not zone else []
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
        stability=stability(train, thinned(levels), seed) if stable else None,
        model=examine(score, train, held_out, levels, seed) if score and held_out is not None else None,
        forecast=predicted,
        duplicates=duplicates,
        near=alike,
        leaked=leaked,
        alerts=alerts,
        notes=_notes(train, held_out, score, len(found.images), bool(covered), sizes and predicted is None),
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


def _check_shapes(train: Tensor | ImageSet, held_out: Tensor | ImageSet | None, score: Score | None) -> None:
    shapes = {
        "held-out images": None if held_out is None else shape_of(held_out),
        "the score's images": None if score is None else score.shape,
    }
    for name, shape in shapes.items():
        if shape is not None and shape != shape_of(train):
            raise InputError(
                f"{name} have shape {tuple(shape)}, the training images {tuple(shape_of(train))}; give those of one "
                "shape (resolution= loads images in another)."
            )


def _without(held_out: Tensor | ImageSet, leaked: list[int], alerts: list[str]) -> Tensor | ImageSet | None:
    names = [str(index) if isinstance(held_out, Tensor) else held_out.names[index] for index in leaked]
    listed = ", ".join(names[:5]) + (", ..." if len(names) > 5 else "")
    keep = np.setdiff1d(np.arange(len(held_out)), leaked)
    instead = "" if len(keep) else ", and each training image was held out in turn"
    alerts.append(
        f"{len(leaked)} of {len(held_out)} held-out images are training images ({listed}); they were left out{instead}."
    )
    return held_out[keep] if len(keep) else None


def _repeated(duplicates: list[list[int]]) -> str:
    repeated = sum(len(group) - 1 for group in duplicates)
    return (
        f"{repeated} training images repeat others exactly, in {len(duplicates)} group{'s'[: len(duplicates) > 1]}; no "
        "smoothing helps against repeated images, so remove them first."
    )


def _notes(
    train: Tensor | ImageSet,
    held_out: Tensor | ImageSet | None,
    score: Score | None,
    noised_images: int,
    covered: bool,
    no_forecast: bool,
) -> list[str]:
    notes = []
    dim = shape_of(train).numel()
    if score and by_chance(dim) > 0.001:
        notes.append(f"About {by_chance(dim):.1%} of independent points of {dim} values pass for copies.")
    if held_out is None and covered:
        notes.append("There are no held-out images: the coverage is that of each training image by the others.")
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
    shape = shape_of(train)
    if len(shape) != 3 or shape[2] < 2:
        return None
    middle = _middle(weight)
    return sensitivity(train, [4 * middle, middle, middle / 4], seed, far.gaussian)
