"""The diagnosis in words, tables and figures."""

import math
from collections.abc import Sequence
from typing import TYPE_CHECKING

import numpy as np
from numpy.typing import NDArray
from torch import Tensor

from smoothscore.data import ImageSet
from smoothscore.geometry.curve import Array, Curve
from smoothscore.geometry.danger import balance
from smoothscore.geometry.forecast import Forecast
from smoothscore.geometry.model import ModelLevels
from smoothscore.report.figures import Region, Series, curves
from smoothscore.report.page import Fact, Facts, Figure, Gallery, Group, Picture, Section, Table, Text

if TYPE_CHECKING:
    from smoothscore.geometry.diagnosis import Diagnosis

__all__ = ["lead", "sections", "summary"]

AXIS = "noise level sigma (images in [-1, 1])"
WEIGHT = (
    "The weight of the one training image that counts most in the optimal denoiser's answer to a noisy training "
    "image, averaged over images and noise. Near 1 the optimal denoiser returns a training image."
)
COVERAGE = (
    "The share of noisy held-out images that fall where noisy training images lie. Near 1 a network has been "
    "trained where it is used; near 0 it has to extrapolate."
)
ZONE = (
    "The noise levels at which posterior weight and shell coverage are both high: the loss asks for copies, and the "
    "network is trained where it is used."
)
NUMBER = (
    "How many training images share the optimal denoiser's answer: the exponential of the entropy of their weights."
)
FAR = (
    "The share of the empirical score that the Gaussian with the same mean and covariance leaves unexplained. Where "
    "it is below one percent sampling can jump: the Gaussian's path is known in closed form."
)
MEMORIZED = (
    "The share of noisy held-out images that one denoising step turns into a training image: nearest training image "
    "less than a third as far as the second nearest."
)


def summary(diagnosis: "Diagnosis") -> list[tuple[str, str]]:
    """Name and value, a line each."""
    lines = [("training images", f"{diagnosis.options['training images']:,}")]
    if diagnosis.zone:
        zone = diagnosis.zone
        edm, ddpm = zone.edm_steps(), zone.ddpm_timesteps()
        lines += [
            ("danger zone", f"sigma {zone.low:.3g} to {zone.high:.3g}"),
            ("  in EDM's 18 steps", f"index {edm[0]:.1f} to {edm[1]:.1f}"),
            ("  in DDPM's 1,000 timesteps", f"{ddpm[0]:.0f} to {ddpm[1]:.0f}"),
        ]
    else:
        lines.append(("danger zone", "none at these noise levels"))
    lines += [
        ("posterior weight falls to 0.9 at", _crossing(diagnosis.posterior_weight, 0.9)),
        ("posterior weight falls to 0.1 at", _crossing(diagnosis.posterior_weight, 0.1)),
    ]
    if diagnosis.shell_coverage:
        lines.append(("shell coverage rises to 0.9 at", _crossing(diagnosis.shell_coverage, 0.9)))
    if diagnosis.far_field.start is not None:
        lines.append(("Gaussian to one percent above", f"sigma {diagnosis.far_field.start:.3g}"))
    if diagnosis.model:
        lines.append(("most memorized level", f"{diagnosis.model.memorized.mean.max():.1%} of held-out images"))
    if diagnosis.forecast:
        lines.append(("danger zone closes", "; ".join(_closing(diagnosis.forecast))))
    lines.append(("repeated training images", str(sum(len(group) - 1 for group in diagnosis.duplicates))))
    if diagnosis.near is not None:
        lines.append(("groups of near duplicates", str(len(diagnosis.near))))
    return lines + [("note", note) for note in diagnosis.notes]


def lead(diagnosis: "Diagnosis") -> str:
    """The result in a sentence or two."""
    if diagnosis.zone:
        zone = diagnosis.zone
        return (
            f"A diffusion model fitted to these {diagnosis.options['training images']:,} images is asked to copy, "
            f"and is trained where that matters, at noise levels {zone.low:.2g} to {zone.high:.2g}."
        )
    if diagnosis.shell_coverage is None:
        return "The danger zone needs held-out images."
    return "At no noise level given are posterior weight and shell coverage high together."


def sections(diagnosis: "Diagnosis") -> list[Section]:
    """The body of the page."""
    found = [_levels(diagnosis), _sharing(diagnosis), _far_field(diagnosis)]
    if diagnosis.model:
        found.append(_model(diagnosis.sigmas, diagnosis.model, _regions(diagnosis)))
    if diagnosis.forecast:
        found.append(_forecast(diagnosis.forecast))
    if diagnosis.duplicates or diagnosis.near:
        found.append(_duplicates(diagnosis))
    return found


def _regions(diagnosis: "Diagnosis") -> list[Region]:
    zone = diagnosis.zone
    return [Region("danger zone", zone.low, zone.high, shaded=True)] if zone else []


def _levels(diagnosis: "Diagnosis") -> Section:
    series = [
        _series("posterior weight", diagnosis.posterior_weight),
        _series("own weight", diagnosis.own_weight),
    ]
    coverage, zone = diagnosis.shell_coverage, diagnosis.zone
    if coverage:
        series.append(_series("shell coverage", coverage))
    regions = _regions(diagnosis)
    drawing = curves(
        diagnosis.sigmas, series, x_label=AXIS, y_label="weight or share", y_range=(0, 1.02), regions=regions
    )
    caption = "Bands are two standard errors. Below the zone training does not reach; above it the target is smooth."
    alt = "Posterior weight falling and shell coverage rising with the noise level."
    facts = [
        Fact("Posterior weight 0.9", _crossing(diagnosis.posterior_weight, 0.9), definition=WEIGHT),
    ]
    if coverage:
        facts.append(Fact("Shell coverage 0.9", _crossing(coverage, 0.9), definition=COVERAGE))
        equal = balance(diagnosis.posterior_weight, coverage)
        facts.append(Fact("Weight equals coverage", "nowhere" if equal is None else f"sigma {equal:.3g}"))
    if zone:
        interval = f"ends {_ends(zone.low_interval)} and {_ends(zone.high_interval)} ({zone.confidence:.0%})"
        facts.insert(0, Fact("Danger zone", f"{zone.low:.3g} to {zone.high:.3g}", interval, ZONE))
    notes = [Text(note, "note") for note in diagnosis.notes]
    return Section("Noise levels", [Facts(facts), *notes, Figure(drawing, caption, alt), _table(diagnosis)])


def _table(diagnosis: "Diagnosis") -> Table:
    """Weight and coverage at the levels where either is in transition, at most 20 rows."""
    coverage = diagnosis.shell_coverage
    order = np.argsort(diagnosis.sigmas)
    weight = diagnosis.posterior_weight.mean
    curves_ = [weight / weight.max()] + ([coverage.mean] if coverage else [])
    moving = [i for i in order if any(0.02 < curve[i] < 0.98 for curve in curves_)]
    rows = [
        [
            f"{diagnosis.sigmas[i]:.3g}",
            f"{weight[i]:.3f} ± {diagnosis.posterior_weight.stderr[i]:.3f}",
            f"{diagnosis.own_weight.mean[i]:.3f}",
            f"{diagnosis.effective_number.mean[i]:.1f}",
            f"{coverage.mean[i]:.3f} ± {coverage.stderr[i]:.3f}" if coverage else None,
        ]
        for i in moving[:: max(1, -(-len(moving) // 20))]
    ]
    columns = ["sigma", "posterior weight", "own weight", "effective number", "shell coverage"]
    definitions = {"posterior weight": WEIGHT, "effective number": NUMBER, "shell coverage": COVERAGE}
    return Table(columns, rows, caption="Levels in transition, with standard errors", definitions=definitions)


def _sharing(diagnosis: "Diagnosis") -> Section:
    number, total = diagnosis.effective_number, int(str(diagnosis.options["training images"]))
    share = _series("share of the training set", Curve(number.sigmas, number.mean / total, number.stderr / total))
    drawing = curves(diagnosis.sigmas, [share], x_label=AXIS, y_label="effective number / N", y_range=(0, 1.02))
    return Section(
        "How many images share an answer",
        [Figure(drawing, NUMBER, "The effective number of training images rising with the noise level.")],
    )


def _far_field(diagnosis: "Diagnosis") -> Section:
    far, regions = diagnosis.far_field, _regions(diagnosis)
    start = "no level given" if far.start is None else f"sigma {far.start:.3g}"
    facts = Facts([Fact("Gaussian to one percent above", start, definition=FAR)])
    unexplained = [_series("unexplained by the Gaussian", far.unexplained)]
    drawing = curves(
        diagnosis.sigmas, unexplained, x_label=AXIS, y_label="fraction", y_range=(0, 1.02), regions=regions
    )
    counts = [Series("directions above the noise", far.directions)]
    directions = curves(diagnosis.sigmas, counts, x_label=AXIS, y_label="directions", regions=regions)
    return Section(
        "Far field",
        [
            facts,
            Figure(drawing, FAR, "The unexplained fraction falling to 0 at large noise."),
            Figure(
                directions,
                f"How many of the {len(far.spectrum):,} directions of the data stand above the noise: the trace of "
                "the Gaussian denoiser.",
                "The number of directions falling with the noise level.",
            ),
        ],
    )


def _model(sigmas: Array, model: ModelLevels, regions: list[Region]) -> Section:
    copies = [
        Series("memorized", model.memorized.mean, model.memorized.lower, model.memorized.upper),
        _series("cosine with the empirical score", model.cosine),
        _series("unexplained by the empirical score", model.unexplained_by_empirical),
        _series("unexplained by the Gaussian", model.unexplained_by_gaussian),
    ]
    errors = [_series("training images", model.train_error), _series("held-out images", model.held_out_error)]
    return Section(
        "The score under examination",
        [
            Facts([Fact("Most memorized level", f"{model.memorized.mean.max():.1%}", definition=MEMORIZED)]),
            Figure(
                curves(sigmas, copies, x_label=AXIS, y_label="share", y_range=(0, 1.02), regions=regions),
                MEMORIZED,
                "Share memorized and closeness to closed-form scores by noise level.",
            ),
            Figure(
                curves(sigmas, errors, x_label=AXIS, y_label="squared error per value", regions=regions),
                "Mean squared denoising error; where the two part, the score knows its training images.",
                "Denoising error on training and on held-out images by noise level.",
            ),
        ],
    )


def _forecast(forecast: Forecast) -> Section:
    value, interval = _closing(forecast)
    rows = []
    for size in np.unique(forecast.sizes):
        ends = forecast.zones[forecast.sizes == size]
        known = ends[np.isfinite(ends[:, 0])]
        middle = np.exp(np.log(known).mean(0)) if len(known) else (np.nan, np.nan)
        row: list[str | int] = [int(size), len(ends), len(known), f"{middle[0]:.3g}", f"{middle[1]:.3g}"]
        rows.append(row)
    columns = ["images", "subsets", "with a zone", "zone from sigma", "to sigma"]
    return Section(
        "How many images",
        [
            Facts([Fact("The zone closes", value, interval)]),
            Table(columns, rows, caption="The danger zone of random subsets, geometric means"),
        ],
        intro="The zone's width over smaller subsets, extrapolated along a line in the logarithm of their size. "
        "Where the data vary in few ways the zone stops narrowing, so read the interval, not the number.",
    )


def _closing(forecast: Forecast) -> tuple[str, str]:
    """The size at which the zone closes, and its interval, to two digits."""
    size, (low, high) = forecast.closing_size, forecast.interval
    if math.isinf(low):
        return "at no number of images", "the zone does not narrow as images are added"
    value = f"about {_rounded(size)} images" if math.isfinite(size) else "not foreseeable"
    ends = f"between {_rounded(low)} and {_rounded(high)}" if math.isfinite(high) else f"more than {_rounded(low)}"
    return value, f"{ends} (95 %)"


def _rounded(count: float) -> str:
    return f"{float(f'{count:.2g}'):,.0f}" if count < 1e15 else f"{count:.1e}"


def _duplicates(diagnosis: "Diagnosis") -> Section:
    equal = [(group, f"{len(group)} equal images") for group in diagnosis.duplicates]
    near = [
        (group.indices, f"distance {group.distance:.3g}, p-value {group.p_value:.1g}") for group in diagnosis.near or []
    ]
    blocks = [
        Gallery([_group(diagnosis.pictures, *group) for group in groups], caption)
        for groups, caption in (
            (equal, "Training images that equal each other pixel by pixel."),
            (near, "Near duplicates: closer than their surroundings explain, over mirror images and small shifts."),
        )
        if groups
    ]
    return Section("Repeated images", blocks)


def _group(images: Tensor | ImageSet, indices: list[int], caption: str) -> Group:
    return Group([Picture(_pixels(images, index), _name(images, index)) for index in indices[:4]], caption)


def _pixels(images: Tensor | ImageSet, index: int) -> NDArray[np.uint8]:
    image = images[index]
    if isinstance(images, Tensor):
        image = ((image + 1) * 127.5).round().clamp(0, 255).byte()
    return np.asarray(image.numpy(), dtype=np.uint8)


def _name(images: Tensor | ImageSet, index: int) -> str:
    return f"train {index}" if isinstance(images, Tensor) else images.names[index]


def _series(label: str, curve: Curve) -> Series:
    return Series(label, curve.mean, curve.mean - 2 * curve.stderr, curve.mean + 2 * curve.stderr)


def _crossing(curve: Curve, level: float) -> str:
    found = curve.crossings(level)
    return f"sigma {found[-1]:.3g}" if found else "no level given"


def _ends(interval: Sequence[float]) -> str:
    return f"{interval[0]:.3g}-{interval[1]:.3g}"
