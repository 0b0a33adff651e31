"""The diagnosis of a training set: at which noise levels a diffusion model will find it easy to copy."""

import hashlib
import warnings
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, fields
from typing import ClassVar

import numpy as np
from torch import Tensor

from smoothscore.data import ImageSet
from smoothscore.errors import DataWarning, InputError
from smoothscore.geometry import diagnosis_page
from smoothscore.geometry.coverage import coverage
from smoothscore.geometry.curve import Array, Curve, Levels, as_levels
from smoothscore.geometry.danger import DangerZone, zone_with_interval
from smoothscore.geometry.duplicates import exact_duplicates, shared_images
from smoothscore.geometry.far_field import FarField, far_field
from smoothscore.geometry.forecast import Forecast, forecast
from smoothscore.geometry.model import ModelLevels, examine
from smoothscore.geometry.near_duplicates import NearGroup, near_duplicates
from smoothscore.geometry.posterior import concentration
from smoothscore.report.page import Section
from smoothscore.report.result import Result
from smoothscore.schedules import karras
from smoothscore.scores import Score

__all__ = ["Diagnosis", "diagnose"]


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
        model: what the score under examination does at every level; ``None`` without a score.
        forecast: the zone by the number of images; ``None`` if not asked for or not to be had.
        duplicates: groups of indices of equal training images, the largest first.
        near: groups of near duplicates, the closest first; ``None`` if not asked for.
        leaked: indices of held-out images that are training images too (they were left out).
        notes: what a reader has to know beside the numbers, in sentences.
        options: what was done, so that it can be done again.
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
    model: ModelLevels | None
    forecast: Forecast | None
    duplicates: list[list[int]]
    near: list[NearGroup] | None
    leaked: list[int]
    notes: list[str]
    options: Mapping[str, object]
    pictures: Tensor | ImageSet

    @property
    def danger_zone(self) -> tuple[float, float] | None:
        """Lowest and highest noise level of the danger zone, or ``None``."""
        return None if self.zone is None else (self.zone.low, self.zone.high)

    def values(self) -> Mapping[str, object]:
        """The curves, the zone and the duplicates by name."""
        hidden = ("options", "pictures")
        found = {field.name: getattr(self, field.name) for field in fields(self) if field.name not in hidden}
        return found | {"danger_zone": self.danger_zone}

    def setting(self) -> Mapping[str, object]:
        """Options, seed, counts and fingerprints."""
        return self.options

    def summary(self) -> Sequence[tuple[str, str]]:
        """The few lines a reader wants first."""
        return diagnosis_page.summary(self)

    def lead(self) -> str:
        """The result in a sentence or two."""
        return diagnosis_page.lead(self)

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
    images: int | None = 1000,
    weight_level: float = 0.9,
    coverage_level: float = 0.9,
    sizes: bool = False,
    near: bool = False,
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
        images: at most so many training and so many held-out images are noised; ``None``: all.
        weight_level: least posterior weight of the danger zone.
        coverage_level: least shell coverage of the danger zone.
        sizes: also measure the zone of subsets and forecast the number of images at which it closes.
        near: also look for near duplicates.

    Raises:
        InputError: as for the curves; a ``score`` without held-out images.

    Warns:
        DataWarning: held-out images are training images (they are left out), training images are equal, or the
            danger zone reaches the end of ``sigmas``.

    Cost: that of :func:`~smoothscore.geometry.posterior.concentration` and
    :func:`~smoothscore.geometry.coverage.coverage` and one pass for equal images.
    """
    levels = as_levels(karras(40) if sigmas is None else sigmas)
    if score is not None and held_out is None:
        raise InputError("examining a score needs images it was not trained on; pass held_out=.")
    notes: list[str] = []
    leaked = [] if held_out is None else shared_images(train, held_out)
    if held_out is not None and leaked:
        held_out = _without(held_out, leaked, notes)
    duplicates = exact_duplicates(train)
    if duplicates:
        repeated = sum(len(group) - 1 for group in duplicates)
        notes.append(
            f"{repeated} training images repeat others exactly ({len(duplicates)} groups); no smoothing helps "
            "against repeated images, so remove them first."
        )
    found = concentration(train, levels, seed, noises, images)
    weight = found.largest.curve()
    covered = None
    if held_out is not None or len(train) > 1:
        covered = coverage(train, held_out, levels, seed, noises, images)
    if held_out is None:
        notes.append(
            "No held-out images were given: the coverage is that of each training image by the others."
            if covered
            else "A single training image has no neighbors: give held-out images to measure its coverage."
        )
    zone = None
    if covered:
        zone = zone_with_interval(found.largest, covered.covered, weight_level, coverage_level, seed=seed)
    if zone and (zone.low <= weight.sigmas.min() or zone.high >= weight.sigmas.max()):
        notes.append("The danger zone reaches the end of the noise levels given; widen sigmas to see all of it.")
    predicted = None
    if sizes and zone:
        ends = (zone.low, zone.high)
        predicted = forecast(train, held_out, ends, seed, weight_level, coverage_level)
    for note in notes:
        if "held-out images were given" not in note:
            warnings.warn(note, DataWarning, stacklevel=2)
    return Diagnosis(
        sigmas=weight.sigmas,
        posterior_weight=weight,
        own_weight=found.own.curve(),
        effective_number=found.effective.curve(),
        shell_coverage=covered.curve() if covered else None,
        zone=zone,
        far_field=far_field(train, levels, seed),
        model=examine(score, train, held_out, levels, seed) if score and held_out is not None else None,
        forecast=predicted,
        duplicates=duplicates,
        near=near_duplicates(train) if near else None,
        leaked=leaked,
        notes=notes,
        options={
            "training images": len(train),
            "training images noised": len(found.images),
            "held-out images": 0 if held_out is None else len(held_out),
            "held-out images noised": len(covered.images) if covered and held_out is not None else 0,
            "noises": noises,
            "posterior weight of the zone": weight_level,
            "shell coverage of the zone": coverage_level,
            "seed": seed,
            "training set": fingerprint(train),
            "held-out set": None if held_out is None else fingerprint(held_out),
        },
        pictures=train,
    )


def fingerprint(images: Tensor | ImageSet) -> str:
    """SHA-256 of the pixels (ImageSet) or of the values (tensor)."""
    if isinstance(images, ImageSet):
        return images.fingerprint
    return hashlib.sha256(np.ascontiguousarray(images.detach().cpu().numpy()).tobytes()).hexdigest()


def _without(held_out: Tensor | ImageSet, leaked: list[int], notes: list[str]) -> Tensor | ImageSet | None:
    names = [str(index) if isinstance(held_out, Tensor) else held_out.names[index] for index in leaked]
    listed = ", ".join(names[:5]) + (", ..." if len(names) > 5 else "")
    notes.append(
        f"{len(leaked)} of {len(held_out)} held-out images are training images ({listed}); they were left out."
    )
    keep = np.setdiff1d(np.arange(len(held_out)), leaked)
    return held_out[keep] if len(keep) else None
