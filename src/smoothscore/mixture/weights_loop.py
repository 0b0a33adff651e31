r"""Weights of a chunk of centers in one compiled loop, for weights that are exponential in S.

With a constant precision and equal prior weights, :math:`p_{jb}=\exp(\kappa_b(S_{jb}-S_b))` relative to a reference of
each query b. A dozen operations on tensors, each as short as these chunks, take several times as long.
"""

from typing import Any

import numpy as np

from smoothscore.loops import compiled

__all__ = ["exponential", "weigh"]

Array = np.ndarray[Any, np.dtype[Any]]

LOG2E = np.float32(1.4426950408889634)
HIGH, LOW = np.float32(0.693359375), np.float32(-2.12194440e-4)  # their sum is log 2; the first has few digits
SIXTH, FIFTH, FOURTH, THIRD = (np.float32(1 / factor) for factor in (720, 120, 24, 6))
HALF, ONE = np.float32(0.5), np.float32(1)


@compiled
def weigh(
    middle: Array,
    steep: Array,
    s: Array,
    floor: Any,
    room: Any,
    least: Any,
    weights: Array,
    sums: Array,
    carries: Array,
) -> int:
    """Write exp(steep (s - middle)) into ``weights`` and their sums over the centers into the first of ``sums``.

    Args:
        middle, steep: (B,) float32.
        s, weights: (n, B) float32.
        floor, room, least: float32; logits below ``least`` are raised to it.
        sums: (2, B) float64, written: of the weights, and, where they vary, of the weights times the precisions, which
            ``weights`` are then.
        carries: (n,) bool, written: whether some query's logit is above ``floor``.

    Returns the number of centers that carry weight, or -1 if a logit is above ``room``: then take another reference.
    """
    above, number = 0, 0
    sums[:] = 0
    for j in range(len(s)):
        hits = 0
        for b in range(s.shape[1]):
            logit = (s[j, b] - middle[b]) * steep[b]
            hits |= logit > floor
            above |= logit > room
            weights[j, b] = exponential(least if logit < least else logit)
        carries[j] = hits > 0
        number += hits
        for b in range(s.shape[1]):
            sums[0, b] += weights[j, b]
    return -1 if above else number


@compiled
def exponential(value: Any) -> Any:
    """In float32, to some 1e-7, for moduli below 87: 2^k times the exponential of at most half of log 2."""
    k = np.float32(np.rint(value * LOG2E))
    t = (value - k * HIGH) - k * LOW
    series = (((((SIXTH * t + FIFTH) * t + FOURTH) * t + THIRD) * t + HALF) * t + ONE) * t + ONE
    return series * np.int32((np.int32(k) + np.int32(127)) << np.int32(23)).view(np.float32)
