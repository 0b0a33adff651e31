r"""*Gaussian score approximation*, section 6 and Tables 4 to 6: what teleportation saves, and what it costs.

Heun's method on EDM's levels, the first steps replaced by one jump along the path of the Gaussian with the moments of
the data: i skipped steps save 2i evaluations. The paper prints FIDs of 50,000 images of EDM's networks; here the
Frechet distance between samples and data is taken in the space of 64 principal components (and of the pixels), which
has another scale, so that changes relative to the samples without a jump are compared. All settings start from the same
noise; standard errors of a change are those of a jackknife over ten groups of samples.
"""

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray
from torch import Tensor

from smoothscore import schedules
from smoothscore.data import ImageSet
from smoothscore.encoders import Encoder, encoder
from smoothscore.memorization.frechet import Moments, frechet_distance, moments
from smoothscore.report import Cell, Figure, Table
from smoothscore.reproduce.idealized import mixture_of, mixture_words
from smoothscore.reproduce.pictures import rows_of_images
from smoothscore.reproduce.request import Request
from smoothscore.reproduce.result import Findings, Row
from smoothscore.sampling import Teleport, draw, fit_gaussian
from smoothscore.scores import GaussianScore, Score

__all__ = ["teleportation"]

Array = NDArray[np.float64]

PRINTED = {  # steps: skipped -> evaluations, noise level, FIDs
    18: {
        0: (35, "80.0", {"CIFAR-10": 1.958}),
        1: (33, "57.6", {"CIFAR-10": 1.955}),
        2: (31, "40.8", {"CIFAR-10": 1.949}),
        3: (29, "28.4", {"CIFAR-10": 1.940}),
        4: (27, "19.4", {"CIFAR-10": 1.932}),
        5: (25, "12.9", {"CIFAR-10": 1.934}),
        6: (23, "8.4", {"CIFAR-10": 1.963}),
        7: (21, "5.3", {"CIFAR-10": 2.123}),
        8: (19, "3.3", {"CIFAR-10": 3.213}),
        10: (15, "1.1", {"CIFAR-10": 23.947}),
        12: (11, "0.3", {"CIFAR-10": 109.178}),
    },
    40: {
        0: (79, "80.0", {"FFHQ-64": 2.464, "AFHQv2-64": 2.043}),
        2: (75, "60.1", {"FFHQ-64": 2.489, "AFHQv2-64": 2.029}),
        4: (71, "44.6", {"FFHQ-64": 2.523, "AFHQv2-64": 2.016}),
        6: (67, "32.7", {"FFHQ-64": 2.561, "AFHQv2-64": 2.003}),
        8: (63, "23.6", {"FFHQ-64": 2.617, "AFHQv2-64": 2.005}),
        10: (59, "16.8", {"FFHQ-64": 2.681, "AFHQv2-64": 2.026}),
        12: (55, "11.7", {"FFHQ-64": 2.841, "AFHQv2-64": 2.102}),
        14: (51, "8.0", {"FFHQ-64": 3.243, "AFHQv2-64": 2.359}),
        16: (47, "5.4", {"FFHQ-64": 4.402, "AFHQv2-64": 3.206}),
        20: (39, "2.2", {"FFHQ-64": 15.451, "AFHQv2-64": 14.442}),
    },
}
COUNTS = {"full": {18: 500, 40: 250}, "quick": {18: 50, 40: 20}}
ALLOWED = 0.03
GROUPS = 10
SHOWN = 10


@dataclass(frozen=True, eq=False)
class Jump:
    """The samples of one number of skipped steps.

    Attributes:
        evaluations: for each image.
        sigma: the level at which they began.
        frechet: distance to the data in the components and in the pixels.
        change: of the first of them, relative to no jump, and its standard error.
        moved: mean squared difference a value to the images without a jump.
        images: some of them.
    """

    evaluations: int
    sigma: float
    frechet: tuple[float, float]
    change: tuple[float, float]
    moved: float
    images: Tensor


def teleportation(request: Request) -> Findings:
    """Evaluations and Frechet distances for each number of skipped steps."""
    images = request.images("mnist-5k", quick=1000)
    score = mixture_of(images, request.seed) if request.score is None else request.given_score(images)
    counts = COUNTS[request.scale]
    space = encoder(f"pca:{min(64, images.dim, len(images))}", images)
    gaussian = fit_gaussian(images)
    rows: list[Row] = []
    tables: list[Table] = []
    found = {steps: _jumps(score, gaussian, images, space, steps, counts[steps], request.seed) for steps in PRINTED}
    for steps, jumps in found.items():
        rows += _rows(steps, jumps)
        tables.append(_table(steps, jumps))
    few = images.subset(min(counts[18], len(images)), request.seed + 1)
    floor = _distance(space(few), moments(space(images).numpy()))
    rows.append(Row(f"Frechet distance of {len(few)} of the data to all of them, components", floor))
    setting = {
        "score": mixture_words(images) if request.score is None else request.score_name,
        "data": images.source,
        "images": len(images),
        "samples": ", ".join(f"{count} with {steps} levels" for steps, count in counts.items())
        + ", from the same noises",
        "sampler": "heun",
        "gaussian": f"rank {gaussian.rank} of {gaussian.dim}",
        "frechet": f"{space.name} and pixel, to the {len(images)} images",
    }
    return Findings(rows, setting, [*tables, _figure(found[18])])


def _jumps(
    score: Score, gaussian: GaussianScore, images: ImageSet, space: Encoder, steps: int, count: int, seed: int
) -> dict[int, Jump]:
    """Samples by the number of skipped steps."""
    levels = schedules.karras(steps)
    data, pixels = moments(space(images).numpy()), moments(images.tensor().flatten(1).numpy())
    made: dict[int, Jump] = {}
    first: tuple[Tensor, Tensor] | None = None
    for skipped in PRINTED[steps]:
        sigma = float(levels[skipped])
        drawn = draw(score, count, sigmas=levels, teleport=Teleport(gaussian, sigma) if skipped else None, seed=seed)
        features = space(drawn.images)
        first = first or (drawn.images, features)
        made[skipped] = Jump(
            int(drawn.evaluations),
            sigma,
            (_distance(features, data), _distance(drawn.images.flatten(1), pixels)),
            _change(features, first[1], data),
            float((drawn.images - first[0]).square().mean()),
            drawn.images[:SHOWN],
        )
    return made


def _distance(features: Tensor, reference: Moments) -> float:
    return frechet_distance(moments(features.numpy()), reference)


def _change(features: Tensor, first: Tensor, reference: Moments) -> tuple[float, float]:
    """The relative change of the distance, and its standard error by leaving out groups of samples."""

    def change(keep: NDArray[np.bool_]) -> float:
        return _distance(features[keep], reference) / _distance(first[keep], reference) - 1

    group = np.arange(len(features)) % GROUPS
    without = np.array([change(group != i) for i in range(GROUPS)])
    return change(group >= 0), float(np.sqrt((GROUPS - 1) * without.var()))


def _rows(steps: int, jumps: dict[int, Jump]) -> list[Row]:
    printed = PRINTED[steps]
    wrong = sum(jumps[skipped].evaluations != row[0] for skipped, row in printed.items())
    theirs = {}
    for name in printed[0][2]:
        theirs[name] = _saved(
            {skipped: row[2][name] / printed[0][2][name] - 1 for skipped, row in printed.items()}, steps
        )
    saved = _saved({skipped: jump.change[0] for skipped, jump in jumps.items()}, steps)
    best = min(jumps, key=lambda skipped: jumps[skipped].change[0])
    return [
        Row(f"{steps} levels: counts of evaluations that differ from the printed ones", wrong, "0", (0, 0)),
        Row(
            f"{steps} levels: evaluations saved at less than {ALLOWED:.0%} more Frechet distance",
            saved,
            ", ".join(f"{value:.2f} ({name})" for name, value in theirs.items()),
            (0.15, 1),
            note="accepted: the text's 15-30 % or more",
        ),
        Row(
            f"{steps} levels: least change of the Frechet distance",
            jumps[best].change[0],
            note=f"standard error {jumps[best].change[1]:.2g}, at {best} skipped steps",
        ),
    ]


def _saved(changes: dict[int, float], steps: int) -> float:
    """The share of evaluations saved by the most skipped steps up to which every change is allowed."""
    good = 0
    for skipped, change in changes.items():
        if change > ALLOWED:
            break
        good = skipped
    return 2 * good / (2 * steps - 1)


def _table(steps: int, jumps: dict[int, Jump]) -> Table:
    names = list(PRINTED[steps][0][2])
    cells: list[list[Cell]] = []
    for skipped, jump in jumps.items():
        _, sigma, fids = PRINTED[steps][skipped]
        change = f"{jump.change[0]:+.1%} ± {jump.change[1]:.1%}" if skipped else ""
        theirs = [f"{fids[name] / PRINTED[steps][0][2][name] - 1:+.1%}" if skipped else "" for name in names]
        frechet = [f"{value:.4g}" for value in jump.frechet]
        cells.append(
            [str(skipped), jump.evaluations, f"{jump.sigma:.1f}", sigma, *frechet, change, *theirs, f"{jump.moved:.2g}"]
        )
    columns = ["skipped", "evaluations", "level", "printed", "Frechet", "in pixels", "change"]
    return Table(
        [*columns, *(f"FID, {name}" for name in names), "moved"],
        cells,
        caption=f"{'Table 6' if steps == 18 else 'Tables 4 and 5'} made again, {steps} levels. Frechet distances are "
        "to the data, in the components and in the pixels.",
        definitions={
            "level": "The noise level at which the sampler begins, beside the one that the paper prints.",
            "change": "Of the Frechet distance in the components, by skipping, with its standard error; under FID the "
            "change that the paper has.",
            "moved": "Mean squared difference of a value to the image without a jump from the same noise.",
        },
    )


def _figure(jumps: dict[int, Jump]) -> Figure:
    shown = {f"{skipped} skipped": jump.images for skipped, jump in jumps.items() if skipped % 2 == 0}
    return Figure(
        rows_of_images(shown),
        caption="Figure 14 B made again, 18 levels: samples from the same noises, more and more steps skipped.",
        alt="Rows of images that change little over the first rows and blur in the last.",
    )
