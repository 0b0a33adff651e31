r"""*Kernel-smoothed scores*: pictures and numbers of its experiments in few dimensions.

With :math:`t=\sigma^2` the empirical denoiser :math:`\hat m_t`, averaged over shifts :math:`hz`, gives the mollified
score :math:`\hat s_{t,h}(x)=(\mathrm E_z[\hat m_t(x+hz)]-x)/t`.

- **LED-KDE** (sections 3 and 4): the denoiser of two points :math:`\pm1`, where :math:`\hat m_t=\tanh(x/t)`; the
  density :math:`\exp(K_h*\log\hat p_t)` of a spiral and of a line (eq. 7).
- **Swiss roll** (appendix B.2): 10,000 samples of the reverse SDE for several h.

The document at hand has lost its formulas and most of its settings: spiral, N, T and h are our choice and stand beside
the results. Sums over a few points in two or three dimensions are taken densely, for millions of queries.
"""

import math
from itertools import pairwise

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from smoothscore import progress
from smoothscore.report import Figure, Series, Table, curves
from smoothscore.reproduce.pictures import Plane, planes
from smoothscore.reproduce.request import Request
from smoothscore.reproduce.result import Findings, Row
from smoothscore.scores import EmpiricalScore, MollifiedScore

__all__ = ["antithetic", "averaged", "led_kde", "swiss_roll"]

Array = NDArray[np.float64]

SPIRAL_POINTS = 60
SQUARE = 3.6  # half a side of the grid; what is compared is its middle, half as wide
WIDTHS = (0.0, 0.05, 0.1, 0.15, 0.2, 0.5, 1.0)


def averaged(x: Tensor, points: Tensor, t: float, shifts: Tensor) -> tuple[Tensor, Tensor]:
    r"""The denoiser and the trace of the posterior covariance, averaged over shifted queries.

    Args:
        x: (..., n, d) queries.
        points: (..., N, d) training points.
        t: variance of the noise.
        shifts: (S, d).

    Returns:
        (..., n, d) and (..., n).
    """
    moved = (x.unsqueeze(-2) + shifts).flatten(-3, -2)
    square = torch.zeros(())
    for k in range(points.shape[-1]):
        square = square + (moved[..., :, None, k] - points[..., None, :, k]).square_()
    weights = torch.softmax(square / (-2 * t), -1)
    mean = weights @ points
    trace = (weights @ points.square().sum(-1, keepdim=True)).squeeze(-1) - mean.square().sum(-1)
    return mean.reshape(*x.shape[:-1], -1, x.shape[-1]).mean(-2), trace.reshape(*x.shape[:-1], -1).mean(-1)


def antithetic(count: int, dim: int, rng: np.random.Generator) -> Tensor:
    """Standard normal shifts z and -z: (count, dim)."""
    half = torch.from_numpy(rng.standard_normal((count // 2, dim))).float()
    return torch.cat([half, -half])


def spiral(u: Array) -> Array:
    """Points of the spiral of 1.5 turns, for u in [0, 1]: (n, 2)."""
    angle = 1.5 * math.pi * (1 + 2 * u)
    return np.stack([angle * np.cos(angle), angle * np.sin(angle)], -1) / 10


def led_kde(request: Request) -> Findings:
    """Two points, a spiral and a line under the log-exp double kernel."""
    x = torch.linspace(-2, 2, 201, dtype=torch.float64)[:, None]
    two = EmpiricalScore(torch.tensor([[-1.0], [1.0]], dtype=torch.float64))
    times = (0.5, 0.1, 0.02)
    plain = {t: two.denoise(x, math.sqrt(t)) for t in times}
    error = max(float((plain[t] - torch.tanh(x / t)).abs().max()) for t in times)
    smooth = MollifiedScore(two, 0.3, samples=256, nodes="sobol")
    lines = [Series(f"t = {t}", plain[t][:, 0].numpy()) for t in times]
    lines += [Series(f"t = {t}, h = 0.3", smooth.denoise(x, math.sqrt(t))[:, 0].numpy()) for t in times]
    figure_1 = Figure(
        curves(x[:, 0].numpy(), lines, x_label="x", y_label="denoised", log_x=False),
        caption="Figure 1 made again: without smoothing the slope at 0 is 1/t; with it, it stays bounded.",
        alt="Six sigmoid curves between -1 and 1; those with h are less steep.",
    )
    side = 320 if request.full else 160
    time = 0.01
    divergences, panels = _spiral_densities(side, time, request.seed)
    best = min(divergences, key=lambda h: divergences[h])
    rows = [
        Row("two points, largest |denoiser - tanh(x/t)|", error, "0", (0, 1e-9), digits=".1e"),
        Row(
            "KL of the best LED-KDE over that of the KDE",
            divergences[best] / divergences[0.0],
            "less than 1",
            (0, 1),
            note=f"best of the widths tried: h = {best}",
        ),
        Row(
            "line: variance normal to it, over t", _normal_variance(time, 0.3), "1", (1 - 1e-6, 1 + 1e-6), digits=".6f"
        ),
    ]
    table = Table(
        ["h", "KL(p_t || LED-KDE)"],
        [[f"{h:g}", value] for h, value in divergences.items()],
        caption=f"Spiral, {SPIRAL_POINTS} points, t = {time}; h = 0 is the KDE.",
    )
    figure_2 = Figure(
        planes(panels, half=SQUARE / 2),
        caption=f"Figure 2 made again: {SPIRAL_POINTS} points of a spiral, t = {time}; each panel has its own scale.",
        alt="The KDE shows separate blobs; the LED-KDE joins them along the spiral; large h blurs it.",
    )
    setting = {"points": SPIRAL_POINTS, "t": time, "grid": f"{side} x {side} over a square of {2 * SQUARE}"}
    return Findings(rows, setting, [figure_1, figure_2, table])


def _spiral_densities(side: int, t: float, seed: int) -> tuple[dict[float, float], dict[str, Plane]]:
    """KL(p_t || LED-KDE) for several h, and the densities as pictures; the log-density is smoothed on a grid."""
    from scipy.ndimage import gaussian_filter
    from scipy.special import logsumexp

    points = spiral(np.random.default_rng(seed).random(SPIRAL_POINTS))
    ticks = (torch.arange(side, dtype=torch.float64) + 0.5) * (2 * SQUARE / side) - SQUARE
    grid = torch.stack(torch.meshgrid(ticks, ticks, indexing="xy"), -1).reshape(-1, 2)

    def log_density(centers: Array) -> Array:
        logits = torch.cdist(grid, torch.from_numpy(centers)).square_().div_(-2 * t)
        return torch.logsumexp(logits, 1).reshape(side, side).numpy()

    inner = slice(side // 4, side - side // 4)
    truth = log_density(spiral((np.arange(400) + 0.5) / 400))[inner, inner]
    truth -= logsumexp(truth)
    estimate = log_density(points)
    panels = {"true density": Plane(np.exp(truth))}
    divergences = {}
    for h in WIDTHS[:-1]:
        density = gaussian_filter(estimate, h * side / (2 * SQUARE), mode="nearest")[inner, inner]
        density -= logsumexp(density)
        divergences[h] = float((np.exp(truth) * (truth - density)).sum())
        panels[f"LED-KDE, h = {h}" if h else "KDE"] = Plane(np.exp(density), points=points)
    return divergences, panels


def _normal_variance(t: float, h: float) -> float:
    """Variance, over t, of the LED-KDE of points on a line in the plane, normal to it (eq. 7), from its log-density."""
    line = torch.stack([torch.linspace(-1, 1, 7, dtype=torch.float64), torch.zeros(7, dtype=torch.float64)], 1)
    score = MollifiedScore(EmpiricalScore(line), h, samples=64)
    normal = torch.linspace(-8, 8, 401, dtype=torch.float64) * math.sqrt(t)
    density = torch.softmax(score.log_density(torch.stack([torch.full_like(normal, 0.3), normal], 1), math.sqrt(t)), 0)
    return float((density * normal**2).sum()) / t


def swiss_roll(request: Request) -> Findings:
    """Memorization, distance to the spiral and share of it covered, for several h."""
    from scipy.spatial import cKDTree

    samples, shifts = (10_000, 32) if request.full else (500, 16)
    points = spiral(np.random.default_rng(request.seed).random(SPIRAL_POINTS))
    curve = spiral((np.arange(20_000) + 0.5) / 20_000)
    measures, panels = {}, {}
    with progress.task("Swiss roll", total=len(WIDTHS)) as advance:
        for h in WIDTHS:
            drawn = _reverse_sde(torch.from_numpy(points).float(), samples, h, shifts, request.seed)
            first, second = cKDTree(points).query(drawn, 2)[0].T
            measures[h] = (
                float((first < second / 3).mean()),
                float(cKDTree(curve).query(drawn)[0].mean()),
                float((cKDTree(drawn).query(curve)[0] < 0.05).mean()),
            )
            panels[f"h = {h}"] = Plane(points=drawn)
            advance(1)
    memorized, distance, covered = ({h: m[i] for h, m in measures.items()} for i in range(3))
    moderate = max((h for h in WIDTHS if h), key=lambda h: covered[h])
    rows = [
        Row("memorized (d1 < d2 / 3), h = 0", memorized[0.0], "memorization", (0.5, 1)),
        Row(f"memorized, h = {moderate}, over h = 0", memorized[moderate] / memorized[0.0], "decreases", (0, 0.8)),
        Row(f"spiral covered, h = {moderate}", covered[moderate], "a large part", (0.75, 1)),
        Row(
            f"distance to the spiral, h = 1, over h = {moderate}",
            distance[1.0] / distance[moderate],
            "grows",
            (2, math.inf),
        ),
    ]
    table = Table(
        ["h", "memorized", "mean distance to the spiral", "spiral covered"],
        [[f"{h:g}", *(round(value, 4) for value in m)] for h, m in measures.items()],
        caption="Memorized: d1/d2 below 1/3. Covered: share of the spiral within 0.05 of a sample.",
    )
    figure = Figure(
        planes(panels, half=2.2),
        caption="Samples for several h: figure 7 made again.",
        alt="Small h gives dots at the training points, moderate h a spiral, large h a cloud off it.",
    )
    setting = {
        "points": SPIRAL_POINTS,
        "samples": samples,
        "T": 2.0,
        "t0": 1e-5,
        "steps": "200, geometric in t",
        "shifts": f"{shifts}, new at every step",
    }
    return Findings(rows, setting, [table, figure])


def _reverse_sde(points: Tensor, samples: int, h: float, shifts: int, seed: int) -> Array:
    """Samples of the reverse SDE with the mollified score from T = 2 down to t = 1e-5: (samples, 2)."""
    rng = np.random.default_rng(seed)

    def normal() -> Tensor:
        return torch.from_numpy(rng.standard_normal((samples, 2))).float()

    times = np.geomspace(2.0, 1e-5, 201)
    x = math.sqrt(times[0]) * normal()
    for t, after in pairwise(times):
        z = h * antithetic(shifts, 2, rng) if h else torch.zeros(1, 2)
        mean = torch.cat([averaged(part, points, t, z)[0] for part in torch.split(x, 2000)])
        x = x + (t - after) / t * (mean - x) + math.sqrt(t - after) * normal()
    z = h * antithetic(shifts, 2, rng) if h else torch.zeros(1, 2)
    return torch.cat([averaged(part, points, times[-1], z)[0] for part in torch.split(x, 2000)]).double().numpy()
