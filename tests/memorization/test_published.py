"""The tests in use against their definitions, written out or taken from other libraries."""

import numpy as np
import pytest
import torch
from scipy.spatial.distance import cdist
from scipy.special import softmax
from scipy.stats import entropy, mannwhitneyu
from sklearn.metrics.pairwise import cosine_similarity

from smoothscore.encoders import PIXEL
from smoothscore.memorization import CopyTest, Matches
from smoothscore.memorization.published import (
    authentic,
    c_t,
    cells,
    confirmed,
    extraction,
    largest_cosines,
    relative_ratio,
    top_entropy,
    votes,
)
from smoothscore.memorization.quality import memorization_informed

TRAIN, FRESH, HELD = (np.random.default_rng(seed).normal(size=(n, 4)) for seed, n in ((0, 300), (1, 200), (2, 250)))


def found(images: np.ndarray, k: int = 50) -> Matches:
    return CopyTest(torch.from_numpy(TRAIN), PIXEL)(torch.from_numpy(images), k, spaced=True)


def test_authenticity_is_alaas() -> None:
    between, own = cdist(FRESH, TRAIN), cdist(TRAIN, TRAIN)
    np.fill_diagonal(own, np.inf)
    nearest = between.argmin(1)
    expected = ~(own.min(1)[nearest] > between.min(1))
    np.testing.assert_array_equal(authentic(found(FRESH)), expected)


def test_relative_ratio_and_extraction_are_those_of_the_paper() -> None:
    d = np.sort(cdist(FRESH, TRAIN), 1)[:, :50]
    expected = d[:, 0] / d[:, 1:].mean(1)
    np.testing.assert_allclose(relative_ratio(found(FRESH)), expected)
    vote = extraction(found(FRESH), found(HELD))
    assert vote.samples.sum() == 2
    assert vote.samples[expected.argmin()]
    assert confirmed(np.array([1.9, 2.0]), np.array([1.0, 1.0])).tolist() == [True, False]


def test_votes_by_the_written_out_definitions() -> None:
    mine, theirs = np.sort(cdist(FRESH, TRAIN), 1), np.sort(cdist(HELD, TRAIN), 1)
    flags = votes(found(FRESH), found(HELD))
    np.testing.assert_array_equal(flags["ratio 2/3"].samples, mine[:, 0] / mine[:, 1] < 2 / 3)
    np.testing.assert_array_equal(flags["ratio 1/3"].samples, mine[:, 0] ** 2 / mine[:, 1] ** 2 < 1 / 9)
    cut = np.quantile(theirs[:, 0], 0.01)
    np.testing.assert_array_equal(flags["nearer than 1 % of held-out"].samples, mine[:, 0] < cut)
    assert flags["ratio 2/3"].rates()["held_out"] == np.mean(theirs[:, 0] / theirs[:, 1] < 2 / 3)
    assert "nearer than 1 % of held-out" not in votes(found(FRESH), None)


def test_entropy_is_scipys() -> None:
    matches = found(FRESH, 10)
    tau = np.median(matches.distances[:, 0])
    expected = entropy(softmax(-(matches.distances**2) / (2 * tau**2), axis=1), axis=1)
    np.testing.assert_allclose(top_entropy(matches), expected, rtol=1e-9)
    copies = found(TRAIN[:50])
    assert np.isfinite(top_entropy(copies)).all()
    assert top_entropy(copies).max() < 1e-6


def test_c_t_is_the_weighted_mean_of_mann_whitney_statistics() -> None:
    rng = np.random.default_rng(3)
    mine, theirs = rng.exponential(size=300), rng.exponential(1.2, 260)
    in_mine, in_theirs = rng.integers(0, 3, 300), rng.integers(0, 3, 260)
    in_theirs[:5] = 3  # a cell that does not count
    expected, weight = 0.0, 0
    for cell in range(3):
        a, b = mine[in_mine == cell], theirs[in_theirs == cell]
        u = mannwhitneyu(a, b, method="asymptotic", use_continuity=False).statistic
        scale = np.sqrt(len(a) * len(b) * (len(a) + len(b) + 1) / 12)
        expected += len(b) * (u - len(a) * len(b) / 2) / scale
        weight += len(b)
    assert c_t(mine, theirs, (in_mine, in_theirs)) == pytest.approx(expected / weight, rel=1e-12)
    assert c_t(mine[:10], theirs[:10], (in_mine[:10], in_theirs[:10])) is None


def test_c_t_of_copies_is_far_below_zero_and_of_fresh_points_is_not() -> None:
    train, held, fresh = (torch.from_numpy(values).float() for values in (TRAIN, HELD, FRESH))
    sorted_in = cells(train, fresh, held)
    new = c_t(found(FRESH).distances[:, 0], found(HELD).distances[:, 0], (sorted_in[0], sorted_in[1]))
    near = TRAIN[:200] + 0.01
    sorted_in = cells(train, torch.from_numpy(near).float(), held)
    copied = c_t(found(near).distances[:, 0], found(HELD).distances[:, 0], (sorted_in[0], sorted_in[1]))
    assert new is not None
    assert copied is not None
    assert abs(new) < 2
    assert copied < -3


def test_cosines_and_the_informed_distance_by_scikit_learn() -> None:
    """Mean over samples of the smallest 1 - |cosine|; the Frechet distance is divided by it where it is below 0.1."""
    for images in (FRESH, -TRAIN[:40] - 0.01):
        product = cosine_similarity(images, TRAIN)
        high, size = largest_cosines(torch.from_numpy(images), torch.from_numpy(TRAIN))
        np.testing.assert_allclose(high, product.max(1), atol=1e-9)
        apart = np.mean((1 - np.abs(product)).min(1))
        assert memorization_informed(3.0, size) == pytest.approx(3.0 / apart if apart < 0.1 else 3.0, rel=1e-6)
    assert memorization_informed(3.0, np.zeros(4)) == 3.0
    assert memorization_informed(3.0, np.full(4, 0.95)) == pytest.approx(60.0)
