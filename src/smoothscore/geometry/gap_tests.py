r"""Is an image's nearest neighbor closer than chance explains? Two tests on the gaps between its neighbors' distances.

*Against its own surroundings.* Where images are spread like a Poisson process of some local dimension m, the distances
:math:`d_1\le\dots\le d_k` from an image to its k nearest others satisfy, whatever m and the density are,

.. math:: \{(d_j/d_k)^m\}_{j<k}\ \text{are ordered uniform numbers},

so the spacings :math:`E_j=j\,m\log(d_{j+1}/d_j)` are independent exponential variables. A gap after the j-th
neighbor that is too large for the gaps beyond it is therefore tested without a threshold to choose. With
:math:`S_j=\sum_{i=j+1}^{k-1}i\log(d_{i+1}/d_i)`, :math:`n=k-1-j` and a Gamma(a, b) law of m over the images,

.. math:: P\big(j\log(d_{j+1}/d_j)>g\,\big|\,S_j\big)=\Big(1+\frac g{b+S_j}\Big)^{-(a+n)}.

a and b are those of largest likelihood of all :math:`S_j`, in which no copy takes part; for few images they are 0, and
the test is that of an F(2, 2n) variable, exact for any m.

*Against all other images.* Where some images lie in few dimensions, that tail is heavy: a copy ten times closer than
the next image need not be significant among thousands. The gaps :math:`g_j=\log(d_{j+1}/d_j)` of all images together
tell more. Above their median u they are taken to follow a
generalized Pareto law,

.. math:: P(g>u+y)=\tfrac12\,(1+\xi y/\beta)^{-1/\xi},

fitted by maximum likelihood with everything above the 90 % quantile censored, so that a few percent of copies leave
the fit alone and more make it cautious; to be cautious anyway, the shape :math:`\xi` is raised by two standard errors.
"""

import numpy as np
from numpy.typing import NDArray

from smoothscore.geometry.curve import Array

__all__ = ["copy_p_values", "gap_p_values", "pooled_p_values"]

GAPS = 3  # a copy may have up to two more
TAIL, COPIES = 0.5, 0.9  # quantiles of the gaps between which the tail is fitted
FEWEST = 100  # images whose gaps have a tail to speak of


def copy_p_values(distances: Array) -> tuple[Array, NDArray[np.int64]]:
    """The smaller p-value of both tests, doubled, and the number of copies that it speaks of, each (N,).

    ``distances`` (N, k) ascend. Each test takes the most surprising of the first gaps.
    """
    tests = [gap_p_values(distances)]
    if len(distances) >= FEWEST:
        tests.append(pooled_p_values(distances))
    p_values, before = (np.stack(part) for part in zip(*tests, strict=True))
    best = p_values.argmin(0)[None]
    least = np.take_along_axis(p_values, best, 0)[0]
    return np.minimum(len(tests) * least, 1.0), np.take_along_axis(before, best, 0)[0]


def gap_p_values(distances: Array) -> tuple[Array, NDArray[np.int64]]:
    """The test against the image's own surroundings: p-values and the number of neighbors before the gap."""
    count = distances.shape[1]
    spacings = np.arange(1, count) * np.diff(_logs(distances), axis=1)
    gaps = min(GAPS, count - 2)
    p_values = np.empty((gaps, len(distances)))
    for gap in range(gaps):
        rest, beyond = count - 2 - gap, spacings[:, gap + 1 :].sum(1)
        shape, rate = _dimensions(beyond, rest)
        with np.errstate(divide="ignore"):  # neighbors all equally far beyond the gap: any gap is infinitely large
            ratio = np.divide(spacings[:, gap], rate + beyond, out=np.zeros(len(beyond)), where=spacings[:, gap] > 0)
        p_values[gap] = (1 + ratio) ** -(shape + rest)
    return _most_surprising(p_values)


def pooled_p_values(distances: Array) -> tuple[Array, NDArray[np.int64]]:
    """The test against all other images: p-values and the number of neighbors before the gap."""
    gaps = np.diff(_logs(distances[:, : GAPS + 1]), axis=1)
    return _most_surprising(np.stack([_tail(gap) for gap in gaps.T]))


def _logs(distances: Array) -> Array:
    return np.asarray(np.log(np.maximum(distances, np.finfo(np.float64).tiny)))


def _most_surprising(p_values: Array) -> tuple[Array, NDArray[np.int64]]:
    return np.minimum(len(p_values) * p_values.min(0), 1.0), p_values.argmin(0) + 1


def _dimensions(sums: Array, count: int) -> tuple[float, float]:
    """Shape and rate of the Gamma law of the local dimension, from each image's sum of ``count`` spacings over it."""
    from scipy.optimize import minimize
    from scipy.special import gammaln

    known = sums[sums > 0]
    if len(known) < FEWEST:
        return 0.0, 0.0

    def loss(parameters: Array) -> float:
        shape, rate = np.exp(parameters)
        constant = gammaln(shape + count) - gammaln(shape) + shape * parameters[1]
        return float(((shape + count) * np.log(rate + known)).sum() - len(known) * constant)

    start = np.log([10.0, 10 * np.median(known) / count])
    shape, rate = np.exp(minimize(loss, start, method="Nelder-Mead", bounds=[(-3, 7), (None, None)]).x)
    return float(shape), float(rate)


def _tail(values: Array) -> Array:
    """The probability that a value as large comes from the tail fitted to all; 1 below the tail."""
    from scipy.optimize import minimize

    start, cap = np.quantile(values, [TAIL, COPIES])
    beyond = values > start
    excess = np.minimum(values[beyond], cap) - start
    hidden = values[beyond] >= cap
    if len(excess) == 0 or not cap > start:
        return np.ones(len(values))

    def loss(parameters: Array) -> float:
        scale, shape = np.exp(parameters)
        logs = np.log1p(shape * excess / scale) / shape
        return float(logs.sum() + (shape * logs + parameters[0])[~hidden].sum())

    found = minimize(loss, np.log([excess.mean(), 0.1]), method="Nelder-Mead", bounds=[(None, None), (-7, 1)])
    scale, shape = np.exp(found.x)
    shape += 2 * (1 + shape) / len(excess) ** 0.5
    height = np.maximum(values - start, 0) / scale
    return np.where(beyond, beyond.mean() * (1 + shape * height) ** (-1 / shape), 1.0)
