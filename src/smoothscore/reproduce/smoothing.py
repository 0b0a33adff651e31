r"""*Smoothing the score function*: the tables.

**Table 3** (appendix B.2.2). Two adjacent levels of the shell-touch schedule, :math:`\sigma_{i+1}/\sigma_i=
(1+\epsilon)/(1-\epsilon)` with :math:`\epsilon=3/\sqrt{2d}`, and a point whose distance from a center lies the
fraction :math:`\alpha` of the way between the two shells. With :math:`q=2\epsilon/(1-\epsilon)` the log of the ratio
of their two weights is

.. math::
    \ln\frac{w_i}{w_{i+1}}=2(d-2)\,\mathrm{artanh}\,\epsilon-\frac d2(1+\alpha q)^2\frac{4\epsilon}{(1+\epsilon)^2}
    \;\longrightarrow\;18(1-2\alpha)\quad(d\to\infty),

a form without cancellation, exact in float64 up to :math:`d=10^{12}`.

**Tables 4 and 5** (appendix B.2.4). At points near the bisectors of random pairs among 100 images,
:math:`J=\tfrac1T\mathrm{Cov}_w(a)-c_TI` with :math:`a_j=(\mu_j-x)/\sigma_j^2` and :math:`c_T=\sum_jw_j/\sigma_j^2`.
The text leaves the points open; the reading that gives the printed radii is the midpoint of the pair plus a normal
perturbation of 0.005 in every pixel.
"""

import math
from dataclasses import dataclass
from itertools import combinations

import numpy as np
import torch
from numpy.typing import NDArray

from smoothscore import progress
from smoothscore.data import ImageSet
from smoothscore.neighbors import nearest
from smoothscore.report import Figure, Table, histogram
from smoothscore.reproduce.request import Request
from smoothscore.reproduce.result import Findings, Row, further_draw, printed
from smoothscore.scores import EmpiricalScore, UnifiedScore
from smoothscore.scores.jacobian import CenterJacobian, Jacobian

__all__ = ["level_dominance", "table_3", "tables_4_and_5"]

Array = NDArray[np.float64]

ALPHAS = {"1/10": 1 / 10, "1/6": 1 / 6, "1/3": 1 / 3}
TABLE_3: dict[float, tuple[str, ...]] = {
    3 * 32**2: ("7.240e5", "6.977e4", "1.907e2"),
    3 * 64**2: ("1.129e6", "1.057e5", "2.763e2"),
    3 * 128**2: ("1.419e6", "1.309e5", "3.335e2"),
    3 * 256**2: ("1.595e6", "1.459e5", "3.667e2"),
    10**12: ("1.794e6", "1.628e5", "4.034e2"),
}
TABLE_3_LIMIT = ("1.794e6", "1.628e5", "4.034e2")

CONDITIONAL = "conditional"
RADIUS_AND_DIAGONAL = {
    CONDITIONAL: ("3.252e4", "37.97"),
    "T = 1": ("3.251e4", "37.96"),
    "T = 10": ("8.990e3", "37.94"),
    "T = 100": ("9.726e2", "37.33"),
    "T = 1000": ("20.98", "18.15"),
    "T = 10000": ("13.11", "13.11"),
}
IMAGES = 100
AUTOMOBILE = 1


def level_dominance(dim: float, alpha: float) -> float:
    """How many times the weight of a level exceeds that of the next one, for one center.

    Args:
        dim: dimension d of one image, at least 5; ``inf`` for the limit.
        alpha: position between the two shells, 0 on the first, 1 on the second.

    Source: Smoothing the score function, Proposition 2.1 and appendix B.2.2.
    """
    if math.isinf(dim):
        return math.exp(18 * (1 - 2 * alpha))
    epsilon = 3 / math.sqrt(2 * dim)
    q = 2 * epsilon / (1 - epsilon)
    levels = 2 * (dim - 2) * math.atanh(epsilon)
    return math.exp(levels - dim / 2 * (1 + alpha * q) ** 2 * 4 * epsilon / (1 + epsilon) ** 2)


def table_3(request: Request) -> Findings:
    """Weight ratios of adjacent shell-touch levels in five dimensions, and their limit."""
    rows = []
    for dim, cells in {**TABLE_3, math.inf: TABLE_3_LIMIT}.items():
        for (label, alpha), cell in zip(ALPHAS.items(), cells, strict=True):
            place = "d = inf" if math.isinf(dim) else f"d = {dim:,}"
            ours = level_dominance(dim, alpha)
            row = Row(f"{place}, alpha = {label}", ours, cell, printed(cell), digits=".6g")
            rows.append(row if row.verdict == "hit" else _explained(row, dim, alpha))
    return Findings(rows, {"schedule": "shell-touch, exact ratio", "arithmetic": "float64 without cancellation"})


def _explained(row: Row, dim: float, alpha: float) -> Row:
    """The same row with what the subtraction of two log weights gives, which is how the paper computes it."""
    plain = _plain_dominance(dim, alpha)
    low, high = printed(row.paper)
    cause = "the printed value is that rounding" if low <= plain <= high else "and that is not the print either"
    note = f"subtracting log weights of size {dim / 2:.0e} in float64 gives {plain:.6g}: {cause}"
    return Row(row.quantity, row.ours, row.paper, row.accepted, row.digits, note)


def _plain_dominance(dim: float, alpha: float) -> float:
    """The formula as it is printed, the two log weights subtracted, at sigma_i = 1."""
    root = math.sqrt(dim)
    level = (root + 3 / math.sqrt(2)) / (root - 3 / math.sqrt(2))
    radius = (1 - alpha) * root + alpha * level * root
    return math.exp(-(radius**2) / 2 + (dim - 2) * math.log(level) + radius**2 / (2 * level**2))


@dataclass(frozen=True, eq=False)
class Spectra:
    """What is read off the Jacobians at the points of one subset, for pixels in [0, 1]; each (points,)."""

    diagonal: Array
    largest: Array

    @property
    def radius(self) -> Array:
        """The largest modulus of an eigenvalue; the smallest eigenvalue is minus the diagonal."""
        return np.maximum(np.abs(self.largest), self.diagonal)

    @property
    def dominant(self) -> Array:
        """The eigenvalue of largest modulus with its sign: what power iteration returns."""
        return np.where(np.abs(self.largest) > self.diagonal, self.largest, -self.diagonal)


def tables_4_and_5(request: Request) -> Findings:
    """Spectral radius and diagonal of the Jacobian near the bisectors of pairs of CIFAR-10 images."""
    images = request.images()
    points, subsets = (1000, 5) if request.full else (24, 4)
    with progress.task("Jacobians of random subsets", total=subsets + 1) as advance:
        drawn = []
        for seed in range(request.seed, request.seed + subsets):
            drawn.append(_spectra(images.subset(IMAGES, seed), points, seed))
            advance(1)
        rows = [row for setting, cells in RADIUS_AND_DIAGONAL.items() for row in _pair(setting, cells, drawn)]
        dominant = [spectra["T = 1000"].dominant for spectra in drawn]
        rows.append(_further_draw("dominant eigenvalue, T = 1000", [v.mean() for v in dominant], "-14.5"))
        rows.append(_further_draw("share of negative ones", [(v < 0).mean() for v in dominant], "0.96"))
        rows += _one_class(images, points, request.seed)
        advance(1)
    first = drawn[0]
    spread = Table(
        ["setting", "radius", "its std", "c", "its std", "largest eigenvalue", "share negative"],
        [
            [name, *_moments(s.radius), *_moments(s.diagonal), float(s.largest.mean()), float((s.largest < 0).mean())]
            for name, s in first.items()
        ],
        caption=f"Means and standard deviations over the {points} points of the first subset.",
    )
    figure = Figure(
        histogram({name: np.log10(s.radius) for name, s in first.items()}, x_label="log10 of the spectral radius"),
        caption="Figure 11 made again: the higher the temperature, the smaller the spectral radii.",
        alt="Histograms of the logarithm of the spectral radius, one a setting, moving left as T grows.",
    )
    setting = {
        "data": images.source,
        "images": f"{subsets} subsets of {IMAGES}",
        "points": f"{points} a subset, midpoints of random pairs + 0.005 N(0, I)",
        "shells": "continuous, held fixed in the derivative",
        "units": "pixels in [0, 1]",
        "accepted": "the print is a likely (95 %) further subset",
    }
    return Findings(rows, setting, [spread, figure])


def _spectra(images: ImageSet, points: int, seed: int) -> dict[str, Spectra]:
    """Every setting of the two tables at the same points."""
    rng = np.random.default_rng(seed)
    centers = images.tensor(torch.float64)
    pairs = rng.choice(list(combinations(range(len(centers)), 2)), points, replace=False)
    x = centers[torch.from_numpy(pairs)].mean(1)
    x += 2 * 0.005 * torch.from_numpy(rng.standard_normal(x.shape))
    best = nearest(x, centers, 1).distances[:, 0] / math.sqrt(images.dim - 2)
    found = {CONDITIONAL: _read(EmpiricalScore(centers).jacobian(x, best))}
    for temperature in (1, 10, 100, 1000, 10_000):
        score = UnifiedScore(centers, (1e-3, 1e3), float(temperature), optimal_shell="continuous")
        found[f"T = {temperature}"] = _read(score.jacobian(x, frozen=True))
    return found


def _read(jacobian: Jacobian) -> Spectra:
    """A Jacobian scales as one over the square of the unit: by 4 from pixels in [-1, 1] to [0, 1]."""
    assert isinstance(jacobian, CenterJacobian)
    return Spectra(4 * jacobian.c.numpy(), 4 * jacobian.largest_eigenvalue().numpy())


def _pair(setting: str, cells: tuple[str, str], drawn: list[dict[str, Spectra]]) -> list[Row]:
    return [
        _further_draw(f"spectral radius, {setting}", [spectra[setting].radius.mean() for spectra in drawn], cells[0]),
        _further_draw(f"c, {setting}", [spectra[setting].diagonal.mean() for spectra in drawn], cells[1]),
    ]


def _further_draw(quantity: str, draws: list[float], paper: str) -> Row:
    """A row accepted when the print is a likely further draw of a subset."""
    ours, value, half = float(np.mean(draws)), float(paper), further_draw(draws)
    spread = float(np.std(draws, ddof=1))
    note = f"std between subsets {spread:.2g}; the print is {abs(ours - value) / spread:.1f} of them away"
    return Row(quantity, ours, paper, (value - half, value + half), note=note)


def _one_class(images: ImageSet, points: int, seed: int) -> list[Row]:
    """The same among images of strong contrast, which shows how much the choice of images matters."""
    if images.labels is None or (images.labels == AUTOMOBILE).sum() < IMAGES:
        return []
    spectra = _spectra(images[images.labels == AUTOMOBILE].subset(IMAGES, seed), points, seed)
    dominant = spectra["T = 1000"].dominant
    found = {f"c, {name}": float(spectra[name].diagonal.mean()) for name in ("T = 1", "T = 1000", "T = 10000")}
    found |= {"dominant eigenvalue, T = 1000": float(dominant.mean()), "share of negative ones": (dominant < 0).mean()}
    note = "for comparison: images of high contrast"
    return [Row(f"{name}, automobiles only", float(value), note=note) for name, value in found.items()]


def _moments(values: Array) -> tuple[float, float]:
    return float(values.mean()), float(values.std(ddof=1))
