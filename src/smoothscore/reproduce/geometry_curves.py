r"""*Two calm ends and the wild middle*: posterior weight and shell coverage over noise levels.

- **Figures 3 and 7** (1,000 CIFAR-10 images): the posterior weight :math:`W(\sigma)`, the own weight
  :math:`\mathrm E[w_i]`, and the coverage :math:`\mathrm{Cov}(\sigma)` of other images.
- **Figure 6**: the coverage between the bounds of Thm. 4.8,
  :math:`\mathrm E[q(\Delta_{NN};\sigma)]\le\mathrm{Cov}(\sigma)\le N\,\mathrm E[q(\|X-X'\|;\sigma)]+2e^{-t}`, over
  fresh training sets.
- **Figure 8**: the curves of Figure 3 for 2,000 automobiles and 1,000 others.

The document at hand has lost every number of these figures, and the rule that makes the danger zone: here it is
where both curves are at least 0.9. What it says in words is compared; the numbers are shown.
"""

import math
from collections.abc import Sequence

import numpy as np

from smoothscore import schedules
from smoothscore.data import ImageSet
from smoothscore.geometry.coverage import coverage
from smoothscore.geometry.curve import Array, Curve
from smoothscore.geometry.danger import balance, danger_zone
from smoothscore.geometry.posterior import concentration
from smoothscore.geometry.shells import OverlapTable, Shell
from smoothscore.report import Figure, Region, Series, Table, curves
from smoothscore.reproduce.request import Request
from smoothscore.reproduce.result import Findings, Row

__all__ = ["automobiles", "coverage_bounds", "danger", "pair_bound"]

AUTOMOBILE = 1
THICKNESS = 5.0
HIGH = 0.9


def danger(request: Request) -> Findings:
    """Figures 3 and 7: the two curves that make the three regimes, and the own weight beside the largest."""
    train, held_out = request.split(1000, 1000 if request.full else 300)
    points, noises = (100, 400) if request.full else (50, 50)
    sigmas = _levels()
    weights = concentration(train, sigmas, request.seed, noises, points)
    largest, own = weights.largest.curve(), weights.own.curve()
    covered = coverage(train, held_out, sigmas, request.seed, noises // 4, None, THICKNESS).curve()
    itself = (weights.own.values > 0.999999 * weights.largest.values).mean((1, 2))  # up to rounding
    own_largest = Curve(largest.sigmas, itself, np.zeros_like(itself))
    rows = _regimes(largest, covered)
    for level in (0.95, HIGH, 0.5, 0.1):
        sigma = _crossing(largest, level)
        moderate = level >= HIGH
        rows += [
            Row(
                f"own weight is the largest, where that is {level}",
                float(own_largest.at(sigma)),
                "usually" if moderate else "",
                (0.5, 1) if moderate else None,
            ),
            Row(f"own weight, where the largest is {level}", float(own.at(sigma))),
        ]
    figure_7 = Figure(
        _drawing([Series("largest weight", *_band(largest)), Series("own weight", *_band(own))], sigmas),
        caption="Figure 7 made again: the largest weight is that of the noised image itself, up to moderate noise.",
        alt="Two curves that fall from 1 to 0 together; the own weight leaves the largest one on the way down.",
    )
    setting = _setting(train, held_out, f"{points} with {noises} noises", f"all with {noises // 4} noises")
    return Findings(rows, setting, [_figure_3(largest, covered), figure_7, _table(largest, own, covered)])


def automobiles(request: Request) -> Findings:
    """Figure 8: the curves of Figure 3 for automobiles."""
    train, held_out = request.split(2000, 1000 if request.full else 200, label=AUTOMOBILE)
    points, noises = (500, 100) if request.full else (50, 50)
    sigmas = _levels()
    weights = concentration(train, sigmas, request.seed, noises, points)
    largest, own = weights.largest.curve(), weights.own.curve()
    covered = coverage(train, held_out, sigmas, request.seed, noises, None, THICKNESS).curve()
    setting = _setting(train, held_out, f"{points} with {noises} noises", f"all with {noises} noises")
    return Findings(_regimes(largest, covered), setting, [_figure_3(largest, covered), _table(largest, own, covered)])


def coverage_bounds(request: Request) -> Findings:
    """Figure 6: the coverage and its two bounds, averaged over fresh training sets."""
    images = request.images()
    trials, held_out, noises, pairs = (10, 100, 100, 10_000) if request.full else (2, 50, 25, 2000)
    count = min(1000, 3 * len(images) // 4)
    held_out = min(held_out, len(images) - count)
    sigmas = _levels()
    draws = []
    for seed in range(request.seed, request.seed + trials):
        train, others = images.split((count, held_out), seed=seed)
        draws.append(coverage(train, others, sigmas, seed, noises, None, THICKNESS).curve())
    mean = np.mean([curve.mean for curve in draws], axis=0)
    stderr = np.std([curve.mean for curve in draws], axis=0, ddof=1) / math.sqrt(trials)
    covered = Curve(draws[0].sigmas, mean, stderr)
    lower = Curve(covered.sigmas, np.mean([np.asarray(curve.lower) for curve in draws], axis=0), np.zeros_like(mean))
    upper = Curve(covered.sigmas, pair_bound(images, count, covered.sigmas, pairs, request.seed), np.zeros_like(mean))
    slack = 3 * np.maximum(stderr, 1e-3)
    rows = [
        Row("levels where the lower bound holds", float((lower.mean <= mean + slack).mean()), "all", (1, 1)),
        Row("levels where the upper bound holds", float((mean <= upper.mean + slack).mean()), "all", (1, 1)),
        Row("coverage less lower bound, most", float((mean - lower.mean).max()), "very accurate", (-0.01, 0.05)),
        Row("upper bound less coverage, most", float((upper.mean - mean).max())),
        *(
            Row(f"noise level of half for the {name}", _crossing(curve, 0.5))
            for name, curve in {"coverage": covered, "lower bound": lower, "upper bound": upper}.items()
        ),
    ]
    lines = [Series("lower bound", lower.mean), Series("coverage", *_band(covered)), Series("upper bound", upper.mean)]
    figure = Figure(
        _drawing(lines, sigmas),
        caption="Figure 6 made again: the nearest training image alone gives nearly the whole coverage.",
        alt="Three rising curves; lower bound and coverage nearly agree, the upper bound rises earlier.",
    )
    setting = {
        "data": images.source,
        "training sets": f"{trials} of {count}",
        "held out": f"{held_out} a set",
        "noises": noises,
        "pairs for the upper bound": pairs,
        "t": THICKNESS,
        "overlap": "one-dimensional integral",
        "levels": "EDM's 40",
    }
    return Findings(rows, setting, [figure])


def pair_bound(images: ImageSet, count: int, sigmas: Array, pairs: int, seed: int) -> Array:
    """The upper bound of Thm. 4.8 for ``count`` training images, from distances of random pairs; at most 1."""
    rng = np.random.default_rng(seed)
    first = rng.integers(len(images), size=pairs)
    second = (first + rng.integers(1, len(images), size=pairs)) % len(images)
    blocks = zip(np.array_split(first, 32), np.array_split(second, 32), strict=True)
    differences = (images[a].tensor() - images[b].tensor() for a, b in blocks)
    distances = np.concatenate([part.flatten(1).norm(dim=1).double().numpy() for part in differences])
    overlap = OverlapTable.of(Shell.laurent_massart(images.dim, THICKNESS), own_shell=True)
    means = np.array([overlap(distances / sigma).mean() for sigma in sigmas])
    return np.minimum(count * means + 2 * math.exp(-THICKNESS), 1)


def _levels() -> Array:
    return np.asarray(schedules.karras(40).numpy())


def _regimes(weight: Curve, covered: Curve) -> list[Row]:
    """What the paper says of the three regimes, and the numbers that the document has lost."""
    zone = danger_zone(weight, covered, HIGH, HIGH)
    cross = balance(weight, covered)
    ends = zone or (math.nan, math.nan)
    inside = zone is not None and cross is not None and zone[0] < cross < zone[1]
    at = covered.at(np.array([weight.sigmas.min(), weight.sigmas.max()]))
    rows = [
        Row("least noise: weight", float(weight.at(weight.sigmas.min())), "high", (HIGH, 1)),
        Row("least noise: coverage", float(at[0]), "low", (0, 1 - HIGH)),
        Row("most noise: weight", float(weight.at(weight.sigmas.max())), "low", (0, 1 - HIGH)),
        Row("most noise: coverage", float(at[1]), "high", (HIGH, 1)),
        Row("danger zone around the intersection (1: yes)", float(inside), "yes", (1, 1)),
        Row("danger zone, low end", ends[0]),
        Row("danger zone, high end", ends[1]),
        Row("intersection", math.nan if cross is None else cross),
    ]
    for name, curve, levels in (("weight", weight, (0.95, 0.9, 0.5, 0.1)), ("coverage", covered, (0.95, 0.9, 0.5))):
        rows += [Row(f"{name} = {level} at", _crossing(curve, level)) for level in levels]
    return rows


def _crossing(curve: Curve, level: float) -> float:
    """The largest noise level at which the curve passes ``level``; NaN if there is none."""
    return max(curve.crossings(level), default=math.nan)


def _figure_3(weight: Curve, covered: Curve) -> Figure:
    zone = danger_zone(weight, covered, HIGH, HIGH)
    regions = [Region("danger zone", *zone, shaded=True)] if zone else []
    lines = [Series("posterior weight", *_band(weight)), Series("shell coverage", *_band(covered))]
    return Figure(
        _drawing(lines, weight.sigmas, regions),
        caption=f"The danger zone: both curves are at least {HIGH}.",
        alt="The weight falls and the coverage rises with the noise; between their two steps both are high.",
    )


def _drawing(lines: Sequence[Series], sigmas: Array, regions: Sequence[Region] = ()) -> str:
    return curves(
        sigmas,
        lines,
        x_label="noise level σ (pixels in [−1, 1])",
        y_label="probability",
        y_range=(-0.02, 1.05),
        regions=regions,
    )


def _band(curve: Curve) -> tuple[Array, Array, Array]:
    return curve.mean, curve.mean - 2 * curve.stderr, curve.mean + 2 * curve.stderr


def _table(largest: Curve, own: Curve, covered: Curve) -> Table:
    values = zip(largest.sigmas, largest.mean, largest.stderr, own.mean, covered.mean, covered.stderr, strict=True)
    return Table(
        ["noise level", "weight", "its error", "own weight", "coverage", "its error"],
        [[f"{row[0]:.4g}", *(f"{value:.4f}" for value in row[1:])] for row in values if 0.3 < row[0] < 30],
        caption="The curves between 0.3 and 30, with standard errors over images and noises.",
    )


def _setting(train: ImageSet, held_out: ImageSet, weight: str, covered: str) -> dict[str, object]:
    return {
        "data": train.source,
        "images": len(train),
        "held out": f"{len(held_out)} of {held_out.source}",
        "weight": weight,
        "coverage": covered,
        "levels": "EDM's 40",
        "t": THICKNESS,
        "high": HIGH,
        "units": "pixels in [-1, 1]",
    }
