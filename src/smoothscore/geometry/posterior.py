r"""How concentrated the empirical posterior is on single training images.

At noise level :math:`\sigma` the posterior over training images of a noisy training image
:math:`x=x_i+\sigma z` is the softmax :math:`w_j` of :math:`-\|x-x_j\|^2/2\sigma^2`. Three summaries of it,
each averaged over training images i and noises z:

- the *posterior weight* :math:`W(\sigma)=\mathrm E[\max_j w_j]` ("Two calm ends and the wild middle",
  Def. 4.1),
- the *own weight* :math:`\mathrm E[w_i]`, never larger,
- the *effective number of centers* :math:`\mathrm E[e^{H(w)}]`, with H the entropy in nats.

Weights near 1 mean that the optimal denoiser returns one training image.
"""

import math
from dataclasses import dataclass

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from smoothscore import progress
from smoothscore.data import ImageSet
from smoothscore.errors import InputError
from smoothscore.geometry.curve import Array, Curve, Levels, Replicates, as_levels
from smoothscore.geometry.frontier import largest_logits
from smoothscore.geometry.pairs import (
    BLOCK_VALUES,
    NoisedPairs,
    Points,
    choose,
    draw_noises,
    row_blocks,
)

__all__ = ["Concentration", "concentration", "own_weight", "posterior_weight", "weight_thresholds"]

LEFT_OUT = 1e-12  # largest share of a posterior's mass that may be left out
DEEPEST = 300.0  # nats: exp(-DEEPEST) squared is still a normal float64
COST = 40  # a pair alone costs about so many times what it costs within a matrix product


@dataclass(frozen=True, eq=False)
class Concentration:
    """The posterior of noisy training images at every noise level.

    Attributes:
        images: (I,) indices of the training images that were noised; all of them unless there are too many.
        largest: largest weight per level, image and noise.
        own: weight of the image that was noised.
        effective: exponential of the entropy, between 1 and the number of training images.
    """

    images: NDArray[np.int64]
    largest: Replicates
    own: Replicates
    effective: Replicates


def concentration(
    train: Tensor | ImageSet, sigmas: Levels, seed: int = 0, noises: int = 100, images: int | None = 1000
) -> Concentration:
    """Weights of noisy training images among all training images, for every level from one pass.

    Args:
        train: (N, *shape) tensor in [-1, 1], or an ImageSet. sigmas: noise levels, positive, in the same
        units. seed: draws the noises and, if needed, the images that are noised. noises: number K of noise
        vectors, shared by all images. images: at most so many training images are noised (a random subset);
        ``None``: all. Every one of the N
            remains a center.

    Raises:
        InputError: no images, values or levels that are not finite, a level that is not positive.

    Cost: 2 N d (I + K) operations, then at most 10 N I K a level. Memory: 3 L I K float64 numbers and less
    than 1 GB.
    """
    levels = as_levels(sigmas)
    centers = Points(train)
    if noises < 1:
        raise InputError(f"noises is {noises}; draw at least one.")
    total = len(centers)
    chosen = choose(total, images, seed)
    vectors = draw_noises(noises, centers.dim, seed)
    values = np.empty((3, len(levels), len(chosen), noises))
    block = max(1, BLOCK_VALUES // total)
    with progress.task("posterior weights", total=len(chosen) * len(levels)) as advance:
        for start in range(0, len(chosen), block):
            rows = slice(start, start + block)
            index = torch.from_numpy(chosen[rows])
            pairs = NoisedPairs.build(centers.rows(index), centers, vectors)
            pairs.squares[torch.arange(len(index)), index] = 0.0
            # every own center has ell = 0, so each posterior's normalizer is at least 1
            critical = pairs.critical(math.log(LEFT_OUT / total)).numpy()
            counts = np.array([np.count_nonzero(critical < sigma) for sigma in levels])
            deep = np.array([float(pairs.shift(sigma).max()) > DEEPEST for sigma in levels.tolist()])
            alone = (COST * counts < critical.size) | deep
            largest = dict(zip(np.flatnonzero(~alone), largest_logits(pairs, levels[~alone]), strict=True))
            for level, sigma in enumerate(levels.tolist()):
                if counts[level] == len(index):  # no center but the own
                    values[:, level, rows] = 1.0
                elif alone[level]:
                    matters = np.divmod(np.flatnonzero(critical < sigma), total)
                    values[:, level, rows] = _weights_one_by_one(pairs, sigma, *map(torch.from_numpy, matters))
                else:
                    most = torch.from_numpy(largest[level])
                    values[:, level, rows] = _weights_by_products(*pairs.split(sigma), most)
                advance(len(index))
    return Concentration(chosen, *(Replicates(levels, part, population=total) for part in values))


def posterior_weight(
    train: Tensor | ImageSet, sigmas: Levels, seed: int = 0, noises: int = 100, images: int | None = 1000
) -> Curve:
    """Expected largest posterior weight of a noisy training image ("Two calm ends", Def. 4.1).

    Arguments as for :func:`concentration`.

    The standard errors are those of the Monte Carlo for this training set; they account for noises that all
    images share.
    """
    return concentration(train, sigmas, seed, noises, images).largest.curve()


def own_weight(
    train: Tensor | ImageSet, sigmas: Levels, seed: int = 0, noises: int = 100, images: int | None = 1000
) -> Curve:
    """Expected posterior weight of the training image that was noised; see :func:`posterior_weight`."""
    return concentration(train, sigmas, seed, noises, images).own.curve()


def _weights_by_products(left: Tensor, right: Tensor, shift: Tensor, largest: Tensor) -> Array:
    """Largest weight, own weight and effective number, (3, I, K), of all centers; ``shift`` is at most DEEPEST."""
    floor = -DEEPEST - 40
    left, right = left.clamp_(min=floor), right.clamp_(min=floor)
    left_weight, right_weight = left.exp(), right.exp()
    sums = left_weight @ torch.cat((right_weight, right.mul_(right_weight))).T
    normalizer, mean = sums.tensor_split(2, dim=1)
    mean += left_weight.mul_(left) @ right_weight.T
    effective = mean.div_(normalizer).neg_().exp_().mul_(normalizer)
    own = torch.exp(-shift).div_(normalizer)
    return torch.stack((torch.exp(largest - shift).div_(normalizer), own, effective)).numpy()


def _weights_one_by_one(pairs: NoisedPairs, sigma: float, rows: Tensor, columns: Tensor) -> Array:
    """The same of only the given pairs, each point's own center among them, one by one."""
    points, noises = pairs.point_noise.shape
    counts = torch.bincount(rows, minlength=points).numpy()
    result = np.empty((3, points, noises))
    for first, last in row_blocks(counts, BLOCK_VALUES // (4 * noises)):
        pick = slice(int(counts[:first].sum()), int(counts[:last].sum()))
        starts = np.cumsum(counts[first:last]) - counts[first:last]
        logits = pairs.logits(sigma, rows[pick], columns[pick]).numpy()
        top = np.maximum.reduceat(logits, starts, axis=0)
        logits -= np.repeat(top, counts[first:last], axis=0)
        weights = np.exp(logits)
        normalizer = np.add.reduceat(weights, starts, axis=0)
        mean = np.add.reduceat(weights * logits, starts, axis=0) / normalizer
        result[0, first:last] = 1 / normalizer
        result[1, first:last] = np.exp(-top) / normalizer
        result[2, first:last] = normalizer * np.exp(-mean)
    return result


def weight_thresholds(train: Tensor | ImageSet, p: float = 0.95, delta: float = 0.05) -> tuple[Array, Array]:
    r"""Noise levels below which, and above which, an image's own weight is surely above, or below, ``p``.

    With probability at least 1 - ``delta`` over the noise, the own weight of training image i is at least
    ``p`` at any one level below ``sigma_concentrated[i]``, and at most ``p`` at any one level above
    ``sigma_spread[i]`` ("Two calm ends and the wild middle", Thm. 4.2). The second threshold is sharpened
    by using the m nearest images only and taking the best m.

    Args:
        train: (N, *shape) tensor in [-1, 1], or an ImageSet; N at least 2.
        p: weight, with 1 / N < p < 1.
        delta: probability of failure, in (0, 1).

    Returns:
        ``(sigma_concentrated, sigma_spread)``, each (N,), in the units of the data; both are 0 for an image
        that has exact duplicates enough to keep its weight below ``p`` always, the first for any duplicate.

    Cost: all N^2 distances, 2 N^2 d operations; memory 16 bytes times N times a block of rows.
    """
    centers = Points(train)
    total = len(centers)
    if total < 2:
        raise InputError("a threshold needs at least two training images; there is one.")
    from scipy.special import ndtri

    if not 1 / total < p < 1:
        raise InputError(f"p is {p}; with {total} images take a weight between 1/{total} and 1.")
    if not 0 < delta < 1:
        raise InputError(f"delta is {delta}; a probability of failure lies between 0 and 1.")
    concentrated, spread = np.empty(total), np.empty(total)
    odds = math.log(p / (1 - p))
    nearest_few = np.arange(1, total)
    gain = np.log(nearest_few) + odds
    tail = -ndtri(delta / nearest_few)
    useful = gain > 0
    with np.errstate(invalid="ignore", divide="ignore"):
        factor = np.where(useful, (np.sqrt(tail**2 + 2 * np.maximum(gain, 0)) + tail) / (2 * gain), np.inf)
    block = max(1, BLOCK_VALUES // total)
    with progress.task("weight thresholds", total=total) as advance:
        for start in range(0, total, block):
            index = slice(start, min(start + block, total))
            pairs = NoisedPairs.build(centers.rows(index), centers, torch.zeros(0, centers.dim).double())
            rows = torch.arange(pairs.squares.shape[0])
            pairs.squares[rows, rows + start] = torch.inf
            near = pairs.squares.sort(1).values[:, : total - 1].sqrt().numpy()
            concentrated[index] = near[:, 0] / (tail[-1] + math.sqrt(tail[-1] ** 2 + 2 * gain[-1]))
            spread[index] = (near * factor).min(1)
            advance(len(rows))
    return concentrated, spread
