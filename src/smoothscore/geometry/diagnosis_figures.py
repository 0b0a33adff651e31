"""The sections of a diagnosis's page about scores: what the optimal one does, and what a given one does."""

from typing import TYPE_CHECKING

import numpy as np

from smoothscore.geometry.curve import Array, Curve
from smoothscore.geometry.diagnosis_words import DEFINITIONS, regions
from smoothscore.geometry.model import ModelLevels
from smoothscore.geometry.pictures import can_be_drawn, direction, pixels
from smoothscore.geometry.sensitivity import Sensitivity
from smoothscore.geometry.stability import Stability
from smoothscore.report import (
    Block,
    Cell,
    Fact,
    Facts,
    Figure,
    Gallery,
    Group,
    Picture,
    Region,
    Section,
    Series,
    Table,
    curves,
)

if TYPE_CHECKING:
    from smoothscore.geometry.diagnosis import Diagnosis

__all__ = [
    "AXIS",
    "band",
    "defined_fact",
    "defined_table",
    "far_field_section",
    "model_section",
    "sensitivity_section",
    "sharing_section",
    "stability_section",
]

AXIS = "noise level sigma (images in [-1, 1])"


def defined_fact(label: str, value: Cell, detail: str = "") -> Fact:
    """A number with the definition that the page shows on hover."""
    return Fact(label, value, detail, DEFINITIONS[label])


def defined_table(columns: list[str], rows: list[list[Cell]], caption: str) -> Table:
    """A table whose headings carry their definitions."""
    meanings = {name: DEFINITIONS[name] for name in columns if name in DEFINITIONS}
    return Table(columns, rows, caption=caption, definitions=meanings)


def band(label: str, curve: Curve) -> Series:
    """A curve with a band of two standard errors."""
    return Series(label, curve.mean, curve.mean - 2 * curve.stderr, curve.mean + 2 * curve.stderr)


def model_section(sigmas: Array, model: ModelLevels, shaded: list[Region]) -> Section:
    """What the score under examination does, level by level."""
    copies = [
        Series("memorized", model.memorized.mean, model.memorized.lower, model.memorized.upper),
        band("cosine with the empirical score", model.cosine),
        band("unexplained by the empirical score", model.unexplained_by_empirical),
        band("unexplained by the Gaussian", model.unexplained_by_gaussian),
    ]
    errors = [band("training images", model.train_error), band("held-out images", model.held_out_error)]
    worst = int(model.memorized.mean.argmax())
    fact = defined_fact(
        "Memorized", f"{model.memorized.mean[worst]:.1%}", f"at its worst level, sigma {sigmas[worst]:.2g}"
    )
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
            *_stability_figures(model.stability, shaded),
        ],
    )


def sharing_section(diagnosis: "Diagnosis") -> Section:
    """How many images share an answer, and how it would move had others been drawn."""
    number, total = diagnosis.effective_number, int(str(diagnosis.options["training images"]))
    share = band("share of the training set", Curve(number.sigmas, number.mean / total, number.stderr / total))
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
    blocks.append(Facts([defined_fact("Sampling error", f"{error:.2g}", f"at sigma {noise[0].sigma:.3g}")]))
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


def far_field_section(diagnosis: "Diagnosis") -> Section:
    """Where a Gaussian is enough."""
    far, shaded = diagnosis.far_field, regions(diagnosis)
    start = "no level given" if far.start is None else f"sigma {far.start:.3g}"
    unexplained = [band("unexplained by the Gaussian", far.unexplained)]
    drawing = curves(diagnosis.sigmas, unexplained, x_label=AXIS, y_label="fraction", y_range=(0, 1.02), regions=shaded)
    counts = [Series("directions above the noise", far.directions)]
    directions = curves(diagnosis.sigmas, counts, x_label=AXIS, y_label="directions", regions=shaded)
    ranks = np.arange(1, len(far.spectrum) + 1)
    blocks: list[Block] = [
        Facts([defined_fact("Gaussian good to one percent", start)]),
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


def sensitivity_section(found: Sensitivity) -> Section:
    """How far pixels depend on each other."""
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


def stability_section(found: Stability, shaded: list[Region]) -> Section:
    """Expansiveness and Jacobian spectra of the empirical score."""
    return Section("Stability", _stability_figures(found, shaded), "Of the optimal denoiser.")


def _stability_figures(found: Stability, shaded: list[Region]) -> list[Block]:
    spread = [
        band("between points 0.2 sigma apart", found.expansion),
        band("between points ever closer", found.local),
    ]
    expansion = curves(found.expansion.sigmas, spread, x_label=AXIS, y_label="factor", log_y=True, regions=shaded)
    gain = curves(
        found.gain.sigmas, [band("largest gain", found.gain)], x_label=AXIS, y_label="eigenvalue", regions=shaded
    )
    return [
        Figure(expansion, DEFINITIONS["Expansiveness"], "Expansiveness by noise level."),
        Figure(gain, DEFINITIONS["Largest gain"], "The largest eigenvalue of the Jacobian by noise level."),
    ]
