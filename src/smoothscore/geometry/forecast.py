r"""How many images would be enough: the danger zone at smaller sizes, extrapolated.

The zone from :math:`\sigma_{low}` to :math:`\sigma_{high}` narrows as images are added: coverage reaches
down to smaller noise, and more images share the posterior. Over disjoint random subsets of N/8, N/4, N/2
and N images its logarithmic width is fitted as :math:`\log(\sigma_{high}/\sigma_{low})=a+b\log n`; where
the line reaches 0 the zone closes: at no noise level are weight and coverage both above their levels. The
interval is Fieller's for :math:`-a/b`, so that it is unbounded where the data do not show that the zone
narrows.
"""

import math
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray
from torch import Tensor

from smoothscore import progress
from smoothscore.data import ImageSet
from smoothscore.geometry.coverage import coverage
from smoothscore.geometry.curve import Array
from smoothscore.geometry.danger import danger_zone
from smoothscore.geometry.posterior import posterior_weight

__all__ = ["Forecast", "forecast"]

PARTS = (8, 4, 2, 1)


@dataclass(frozen=True, eq=False)
class Forecast:
    """The danger zone by the number of images.

    Attributes:
        sizes: (R,) number of images of each subset.
        zones: (R, 2) the subset's zone; NaN where it has none.
        closing_size: number of images at which the zone closes, by the fitted line; ``inf`` if it does not narrow.
        interval: 95 % interval of ``closing_size``; its upper end may be ``inf``.
    """

    sizes: NDArray[np.int64]
    zones: Array
    closing_size: float
    interval: tuple[float, float]


def forecast(
    train: Tensor | ImageSet,
    held_out: Tensor | ImageSet | None,
    zone: tuple[float, float],
    seed: int = 0,
    weight_level: float = 0.9,
    coverage_level: float = 0.9,
    levels: int = 16,
    noises: int = 50,
    images: int = 200,
) -> Forecast | None:
    """Extrapolate the danger zone ``zone`` of all training images to the size at which it closes.

    Args:
        train: (N, *shape) tensor in [-1, 1], or an ImageSet.
        held_out: other images of the same kind; ``None``: each subset is measured by cross-fitting.
        zone: the zone of all images, about which the noise levels are laid.
        seed: draws the subsets, images and noises.
        weight_level: least posterior weight of the zone.
        coverage_level: least shell coverage of the zone.
        levels: number of noise levels, between a third of the zone's low end and three times its high end.
        noises: noise vectors.
        images: images noised in each subset.

    Returns:
        The forecast, or ``None`` when fewer than four subsets have a zone.

    Cost: as four diagnoses with these numbers.
    """
    order = np.random.default_rng(seed).permutation(len(train))
    sigmas = np.geomspace(3 * zone[1], zone[0] / 3, levels)
    sizes, zones = [], []
    with progress.task("zones of subsets", total=sum(PARTS)) as advance:
        for parts in PARTS:
            size = len(train) // parts
            for part in range(parts if size >= 2 else 0):
                subset = train[np.sort(order[part * size : (part + 1) * size])]
                weight = posterior_weight(subset, sigmas, seed, noises, images)
                covered = coverage(subset, held_out, sigmas, seed, noises, images).curve()
                found = danger_zone(weight, covered, weight_level, coverage_level)
                sizes.append(size)
                zones.append(found or (math.nan, math.nan))
                advance(1)
    ends = np.array(zones)
    known = np.isfinite(ends[:, 0])
    if known.sum() < 4:
        return None
    closing, interval = _crossing(np.log(sizes)[known], np.log(ends[known, 1] / ends[known, 0]))
    return Forecast(np.array(sizes), ends, closing, interval)


def _crossing(x: Array, y: Array) -> tuple[float, tuple[float, float]]:
    """``exp`` of where the fitted line reaches 0, and of Fieller's 95 % interval for that."""
    from scipy.special import stdtrit

    center = x - x.mean()
    spread = (center**2).sum()
    slope = float((center * y).sum() / spread)
    residual = y - y.mean() - slope * center
    variance = float((residual**2).sum() / (len(x) - 2))
    quantile = -float(stdtrit(len(x) - 2, 0.025))
    # all u for which the line's value at mean(x) + u lies within its own error of 0:
    # (mean + slope u)^2 <= quantile^2 variance (1/n + u^2 / spread)
    a = slope**2 - quantile**2 * variance / spread
    b = 2 * float(y.mean()) * slope
    c = float(y.mean()) ** 2 - quantile**2 * variance / len(x)
    closing = _exp(x.mean() - y.mean() / slope) if slope < 0 else math.inf
    root = math.sqrt(max(b * b - 4 * a * c, 0.0))
    if a > 0:  # the slope is known to differ from 0
        if slope > 0:
            return closing, (math.inf, math.inf)
        return closing, (_exp(x.mean() + (-b - root) / (2 * a)), _exp(x.mean() + (-b + root) / (2 * a)))
    nearest = (-b - root) / (2 * a) if a < 0 and root > 0 else -math.inf
    return closing, (_exp(x.mean() + nearest), math.inf)


def _exp(value: float) -> float:
    return math.exp(value) if value < 700 else math.inf
