r"""The danger zone: noise levels at which copying is both asked for by the loss and learned by the network.

Where the posterior weight :math:`W(\sigma)` is high, the optimal denoiser returns single training images;
where the shell coverage :math:`\mathrm{Cov}(\sigma)` is high, training visits the places that sampling visits.
The weight falls and the coverage rises with the noise; the levels where both are high are the danger zone of
"Two calm ends and the wild middle" (Sec. 4), made explicit here as
:math:`\{W\ge\tau_W\}\cap\{\mathrm{Cov}\ge\tau_C\}`.
"""

from dataclasses import dataclass
from itertools import pairwise

import numpy as np

from smoothscore import schedules
from smoothscore.geometry.curve import Array, Curve, Replicates

__all__ = ["DangerZone", "balance", "danger_zone", "doubt", "zone_with_interval"]

Interval = tuple[float, float]


@dataclass(frozen=True)
class DangerZone:
    """An interval of noise levels, and how well its ends are known.

    Attributes:
        low: lower end, in the units of the data.
        high: upper end.
        low_interval: interval of the lower end over bootstrap draws of images and noises.
        high_interval: interval of the upper end.
        found: share of the draws in which there is a zone; the intervals are over those.
        confidence: coverage that the intervals aim at.
    """

    low: float
    high: float
    low_interval: Interval
    high_interval: Interval
    found: float
    confidence: float

    def edm_steps(self, steps: int = 18) -> Interval:
        """First and last step of the zone on the EDM grid, counted from 0 at the largest noise."""
        levels = schedules.karras(steps).numpy()
        return _position(levels, self.high), _position(levels, self.low)

    def ddpm_timesteps(self, timesteps: int = 1000) -> Interval:
        """First and last timestep of the zone in DDPM's linear schedule, counted from 0 as diffusers does."""
        ratio = schedules.vp(timesteps).variance_exploding.flip(0).numpy()
        return _position(ratio, self.low), _position(ratio, self.high)

    def flow_times(self) -> Interval:
        """First and last time of the zone in flow matching, noise at 0 and data at 1."""
        return 1 / (1 + self.high), 1 / (1 + self.low)


def _position(levels: Array, sigma: float) -> float:
    """Where ``sigma`` stands among monotone ``levels``, by index, linear in log sigma between them."""
    index = np.arange(len(levels), dtype=float)
    order = np.argsort(levels)
    return float(np.interp(np.log(sigma), np.log(levels[order]), index[order]))


def danger_zone(
    weight: Curve, coverage: Curve, weight_level: float = 0.9, coverage_level: float = 0.9
) -> Interval | None:
    """The widest interval of noise levels where both curves are at least at their level, or ``None``.

    The curves are taken as linear in log sigma between their levels.
    """
    levels = np.union1d(weight.sigmas, coverage.sigmas)
    first = max(weight.sigmas.min(), coverage.sigmas.min())
    last = min(weight.sigmas.max(), coverage.sigmas.max())
    levels = levels[(levels >= first) & (levels <= last)]
    ((low, high),) = _zones(levels, weight.at(levels)[None] - weight_level, coverage.at(levels)[None] - coverage_level)
    return None if np.isnan(low) else (float(low), float(high))


def _zones(levels: Array, *curves: Array) -> Array:
    """(B, 2) the widest interval where no curve, (B, L) at ascending levels, is below 0; NaN where there is none."""
    # where a stretch between two levels is entered and left, in shares of its logarithm
    enter, leave = np.zeros_like(curves[0][:, 1:]), np.ones_like(curves[0][:, 1:])
    for curve in curves:
        left, right = curve[:, :-1], curve[:, 1:]
        crossing = np.divide(left, left - right, out=np.zeros_like(left), where=left != right)
        enter = np.maximum(enter, np.where(left >= 0, 0, np.where(right >= 0, crossing, 1)))
        leave = np.minimum(leave, np.where(right >= 0, 1, np.where(left >= 0, crossing, 0)))
    best = np.full((len(curves[0]), 2), np.nan)
    start, whole = best[:, 0].copy(), np.zeros(len(best), bool)
    for (low, high), begin, end in zip(pairwise(levels), enter.T, leave.T, strict=True):
        start = np.where(whole & (begin == 0), start, low * (high / low) ** begin)
        stop = np.where(end == 1, high, low * (high / low) ** end)
        wider = (begin < end) & ~(stop / start <= best[:, 1] / best[:, 0])
        best[wider] = np.stack((start, stop), 1)[wider]
        whole = (begin < end) & (end == 1)
    return best


def doubt(
    weight: Curve,
    coverage: Curve,
    weight_level: float,
    coverage_level: float,
    distinct: float = 1.0,
    apart: float = 1.5,
) -> str | None:
    """Why there may be a zone where none was found, in a sentence; ``None`` where there is no reason to think so.

    Args:
        weight, coverage: over the same levels.
        weight_level, coverage_level: least values of the zone.
        distinct: distinct images as a share of all, the posterior weight without noise.
        apart: factor between neighboring levels above which a zone between them is neither seen nor excluded.
    """
    order = np.argsort(weight.sigmas)
    levels = weight.sigmas[order]
    heavy, covered = weight.mean[order] >= weight_level, coverage.mean[order] >= coverage_level
    if heavy.all() or (covered.all() and distinct >= weight_level):
        return "The noise levels given may miss the danger zone: one curve is high at all of them; widen sigmas."
    turn = heavy[:-1] & ~covered[:-1] & ~heavy[1:] & covered[1:] & (levels[1:] > apart * levels[:-1])
    for low, high in zip(levels[:-1][turn], levels[1:][turn], strict=True):
        return (
            f"The noise levels given are too far apart to tell whether there is a danger zone between {low:.3g} "
            f"and {high:.3g}; give some there."
        )
    return None


def balance(weight: Curve, coverage: Curve) -> float | None:
    """The noise level where two curves over the same levels are equal; ``None`` if they do not cross."""
    crossings = Curve(weight.sigmas, weight.mean - coverage.mean, weight.stderr).crossings(0.0)
    return crossings[-1] if crossings else None


def zone_with_interval(
    weight: Replicates,
    coverage: Replicates,
    weight_level: float = 0.9,
    coverage_level: float = 0.9,
    draws: int = 500,
    confidence: float = 0.95,
    seed: int = 0,
) -> DangerZone | None:
    """The danger zone with percentile intervals from ``draws`` bootstrap draws of images and noises.

    Both are measured at the same levels. The centers stay as they are: what other training sets of other sizes would
    give is a different question.
    """
    zone = danger_zone(weight.curve(), coverage.curve(), weight_level, coverage_level)
    if zone is None:
        return None
    rng, order = np.random.default_rng(seed), np.argsort(weight.sigmas)
    weights, coverages = weight.bootstrap(draws, rng)[:, order], coverage.bootstrap(draws, rng)[:, order]
    drawn = _zones(weight.sigmas[order], weights - weight_level, coverages - coverage_level)
    found = drawn[~np.isnan(drawn[:, 0])]
    tail = (1 - confidence) / 2
    low, high = np.quantile(found if len(found) else [zone], [tail, 1 - tail], axis=0).T.tolist()
    return DangerZone(*zone, tuple(low), tuple(high), len(found) / draws, confidence)
