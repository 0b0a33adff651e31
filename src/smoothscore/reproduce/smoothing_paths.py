r"""*Smoothing the score function*: the figures that follow points along sampling steps.

**Figure 4** (section 5.1.2). Expansiveness :math:`\gamma` of one step of size :math:`0.1\,\sigma^2` between points
:math:`0.2\,\sigma` apart, for random pairs of training images, by the closed forms of
:mod:`smoothscore.geometry.expansiveness`; the paper prints a plot without numbers, so its claims are compared.

**Collapse time** (appendix B.4.1). Paths that start at :math:`50\,N(0,I)` and follow a score over 10,000 images for 116
steps at their actual noise level; the first step at which one training image carries more than 0.95 of the weight.
"""

import math
from collections.abc import Callable
from functools import partial
from itertools import pairwise

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from smoothscore.data import ImageSet
from smoothscore.geometry.collapse import collapse_time, true_level_path
from smoothscore.geometry.expansiveness import (
    conditional_expansion,
    expansion_pairs,
    expansion_ratio,
    unconditional_expansion,
)
from smoothscore.report import Cell, Figure, Series, Table, curves
from smoothscore.reproduce.request import Request
from smoothscore.reproduce.result import Findings, Row, further_draw
from smoothscore.sampling import noise
from smoothscore.schedules import shell_touch
from smoothscore.scores import EmpiricalScore, UnifiedScore

__all__ = ["collapse", "figure_4"]

Array = NDArray[np.float64]
Integers = NDArray[np.int64]
Law = Callable[[Array, float], Array]

CAT_CARACAL = 1200  # images in the paper's data set, which is not public
TEMPERATURES = (1, 10, 100, 1000)
GAP, STEP = 0.2, 0.1


def figure_4(request: Request) -> Findings:
    """Expansiveness of the closed-form scores over noise levels."""
    images = request.images()
    images = images.subset(min(CAT_CARACAL, len(images)), request.seed)
    centers = images.tensor(torch.float64)
    first, second, distance = _random_pairs(centers, 10_000 if request.full else 1_000, request.seed)
    sigmas = float(np.median(distance)) / (2 * math.sqrt(images.dim)) * np.geomspace(1, 20, 14)
    laws: dict[str, Law] = {"conditional": partial(conditional_expansion, gap=GAP, step=STEP)}
    for t in TEMPERATURES:
        laws[f"T = {t}"] = partial(unconditional_expansion, dim=images.dim, temperature=t, gap=GAP, step=STEP)
    meeting = [distance[distance / 2 - GAP * s / 2 <= s * math.sqrt(images.dim)] for s in sigmas]
    mean = {n: np.array([law(d, s).mean() for d, s in zip(meeting, sigmas, strict=True)]) for n, law in laws.items()}
    ordered = [mean[f"T = {a}"] > mean[f"T = {b}"] for a, b in pairwise(TEMPERATURES)]
    rows = [
        Row("steps to less noise at which it grows", float((np.diff(mean["conditional"]) < 0).mean()), "all", (1, 1)),
        Row("levels at which each larger T has less", float(np.all(ordered, axis=0).mean()), "all", (1, 1)),
        *(_share_of_conditional(t, float(mean[f"T = {t}"][0] / mean["conditional"][0])) for t in TEMPERATURES),
    ]
    figure = Figure(
        curves(
            sigmas,
            [Series(name, values) for name, values in mean.items()],
            x_label="noise level σ (pixels in [−1, 1])",
            y_label="mean expansiveness",
            log_y=True,
        ),
        caption="Figure 4 for the closed-form scores: above 1 a sampling step drives the two points apart.",
        alt="Expansiveness falls as the noise level or the temperature grows.",
    )
    some = slice(0, 64 if request.full else 8)
    setting = {
        "data": f"{images.source} ({CAT_CARACAL} Cat-Caracal images in the paper, not public)",
        "images": len(images),
        "pairs": len(distance),
        "gap": f"{GAP} sigma",
        "step": f"{STEP} sigma^2",
        "centers": "the two of a pair; all of them in the table",
    }
    return Findings(
        rows, setting, [figure, _all_centers(centers, first[some], second[some], sigmas[::3], request.seed)]
    )


def _share_of_conditional(temperature: int, share: float) -> Row:
    note = (
        "both points see their two centers at nearly equal distances, where the unconditional log weight ratio "
        "(d - 2) ln C is the conditional one: without temperature little changes"
        if share > 0.5
        else ""
    )
    return Row(f"T = {temperature} over conditional, least noise", share, "much smaller", (0, 0.5), note=note)


def _random_pairs(centers: Tensor, pairs: int, seed: int) -> tuple[Integers, Integers, Array]:
    """Random pairs of different images and their distances."""
    rng = np.random.default_rng(seed)
    first = rng.integers(len(centers), size=pairs)
    second = (first + rng.integers(1, len(centers), size=pairs)) % len(centers)
    blocks = zip(np.array_split(first, 64), np.array_split(second, 64), strict=True)
    distance = np.concatenate([(centers[a] - centers[b]).flatten(1).square().sum(1).sqrt().numpy() for a, b in blocks])
    differ = distance > 0
    return first[differ], second[differ], distance[differ]


def _all_centers(centers: Tensor, first: Integers, second: Integers, sigmas: Array, seed: int) -> Table:
    """The same with every training image a center: the step of the scores themselves."""
    scores = {"conditional": EmpiricalScore(centers)} | {
        f"T = {t}": UnifiedScore(
            centers, shell_touch(0.02, 100.0, centers[0].numel()), float(t), optimal_shell="continuous"
        )
        for t in TEMPERATURES
    }
    rows: list[list[Cell]] = []
    for sigma in sigmas:
        pairs = expansion_pairs(centers[first], centers[second], float(sigma), GAP, seed)
        ratios = [
            float(expansion_ratio(score, pairs.x, pairs.y, float(sigma), STEP).mean()) for score in scores.values()
        ]
        rows.append([f"{sigma:.3g}", len(pairs.index), *ratios])
    return Table(
        ["noise level", "pairs that meet", *scores],
        rows,
        caption="Mean expansiveness with all images as centers, by stepping the scores themselves.",
    )


def collapse(request: Request) -> Findings:
    """The step at which one training image takes over, without and with unconditioning and temperature."""
    images = request.images()
    count, paths = (10_000, 12) if request.full else (500, 3)
    images = images.subset(min(count, len(images)), request.seed)
    levels = shell_touch(0.01, 50.0, images.dim)
    contraction = 1 - float(levels[1] / levels[0])
    start = (levels[0] * noise(request.seed, 0, paths, images.shape)).float()
    times, shared = _walks(images, levels, start, contraction)
    table = Table(
        ["path", *times],
        [[str(i + 1), *(_step(values[i]) for values in times.values())] for i in range(paths)],
        caption="First step, from 1, at which one image carries more than 0.95 of the weight.",
    )
    setting = {
        "data": images.source,
        "images": len(images),
        "steps": len(levels),
        "paths": paths,
        "start": "50 N(0, I), pixels in [-1, 1]",
        "contraction": f"{contraction:.4f} a step",
        "temperature": "one for all centers",
    }
    return Findings(_collapse_rows(times, shared, len(levels)), setting, [table])


def _walks(
    images: ImageSet, levels: Tensor, start: Tensor, contraction: float
) -> tuple[dict[str, Array], dict[str, Array]]:
    """Collapse times by each score's own weights; by those at one level for all centers, at the same temperature."""
    empirical = EmpiricalScore(images)
    times, shared = {}, {}
    for temperature in (None, 1.0, 500.0, 1000.0):
        name = "conditional" if temperature is None else f"T = {temperature:g}"
        score = UnifiedScore(images, levels, temperature, optimal_shell="continuous") if temperature else empirical
        path = list(true_level_path(score, images, start, len(levels), contraction))
        times[name] = collapse_time(score.weights, path).numpy()
        if temperature and temperature > 1:
            tempered = ((x, math.sqrt(temperature) * sigma) for x, sigma in path)
            shared[name] = collapse_time(empirical.weights, tempered).numpy()
    return times, shared


def _collapse_rows(times: dict[str, Array], shared: dict[str, Array], steps: int) -> list[Row]:
    conditional = times["conditional"]
    half, spread = further_draw(conditional.tolist()), float(conditional.std(ddof=1))
    likely = "accepted: the printed path is a likely (95 %) further one"
    near = "where one image is near, one level for all centers or one for each make little difference"
    along = "weights at the level of the nearest center, along the same path; inf: at no step"
    later = (float(conditional.max()) + 1, float(steps))
    never = "inf: at no step; the paper shows a late collapse"
    return [
        Row("conditional, mean step", float(conditional.mean()), "35", (35 - half, 35 + half), note=likely),
        Row("T = 1, mean delay", float((times["T = 1"] - conditional).mean()), "much", (spread, math.inf), note=near),
        Row("T = 500, median step", float(np.median(times["T = 500"])), "later", later, note=never),
        Row("T = 1000, share that collapses", float(np.isfinite(times["T = 1000"]).mean()), "0", (0, 0)),
        *(Row(f"{name}, median step, one level", float(np.median(v)), note=along) for name, v in shared.items()),
    ]


def _step(value: float) -> str:
    return "never" if math.isinf(value) else f"{value:.0f}"
