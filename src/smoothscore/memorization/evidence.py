"""How an audit reads: its verdict in words, and the page with the pairs that a person should look at."""

from collections.abc import Sequence
from typing import TYPE_CHECKING

import numpy as np
from numpy.typing import NDArray
from torch import Tensor

from smoothscore.data import ImageSet, to_images
from smoothscore.memorization.frechet import COMPARED
from smoothscore.report.figures import histogram
from smoothscore.report.page import Block, Fact, Facts, Figure, Gallery, Group, Picture, Section, Table, Text

if TYPE_CHECKING:
    from smoothscore.memorization.audit import Audit

__all__ = ["lead", "sections", "summary"]

PAIRS = 48

DEFINITIONS = {
    "memorized fraction": "Share of samples whose distance to the nearest training image is less than the threshold "
    "times the distance to the second distinct nearest one, with a 95 % interval.",
    "held-out fraction": "The same share among real images that the model was not trained on: what chance and "
    "likeness among the images give without any copying.",
    "excess": "Memorized fraction minus held-out fraction, with a 95 % interval for two independent shares.",
    "flagged": "Samples whose ratio is smaller than held-out images' ratios are, chosen so that on average at most "
    "the stated share of them are no copies.",
    "Frechet distance": "Squared Frechet distance between two sets, each summed up by mean and covariance in the "
    "space named. Not the FID unless the space is Inception's; it depends on the numbers of images.",
}


def lead(audit: "Audit") -> str:
    """The verdict in two sentences at most."""
    rate = audit.memorized_fraction
    first = (
        f"{rate.count} of {rate.n} samples ({float(rate):.1%}) have a nearest training image at less than "
        f"{audit.threshold:.3g} times the distance of the next one."
    )
    excess, control, flagged = audit.excess, audit.held_out_fraction, audit.flagged
    if excess is None or control is None or flagged is None:
        return f"{first} Without held-out images it cannot be said how many of them real images would show too."
    verdict = "more than" if excess.low > 0 else "less than" if excess.high < 0 else "not distinguishably more than"
    found = f"{len(flagged)} are flagged as copies at a false discovery rate of {audit.alpha:.0%}"
    return f"{first} That is {verdict} among held-out real images ({float(control):.1%}); {found}."


def summary(audit: "Audit") -> list[tuple[str, str]]:
    """The verdict for a terminal."""
    control, excess, flagged = audit.held_out_fraction, audit.excess, audit.flagged
    lines = [
        ("memorized", f"{audit.memorized_fraction}, ratio < {audit.threshold:.3g} in {audit.test.space.name} space"),
        ("held-out", "no held-out images: no control" if control is None else str(control)),
        ("excess", "unknown without held-out images" if excess is None else str(excess)),
        ("mean ratio", f"{audit.ratio.mean():.3f}, smallest {audit.ratio.min():.3f}"),
    ]
    if flagged is not None:
        lines.append(("flagged", f"{len(flagged)} at a false discovery rate of {audit.alpha:.0%}"))
    if len(audit.leaked):
        lines.append(("leaked", f"{len(audit.leaked)} held-out images are training images, left out"))
    return [*lines, ("Frechet", _frechet_line(audit))]


def _frechet_line(audit: "Audit") -> str:
    names = {"to_train": "to train", "to_held_out": "to held-out", "reference": "train to held-out"}
    known = [f"{words} {audit.frechet[key]:.4g}" for key, words in names.items() if audit.frechet[key] is not None]
    return f"{', '.join(known) or 'needs two images a set'} ({audit.frechet['space']} space)"


def sections(audit: "Audit") -> Sequence[Section]:
    """The body of the report."""
    return [
        Section("Verdict", [_facts(audit), *_warnings(audit)]),
        Section("Nearest pairs", [_gallery(audit)]),
        Section("All samples", [*_histograms(audit)]),
        Section("Distribution", [_frechet_table(audit)]),
        Section("Method and limits", [Text(_method(audit))]),
    ]


def _facts(audit: "Audit") -> Facts:
    rate, control, excess, flagged = audit.memorized_fraction, audit.held_out_fraction, audit.excess, audit.flagged
    facts = [_fact("memorized fraction", f"{float(rate):.1%}", f"{rate.low:.1%} to {rate.high:.1%}, n = {rate.n}")]
    if control is not None and excess is not None and flagged is not None:
        ends = f"{control.low:.1%} to {control.high:.1%}, n = {control.n}"
        facts += [
            _fact("held-out fraction", f"{float(control):.1%}", ends),
            _fact("excess", f"{excess.value:+.1%}", f"{excess.low:+.1%} to {excess.high:+.1%}"),
            _fact("flagged", len(flagged), f"at a false discovery rate of {audit.alpha:.0%}"),
        ]
    return Facts(facts)


def _fact(label: str, value: str | int, detail: str) -> Fact:
    return Fact(label, value, detail, DEFINITIONS[label])


def _warnings(audit: "Audit") -> list[Block]:
    notes: list[Block] = []
    if audit.held_out_ratio is None:
        notes.append(Text("No held-out images were given, so there is no control and no p-value.", "warning"))
    if len(audit.leaked):
        text = f"{len(audit.leaked)} held-out images are training images; they were left out of the control."
        notes.append(Text(text, "warning"))
    return notes


def _gallery(audit: "Audit") -> Block:
    shape = audit.samples.shape if isinstance(audit.samples, ImageSet) else audit.samples.shape[1:]
    if len(shape) != 3 or shape[0] not in (1, 3):
        return Text("The data are not images, so no pairs are shown.", "note")
    worst = np.argsort(audit.ratio, kind="stable")[:PAIRS]
    samples = _pixels(audit.samples, worst)
    nearest = _pixels(audit.train, audit.neighbors[worst, 0])
    second = _pixels(audit.train, audit.neighbors[worst, 1])
    groups = [
        Group(
            [
                Picture(samples[row], f"sample {index}"),
                Picture(nearest[row], f"train {audit.neighbors[index, 0]}"),
                Picture(second[row], f"train {audit.neighbors[index, 1]}"),
            ],
            _pair_caption(audit, index),
        )
        for row, index in enumerate(worst)
    ]
    caption = "The samples of smallest ratio, each beside its nearest and second distinct nearest training image."
    return Gallery(groups, caption)


def _pair_caption(audit: "Audit", index: int) -> str:
    first, second = audit.distances[index, :2]
    text = f"ratio {audit.ratio[index]:.3f} = {first:.3g} / {second:.3g}"
    if audit.p_values is not None and audit.flagged is not None:
        text += f", p = {audit.p_values[index]:.2g}{', flagged' if index in audit.flagged else ''}"
    return text


def _pixels(images: ImageSet | Tensor, index: NDArray[np.int64]) -> NDArray[np.uint8]:
    chosen = images if isinstance(images, ImageSet) else to_images(images[index])
    return chosen.take(index if chosen is images else np.arange(len(index)))


def _histograms(audit: "Audit") -> list[Figure]:
    ratios = {"samples": audit.ratio}
    if audit.held_out_ratio is not None:
        ratios["held-out images"] = audit.held_out_ratio
    drawing = histogram(ratios, x_label="ratio d1 / d2", marks={"threshold": audit.threshold})
    caption = "Distance to the nearest over that to the second distinct nearest training image."
    return [Figure(drawing, caption, f"Histogram of the ratios of {' and '.join(ratios)}.")]


def _frechet_table(audit: "Audit") -> Table:
    found, counts = audit.frechet, audit.frechet["n"]
    rows = [
        [f"{first} and {second}".replace("_", "-"), found[key], counts[first], counts[second]]
        for key, (first, second) in COMPARED.items()
        if found[key] is not None
    ]
    note = "The distance shrinks as the numbers of images grow; compare only values at the same numbers."
    return Table(
        ["sets", "Frechet distance", "n of the first", "n of the second"],
        rows,
        caption=f"Squared Frechet distances in {found['space']} space",
        note=note,
        definitions={"Frechet distance": DEFINITIONS["Frechet distance"]},
    )


def _method(audit: "Audit") -> str:
    return (
        f"Distances are Euclidean in {audit.test.space.name} space, unsquared, computed exactly. The ratio of a sample "
        "is its distance to the nearest training image over that to the second distinct nearest one; identical "
        f"training images count once. A sample counts as memorized when the ratio is below {audit.threshold:.3g}. "
        "Rates at different thresholds do not compare.\n\n"
        "The p-value of a sample is the share of held-out images, itself counted in, whose ratio is as small. "
        "It is valid when held-out and training images come from one source. Flags follow Benjamini and Hochberg.\n\n"
        "A copy that was flipped, shifted or recolored can be far away in pixel space and is then not found. "
        "A small ratio says that one training image is much nearer than all others, not that a person would see "
        "the same picture: look at the pairs."
    )
