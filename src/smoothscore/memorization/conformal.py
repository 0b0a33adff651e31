"""Calibration of a copy statistic against real images that no model was trained on.

If a sample were one more held-out image, its statistic would be equally likely to take any rank among theirs. So

    p = (1 + #{held-out statistics as large as that of the sample}) / (h + 1)

is a valid p-value for "no nearer to the training set than a new image is", whatever the data and the dimension; it
is never below 1 / (h + 1). Benjamini and Hochberg's rule then keeps the expected share of false discoveries among
the flagged samples at or below alpha, also though all samples share one held-out set (Bates and others, "Testing
for outliers with conformal p-values", 2023).

A list of m samples can be flagged only when m alpha / n >= 1 / (h + 1): :func:`shortest_list`.
"""

from math import ceil

import numpy as np
from numpy.typing import NDArray

__all__ = ["discoveries", "p_values", "shortest_list"]

Floats = NDArray[np.float64]


def p_values(statistic: Floats, control: Floats) -> Floats:
    """The share of controls, the sample itself counted in, that look as much like a copy as the sample.

    Args:
        statistic: (n,) of the samples; large means copy.
        control: (h,) of held-out images.

    Returns:
        (n,) in [1 / (h + 1), 1]. Ties count against the sample's being a copy.
    """
    larger = len(control) - np.searchsorted(np.sort(control), statistic, side="left")
    p: Floats = (1 + larger) / (len(control) + 1)
    return p


def discoveries(p: Floats, alpha: float) -> NDArray[np.int64]:
    """Indices that Benjamini and Hochberg's rule flags at false discovery rate ``alpha``, in ascending order."""
    from scipy.stats import false_discovery_control

    return np.flatnonzero(false_discovery_control(p) <= alpha)


def shortest_list(samples: int, controls: int, alpha: float) -> int:
    """How many samples, all nearer than every control, it takes to flag any."""
    return ceil(samples / (alpha * (controls + 1)) - 1e-9)
