"""The page and the summary of a training run."""

from collections.abc import Sequence
from typing import TYPE_CHECKING, Any

import numpy as np

from smoothscore.report import Block, Figure, Section, Series, Table, Text, curves
from smoothscore.training.history import BINS

if TYPE_CHECKING:
    from smoothscore.training.run import Run

__all__ = ["lead", "sections", "summary"]

MEMORIZED = "share of samples whose nearest training image is less than 2/3 as far as the second nearest"


def summary(run: "Run") -> list[tuple[str, str]]:
    """The terminal's lines."""
    config, rows = run.config, run.history.steps
    lines = [
        ("run", str(run.folder)),
        ("method", f"{config.method}, {config.network}, batches of {config.batch_size}"),
        ("steps", f"{run.step:,} of {config.steps:,}"),
    ]
    if rows:
        lines.append(("loss", f"{rows[-1]['loss']:.4f} (first logged {rows[0]['loss']:.4f})"))
        lines.append(("time", f"{rows[-1]['seconds']:,.0f} s, {rows[-1]['step'] / rows[-1]['seconds']:.1f} steps/s"))
    lines += [(f"copies, {look['weights']}", _copies(look)) for look in _last_looks(run)]
    if run.history.looks:
        lines.append(("times", _times(run)))
    if run.stopped:
        lines.append(("stopped", _stop(run)))
    return lines


def lead(run: "Run") -> str:
    """The sentence at the head of the page."""
    done = f"{run.step:,} of {run.config.steps:,} steps of the method {run.config.method}"
    looks = [look for look in _last_looks(run) if look.get("memorized")]
    if not looks:
        return f"{done}; nobody has looked for copies (set watch_every)."
    worst = max(looks, key=lambda look: float(look["memorized"]["value"]))
    return f"{done}. At the last look {_copies(worst)}, with the weights {worst['weights']}."


def sections(run: "Run") -> Sequence[Section]:
    """Losses, looks, targets and samples."""
    parts = [_losses(run), _looks(run), _targets(run), _samples(run)]
    if run.config.reasons:
        rows = [(name, str(getattr(run.config, name, "")), why) for name, why in run.config.reasons.items()]
        parts.append([Section("Why these settings", (Table(("setting", "value", "reason"), rows),))])
    return [section for part in parts for section in part]


def _losses(run: "Run") -> list[Section]:
    rows = run.history.steps
    if len(rows) < 2:
        return []
    steps, losses = [row["step"] for row in rows], [row["loss"] for row in rows]
    blocks: list[Block] = [
        Figure(
            curves(
                steps,
                [Series("loss", losses)],
                x_label="optimizer steps",
                y_label="loss",
                log_x=False,
                log_y=_wide(losses),
            ),
            "Weighted squared error a value, the mean over the steps since the point before.",
            f"The loss goes from {losses[0]:.3g} to {losses[-1]:.3g}.",
        )
    ]
    edges = _edges(run)
    levels = [row for row in run.history.levels if any(row["images"])]
    if levels:
        last = levels[-1]
        shown = {name: levels[index] for name, index in (("first", 0), ("last", -1))}
        lines = [Series(f"{name} checkpoint interval", _values(row["loss"])) for name, row in shown.items()]
        wide = _wide([value for row in shown.values() for value in row["loss"]])
        figure = curves(np.sqrt(edges[1:] * edges[:-1]), lines, x_label="noise level sigma", y_label="loss", log_y=wide)
        blocks.append(Figure(figure, f"By noise level, to step {last['step']:,}.", "The loss at twelve noise levels."))
    return [Section("Loss", blocks)]


def _looks(run: "Run") -> list[Section]:
    looks = [look for look in run.history.looks if look.get("memorized")]
    if not looks:
        return []
    blocks: list[Block] = []
    names = sorted({look["weights"] for look in looks}, key=lambda name: (name != "raw", name))
    steps = sorted({look["step"] for look in looks})
    if len(steps) > 1:
        blocks.append(_copy_curves(looks, names, steps))
        gaps = _gap_curve(run, looks)
        if gaps:
            blocks.append(gaps)
    rows = []
    for look in looks:
        rate = look["memorized"]
        cells = [look.get(f"frechet_{name}") for name in ("train", "held_out")]
        interval = f"{rate['low']:.1%} to {rate['high']:.1%}"
        rows.append([f"{look['step']:,}", look["weights"], f"{rate['value']:.1%}", interval, *_round(cells, look)])
    columns = [
        "step",
        "weights",
        "memorized",
        "95 % interval",
        "Frechet to train",
        "to held-out",
        "mean ratio",
        "least",
    ]
    blocks.append(
        Table(
            columns,
            rows,
            note=f"{looks[0]['samples']} samples a look. Frechet distances in pixels, of that many samples: they "
            "compare with each other only.",
            definitions={"memorized": MEMORIZED, "least": "the least ratio of the two distances"},
        )
    )
    blocks.insert(0, Text(f"Times: {_times(run)}."))
    if run.stopped:
        blocks.insert(0, Text(f"Stopped: {_stop(run)}.", "warning"))
    return [Section("Looks for copies", blocks)]


def _copy_curves(looks: list[dict[str, Any]], names: list[str], steps: list[int]) -> Figure:
    series, ends = [], []
    for name in names:
        rates = {look["step"]: look["memorized"] for look in looks if look["weights"] == name}
        value, low, high = (
            [rates[step][end] if step in rates else np.nan for step in steps] for end in ("value", "low", "high")
        )
        series.append(Series(name, value, low, high))
        ends.append(f"{name} {value[-1]:.1%}")
    control = looks[-1]["held_out"]
    if control:
        series.append(Series("held-out images", [control["value"]] * len(steps)))
    figure = curves(steps, series, x_label="optimizer steps", y_label="memorized", log_x=False, y_range=(0, 1))
    return Figure(
        figure,
        "Memorized fraction of the samples of each look with 95 % intervals; averages lag behind the raw weights.",
        f"At step {steps[-1]:,} the memorized fraction is {', '.join(ends)}.",
    )


def _gap_curve(run: "Run", looks: list[dict[str, Any]]) -> Figure | None:
    last = [look for look in looks if look["weights"] == "raw"][-1:]
    if not last or "error_held_out" not in last[0]:
        return None
    look = last[0]
    lines = [Series(label, look[f"error_{name}"]) for label, name in (("training", "train"), ("held-out", "held_out"))]
    figure = curves(look["sigmas"], lines, x_label="noise level sigma", y_label="error a value", log_y=True)
    return Figure(
        figure,
        f"Denoising error at step {look['step']:,}, raw weights: where the lines part, images are known by heart.",
        "Denoising error on training and on held-out images by noise level.",
    )


def _targets(run: "Run") -> list[Section]:
    levels = [row for row in run.history.levels if any(row["images"])]
    if not levels or run.config.method != "temperature":
        return []
    last, edges = levels[-1], _edges(run)
    rows = [
        [f"{low:.3g} to {high:.3g}", count, _shown(top), _shown(effective)]
        for low, high, count, top, effective in zip(
            edges[:-1], edges[1:], last["images"], last["top_weight"], last["effective"], strict=True
        )
    ]
    columns = ("sigma", "images", "largest weight", "effective images")
    note = "A largest weight of 1 is a target that one training image has alone: there the temperature does nothing."
    return [Section("How soft the targets are", (Table(columns, rows, note=note),))]


def _samples(run: "Run") -> list[Section]:
    files = sorted((run.folder / "samples").glob("*.png"))
    last = files[-1].name.split("-")[0] if files else ""
    shown = [file for file in files if file.name.startswith(last)]
    blocks = [
        Figure(file.read_bytes(), f"Step {int(last):,}, {file.stem.split('-', 1)[1]}.", "Samples of the last look.")
        for file in shown
    ]
    return [Section("Samples", blocks)] if blocks else []


def _last_looks(run: "Run") -> list[dict[str, Any]]:
    looks = run.history.looks
    return [look for look in looks if look["step"] == looks[-1]["step"]]


def _copies(look: dict[str, Any]) -> str:
    rate = look.get("memorized")
    if not rate:
        return "the samples were no numbers"
    text = f"{rate['value']:.1%} of {look['samples']} samples are copies ({rate['low']:.1%} to {rate['high']:.1%})"
    return text + (f", {look['held_out']['value']:.1%} among held-out images" if look["held_out"] else "")


def _times(run: "Run") -> str:
    """When the samples were best, and from when on they are copies: the times of generalization and memorization."""
    looks = [look for look in run.history.looks if look.get("memorized")]
    judged = [look for look in looks if look.get("frechet_held_out") is not None]
    parts = []
    if judged:
        best = min(judged, key=lambda look: float(look["frechet_held_out"]))
        parts.append(
            f"the Frechet distance to held-out images was least at step {best['step']:,} "
            f"({best['frechet_held_out']:.3g}, {best['weights']})"
        )
    copying = [look for look in looks if look["memorized"]["low"] > (look["held_out"] or {"high": 0.0})["high"]]
    found = "clearly more copies than among held-out images" if looks and looks[-1]["held_out"] else "copies"
    if copying:
        parts.append(f"{found} from step {copying[0]['step']:,} on ({copying[0]['weights']})")
    else:
        parts.append(f"no look found {found}")
    return "; ".join(parts)


def _stop(run: "Run") -> str:
    assert run.stopped is not None
    return (
        f"at step {run.stopped['step']:,} {run.stopped['value']:.1%} of the samples of {run.stopped['weights']} were "
        f"copies; the checkpoint of step {run.step:,} is kept"
    )


def _wide(values: Sequence[float | None]) -> bool:
    """Whether a logarithmic axis would have more than one power of ten to name."""
    known = [value for value in values if value is not None]
    return max(known) >= 100 * min(known)


def _edges(run: "Run") -> np.ndarray[Any, np.dtype[np.float64]]:
    return np.geomspace(run.config.sigma_min, run.config.sigma_max, BINS + 1)


def _values(values: Sequence[float | None]) -> list[float]:
    return [np.nan if value is None else value for value in values]


def _shown(value: float | None) -> str:
    return "none seen" if value is None else f"{value:.3g}"


def _round(cells: Sequence[float | None], look: dict[str, Any]) -> list[str]:
    values = [*cells, look["mean_ratio"], look["min_ratio"]]
    return ["" if value is None else f"{value:.3g}" for value in values]
