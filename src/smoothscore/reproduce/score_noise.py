r"""*Kernel-smoothed scores*, Theorem 2 and Figures 3 and 8: the sampling noise of the empirical score.

With :math:`t=\sigma^2` and N training points, :math:`\sqrt N(\hat m_t-m_t)` is asymptotically normal with covariance

.. math::
    C_t(x,y)=\frac{\mathrm E[(X-m_t(x))(X-m_t(y))^\top\varphi_t(x-X)\,\varphi_t(y-X)]}{p_t(x)\,p_t(y)},\qquad
    \hat C_t(x)=N\sum_iw_i^2(x_i-\hat m)(x_i-\hat m)^\top

as its plug-in estimate, and the score's covariance is that over :math:`t^2`. On a manifold of dimension k with density
p it tends, for :math:`t\to0`, to :math:`\frac{(4\pi t)^{-k/2}}{2t\,p}P_T`: noise along the manifold and none across.
For two points on a line at distance w the limit is
:math:`\frac{(4\pi t)^{-1/2}}{t^2}e^{-w^2/4t}\frac{p((x+y)/2)}{p(x)\,p(y)}[\frac t2-\frac{w^2}4]`.

The document at hand has lost N, t and the spiral's formula; they are our choice and stand beside the results.
"""

import math
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray

from smoothscore.data import ImageSet
from smoothscore.errors import InputError
from smoothscore.geometry.sampling_noise import sampling_noise
from smoothscore.report import Figure, Table, image_grid
from smoothscore.reproduce.kernel import spiral
from smoothscore.reproduce.pictures import Plane, planes
from smoothscore.reproduce.request import Request
from smoothscore.reproduce.result import Findings, Row

__all__ = ["line_covariance", "line_limit", "score_noise"]

Array = NDArray[np.float64]

TIMES = (0.02, 0.005, 0.001)
SMALL = (1e-2, 1e-3, 1e-4)
SHOWN = 5
CENTER = slice(7, 21)  # the middle half of 28 pixels


def _normal(x: Any, mean: float = 0.0, std: float = 1.0) -> Any:
    """The normal density, at a number or an array of them."""
    return np.exp(-(((x - mean) / std) ** 2) / 2) / (std * math.sqrt(2 * math.pi))


def line_covariance(x: float, y: float, t: float) -> float:
    """Covariance of the score's noise, times N, at two points of a line of standard normal data, by quadrature."""
    reach = 12 * math.sqrt(t)
    grid = np.linspace(min(x, y) - reach, max(x, y) + reach, 200_001)
    step, density = grid[1] - grid[0], _normal(grid)
    kernels = [_normal(grid, point, math.sqrt(t)) for point in (x, y)]
    masses = [(kernel * density).sum() * step for kernel in kernels]
    means = [(grid * k * density).sum() * step / m for k, m in zip(kernels, masses, strict=True)]
    product = (grid - means[0]) * (grid - means[1]) * kernels[0] * kernels[1] * density
    return float(product.sum() * step / (masses[0] * masses[1] * t**2))


def line_limit(x: float, y: float, t: float) -> float:
    """The small-time limit of :func:`line_covariance`; Theorem 2 (ii)."""
    w = x - y
    ratio = _normal((x + y) / 2) / (_normal(x) * _normal(y))
    return float((4 * math.pi * t) ** -0.5 / t**2 * math.exp(-(w**2) / (4 * t)) * ratio * (t / 2 - w**2 / 4))


def score_noise(request: Request) -> Findings:
    """Directions and size of the noise on a spiral, on a line and on digits."""
    images = request.images("mnist-5k")
    if tuple(images.shape) != (1, 28, 28):
        raise InputError(f"{request.name} takes gray images of 28 x 28 pixels; {images.source} has {images.shape}.")
    images = images.subset(len(images) if request.full else min(1000, len(images)), request.seed)
    rows, table, roll = _spiral(20_000 if request.full else 5000, 200 if request.full else 50, request.seed)
    rows += _line(4000 if request.full else 1000, request.seed)
    more, digits = _digits(images, request.seed)
    setting = {
        "spiral": f"{20_000 if request.full else 5000} points",
        "line": f"standard normal, {4000 if request.full else 1000} sets of 2,000 points",
        "digits": f"{len(images)} of {images.source}",
    }
    return Findings([*rows, *more], setting, [roll, table, digits])


def _spiral(count: int, queries: int, seed: int) -> tuple[list[Row], Table, Figure]:
    """Alignment with the curve and size of the noise, at points of the curve away from its ends."""
    points = spiral(np.random.default_rng(seed).random(count))
    train = torch.from_numpy(points)
    u = np.linspace(0.1, 0.9, queries)
    speed = (spiral(u + 1e-6) - spiral(u - 1e-6)) / 2e-6
    length = np.linalg.norm(speed, axis=1)
    tangent = speed / length[:, None]
    cells = []
    for t in TIMES:
        found = sampling_noise(train, torch.from_numpy(spiral(u)), math.sqrt(t))
        along = np.abs((np.stack([noise.directions[0].numpy() for noise in found]) * tangent).sum(1))
        first = np.array([float(noise.variances[0]) for noise in found])
        across = np.array([noise.trace for noise in found]) - first
        limit = (4 * math.pi * t) ** -0.5 * length * t / 2  # density along the curve: 1 / length
        effective = float(np.mean([noise.images / noise.concentration for noise in found]))
        cells.append([t, along.mean(), (across / first).mean(), (first / limit).mean(), effective])
    last = cells[-1]
    rows = [
        Row(f"spiral, t = {last[0]}: |cos| of the first axis and the tangent", last[1], "tangent", (0.99, 1)),
        Row(f"spiral, t = {last[0]}: variance across over variance along", last[2], "little", (0, 0.1)),
        Row(f"spiral, t = {last[0]}: variance along over its limit", last[3], "1", (0.9, 1.1)),
    ]
    table = Table(
        ["t", "|cos| with the tangent", "across over along", "along over its limit", "effective points"],
        [[f"{c[0]:g}", *(f"{value:.4f}" for value in c[1:4]), f"{c[4]:.0f}"] for c in cells],
        caption="Spiral: means over points of the curve. As t falls the noise turns into the curve.",
    )
    return rows, table, _field(points)


def _field(points: Array) -> Figure:
    ticks = torch.linspace(-1.6, 1.6, 33, dtype=torch.float64)
    grid = torch.stack(torch.meshgrid(ticks, ticks, indexing="xy"), -1).reshape(-1, 2)
    panels = {}
    for t in (TIMES[0], TIMES[-1]):
        found = sampling_noise(torch.from_numpy(points[:5000]), grid, math.sqrt(t))
        arrows = np.stack([noise.directions[0].numpy() for noise in found]).reshape(33, 33, 2)
        size = np.log10([max(noise.trace, 1e-12) for noise in found])
        panels[f"t = {t}"] = Plane(size.reshape(33, 33), arrows, points[:500])
    return Figure(
        planes(panels, 1.6),
        caption="Figure 3 made again: the main direction of the score's noise, over the log of its variance. Near "
        "the spiral (dots) it runs along the spiral; between its turns it jumps from one to the next.",
        alt="Two panels of short arrows that follow the turns of a spiral.",
    )


def _line(sets: int, seed: int) -> list[Row]:
    """Theorem 2 on a line: the noise of drawn data sets, and the limits of its exact covariance."""
    rng = np.random.default_rng(seed)
    t, count, x, y = 0.01, 2000, 0.3, 0.42
    scores = []
    for part in np.array_split(np.arange(sets), max(1, sets // 200)):
        data = rng.standard_normal((len(part), count))
        logits = np.stack([-((data - point) ** 2) / (2 * t) for point in (x, y)])
        weights = np.exp(logits - logits.max(-1, keepdims=True))
        denoised = (weights * data).sum(-1) / weights.sum(-1)
        scores.append((denoised - np.array([[x], [y]])) / t)
    drawn = math.sqrt(count) * np.concatenate(scores, axis=1)
    covariance = np.cov(drawn)
    exact = [[line_covariance(a, b, t) for b in (x, y)] for a in (x, y)]
    rows = []
    for name, i, j in (("variance at a point", 0, 0), ("covariance of two points", 0, 1)):
        error = math.sqrt((exact[i][i] * exact[j][j] + exact[i][j] ** 2) / sets)
        rows.append(
            Row(
                f"line, t = {t}, {count:,} points: {name}, drawn",
                float(covariance[i, j]),
                f"{exact[i][j]:.4g}",
                (exact[i][j] - 4 * error, exact[i][j] + 4 * error),
                note="Theorem 2 (i), its covariance by quadrature; accepted: four standard errors",
            )
        )
    for t in SMALL:
        paper, accepted = ("1", (0.99, 1.01)) if t == SMALL[-1] else ("", None)
        for name, other in (("variance", x), ("covariance at distance 0.7 sigma", x + 0.7 * math.sqrt(t))):
            share = line_covariance(x, other, t) / line_limit(x, other, t)
            rows.append(Row(f"line, t = {t:g}: {name} over its limit", share, paper, accepted))
    return rows


def _digits(images: ImageSet, seed: int) -> tuple[list[Row], Figure]:
    """First and last axes at four of the digits, at a level where many images share the weight."""
    chosen = np.random.default_rng(seed).choice(len(images), 4, replace=False)
    x = images[chosen].tensor(torch.float64)
    sigma = 6.0
    found = sampling_noise(images, x, sigma)
    pictures, first, last = [], [], []
    for i, noise in enumerate(found):
        kept = torch.cat([noise.directions[:SHOWN], noise.directions[-SHOWN:]]).numpy()[:, 0]
        energy = (kept[:, CENTER, CENTER] ** 2).sum((1, 2))
        first.append(energy[:SHOWN])
        last.append(energy[SHOWN:])
        gray = 127.5 * (1 + kept / np.abs(kept).max((1, 2), keepdims=True))
        pictures += [images.take([chosen[i]])[0], *gray.round().astype(np.uint8)[:, None]]
    largest = [float(noise.variances[:SHOWN].sum()) / noise.trace for noise in found]
    effective = [noise.images / noise.concentration for noise in found]
    place = f"digits, sigma = {sigma:g}"
    rows = [
        Row(f"{place}: first {SHOWN} axes, share in the middle half", float(np.mean(first)), "the digit", (0.5, 1)),
        Row(f"{place}: last {SHOWN} axes, share in the middle half", float(np.mean(last)), "none", (0, 0.05)),
        Row(f"{place}: variance of the first {SHOWN} axes, share of all", float(np.mean(largest))),
        Row(f"{place}: effective number of images", float(np.mean(effective))),
    ]
    figure = Figure(
        image_grid(np.stack(pictures), 1 + 2 * SHOWN),
        caption=f"Figure 8 made again: digits, the first {SHOWN} and the last {SHOWN} axes of the score's noise there.",
        alt="Rows of a digit, five pictures of strokes near the digit, and five pictures with a gray middle.",
    )
    return rows, figure
