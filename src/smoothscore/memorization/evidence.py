"""How an audit reads: its verdict in words, and the page with the evidence."""

from collections.abc import Sequence
from typing import TYPE_CHECKING

import numpy as np

from smoothscore.data import ImageSet
from smoothscore.memorization import tables
from smoothscore.memorization.pairs import pairs
from smoothscore.memorization.protocol import TAIL_SHARE, VERSION
from smoothscore.report.figures import histogram
from smoothscore.report.page import Block, Fact, Facts, Figure, Section, Text

if TYPE_CHECKING:
    from smoothscore.memorization.verdict import Audit

__all__ = ["lead", "sections", "summary"]

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


def lead(audit: "Audit") -> str:
    """The verdict with its certainty, in two sentences or three."""
    n, flagged, tail = len(audit.ratio), audit.flagged, audit.tail_excess
    if flagged is None or tail is None:
        rate = audit.memorized_fraction
        return (
            f"{rate.count} of {n} samples ({float(rate):.1%}) have a nearest training image at less than "
            f"{audit.threshold:.3g} times the distance of the next one. Without held-out images, and with so few "
            "training images, it cannot be said how many of them real images would show too."
        )
    first = f"{len(flagged)} of {n} samples are flagged as copies of training images"
    if len(flagged):
        if len(audit.identical):
            first += f", {len(audit.identical)} of them identical to one"
        first += f"; on average at most {audit.alpha:.0%} of a list made this way are mistaken"
    more = "more" if tail.low > 0 else "fewer" if tail.high < 0 else "not distinguishably more"
    control = "held-out real images" if audit.held_out is not None else "training images left out in turn"
    second = (
        f"Among the samples there are {more} close matches than among {control}: {tail.value:+.1%}, with a 95 % "
        f"interval from {tail.low:+.1%} to {tail.high:+.1%}."
    )
    if audit.held_out is None:
        second += " No held-out images were given, so this certainty is approximate."
    return f"{first}. {second}"


def summary(audit: "Audit") -> list[tuple[str, str]]:
    """The verdict for a terminal."""
    control, excess, flagged, tail = audit.held_out_fraction, audit.excess, audit.flagged, audit.tail_excess
    lines = []
    if flagged is not None:
        identical = f", {len(audit.identical)} of them identical to one" if len(audit.identical) else ""
        lines.append(("flagged", f"{len(flagged)} at a false discovery rate of {audit.alpha:.0%}{identical}"))
    lines += [
        ("memorized", f"{audit.memorized_fraction}, ratio < {audit.threshold:.3g} in {audit.detector.main} space"),
        ("held-out", "no held-out images: no control" if control is None else str(control)),
        ("excess", "unknown without held-out images" if excess is None else str(excess)),
    ]
    if tail is not None:
        lines.append(("by surprise", f"{tail} more than the top {TAIL_SHARE:.0%} of the control"))
    lines.append(("mean ratio", f"{audit.ratio.mean():.3f}, smallest {audit.ratio.min():.3f}"))
    if len(audit.leaked):
        lines.append(("leaked", f"{len(audit.leaked)} held-out images are training images, left out"))
    lines += [("look", finding) for finding in audit.findings]
    return [*lines, ("Frechet", _frechet_line(audit)), ("protocol", VERSION)]


def _frechet_line(audit: "Audit") -> str:
    names = {"to_train": "to train", "to_held_out": "to held-out", "reference": "train to held-out"}
    known = [f"{words} {audit.frechet[key]:.4g}" for key, words in names.items() if audit.frechet[key] is not None]
    return f"{', '.join(known) or 'needs two images a set'} ({audit.frechet['space']} space)"


def sections(audit: "Audit") -> Sequence[Section]:
    """The body of the report."""
    parts = [
        Section("Verdict", [_facts(audit), *_warnings(audit)]),
        Section("Most suspicious samples", [pairs(audit)]),
        Section("All samples", _histograms(audit)),
        Section("Copied training images", [*tables.sources(audit), *tables.classes(audit)]),
        Section("How each test voted", [tables.votes(audit), *tables.disagreement(audit), tables.others(audit)]),
        Section("Distribution", [tables.quality(audit)]),
        Section("Method and limits", [Text(_method(audit))]),
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
            "No held-out images were given. Training images left out in turn took their place: near duplicates among "
            "them hide copies, a model that merely draws typical images cannot be told from one that copies a "
            "little, and the error rates are approximate."
        )
    if len(audit.leaked):
        notes.append(f"{len(audit.leaked)} held-out images are training images; they were left out of the control.")
    near = audit.near_leaks
    if isinstance(audit.held_out, ImageSet) and 0 < len(near) < len(audit.held_out) / 20:
        names = ", ".join(audit.held_out.names[i] for i in near[:5]) + (", ..." if len(near) > 5 else "")
        notes.append(
            f"{len(near)} held-out images have a ratio below 1/3, as if they were training images in another form "
            f"({names}). If they are, remove them from the held-out images: they hide copies."
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
        marks={"flagged from here": min(audit.cut, 60)} if passed else {},
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
    return "held-out images" if audit.held_out is not None else "training images left out"


def _method(audit: "Audit") -> str:
    alarms = audit.false_alarms
    return (
        f"Protocol {VERSION}. Distances are Euclidean in {audit.detector.main} space, unsquared, computed exactly. The "
        "ratio of a sample is its distance to the nearest training image over that to the second distinct nearest "
        "one; identical training images count once. A sample counts as memorized when the ratio is below "
        f"{audit.threshold:.3g}. Rates at different thresholds do not compare.\n\n"
        f"The calibrated test looks into these spaces: {', '.join(audit.detector.tests)}. In each it compares the "
        "nearest distance with the distances around the sample, with their spread, and with the distances around the "
        "training image; each comparison is ranked among training images left out in turn, and the surprise is the "
        "largest of all. Aligned images are compared over mirror images, shifts of up to 3 of 32 pixels, crops and "
        "changes of brightness and contrast.\n\n"
        "The p-value of a sample is the share of held-out images, itself counted in, whose surprise is as large. "
        "It is valid when held-out and training images come from one source and the model saw none of the held-out "
        "ones. Flags follow Benjamini and Hochberg; samples equal to a training image value by value are flagged "
        "whatever the p-value."
        + ("" if alarms is None else f" As a filter, this rule drops about {alarms:.2%} of new real images.")
        + "\n\nA small part of a training image pasted into a new one is mostly not found, nor is a copy turned around "
        "or recolored. Copies of an image that has dozens of near duplicates look like images from a dense region. A "
        "flag says that one training image is nearer than chance explains, not that a person would see the same "
        "picture: look at the pairs, mark them, and save the marks."
    )
