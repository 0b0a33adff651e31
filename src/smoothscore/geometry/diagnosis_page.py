"""The diagnosis as a page: facts, figures on one noise axis, tables and pictures."""

import shlex
from typing import TYPE_CHECKING

import numpy as np

from smoothscore.geometry.curve import Array, Curve
from smoothscore.geometry.danger import DangerZone, balance
from smoothscore.geometry.diagnosis_words import DEFINITIONS, closing, crossing, interval, regions, risk
from smoothscore.geometry.forecast import Forecast
from smoothscore.geometry.model import ModelLevels
from smoothscore.geometry.pictures import can_be_drawn, direction, duplicate_blocks, pixels
from smoothscore.geometry.recommendation import GOALS, command, in_lines
from smoothscore.geometry.sensitivity import Sensitivity
from smoothscore.geometry.stability import Stability
from smoothscore.report.figures import Region, Series, curves
from smoothscore.report.page import (
    Block,
    Cell,
    Code,
    Fact,
    Facts,
    Figure,
    Gallery,
    Group,
    Picture,
    Section,
    Table,
    Text,
)

if TYPE_CHECKING:
    from smoothscore.geometry.diagnosis import Diagnosis

__all__ = ["sections"]

AXIS = "noise level sigma (images in [-1, 1])"


def sections(diagnosis: "Diagnosis") -> list[Section]:
    """The body of the page."""
    found = [_levels(diagnosis), _settings(diagnosis)]
    if diagnosis.duplicates or diagnosis.near is not None:
        found.append(_duplicates(diagnosis))
    if diagnosis.forecast:
        found.append(_forecast(diagnosis.forecast))
    if diagnosis.model:
        found.append(_model(diagnosis.sigmas, diagnosis.model, regions(diagnosis)))
    found += [_sharing(diagnosis), _far_field(diagnosis)]
    if diagnosis.sensitivity:
        found.append(_sensitivity(diagnosis.sensitivity))
    if diagnosis.stability:
        found.append(_stability(diagnosis.stability, regions(diagnosis)))
    return found


def _fact(label: str, value: Cell, detail: str = "") -> Fact:
    return Fact(label, value, detail, DEFINITIONS[label])


def _table(columns: list[str], rows: list[list[Cell]], caption: str) -> Table:
    meanings = {name: DEFINITIONS[name] for name in columns if name in DEFINITIONS}
    return Table(columns, rows, caption=caption, definitions=meanings)


def _levels(diagnosis: "Diagnosis") -> Section:
    weight, coverage, zone = diagnosis.posterior_weight, diagnosis.shell_coverage, diagnosis.zone
    series = [_series("posterior weight", weight), _series("own weight", diagnosis.own_weight)]
    facts = []
    found = risk(diagnosis)
    if found:
        facts.append(_fact("Risk of copying", found[0], f"{found[1]:.0%} at sigma {found[2]:.2g}"))
    if zone:
        detail = f"ends {interval(zone.low_interval)} and {interval(zone.high_interval)} ({zone.confidence:.0%})"
        facts.append(_fact("Danger zone", f"{zone.low:.3g} to {zone.high:.3g}", detail))
    facts.append(_fact("Posterior weight", crossing(weight, 0.9), "falls to 0.9"))
    if coverage:
        series.append(_series("shell coverage", coverage))
        facts.append(_fact("Shell coverage", crossing(coverage, 0.9), "rises to 0.9"))
        equal = balance(weight, coverage)
        facts.append(_fact("Weight equals coverage", "nowhere" if equal is None else f"sigma {equal:.3g}"))
    if diagnosis.thresholds:
        low, high = diagnosis.thresholds
        facts.append(_fact("Surely copied below", f"sigma {low:.3g}"))
        facts.append(_fact("Surely shared above", f"sigma {high:.3g}"))
    drawing = curves(
        diagnosis.sigmas,
        series,
        x_label=AXIS,
        y_label="weight or share",
        y_range=(0, 1.02),
        regions=regions(diagnosis, named=True),
    )
    caption = (
        "Bands are two standard errors. At small noise the best answer is one training image, but training hardly "
        "reaches new images; at large noise many images share the answer. Between them, in the danger zone, both the "
        "target and the reach are there: copies are learned."
    )
    alt = "Posterior weight falling and shell coverage rising with the noise level."
    blocks: list[Block] = [Facts(facts)]
    blocks += [Text(alert, "warning") for alert in diagnosis.alerts] + [Text(note, "note") for note in diagnosis.notes]
    blocks.append(Figure(drawing, caption, alt))
    if zone:
        blocks.append(_zone_table(zone))
    return Section("Noise levels", [*blocks, _level_table(diagnosis)])


def _zone_table(zone: DangerZone) -> Table:
    edm, ddpm, flow = zone.edm_steps(), zone.ddpm_timesteps(), zone.flow_times()
    columns = ["danger zone", "Sigma", "EDM step", "DDPM timestep", "Flow matching time"]
    rows: list[list[Cell]] = [
        ["from", f"{zone.low:.3g}", f"{edm[1]:.1f}", f"{ddpm[0]:.0f}", f"{flow[1]:.3f}"],
        ["to", f"{zone.high:.3g}", f"{edm[0]:.1f}", f"{ddpm[1]:.0f}", f"{flow[0]:.3f}"],
    ]
    return _table(columns, rows, "The danger zone in the units of samplers")


def _level_table(diagnosis: "Diagnosis") -> Table:
    """Weight and coverage at the levels where either is in transition, at most 20 rows."""
    coverage = diagnosis.shell_coverage
    order = np.argsort(diagnosis.sigmas)
    weight = diagnosis.posterior_weight.mean
    curves_ = [weight / weight.max()] + ([coverage.mean] if coverage else [])
    moving = [i for i in order if any(0.02 < curve[i] < 0.98 for curve in curves_)]
    rows: list[list[Cell]] = [
        [
            f"{diagnosis.sigmas[i]:.3g}",
            f"{weight[i]:.3f} ± {diagnosis.posterior_weight.stderr[i]:.3f}",
            f"{diagnosis.own_weight.mean[i]:.3f}",
            f"{diagnosis.effective_number.mean[i]:.1f}",
            f"{coverage.mean[i]:.3f} ± {coverage.stderr[i]:.3f}" if coverage else None,
        ]
        for i in moving[:: max(1, -(-len(moving) // 20))]
    ]
    columns = ["Sigma", "Posterior weight", "Own weight", "Effective number", "Shell coverage"]
    return _table(columns, rows, "Levels in transition, with standard errors")


def _settings(diagnosis: "Diagnosis") -> Section:
    """The recommended settings, a table and a command for each goal."""
    blocks: list[Block] = []
    for goal in GOALS:
        config = diagnosis.recommend(goal)
        values = config.to_dict()
        blocks.append(Code(in_lines(command(config, str(diagnosis.options["data"]))), f"For {goal}:"))
        rows: list[list[Cell]] = [[name, _setting(values[name]), reason] for name, reason in config.reasons.items()]
        blocks.append(Table(["setting", "value", "reason"], rows, caption=f"Settings for {goal}"))
    return Section("Settings to train with", blocks, "All other settings keep their defaults.")


def _setting(value: object) -> str:
    if isinstance(value, list):
        return ", ".join(f"{low:g} to {high:g}" for low, high in value)
    if isinstance(value, bool):
        return "yes" if value else "no"
    return f"{value:g}" if isinstance(value, float) else str(value)


def _duplicates(diagnosis: "Diagnosis") -> Section:
    blocks: list[Block] = list(duplicate_blocks(diagnosis.pictures, diagnosis.duplicates, diagnosis.near or []))
    if not blocks:
        blocks.append(Text("No group was found, or the data are no pictures."))
    data = shlex.quote(str(diagnosis.options["data"]))
    blocks.append(Code(f"smoothscore dedup {data} -o CLEAN --near", "Write a copy without them:"))
    return Section("Repeated images", blocks)


def _forecast(forecast: Forecast) -> Section:
    value, ends = closing(forecast)
    rows: list[list[Cell]] = []
    for size in np.unique(forecast.sizes):
        found = forecast.zones[forecast.sizes == size]
        known = found[np.isfinite(found[:, 0])]
        middle = np.exp(np.log(known).mean(0)) if len(known) else (np.nan, np.nan)
        rows.append([int(size), len(found), len(known), f"{middle[0]:.3g}", f"{middle[1]:.3g}"])
    columns = ["Images", "subsets", "With a zone", "zone from sigma", "to sigma"]
    return Section(
        "How many images",
        [
            Facts([_fact("The zone closes", value, ends)]),
            _table(columns, rows, "The danger zone of random subsets, geometric means"),
        ],
        intro="The zone's width over smaller subsets, extrapolated along a line in the logarithm of their size. "
        "Where the data vary in few ways the zone stops narrowing, so read the interval, not the number.",
    )


def _model(sigmas: Array, model: ModelLevels, shaded: list[Region]) -> Section:
    copies = [
        Series("memorized", model.memorized.mean, model.memorized.lower, model.memorized.upper),
        _series("cosine with the empirical score", model.cosine),
        _series("unexplained by the empirical score", model.unexplained_by_empirical),
        _series("unexplained by the Gaussian", model.unexplained_by_gaussian),
    ]
    errors = [_series("training images", model.train_error), _series("held-out images", model.held_out_error)]
    worst = int(model.memorized.mean.argmax())
    fact = _fact("Memorized", f"{model.memorized.mean[worst]:.1%}", f"at its worst level, sigma {sigmas[worst]:.2g}")
    return Section(
        "The score under examination",
        [
            Facts([fact]),
            Figure(
                curves(sigmas, copies, x_label=AXIS, y_label="share", y_range=(0, 1.02), regions=shaded),
                DEFINITIONS["Memorized"],
                "Share memorized and closeness to closed-form scores by noise level.",
            ),
            Figure(
                curves(sigmas, errors, x_label=AXIS, y_label="squared error per value", regions=shaded),
                "Mean squared denoising error; where the two part, the score knows its training images.",
                "Denoising error on training and on held-out images by noise level.",
            ),
            _expansion_figure(model.expansion, shaded),
        ],
    )


def _expansion_figure(expansion: Curve, shaded: list[Region]) -> Figure:
    drawing = curves(
        expansion.sigmas,
        [_series("expansiveness", expansion)],
        x_label=AXIS,
        y_label="factor",
        log_y=True,
        regions=shaded,
    )
    return Figure(drawing, DEFINITIONS["Expansiveness"], "Expansiveness by noise level.")


def _sharing(diagnosis: "Diagnosis") -> Section:
    number, total = diagnosis.effective_number, int(str(diagnosis.options["training images"]))
    share = _series("share of the training set", Curve(number.sigmas, number.mean / total, number.stderr / total))
    drawing = curves(
        diagnosis.sigmas,
        [share],
        x_label=AXIS,
        y_label="effective number / N",
        y_range=(0, 1.02),
        regions=regions(diagnosis),
    )
    alt = "The effective number of training images rising with the noise level."
    blocks: list[Block] = [Figure(drawing, DEFINITIONS["Effective number"], alt)]
    noise = diagnosis.sampling_noise
    error = float(np.mean([found.relative_error for found in noise]))
    blocks.append(Facts([_fact("Sampling error", f"{error:.2g}", f"at sigma {noise[0].sigma:.3g}")]))
    if can_be_drawn(diagnosis.pictures):
        groups = [
            Group(
                [Picture(pixels(found.mean), "answer")]
                + [
                    Picture(direction(image), f"{share:.0%}")
                    for image, share in zip(found.directions[:4], found.variances / found.trace, strict=False)
                    if found.trace > 0
                ],
                f"{found.images / found.concentration:.1f} images share the answer",
            )
            for found in noise
        ]
        caption = (
            "The optimal answer to three noisy training images, and the directions in which it would move had other "
            "images been drawn, with their shares of the variance: directions along which the images themselves vary."
        )
        blocks.append(Gallery(groups, caption))
    return Section("How many images share an answer", blocks)


def _far_field(diagnosis: "Diagnosis") -> Section:
    far, shaded = diagnosis.far_field, regions(diagnosis)
    start = "no level given" if far.start is None else f"sigma {far.start:.3g}"
    unexplained = [_series("unexplained by the Gaussian", far.unexplained)]
    drawing = curves(diagnosis.sigmas, unexplained, x_label=AXIS, y_label="fraction", y_range=(0, 1.02), regions=shaded)
    counts = [Series("directions above the noise", far.directions)]
    directions = curves(diagnosis.sigmas, counts, x_label=AXIS, y_label="directions", regions=shaded)
    ranks = np.arange(1, len(far.spectrum) + 1)
    blocks: list[Block] = [
        Facts([_fact("Gaussian good to one percent", start)]),
        Figure(drawing, DEFINITIONS["Unexplained"], "The unexplained fraction falling to 0 at large noise."),
        Figure(directions, DEFINITIONS["Directions above the noise"], "Directions falling with the noise level."),
    ]
    if len(ranks) > 1:
        spectrum = curves(
            ranks,
            [Series("standard deviation", np.sqrt(far.spectrum))],
            x_label="principal direction",
            y_label="standard deviation",
            log_y=True,
        )
        caption = (
            "The spectrum of the training set: the standard deviation along each principal direction, in the unit of "
            "sigma. A direction is lost in the noise where sigma exceeds it."
        )
        blocks.append(Figure(spectrum, caption, "Standard deviations of the principal directions, descending."))
    return Section("Far field", blocks)


def _sensitivity(found: Sensitivity) -> Section:
    blocks: list[Block] = []
    for level, sigma in enumerate(found.sigmas):
        series = [
            Series("measured", found.measured[level]),
            Series("circulant", found.circulant[level]),
            Series("bound of the circulant", found.bound[level]),
        ]
        drawing = curves(
            found.distances, series, x_label="distance along the row, pixels", y_label="dependence", log_y=True
        )
        blocks.append(Figure(drawing, f"At sigma {sigma:.3g}.", "Dependence falling with the distance of pixels."))
    intro = (
        "How much a denoised pixel depends on noisy pixels of its row, by their distance: for the Gaussian of the "
        "training set, and for the circulant covariance with the mean spectrum of its rows, with that one's bound."
    )
    return Section("How far pixels reach", blocks, intro)


def _stability(found: Stability, shaded: list[Region]) -> Section:
    gain = curves(
        found.gain.sigmas, [_series("largest gain", found.gain)], x_label=AXIS, y_label="eigenvalue", regions=shaded
    )
    return Section(
        "Stability",
        [
            _expansion_figure(found.expansion, shaded),
            Figure(gain, DEFINITIONS["Largest gain"], "The largest eigenvalue of the Jacobian by noise level."),
        ],
    )


def _series(label: str, curve: Curve) -> Series:
    return Series(label, curve.mean, curve.mean - 2 * curve.stderr, curve.mean + 2 * curve.stderr)
