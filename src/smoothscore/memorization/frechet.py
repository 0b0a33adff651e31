"""The Frechet distance between two sets of features, each summed up by its mean and covariance:

    F(P, Q) = |m_P - m_Q|^2 + tr S_P + tr S_Q - 2 tr (S_P^(1/2) S_Q S_P^(1/2))^(1/2),

the squared 2-Wasserstein distance of the two Gaussians. With S = A^T A, the last trace is the sum of the singular
values of A_P A_Q^T, so no square root of a matrix is taken and fewer images than dimensions are no trouble. Only in
Inception's feature space is this the FID; in any other, and for few images, values compare only with each other at
the same numbers of images.
"""

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from smoothscore.errors import InputError

__all__ = ["Moments", "frechet_distance", "moments"]

ROWS = 8192


@dataclass(frozen=True)
class Moments:
    """Mean and covariance of a set of features.

    Attributes:
        mean: (f,) float64.
        factor: (r, f) float64 with r <= f; ``factor.T @ factor`` is the sample covariance (divisor n - 1).
    """

    mean: NDArray[np.float64]
    factor: NDArray[np.float64]


def moments(features: NDArray[np.floating]) -> Moments:
    """Mean and covariance of ``features`` (n, f).

    Cost: n f min(n, f). Memory: float64 copies of 8,192 rows and of f rows.

    Raises:
        InputError: there are fewer than two rows.
    """
    if len(features) < 2:
        raise InputError(f"A covariance needs at least two images; there is {len(features)}.")
    mean = features.mean(0, dtype=np.float64)
    factor = np.empty((0, len(mean)))
    for start in range(0, len(features), ROWS):
        factor = np.concatenate([factor, features[start : start + ROWS] - mean])
        if len(factor) > len(mean):
            factor = np.asarray(np.linalg.qr(factor, mode="r"))
    return Moments(mean, factor / np.sqrt(len(features) - 1))


def frechet_distance(first: Moments, second: Moments) -> float:
    """The squared distance F, at least 0, in squared units of the features.

    Cost: singular values of an (r, r') matrix.
    """
    shared = np.linalg.svd(first.factor @ second.factor.T, compute_uv=False).sum()
    spread = np.square(first.factor).sum() + np.square(second.factor).sum()
    return max(0.0, float(np.square(first.mean - second.mean).sum() + spread - 2 * shared))
