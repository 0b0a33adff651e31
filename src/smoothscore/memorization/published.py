"""The tests in use, under their names and with their own thresholds, from one search for neighbors.

None of them states how often it errs on new images; so each is also run on the held-out images, and the share it
flags among these stands beside the share it flags among the samples.
"""

from collections.abc import Mapping
from dataclasses import dataclass

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from smoothscore.memorization.copies import Matches
from smoothscore.memorization.protocol import BETA, CENTERS, EXTRACTED, LOOSE, NEIGHBORS, SEED, SIMILAR, STRICT

__all__ = [
    "TESTS",
    "Vote",
    "authentic",
    "c_t",
    "cells",
    "confirmed",
    "extraction",
    "largest_cosines",
    "relative_ratio",
    "top_entropy",
    "votes",
]

Floats = NDArray[np.float64]
Bools = NDArray[np.bool_]

# What each test says, by name; the page's glossary.
TESTS = {
    "ratio 2/3": "d1 / d2 < 2/3: distance to the nearest over that to the second distinct nearest training image, "
    "unsquared (Smoothing the score function, B.3.2).",
    "ratio 1/3": "d1 / d2 < 1/3, unsquared; on squared distances, which FAISS returns, that is 1/9.",
    "extraction 1 %": f"d1 / mean(d2..d{NEIGHBORS}) among the lowest 1 % of the samples, the first stage of Smoothing "
    "the score function, B.4.5; it flags 1 % of any set, and held-out images below the same cut.",
    "extraction confirmed": "Those of the first stage whose distance in feature space to their nearest training image "
    f"in pixels is below {BETA:g} times the distance from that image to the training image next to it.",
    "nearer than 1 % of held-out": "d1 below the 1 % percentile of held-out images' d1.",
    "not authentic": "Nearer to the nearest training image than that image is to its own nearest neighbor; AuthPct is "
    "the share of the others (Alaa and others, 2022).",
    "similarity": f"Largest cosine similarity of features to a training image above {SIMILAR:g}.",
}


@dataclass(frozen=True)
class Vote:
    """Whom a test flags: samples (n,) and, by the same cut, held-out images (h,) where there are any."""

    samples: Bools
    held_out: Bools | None

    def rates(self) -> dict[str, float | None]:
        """The shares flagged."""
        return {
            "samples": float(self.samples.mean()),
            "held_out": None if self.held_out is None else float(self.held_out.mean()),
        }


def votes(samples: Matches, held_out: Matches | None) -> dict[str, Vote]:
    """The tests of distances in one space, by the names of :data:`TESTS`."""

    def vote(flags: Mapping[str, Bools]) -> Vote:
        return Vote(flags["samples"], flags.get("held_out"))

    sets = {"samples": samples} | ({} if held_out is None else {"held_out": held_out})
    found = {
        name: vote({key: m.ratio < threshold for key, m in sets.items()})
        for name, threshold in (("ratio 2/3", LOOSE), ("ratio 1/3", STRICT))
    }
    if held_out is not None:
        cut = np.quantile(held_out.distances[:, 0], EXTRACTED)
        found["nearer than 1 % of held-out"] = vote({key: m.distances[:, 0] < cut for key, m in sets.items()})
    if samples.spacing is not None:
        found["not authentic"] = vote({key: ~authentic(m) for key, m in sets.items()})
    return found


def extraction(samples: Matches, held_out: Matches | None) -> Vote:
    """The first stage of B.4.5: the lowest 1 % of the samples' relative ratios in pixels, and what is as low."""
    ratios = relative_ratio(samples)
    cut = np.quantile(ratios, EXTRACTED)
    return Vote(ratios <= cut, None if held_out is None else relative_ratio(held_out) <= cut)


def relative_ratio(matches: Matches) -> Floats:
    """d1 / mean(d2..dk) in [0, 1]: "Smoothing the score function", B.4.5."""
    first, others = matches.distances[:, 0], matches.distances[:, 1:].mean(1)
    ratio: Floats = np.divide(first, others, out=np.zeros_like(first), where=first > 0)
    return ratio


def confirmed(features: Floats, spacing: Floats) -> Bools:
    """Second stage of B.4.5: the distance in feature space is below beta times the training image's spacing there.

    Args:
        features: (n,) distances of samples to their nearest training image in pixels.
        spacing: (n,) from that image to the training image next to it.
    """
    below: Bools = features < BETA * spacing
    return below


def top_entropy(matches: Matches) -> Floats:
    """Entropy (n,) in nats of softmax(-d_j^2 / 2 tau^2) over the k nearest, tau the median of the samples' d1.

    The paper names a top-K entropy without defining it; this is our reading. From 0, one image, to log k.
    """
    tau = max(float(np.median(matches.distances[:, 0])), np.finfo(np.float64).tiny)
    logits = -np.square(np.minimum(matches.distances, 1e6 * tau) / tau) / 2
    weights = np.exp(logits - logits.max(1, keepdims=True))
    weights /= weights.sum(1, keepdims=True)
    entropy: Floats = -(weights * np.log(np.maximum(weights, np.finfo(np.float64).tiny))).sum(1)
    return entropy


def authentic(matches: Matches) -> Bools:
    """Whether each sample is at least as far from its nearest training image as that one from its nearest other.

    AuthPct is the share of these: Alaa and others, "How faithful is your synthetic data?", 2022.
    """
    assert matches.spacing is not None
    far: Bools = matches.distances[:, 0] >= matches.spacing
    return far


def c_t(samples: Floats, held_out: Floats, cells: tuple[NDArray[np.int64], NDArray[np.int64]]) -> float | None:
    """The data-copying test C_T of Meehan, Chaudhuri and Dasgupta, 2020: below -3 says copies, above 3 underfitting.

    In every cell, the standardized Mann-Whitney statistic of samples' against held-out distances to the training set;
    their mean, weighted by the held-out images of the cells. Cells with fewer than 20 of either do not count; None
    where no cell is left.

    Args:
        samples: (n,) distances to the nearest training image.
        held_out: (h,) the same of held-out images.
        cells: the cell of each sample (n,) and of each held-out image (h,).
    """
    from scipy.stats import rankdata

    total = weight = 0.0
    for cell in np.unique(cells[1]):
        a, b = samples[cells[0] == cell], held_out[cells[1] == cell]
        if min(len(a), len(b)) < 20:
            continue
        ranks = rankdata(np.concatenate([a, b]))[: len(a)].sum()
        larger = ranks - len(a) * (len(a) + 1) / 2
        scale = np.sqrt(len(a) * len(b) * (len(a) + len(b) + 1) / 12)
        total += len(b) * (larger - len(a) * len(b) / 2) / scale
        weight += len(b)
    return total / weight if weight else None


def cells(train: Tensor, *others: Tensor) -> list[NDArray[np.int64]]:
    """The cell of each vector of ``others`` (n, f) among k-means cells of ``train`` (m, f), as C_T takes them.

    So many cells that every one would hold 20 of the smallest set, 50 at most.
    """
    from sklearn.cluster import KMeans

    count = int(np.clip(min(map(len, others)) // 20, 1, min(CENTERS, len(train))))
    fit = KMeans(count, n_init=1, random_state=SEED, max_iter=30).fit(train.numpy())
    return [fit.predict(other.numpy()).astype(np.int64) for other in others]


def largest_cosines(features: Tensor, train: Tensor) -> tuple[Floats, Floats]:
    """The largest cosine similarity (n,) of features to those of a training image, and the largest absolute one.

    Cost: one product. 1 minus the second is the distance of the memorization-informed Frechet distance.
    """
    unit, others = (values / values.norm(dim=1, keepdim=True).clamp(min=1e-12) for values in (features, train))
    high, size = [], []
    for part in unit.split(256):
        similar = part @ others.T
        high.append(similar.amax(1))
        size.append(torch.maximum(high[-1], -similar.amin(1)))
    return torch.cat(high).double().numpy(), torch.cat(size).double().numpy()
