"""Posterior weights against brute force in float64, and the thresholds against simulation."""

import math

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from scipy.special import softmax
from torch import Tensor

from smoothscore.data import ImageSet
from smoothscore.errors import InputError
from smoothscore.geometry.curve import Replicates
from smoothscore.geometry.frontier import largest_logits
from smoothscore.geometry.pairs import NoisedPairs, Points, draw_noises
from smoothscore.geometry.posterior import concentration, own_weight, posterior_weight, weight_thresholds

SIGMAS = [0.002, 0.03, 0.3, 1.0, 3.0, 10.0, 80.0]


def digits(count: int, seed: int = 0) -> ImageSet:
    from sklearn.datasets import load_digits

    pixels = (load_digits().images * (255 / 16)).astype(np.uint8)[:, None]
    order = np.random.default_rng(seed).permutation(len(pixels))[:count]
    return ImageSet.from_array(pixels[order])


def brute(images: Tensor, sigmas: list[float], noises: Tensor) -> np.ndarray:
    """(3, L, N, K): largest weight, own weight, effective number; noisy images and direct differences."""
    y = images.double().flatten(1).numpy()
    result = np.empty((3, len(sigmas), len(y), len(noises)))
    for level, sigma in enumerate(sigmas):
        for i, clean in enumerate(y):
            for k, z in enumerate(noises.numpy()):
                w = softmax(-((clean + sigma * z - y) ** 2).sum(1) / (2 * sigma**2))
                entropy = -(w[w > 0] * np.log(w[w > 0])).sum()
                result[:, level, i, k] = w.max(), w[i], math.exp(entropy)
    return result


@pytest.mark.parametrize("kind", ["images", "tensor", "points", "clusters"])
def test_agrees_with_brute_force(kind: str) -> None:
    generator = torch.Generator().manual_seed(3)
    if kind == "images":
        data: Tensor | ImageSet = digits(40)
        images = data.tensor(dtype=torch.float64)
    elif kind == "tensor":
        images = data = torch.rand(30, 3, 5, 5, generator=generator) * 2 - 1
    elif kind == "points":
        images = data = torch.randn(40, 2, generator=generator)
    else:  # clusters far apart: many candidates a point and logits beyond the range of exp at once
        images = torch.randn(30, 6, generator=generator).double() * 0.01
        images[10:] += 40
        images[20:, 0] -= 90
        data = images
    found = concentration(data, SIGMAS, seed=5, noises=6)
    expected = brute(images, SIGMAS, draw_noises(6, images[0].numel(), 5))
    for part, reference in zip((found.largest, found.own, found.effective), expected, strict=True):
        np.testing.assert_allclose(part.values, reference, rtol=2e-6, atol=1e-9)


def test_products_and_candidates_agree() -> None:
    """The two evaluations share no arithmetic but the inner products."""
    from smoothscore.geometry import posterior

    centers = Points(digits(60))
    pairs = NoisedPairs.build(centers.rows(slice(0, 60)), centers, draw_noises(8, 64, 0))
    every = torch.nonzero(torch.ones(60, 60), as_tuple=True)
    critical = pairs.critical(math.log(posterior.LEFT_OUT / 60))
    for sigma in (0.5, 1.0, 4.0, 30.0):
        largest = torch.from_numpy(largest_logits(pairs, np.array([sigma]))[0])
        products = posterior._weights_by_products(*pairs.split(sigma), largest)
        np.testing.assert_allclose(products, posterior._weights_one_by_one(pairs, sigma, *every), rtol=1e-9)
        few = torch.nonzero(critical < sigma, as_tuple=True)
        np.testing.assert_allclose(products, posterior._weights_one_by_one(pairs, sigma, *few), rtol=1e-9)


def test_pairs_below_their_critical_level_do_not_matter() -> None:
    centers = Points(digits(30))
    pairs = NoisedPairs.build(centers.rows(slice(0, 30)), centers, draw_noises(8, 64, 0))
    rows, columns = torch.nonzero(torch.ones(30, 30), as_tuple=True)
    critical = pairs.critical(-3.0)[rows, columns]
    for sigma in (0.1, 0.5, 1.0, 4.0):
        depth = pairs.logits(sigma, rows, columns).amax(1)
        assert (depth[critical >= sigma] <= -3).all()
        assert (depth[critical < sigma] > -3).float().mean() > 0.4  # and the level is not far too low


@settings(max_examples=25, deadline=None)
@given(st.integers(0, 10_000), st.integers(1, 700), st.integers(1, 40), st.booleans())
def test_largest_logits_are_the_maximum(seed: int, count: int, dim: int, line: bool) -> None:
    """Over all centers that are not left out; on a line distance and noise order the centers alike."""
    generator = torch.Generator().manual_seed(seed)
    data = torch.randn(count, dim, generator=generator).double() * (torch.arange(dim) == 0 if line else 1)
    centers = Points(data)
    pairs = NoisedPairs.build(centers.rows(slice(0, 3)), centers, draw_noises(4, dim, seed))
    pairs.squares[0, 1 : count // 2] = torch.inf
    sigmas = np.geomspace(0.003, 90, 7)
    rows, columns = torch.nonzero(torch.ones_like(pairs.squares), as_tuple=True)
    for sigma, found in zip(sigmas, largest_logits(pairs, sigmas), strict=True):
        every = pairs.logits(sigma, rows, columns).reshape(*pairs.squares.shape, 4)
        np.testing.assert_allclose(found, every.amax(1), rtol=1e-9, atol=1e-9)


@settings(max_examples=15, deadline=None)
@given(st.integers(2, 12), st.integers(1, 8), st.integers(0, 1000))
def test_weights_keep_their_order(count: int, dim: int, seed: int) -> None:
    data = torch.randn(count, dim, generator=torch.Generator().manual_seed(seed))
    found = concentration(data, [0.01, 0.4, 1.0, 5.0, 200.0], seed=seed, noises=4)
    largest, own, effective = found.largest.values, found.own.values, found.effective.values
    assert (own <= largest * (1 + 1e-9)).all()
    assert (largest >= (1 - 1e-9) / count).all()
    assert (largest <= 1 + 1e-9).all()
    assert (effective >= 1 - 1e-9).all()
    assert (effective <= count + 1e-6).all()
    assert (1 / effective <= largest + 1e-9).all()  # the entropy is at least minus the log of the largest weight


def test_limits_of_few_images() -> None:
    one = posterior_weight(torch.zeros(1, 2), [0.1, 10.0], noises=3)
    np.testing.assert_allclose(one.mean, 1)
    np.testing.assert_allclose(one.stderr, 0, atol=1e-12)
    same = concentration(torch.full((5, 1, 4, 4), 0.3), [0.002, 1.0, 50.0], noises=3)
    np.testing.assert_allclose(same.largest.values, 1 / 5, rtol=1e-9)
    np.testing.assert_allclose(same.effective.values, 5, rtol=1e-9)
    # two centers: the own weight is a logistic function of one normal number
    apart = torch.tensor([[0.0], [2.0]]).double()
    found = own_weight(apart, [1.5], noises=4000, seed=1)
    nodes, weights = np.polynomial.hermite_e.hermegauss(120)
    ratio = 2 / 1.5
    exact = (weights / (1 + np.exp(-(ratio**2) / 2 - ratio * nodes))).sum() / weights.sum()
    assert abs(found.mean[0] - exact) < 4 * found.stderr[0]
    assert 0 < found.stderr[0] < 0.01


def test_standard_error_covers_shared_noises() -> None:
    """Repeated runs scatter as much as one run says, although all images share the noises."""
    images = digits(60)
    runs = [posterior_weight(images, [2.0], seed=seed, noises=8) for seed in range(60)]
    posterior_values = concentration(images, [2.0], noises=8).largest.values
    scatter = np.std([run.mean[0] for run in runs], ddof=1)
    said = math.sqrt(np.mean([run.stderr[0] ** 2 for run in runs]))
    assert 0.7 < said / scatter < 1.4  # the scatter of 60 runs is itself known to 9 percent
    images_alone = posterior_values.std() / math.sqrt(posterior_values.size)
    assert images_alone < 0.6 * scatter  # counting images times noises as independent would claim too much


def test_standard_error_of_a_subset_shrinks_to_the_population() -> None:
    rng = np.random.default_rng(0)
    table = rng.normal(size=(1, 50, 1)) + 0.01 * rng.normal(size=(1, 50, 20))
    unlimited = Replicates(np.ones(1), table).curve().stderr[0]
    assert unlimited == pytest.approx(table.mean(2).std(ddof=1) / math.sqrt(50), rel=1e-6)
    assert Replicates(np.ones(1), table, population=50).curve().stderr[0] < 0.02 * unlimited


def test_subset_of_images_keeps_all_centers() -> None:
    images = digits(200)
    whole = concentration(images, [1.0, 3.0], seed=2, noises=5, images=None)
    part = concentration(images, [1.0, 3.0], seed=2, noises=5, images=20)
    np.testing.assert_allclose(part.largest.values, whole.largest.values[:, part.images], rtol=1e-9)


def test_blocks_do_not_change_the_result(monkeypatch: pytest.MonkeyPatch) -> None:
    from smoothscore.geometry import posterior

    images = digits(50)
    whole = concentration(images, SIGMAS, noises=5)
    monkeypatch.setattr(posterior, "BLOCK_VALUES", 50 * 7)
    blocks = concentration(images, SIGMAS, noises=5)
    np.testing.assert_allclose(blocks.largest.values, whole.largest.values, rtol=1e-9)
    np.testing.assert_allclose(blocks.effective.values, whole.effective.values, rtol=1e-9)


def test_formula_sheet_thresholds() -> None:
    """1,000 images at distance 1 of each other: 0.102117 and 0.497029 from the theorem as printed."""
    simplex = torch.eye(1000).double() / math.sqrt(2)
    low, high = weight_thresholds(simplex, p=0.95, delta=0.05)
    np.testing.assert_allclose(low, 0.102117, atol=1e-6)
    assert (high <= 0.497029 + 1e-6).all()  # the printed threshold uses all neighbors; fewer can only help


@pytest.mark.parametrize(("p", "delta"), [(0.9, 0.1), (0.5, 0.3), (0.2, 0.05)])
def test_thresholds_hold_in_simulation(p: float, delta: float) -> None:
    images = digits(80)
    low, high = weight_thresholds(images, p, delta)
    assert (low < high).all()
    picks = np.argsort(low)[[0, 40, 79]]
    for i in picks:
        below = concentration(images, [low[i] * 0.999, high[i] * 1.001], seed=int(i), noises=2000)
        own = below.own.values[:, i]
        assert (own[0] >= p).mean() >= 1 - delta
        assert (own[1] <= p).mean() >= 1 - delta


def test_duplicates_have_no_concentrated_level() -> None:
    images = digits(12).tensor()
    low, high = weight_thresholds(torch.cat([images, images[:1]]), p=0.6)
    assert low[0] == low[12] == 0
    assert (low[1:12] > 0).all()
    assert high[0] == high[12] == 0  # the duplicate alone keeps the weight below 1/2
    assert (high[1:12] > 0).all()


@pytest.mark.parametrize(
    ("call", "words"),
    [
        (lambda: posterior_weight(torch.zeros(0, 2), [1.0]), "at least one"),
        (lambda: posterior_weight(torch.tensor([[math.nan, 0.0]]), [1.0]), "NaN"),
        (lambda: posterior_weight(torch.zeros(3, 2), [0.0]), "above 0"),
        (lambda: posterior_weight(torch.zeros(3, 2), []), "one or more"),
        (lambda: posterior_weight(torch.zeros(3, 2), [1.0], noises=0), "noises is 0"),
        (lambda: weight_thresholds(torch.zeros(1, 2)), "at least two"),
        (lambda: weight_thresholds(torch.zeros(4, 2), p=0.2), "between 1/4 and 1"),
        (lambda: weight_thresholds(torch.zeros(4, 2), delta=1.0), "delta is 1.0"),
    ],
)
def test_mistakes_are_named(call: object, words: str) -> None:
    with pytest.raises(InputError, match=words):
        call()  # type: ignore[operator]
