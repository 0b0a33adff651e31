r"""Weights of a chunk of centers in one compiled loop, for weights that are exponential in S.

With a constant precision and equal prior weights, :math:`p_{jb}=\exp(\kappa_b(S_{jb}-S_b))` relative to a reference of
each query b. A dozen operations on tensors, each as short as these chunks, take several times as long.
"""

from typing import Any

from smoothscore.loops import Array, loop

__all__ = ["weigh"]


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
    limits = float(floor), float(room), float(least)
    return loop("weights_weigh")(middle, steep, s, *s.shape, *limits, weights, sums, carries)
