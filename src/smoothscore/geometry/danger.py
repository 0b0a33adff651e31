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

__all__ = ["DangerZone", "balance", "danger_zone", "zone_with_interval"]

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
    crossings = weight.crossings(weight_level) + coverage.crossings(coverage_level)
    ends = [weight.sigmas.min(), weight.sigmas.max(), coverage.sigmas.min(), coverage.sigmas.max()]
    low, high = max(ends[0], ends[2]), min(ends[1], ends[3])
    cuts = sorted({low, high, *(c for c in crossings if low < c < high)})
    best: Interval | None = None
    start: float | None = None
    for left, right in pairwise(cuts):
        middle = np.sqrt(left * right)
        if weight.at(middle) >= weight_level and coverage.at(middle) >= coverage_level:
            start = left if start is None else start
            if best is None or right / start > best[1] / best[0]:
                best = (float(start), float(right))
        else:
            start = None
    return best


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

    The centers stay as they are: what other training sets of other sizes would give is a different question.
    """
    zone = danger_zone(weight.curve(), coverage.curve(), weight_level, coverage_level)
    if zone is None:
        return None
    rng = np.random.default_rng(seed)
    drawn = [
        danger_zone(w, c, weight_level, coverage_level)
        for w, c in zip(weight.bootstrap(draws, rng), coverage.bootstrap(draws, rng), strict=True)
    ]
    found = np.array([ends for ends in drawn if ends is not None] or [zone])
    tail = (1 - confidence) / 2
    low, high = np.quantile(found, [tail, 1 - tail], axis=0).T.tolist()
    share = sum(ends is not None for ends in drawn) / draws
    return DangerZone(*zone, tuple(low), tuple(high), share, confidence)
