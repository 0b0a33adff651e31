r"""Shell coverage: how much of the noised data distribution lies where training has been.

Training at noise level :math:`\sigma` only ever sees points in the Gaussian shells :math:`S_\sigma(x_j)` of
the training images. The coverage is the probability that a noised *new* image falls into one of them ("Two
calm ends and the wild middle", Def. 4.6),

.. math:: \mathrm{Cov}(\sigma)=P\big(X+\sigma z\in\textstyle\bigcup_jS_\sigma(x_j)\big).

With q the overlap of two shells and q' the same without the condition on the own shell
(:mod:`smoothscore.geometry.shells`), Thm. 4.8 gives

.. math:: \mathrm E\big[q(\min_j\|X-x_j\|/\sigma)\big]\le\mathrm{Cov}(\sigma)\le
    \mathrm E\big[\min(1,\textstyle\sum_jq'(\|X-x_j\|/\sigma))\big].
"""

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
from smoothscore.geometry.shells import OverlapTable, Shell

__all__ = ["Coverage", "coverage", "shell_coverage"]

COST = 100  # a pair alone costs about so many times what its share in the search for the nearest costs


@dataclass(frozen=True, eq=False)
class Coverage:
    """The coverage of some images at every noise level.

    Attributes:
        images: (I,) indices of the images that were noised.
        covered: 1 or 0 per level, image and noise.
        lower: (L,) mean overlap with the nearest training image.
        upper: (L,) mean of the sum of all overlaps, each sum at most 1.
    """

    images: NDArray[np.int64]
    covered: Replicates
    lower: Array
    upper: Array

    def curve(self) -> Curve:
        """The coverage with its standard errors and bounds."""
        estimate = self.covered.curve()
        return Curve(estimate.sigmas, estimate.mean, estimate.stderr, self.lower, self.upper)


def coverage(
    train: Tensor | ImageSet,
    held_out: Tensor | ImageSet | None,
    sigmas: Levels,
    seed: int = 0,
    noises: int = 100,
    images: int | None = 1000,
    t: float = 5.0,
) -> Coverage:
    """Which noised images fall into the shells of training images, for every level from one pass.

    Args:
        train: (N, *shape) tensor in [-1, 1], or an ImageSet.
        held_out: images of the same distribution that were not trained on; ``None``: every training image in
            turn, against the shells of the others.
        sigmas: noise levels, positive, in the same units.
        seed: draws the noises and, if needed, the images that are noised.
        noises: number K of noise vectors, shared by all images.
        images: at most so many images are noised (a random subset); ``None``: all.
        t: thickness of the shells; each holds at least ``1 - 2 exp(-t)`` of its noise.

    Raises:
        InputError: no images, another shape than the training images, values or levels that are not finite, a
            single training image without held-out images.

    Cost: 2 N d (I + K) operations, then about N I K for all levels together and, where few pairs of images matter,
    those pairs at each level. Memory: L I K numbers and less than 1 GB.
    """
    levels = as_levels(sigmas)
    centers = Points(train)
    points = centers if held_out is None else Points(held_out, like=centers)
    if held_out is None and len(centers) < 2:
        raise InputError("coverage of a single image needs held-out images; pass held_out=.")
    if noises < 1:
        raise InputError(f"noises is {noises}; draw at least one.")
    shell = Shell.laurent_massart(centers.dim, t)
    chosen = choose(len(points), images, seed)
    vectors = draw_noises(noises, centers.dim, seed)
    radii = vectors.square().sum(1)
    covered = np.zeros((len(levels), len(chosen), noises))
    lower, upper = np.zeros(len(levels)), np.zeros(len(levels))
    block = max(1, BLOCK_VALUES // len(centers))
    with progress.task("shell coverage", total=len(chosen) * len(levels)) as advance:
        for start in range(0, len(chosen), block):
            rows = slice(start, start + block)
            index = torch.from_numpy(chosen[rows])
            pairs = NoisedPairs.build(points.rows(index), centers, vectors)
            if held_out is None:
                pairs.squares[torch.arange(len(index)), index] = torch.inf
            # ||x + sigma z - y||^2 / sigma^2 = ||z||^2 - 2 ell, so a pair below this is outside the outer radius
            threshold = min(float(radii.min() - shell.outer**2) / 2, 0.0)
            critical = pairs.critical(threshold).numpy()
            distances = pairs.squares.sqrt().numpy()
            closest = distances.min(1)
            counts = np.array([np.count_nonzero(critical < sigma) for sigma in levels])
            many = COST * counts >= critical.size
            nearest = dict(zip(np.flatnonzero(many), largest_logits(pairs, levels[many]), strict=True))
            for level, sigma in enumerate(levels.tolist()):
                if many[level]:
                    most = torch.from_numpy(nearest[level])
                    covered[level, rows] = _covered_by_nearest(pairs, sigma, radii, shell, most)
                elif counts[level]:  # else the shells of no center can be reached
                    matters = np.divmod(np.flatnonzero(critical < sigma), len(centers))
                    found = _covered_one_by_one(pairs, sigma, radii, shell, *map(torch.from_numpy, matters))
                    covered[level, rows] = found
                low, high = _bounds(distances, closest, sigma, shell)
                lower[level] += low / len(chosen)
                upper[level] += high / len(chosen)
                advance(len(index))
    return Coverage(chosen, Replicates(levels, covered), lower, upper)


def shell_coverage(
    train: Tensor | ImageSet,
    held_out: Tensor | ImageSet | None,
    sigmas: Levels,
    seed: int = 0,
    noises: int = 100,
    images: int | None = 1000,
    t: float = 5.0,
) -> Curve:
    """Coverage of noised held-out images by the shells of training images, with bounds; see `coverage`.

    The standard errors count both the held-out images and the noises as draws.
    """
    return coverage(train, held_out, sigmas, seed, noises, images, t).curve()


def _bounds(distances: Array, nearest: Array, sigma: float, shell: Shell) -> tuple[float, float]:
    """Sums over points of the overlap with the nearest center, and of the overlaps with all, each at most 1."""
    from smoothscore.geometry.loops import add_overlaps

    both, other = OverlapTable.of(shell, own_shell=True), OverlapTable.of(shell, own_shell=False)
    rows = np.flatnonzero(nearest < other.end * sigma)
    total = np.zeros(len(rows))
    add_overlaps(distances, rows, sigma, other.end, other.spline.c, total)
    return float(both(nearest[rows] / sigma).sum()), float(total.sum())


def _covered_by_nearest(pairs: NoisedPairs, sigma: float, radii: Tensor, shell: Shell, largest: Tensor) -> Array:
    """1 where some center's distance lies within the shell, for every point and noise, from the largest ``ell``."""
    nearest = radii - 2 * largest
    covered = _inside(nearest, shell)
    too_near = torch.nonzero(nearest < shell.inner**2)  # another center may still be at the right distance
    for part in torch.split(too_near, max(1, BLOCK_VALUES // pairs.squares.shape[1])):
        i, k = part.unbind(1)
        inner = (pairs.center_noise[:, k].T - pairs.point_noise[i, k, None]) / sigma
        squares = radii[k, None] - 2 * (inner - pairs.squares[i] / (2 * sigma**2))
        covered[i, k] = _inside(squares, shell).any(1)
    return covered.double().numpy()


def _covered_one_by_one(
    pairs: NoisedPairs, sigma: float, radii: Tensor, shell: Shell, rows: Tensor, columns: Tensor
) -> Array:
    points, noises = pairs.point_noise.shape
    covered = np.zeros((points, noises))
    counts = torch.bincount(rows, minlength=points).numpy()
    for first, last in row_blocks(counts, BLOCK_VALUES // (4 * noises)):
        pick = slice(int(counts[:first].sum()), int(counts[:last].sum()))
        held = np.flatnonzero(counts[first:last])
        if len(held) == 0:
            continue
        starts = (np.cumsum(counts[first:last]) - counts[first:last])[held]
        inside = _inside(radii - 2 * pairs.logits(sigma, rows[pick], columns[pick]), shell).numpy()
        covered[first + held] = np.logical_or.reduceat(inside, starts, axis=0)
    return covered


def _inside(squares: Tensor, shell: Shell) -> Tensor:
    return (squares >= shell.inner**2) & (squares <= shell.outer**2)
