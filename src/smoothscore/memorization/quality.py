"""How well samples are distributed, in a named feature space, beside what held-out images reach at equal numbers.

    Frechet distance   see :mod:`smoothscore.memorization.frechet`
    KID                mean over pairs of (u . v / f + 1)^3 within both sets, minus twice the mean between them,
                       unbiased (Binkowski and others, 2018)
    precision          share of samples inside a ball around a training image, with its k-th neighbor on the rim
    recall             share of training images inside such a ball around a sample
    density            samples' mean number of training images' balls around them, over k
    coverage           share of training images whose ball holds a sample (k = 5; Naeem and others, 2020)

All depend on the numbers of images, so every set is cut to the same number m. The bias that a Frechet distance has at
m is of order 1/m, so the distance at m/2 minus the one at m estimates it; that estimate is printed beside it.
"""

from collections.abc import Mapping
from functools import cached_property
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor
from torch.nn.functional import interpolate

from smoothscore import progress
from smoothscore.encoders import Encoder
from smoothscore.memorization.frechet import Moments, frechet_distance, moments
from smoothscore.memorization.images import Images, at, floats, shape_of
from smoothscore.memorization.protocol import BOUND, KERNEL_NEIGHBORS, QUALITY, SEED

__all__ = ["COMPARED", "chosen", "features_of", "kernel_distance", "memorization_informed", "prdc", "quality"]

Floats = NDArray[np.float64]

# The comparisons of an audit, by name.
COMPARED = {
    "to_train": ("samples", "train"),
    "to_held_out": ("samples", "held_out"),
    "reference": ("held_out", "train"),
}
LARGEST = 1024  # values beyond which pixels are averaged first
FEW = 2048  # images below which a Frechet distance is mostly bias
ROWS = 1024


def chosen(count: int) -> NDArray[np.int64]:
    """Which of ``count`` images the measures look at: all, or 10,000 drawn with seed 0."""
    return np.sort(np.random.default_rng(SEED).permutation(count)[:QUALITY])


def features_of(images: Images, space: Encoder) -> tuple[Tensor, str]:
    """Vectors (m, f) of the :func:`chosen` images, and the name of their space.

    Pixels of more than 1,024 values are averaged over squares first; the name says so.
    """
    if len(images) > QUALITY:
        rows = chosen(len(images))
        images = at(images, rows)
    shape = shape_of(images)
    if space.name != "pixel" or len(shape) != 3 or int(np.prod(shape)) <= LARGEST:
        return space(images), space.name
    scale = (LARGEST / np.prod(shape)) ** 0.5
    height, width = (max(1, int(side * scale)) for side in shape[1:])
    return interpolate(floats(images), (height, width), mode="area").flatten(1), f"pixel averaged to {height} x {width}"


def quality(sets: Mapping[str, Tensor], space: str) -> dict[str, dict[str, Any]]:
    """The measures for each comparison of :data:`COMPARED` whose sets are there with two images or more.

    Args:
        sets: features (n, f) of ``samples``, ``train`` and perhaps ``held_out``.
        space: what to call their space.
    """
    found = {}
    large = {name: features for name, features in sets.items() if len(features) > 1}
    m = min(map(len, large.values()), default=0)
    sides = {name: _Side(_some(features, m)) for name, features in large.items()}
    with progress.task("quality", total=len(COMPARED)) as advance:
        for name, (a, b) in COMPARED.items():
            if a in sides and b in sides:
                found[name] = _compare(sides[a], sides[b]) | {"space": space}
            advance(1)
    return found


class _Side:
    """One set of features (m, f), and what every comparison with it needs."""

    def __init__(self, values: NDArray[np.float32]) -> None:
        self.values = values

    @cached_property
    def moments(self) -> Moments:
        return moments(self.values)

    @cached_property
    def half(self) -> Moments:
        """Of a random half."""
        return moments(self.values[: len(self.values) // 2])

    @cached_property
    def kernel(self) -> float:
        return _kernel_itself(self.values)

    @cached_property
    def balls(self) -> Tensor:
        return _radii(torch.from_numpy(self.values - self.values.mean(0)), KERNEL_NEIGHBORS)


def _compare(a: _Side, b: _Side) -> dict[str, Any]:
    m = len(a.values)
    distance = frechet_distance(a.moments, b.moments)
    half = None if m < 4 else frechet_distance(a.half, b.half)
    enough = m > KERNEL_NEIGHBORS
    return {
        "n": m,
        "frechet": distance,
        "frechet_bias": None if half is None else half - distance,
        "kid": a.kernel + b.kernel - 2 * _kernel_between(a.values, b.values),
        **(_inside(b.values, a.values, b.balls, a.balls, KERNEL_NEIGHBORS) if enough else {}),
    }


def _some(features: Tensor, count: int) -> NDArray[np.float32]:
    """``count`` rows, in a random order of seed 0, so that a half is a random half."""
    order = np.random.default_rng(SEED).permutation(len(features))[:count]
    return features.numpy()[order]


def kernel_distance(first: NDArray[np.floating], second: NDArray[np.floating]) -> float:
    """The unbiased KID of features (n, f) and (m, f); near 0, or a little below it, for sets of one source.

    Products are taken in the precision of the features, sums in float64.
    """
    return _kernel_itself(first) + _kernel_itself(second) - 2 * _kernel_between(first, second)


def _kernel_itself(x: NDArray[np.floating]) -> float:
    """The mean of the kernel over pairs of different rows."""
    own = float(((np.square(x, dtype=np.float64).sum(1) / x.shape[1] + 1) ** 3).sum())
    return (_kernel_between(x, x) * len(x) ** 2 - own) / (len(x) * (len(x) - 1))


def _kernel_between(x: NDArray[np.floating], y: NDArray[np.floating]) -> float:
    """The mean of the kernel over all pairs."""
    total = 0.0
    for part in np.array_split(x, len(x) // ROWS + 1):
        kernel = part @ y.T
        kernel /= x.shape[1]
        kernel += 1
        total += float((kernel * kernel * kernel).sum(dtype=np.float64))
    return total / (len(x) * len(y))


def prdc(real: NDArray[np.floating], fake: NDArray[np.floating], k: int = KERNEL_NEIGHBORS) -> dict[str, float]:
    """Precision, recall, density and coverage of ``fake`` (m, f) for ``real`` (n, f), both of more than k rows."""
    a, b = (_radii(torch.from_numpy(np.asarray(v - v.mean(0), dtype=np.float32)), k) for v in (real, fake))
    return _inside(real, fake, a, b, k)


def _inside(
    real: NDArray[np.floating], fake: NDArray[np.floating], around_real: Tensor, around_fake: Tensor, k: int
) -> dict[str, float]:
    """The same, given the radius of the ball around each row."""
    middle = real.mean(0)
    a, b = (torch.from_numpy(np.asarray(values - middle, dtype=np.float32)) for values in (real, fake))
    inside = torch.zeros(len(b))
    recalled, covered = [], []
    for part, radius in zip(torch.split(a, ROWS), torch.split(around_real, ROWS), strict=True):
        apart = torch.cdist(part, b, compute_mode="use_mm_for_euclid_dist")
        held = apart < radius[:, None]
        inside += held.sum(0)
        covered.append(held.any(1))
        recalled.append((apart < around_fake).any(1))
    return {
        "precision": float((inside > 0).float().mean()),
        "recall": float(torch.cat(recalled).float().mean()),
        "density": float(inside.mean() / k),
        "coverage": float(torch.cat(covered).float().mean()),
    }


def _radii(values: Tensor, k: int) -> Tensor:
    """Distance of each row to its k-th other (n,)."""
    parts = [
        torch.cdist(part, values, compute_mode="use_mm_for_euclid_dist").kthvalue(k + 1, dim=1).values
        for part in torch.split(values, ROWS)
    ]
    return torch.cat(parts)


def memorization_informed(frechet: float, cosine: Floats) -> float:
    """The memorization-informed Frechet distance (Bai and others, 2021): raised where samples lie near training images.

    Args:
        frechet: the Frechet distance in some space.
        cosine: (n,) for each sample the largest absolute cosine similarity to a training image there.

    Returns:
        The distance over m, with m the mean of 1 - cosine where that is below 0.1, otherwise 1.
    """
    apart = float(np.mean(1 - cosine))
    return frechet / max(apart, 1e-8) if apart < BOUND else frechet
