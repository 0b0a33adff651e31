"""The diagnosis as a page: noise levels, settings, duplicates and the forecast; then the sections about scores."""

import shlex
from typing import TYPE_CHECKING

import numpy as np

from smoothscore.geometry.danger import DangerZone, balance
from smoothscore.geometry.diagnosis_figures import (
    AXIS,
    band,
    defined_fact,
    defined_table,
    far_field_section,
    model_section,
    sensitivity_section,
    sharing_section,
    stability_section,
)
from smoothscore.geometry.diagnosis_words import closing, crossing, interval, regions, risk
from smoothscore.geometry.forecast import Forecast
from smoothscore.geometry.pictures import duplicate_blocks
from smoothscore.geometry.recommendation import GOALS, command, in_lines
from smoothscore.report import Block, Cell, Code, Facts, Figure, Section, Table, Text, curves

if TYPE_CHECKING:
    from smoothscore.geometry.diagnosis import Diagnosis

__all__ = ["sections"]


def sections(diagnosis: "Diagnosis") -> list[Section]:
    """The body of the page."""
    found = [_levels(diagnosis), _settings(diagnosis)]
    if diagnosis.duplicates or diagnosis.near is not None:
        found.append(_duplicates(diagnosis))
    if diagnosis.forecast:
        found.append(_forecast(diagnosis.forecast))
    if diagnosis.model:
        found.append(model_section(diagnosis.sigmas, diagnosis.model, regions(diagnosis)))
    found += [sharing_section(diagnosis), far_field_section(diagnosis)]
    if diagnosis.sensitivity:
        found.append(sensitivity_section(diagnosis.sensitivity))
    if diagnosis.stability:
        found.append(stability_section(diagnosis.stability, regions(diagnosis)))
    return found


def _levels(diagnosis: "Diagnosis") -> Section:
    weight, coverage, zone = diagnosis.posterior_weight, diagnosis.shell_coverage, diagnosis.zone
    series = [band("posterior weight", weight), band("own weight", diagnosis.own_weight)]
    facts = []
    found = risk(diagnosis)
    if found:
        facts.append(defined_fact("Risk of copying", found[0], f"{found[1]:.0%} at sigma {found[2]:.2g}"))
    if zone:
        detail = f"ends {interval(zone.low_interval)} and {interval(zone.high_interval)} ({zone.confidence:.0%})"
        facts.append(defined_fact("Danger zone", f"{zone.low:.3g} to {zone.high:.3g}", detail))
    facts.append(defined_fact("Posterior weight", crossing(weight, 0.9), "falls to 0.9"))
    if coverage:
        series.append(band("shell coverage", coverage))
        facts.append(defined_fact("Shell coverage", crossing(coverage, 0.9), "rises to 0.9"))
        equal = balance(weight, coverage)
        facts.append(defined_fact("Weight equals coverage", "nowhere" if equal is None else f"sigma {equal:.3g}"))
    if diagnosis.thresholds:
        low, high = diagnosis.thresholds
        facts.append(defined_fact("Surely copied below", f"sigma {low:.3g}"))
        facts.append(defined_fact("Surely shared above", f"sigma {high:.3g}"))
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
    return defined_table(columns, rows, "The danger zone in the units of samplers")


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
    return defined_table(columns, rows, "Levels in transition, with standard errors")


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
            Facts([defined_fact("The zone closes", value, ends)]),
            defined_table(columns, rows, "The danger zone of random subsets, geometric means"),
        ],
        intro="The zone's width over smaller subsets, extrapolated along a line in the logarithm of their size. "
        "Where the data vary in few ways the zone stops narrowing, so read the interval, not the number.",
    )
