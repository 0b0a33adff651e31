"""The page with the evidence of an audit."""

from collections.abc import Sequence
from typing import TYPE_CHECKING

import numpy as np

from smoothscore.memorization import tables
from smoothscore.memorization.pairs import pairs
from smoothscore.memorization.words import method, notes
from smoothscore.report import Fact, Facts, Figure, Section, Text, histogram

if TYPE_CHECKING:
    from smoothscore.memorization.verdict import Audit

__all__ = ["sections"]

DEFINITIONS = {
    "memorized fraction": "Share of samples whose distance to the nearest training image is less than the threshold "
    "times the distance to the second distinct nearest one, with a 95 % interval.",
    "held-out fraction": "The same share among real images that the model was not trained on: what chance and "
    "likeness among the images give without any copying.",
    "excess": "Memorized fraction minus held-out fraction, with a 95 % interval for two independent shares.",
    "flagged": "Samples more surprisingly near to one training image than held-out images are, chosen so that on "
    "average at most the stated share of them are no copies; and those identical to a training image.",
    "excess by surprise": "Share of samples as surprising as the 1 % most surprising held-out images, minus that 1 %, "
    "with a 95 % interval: an estimate of the share of copies in any of the spaces looked into.",
}


def sections(audit: "Audit") -> Sequence[Section]:
    """The body of the report."""
    parts = [
        Section("Verdict", [_facts(audit), *(Text(note, "warning") for note in notes(audit))]),
        Section("Most suspicious samples", [pairs(audit)]),
        Section("All samples", _histograms(audit)),
        Section("Copied training images", [*tables.sources(audit), *tables.classes(audit)]),
        Section("How each test voted", [tables.votes(audit), *tables.disagreement(audit), tables.others(audit)]),
        Section("Distribution", [tables.quality(audit)]),
        Section("Method and limits", [Text(method(audit))]),
    ]
    return [part for part in parts if part.blocks]


def _facts(audit: "Audit") -> Facts:
    rate, control, excess, flagged = audit.memorized_fraction, audit.held_out_fraction, audit.excess, audit.flagged
    facts = []
    if flagged is not None:
        facts.append(_fact("flagged", len(flagged), f"at a false discovery rate of {audit.alpha:.0%}"))
    tail = audit.tail_excess
    if tail is not None:
        facts.append(_fact("excess by surprise", f"{tail.value:+.1%}", f"{tail.low:+.1%} to {tail.high:+.1%}"))
    facts.append(_fact("memorized fraction", f"{float(rate):.1%}", f"{rate.low:.1%} to {rate.high:.1%}, n = {rate.n}"))
    if control is not None and excess is not None:
        ends = f"{control.low:.1%} to {control.high:.1%}, n = {control.n}"
        facts += [
            _fact("held-out fraction", f"{float(control):.1%}", ends),
            _fact("excess", f"{excess.value:+.1%}", f"{excess.low:+.1%} to {excess.high:+.1%}"),
        ]
    return Facts(facts)


def _fact(label: str, value: str | int, detail: str) -> Fact:
    return Fact(label, value, detail, DEFINITIONS[label])


def _histograms(audit: "Audit") -> list[Figure]:
    control = {} if audit.control is None else {_control_name(audit): audit.control}
    passed = np.isfinite(audit.cut)
    shown = {name: np.minimum(values, 60) for name, values in ({"samples": audit.surprise} | control).items()}
    surprise = histogram(
        shown,
        x_label="surprise, nats (60 stands for all beyond)",
        marks={"flagged from here": min(audit.cut, 60)} if passed and len(audit.sides) == 1 else {},
    )
    ratios = {"samples": audit.ratio}
    if audit.held_out_ratio is not None:
        ratios["held-out images"] = audit.held_out_ratio
    drawing = histogram(ratios, x_label="ratio d1 / d2", marks={"threshold": audit.threshold})
    return [
        Figure(
            surprise,
            "How surprisingly near each image is to one training image, over all spaces looked into.",
            f"Histogram of the surprise of {' and '.join(shown)}.",
        ),
        Figure(
            drawing,
            f"Distance to the nearest over that to the second distinct nearest training image, in "
            f"{audit.detector.main} space.",
            f"Histogram of the ratios of {' and '.join(ratios)}.",
        ),
    ]


def _control_name(audit: "Audit") -> str:
    return "held-out images" if audit.held_out is not None else "images of the other half"
