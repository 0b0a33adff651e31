"""The tables of an audit's report."""

from typing import TYPE_CHECKING

import numpy as np

from smoothscore.memorization.published import TESTS
from smoothscore.memorization.quality import COMPARED, FEW
from smoothscore.report import Block, Cell, Table, Text

if TYPE_CHECKING:
    from smoothscore.memorization.verdict import Audit

__all__ = ["classes", "disagreement", "others", "quality", "sources", "votes"]

ROWS = 30  # of the table of training images

DEFINITIONS = {
    "Frechet distance": "Squared Frechet distance between two sets, each summed up by mean and covariance in the "
    "space named. Not the FID unless the space is Inception's; it depends on the numbers of images.",
    "bias": "The distance at half the number of images minus the distance: about what the small number adds to it.",
    "isolation": "Share of training images, out of some drawn at random, that have a nearer neighbor than this one.",
}


def sources(audit: "Audit") -> list[Block]:
    """The training images copied, the most copied first."""
    found = audit.sources
    if not found:
        return [Text("No sample is flagged, so no training image is counted as copied.")]
    rows: list[list[Cell]] = [
        [
            f"{source.index} ({source.name})",
            source.label,
            len(source.copies),
            ", ".join(map(str, source.copies[:8])) + (", ..." if len(source.copies) > 8 else ""),
            source.repeats,
            source.isolation,
        ]
        for source in found[:ROWS]
    ]
    once = sum(source.repeats > 1 for source in found)
    note = f"{len(found):,} training images are copied, {once:,} of them stand in the training set more than once."
    if len(found) > ROWS:
        note += f" The {ROWS} most copied are shown; the JSON file has all."
    return [
        Table(
            ["training image", "class", "copies", "samples", "times in the set", "isolation"],
            rows,
            caption="Training images that flagged samples are nearest to",
            note=note,
            definitions={"isolation": DEFINITIONS["isolation"]},
        )
    ]


def classes(audit: "Audit") -> list[Block]:
    """Samples and copies by class of the training images, where these have labels."""
    rows: list[list[Cell]] = [
        [row["name"], row["train"], row["samples"], row["flagged"], row["sources"]] for row in audit.classes
    ]
    columns = ["class", "training images", "samples nearest to it", "flagged", "training images copied"]
    return [Table(columns, rows, caption="By class of the training image")] if rows else []


def votes(audit: "Audit") -> Table:
    """How many samples each test calls copies, and how many held-out images."""
    flagged = np.zeros(len(audit.ratio), dtype=bool)
    flagged[audit.identical if audit.flagged is None else audit.flagged] = True
    rows: list[list[Cell]] = [["calibrated (flagged)", int(flagged.sum()), f"{flagged.mean():.2%}", "", ""]]
    for name, vote in audit.literature.votes.items():
        rates = vote.rates()
        held = "–" if rates["held_out"] is None else f"{rates['held_out']:.2%}"
        both = int((vote.samples & flagged).sum())
        rows.append([name, int(vote.samples.sum()), f"{rates['samples']:.2%}", held, both])
    return Table(
        ["test", "samples", "share of the samples", "share of held-out images", "also flagged"],
        rows,
        caption="Samples that each test calls copies",
        note="A share among held-out images is a test's rate of false alarms. Only the calibrated test controls it.",
        definitions=TESTS,
    )


def disagreement(audit: "Audit") -> list[Block]:
    """Where the tests in use differ, pair by pair."""
    flags = {name: vote.samples for name, vote in audit.literature.votes.items()}
    names = [name for name, flag in flags.items() if flag.any()]
    if len(names) < 2:
        return []
    rows: list[list[Cell]] = [[name, *(int((flags[name] & ~flags[other]).sum()) for other in names)] for name in names]
    caption = "Samples that the test of the row calls copies and that of the column does not"
    return [Table(["test", *names], rows, caption=caption)]


def others(audit: "Audit") -> Table:
    """The statistics that judge whole sets."""
    found = audit.literature
    rows: list[list[Cell]] = [
        ["AuthPct", *(None if share is None else f"{share:.1%}" for share in found.authentic)],
        ["top-K entropy, mean, nats", *found.entropy],
        ["C_T (below −3: copies)", found.c_t, None],
        ["memorization-informed Frechet distance", found.informed_frechet, None],
    ]
    note = "A dash: not defined here, or it needs held-out images, or features (an encoder other than pixel)."
    return Table(["statistic", "samples", "held-out images"], rows, caption="Statistics of whole sets", note=note)


def quality(audit: "Audit") -> Table:
    """How well the samples are distributed, at equal numbers."""
    names = ("frechet", "frechet_bias", "kid", "precision", "recall", "density", "coverage")
    rows: list[list[Cell]] = []
    for key, (first, second) in COMPARED.items():
        if key in audit.literature.quality:
            found = audit.literature.quality[key]
            rows.append([f"{first} to {second}".replace("_", "-"), found["n"], *(found.get(name) for name in names)])
    note = "All values depend on n; the row of held-out images shows what new real images reach at their n."
    few = [row for row in audit.literature.quality.values() if row["n"] < FEW]
    if few:
        note += f" n below {FEW:,} is small: a large part of such a Frechet distance is bias."
    ratio = _ratio(audit)
    if ratio is not None:
        note += (
            f" Frechet distance to held-out over that to training images: {ratio:.3f}; above 1, nearer to the latter."
        )
    return Table(
        ["sets", "n of each", "Frechet distance", "bias", "KID", "precision", "recall", "density", "coverage"],
        rows,
        caption=f"Samples as a distribution, in {audit.literature.space} space",
        note=note,
        definitions={"Frechet distance": DEFINITIONS["Frechet distance"], "bias": DEFINITIONS["bias"]},
    )


def _ratio(audit: "Audit") -> float | None:
    train, held_out = audit.frechet["to_train"], audit.frechet["to_held_out"]
    return held_out / train if train and held_out is not None else None
