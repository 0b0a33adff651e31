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
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor
from torch.nn.functional import interpolate

from smoothscore import progress
from smoothscore.data import ImageSet
from smoothscore.encoders import Encoder
from smoothscore.memorization.frechet import frechet_distance, moments
from smoothscore.memorization.protocol import BOUND, KERNEL_NEIGHBORS, QUALITY

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
    return np.sort(np.random.default_rng(0).permutation(count)[:QUALITY])


def features_of(images: ImageSet | Tensor, space: Encoder) -> tuple[Tensor, str]:
    """Vectors (m, f) of the :func:`chosen` images, and the name of their space.

    Pixels of more than 1,024 values are averaged over squares first; the name says so.
    """
    if len(images) > QUALITY:
        rows = chosen(len(images))
        images = images[rows] if isinstance(images, ImageSet) else images[torch.from_numpy(rows)]
    shape = tuple(images.shape if isinstance(images, ImageSet) else images.shape[1:])
    if space.name != "pixel" or len(shape) != 3 or int(np.prod(shape)) <= LARGEST:
        return space(images), space.name
    values = images.tensor() if isinstance(images, ImageSet) else images.detach().float().cpu()
    scale = (LARGEST / np.prod(shape)) ** 0.5
    height, width = (max(1, int(side * scale)) for side in shape[1:])
    return interpolate(values, (height, width), mode="area").flatten(1), f"pixel averaged to {height} x {width}"


def quality(sets: Mapping[str, Tensor], space: str) -> dict[str, dict[str, Any]]:
    """The measures for each comparison of :data:`COMPARED` whose sets are there with two images or more.

    Args:
        sets: features (n, f) of ``samples``, ``train`` and perhaps ``held_out``.
        space: what to call their space.
    """
    found = {}
    large = {name: features for name, features in sets.items() if len(features) > 1}
    m = min(map(len, large.values()), default=0)
    with progress.task("quality", total=len(COMPARED)) as advance:
        for name, pair in COMPARED.items():
            if all(side in large for side in pair):
                found[name] = _compare(*(_some(large[side], m) for side in pair)) | {"space": space}
            advance(1)
    return found


def _compare(a: NDArray[np.float32], b: NDArray[np.float32]) -> dict[str, Any]:
    m = len(a)
    distance = frechet_distance(moments(a), moments(b))
    half = None if m < 4 else frechet_distance(moments(a[: m // 2]), moments(b[: m // 2]))
    return {
        "n": m,
        "frechet": distance,
        "frechet_bias": None if half is None else half - distance,
        "kid": kernel_distance(a, b),
        **(prdc(b, a) if m > KERNEL_NEIGHBORS else {}),
    }


def _some(features: Tensor, count: int) -> NDArray[np.float32]:
    """``count`` rows, in a random order of seed 0, so that a half is a random half."""
    order = np.random.default_rng(0).permutation(len(features))[:count]
    return features.numpy()[order]


def kernel_distance(first: NDArray[np.floating], second: NDArray[np.floating]) -> float:
    """The unbiased KID of features (n, f) and (m, f); near 0, or a little below it, for sets of one source."""
    a, b = (np.asarray(values, dtype=np.float64) for values in (first, second))

    def mean(x: Floats, y: Floats, *, itself: bool) -> float:
        total = sum(float(((part @ y.T / x.shape[1] + 1) ** 3).sum()) for part in np.array_split(x, len(x) // ROWS + 1))
        if not itself:
            return total / (len(x) * len(y))
        own = float(((np.square(x).sum(1) / x.shape[1] + 1) ** 3).sum())
        return (total - own) / (len(x) * (len(x) - 1))

    return mean(a, a, itself=True) + mean(b, b, itself=True) - 2 * mean(a, b, itself=False)


def prdc(real: NDArray[np.floating], fake: NDArray[np.floating], k: int = KERNEL_NEIGHBORS) -> dict[str, float]:
    """Precision, recall, density and coverage of ``fake`` (m, f) for ``real`` (n, f), both of more than k rows."""
    a, b = (torch.from_numpy(np.asarray(values, dtype=np.float32)) for values in (real, fake))
    middle = a.mean(0)
    a, b = a - middle, b - middle
    around_real, around_fake = _radii(a, k), _radii(b, k)
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
