"""The page with the evidence of an audit."""

from collections.abc import Sequence
from typing import TYPE_CHECKING

import numpy as np

from smoothscore.data import ImageSet
from smoothscore.memorization import tables
from smoothscore.memorization.pairs import pairs
from smoothscore.memorization.words import method
from smoothscore.report.figures import histogram
from smoothscore.report.page import Block, Fact, Facts, Figure, Section, Text

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
        Section("Verdict", [_facts(audit), *_warnings(audit)]),
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


def _warnings(audit: "Audit") -> list[Block]:
    notes = list(audit.findings)
    if audit.held_out is None:
        notes.append(
            "No held-out images were given. The halves of the training set took their place in turn: near duplicates "
            "within the training set hide copies, and faint copies are found less often. A model that merely draws "
            "typical images cannot be told from one that copies a little."
        )
    if len(audit.leaked):
        notes.append(f"{len(audit.leaked)} held-out images are {audit.leaked_as}; they were left out of the control.")
    near = audit.near_leaks
    if isinstance(audit.held_out, ImageSet) and len(near):
        names = ", ".join(audit.held_out.names[i] for i in near[:5]) + (", ..." if len(near) > 5 else "")
        notes.append(
            f"{len(near)} held-out images look like training images in another form ({names}). They hide copies; if "
            "they are the same pictures, audit with leaks = near (--leaks near), which leaves them out."
        )
    shortest = audit.shortest_list
    if shortest is not None and shortest > 1:
        notes.append(
            f"With {len(audit.ratio):,} samples and a control of {0 if audit.control is None else len(audit.control):,}"
            f" images, fewer than {shortest:,} copies that are not identical cannot be told from chance at this rate; "
            "more held-out images lower that number."
        )
    return [Text(note, "warning") for note in notes]


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
