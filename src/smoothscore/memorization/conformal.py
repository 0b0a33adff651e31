"""Calibration of a copy statistic against real images that no model was trained on.

If a sample were one more held-out image, its statistic would be equally likely to take any rank among theirs. So

    p = (1 + #{held-out statistics <= that of the sample}) / (n + 1)

is a valid p-value for "no nearer to the training set than a new image is", whatever the data and the dimension; it
is never below 1 / (n + 1). Benjamini and Hochberg's rule then keeps the expected share of false discoveries among
the flagged samples at or below alpha, also though all samples share one held-out set (Bates and others, "Testing
for outliers with conformal p-values", 2023).
"""

import numpy as np
from numpy.typing import NDArray
from scipy.stats import false_discovery_control

__all__ = ["discoveries", "p_values"]


def p_values(statistic: NDArray[np.float64], control: NDArray[np.float64]) -> NDArray[np.float64]:
    """The share of held-out statistics, the sample's own counted in, that are as small as the sample's.

    Args:
        statistic: (n,) of the samples; small means near to a training image.
        control: (h,) of held-out images.

    Returns:
        (n,) in [1 / (h + 1), 1]. Ties count against the sample's being a copy.
    """
    below = np.searchsorted(np.sort(control), statistic, side="right")
    return (1 + below) / (len(control) + 1)


def discoveries(p: NDArray[np.float64], alpha: float) -> NDArray[np.int64]:
    """Indices that Benjamini and Hochberg's rule flags at false discovery rate ``alpha``, in ascending order."""
    return np.flatnonzero(false_discovery_control(p) <= alpha)
