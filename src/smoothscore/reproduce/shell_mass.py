r"""*Smoothing the score function*, Figures 8 to 10: how much noise lies in the shell of three standard deviations.

Vectors :math:`X\sim N(0,\sigma_i^2I)` in d dimensions at 10 levels whose shells touch, and the share of them with
:math:`\sigma_i(\sqrt d-3/\sqrt2)\le\|X\|\le\sigma_i(\sqrt d+3/\sqrt2)`, against the limit 0.9973 of Proposition 1
and against the exact mass, from the chi distribution. Every vector is drawn, none of its norm is assumed.
"""

import math

import numpy as np
from numpy.typing import NDArray

from smoothscore import progress
from smoothscore.geometry.shells import Shell
from smoothscore.report import Figure, Series, Table, curves
from smoothscore.reproduce.request import Request
from smoothscore.reproduce.result import Findings, Row

__all__ = ["radii", "shell_mass"]

Array = NDArray[np.float64]

DIMS = (50, 100, 500, 1000)
LEVELS = 10
LIMIT = math.erf(3 / math.sqrt(2))
RANGE = (0.99740, 0.99755)
VALUES = 4_000_000  # normal numbers in memory at a time


def radii(draws: int, dim: int, rng: np.random.Generator) -> Array:
    """Norms of ``draws`` standard normal vectors of dimension ``dim``: (draws,)."""
    chunks = np.array_split(np.arange(draws), -(-draws * dim // VALUES))
    squares = [np.square(rng.standard_normal((len(c), dim), dtype=np.float32)).sum(1, dtype=np.float64) for c in chunks]
    return np.asarray(np.sqrt(np.concatenate(squares)))


def shell_mass(request: Request) -> Findings:
    """Shares inside the shell by dimension and level, their averages, and the distribution of the radius."""
    draws = 1_000_000 if request.full else 10_000
    rng = np.random.default_rng(request.seed)
    masses: dict[int, Array] = {}
    sample = np.empty(0)
    with progress.task("shell mass", total=len(DIMS) * LEVELS * draws) as advance:
        for dim in DIMS:
            shell = Shell.three_sigma(dim)
            sigmas = (shell.outer / shell.inner) ** np.arange(LEVELS)
            masses[dim] = np.empty(LEVELS)
            for i, sigma in enumerate(sigmas):
                sample = radii(draws, dim, rng)
                masses[dim][i] = shell.contains(sigma * sample, sigma).mean()
                advance(draws)
    error = math.sqrt(LIMIT * (1 - LIMIT) / draws)
    rows = []
    for dim, shares in masses.items():
        exact = Shell.three_sigma(dim).mass
        rows.append(_average(dim, shares, exact, error))
        if dim <= 100 and request.full:
            within = float(((shares >= RANGE[0]) & (shares <= RANGE[1])).mean())
            note = f"the exact mass is {exact:.7f}; a share of {draws:,} draws has the error {error:.1e}"
            rows.append(Row(f"d = {dim}: share of the shells in {RANGE}", within, "most", (0.5, 1), note=note))
        rows.append(
            Row(
                f"d = {dim}: std over the shells",
                float(shares.std(ddof=1)),
                "about 1e-4" if request.full else "",
                (0.2e-4, 2e-4) if request.full else None,
                digits=".2e",
                note=f"a share of {draws:,} draws has {error:.1e}",
            )
        )
    mean, spread = float(sample.mean()), float(sample.std())
    dim = DIMS[-1]
    rows += [
        Row(f"radius, d = {dim}: mean", mean, f"{math.sqrt(dim):.4f}", _near(math.sqrt(dim), 0.05), digits=".4f"),
        Row(f"radius, d = {dim}: variance", spread**2, "0.5", _near(0.5, 0.05), digits=".4f"),
        Row("largest distance of its distribution to the normal one", _distance(dim), note="exact, at any radius"),
    ]
    table = Table(
        ["level", *(f"d = {dim}" for dim in DIMS)],
        [
            *([str(i + 1), *(f"{masses[dim][i]:.6f}" for dim in DIMS)] for i in range(LEVELS)),
            ["exact", *(f"{Shell.three_sigma(dim).mass:.7f}" for dim in DIMS)],
        ],
        caption=f"Figure 8 made again: shares of {draws:,} vectors inside their shell; the limit is {LIMIT:.7f}.",
    )
    setting = {
        "dimensions": ", ".join(map(str, DIMS)),
        "levels": f"{LEVELS} touching shells",
        "draws": f"{draws:,} each",
    }
    return Findings(rows, setting, [_figure_9(masses), _figure_10(sample, dim), table])


def _average(dim: int, shares: Array, exact: float, error: float) -> Row:
    half = 3 * error / math.sqrt(LEVELS)
    return Row(
        f"d = {dim}: mean share",
        float(shares.mean()),
        "0.9973",
        (min(LIMIT, exact) - half, max(LIMIT, exact) + half),
        digits=".6f",
        note=f"exactly {exact:.7f}; accepted: three errors around it and the limit",
    )


def _near(value: float, margin: float) -> tuple[float, float]:
    return value - margin, value + margin


def _distance(dim: int) -> float:
    """Largest difference of the distribution functions of the radius and of N(sqrt(d), 1/2)."""
    grid = math.sqrt(dim) + np.linspace(-5, 5, 20001)
    from scipy.stats import chi, norm

    return float(np.abs(chi.cdf(grid, dim) - norm.cdf(grid, math.sqrt(dim), math.sqrt(0.5))).max())


def _figure_9(masses: dict[int, Array]) -> Figure:
    mean = np.array([shares.mean() for shares in masses.values()])
    spread = np.array([shares.std(ddof=1) for shares in masses.values()])
    exact = [Shell.three_sigma(dim).mass for dim in masses]
    return Figure(
        curves(
            list(masses),
            [
                Series("mean share, ± std over shells", mean, mean - spread, mean + spread),
                Series("exact", exact),
                Series("limit", [LIMIT] * len(masses)),
            ],
            x_label="dimension",
            y_label="share in the shell",
        ),
        caption="Figure 9 made again: the mass falls toward its limit as the dimension grows.",
        alt="Mean share and exact mass fall together from 0.99744 to 0.99731.",
    )


def _figure_10(sample: Array, dim: int) -> Figure:
    from scipy.stats import norm

    edges = np.linspace(math.sqrt(dim) - 3, math.sqrt(dim) + 3, 61)
    middles = (edges[1:] + edges[:-1]) / 2
    density = np.histogram(sample, edges)[0] / (len(sample) * np.diff(edges))
    return Figure(
        curves(
            middles,
            [Series("drawn", density), Series("N(√d, 1/2)", norm.pdf(middles, math.sqrt(dim), math.sqrt(0.5)))],
            x_label=f"radius of {len(sample):,} vectors, d = {dim}",
            y_label="density",
            log_x=False,
        ),
        caption="Figure 10 made again: the radius is nearly normal.",
        alt="The histogram of the radius and the normal density lie on each other.",
    )
