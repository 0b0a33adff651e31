"""Centers, kernels, invariants of the sums, and averages over nodes."""

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from torch import Tensor

from smoothscore.data import ImageSet
from smoothscore.errors import InputError
from smoothscore.mixture import (
    Centers,
    GaussianKernel,
    Kernel,
    active,
    log_weights,
    mean,
    node_averages,
    spread,
    sums,
)
from smoothscore.scores.empirical import EmpiricalScore


class Slow(GaussianKernel):
    """A Gaussian that takes every default of the interface."""

    constant_precision = False
    relative = Kernel.relative
    reach = Kernel.reach


def seeded(seed: int) -> torch.Generator:
    return torch.Generator().manual_seed(seed)


def test_pixels_floats_and_image_sets_are_the_same_centers() -> None:
    pixels = torch.randint(0, 256, (700, 1, 6, 5), dtype=torch.uint8, generator=seeded(0))
    images = ImageSet.from_array(pixels.numpy())
    stores = [Centers(pixels), Centers(images), Centers(images.tensor(torch.float64))]
    chosen = torch.tensor([3, 699, 3])
    for store in stores:
        assert (store.count, store.dim, store.shape) == (700, 30, (1, 6, 5))
        torch.testing.assert_close(store.rows(chosen), images.tensor(torch.float64)[chosen].flatten(1))
        chunks = list(store.chunks(256))
        assert [start for start, _ in chunks] == [0, 256, 512]
        torch.testing.assert_close(torch.cat([rows for _, rows in chunks]), store.rows(torch.arange(700)))
    x = torch.randn(5, 1, 6, 5, generator=seeded(1))
    for sigma in (0.05, 1.0, 20.0):
        kernel = GaussianKernel(torch.full((5,), sigma))
        results = [sums(x, store, kernel) for store in stores]
        for other in results[1:]:
            torch.testing.assert_close(other.mean, results[0].mean, rtol=1e-5, atol=1e-6)
            torch.testing.assert_close(other.log_mass, results[0].log_mass, rtol=1e-6, atol=0)


def test_centers_move_and_keep_their_weights_exact() -> None:
    store = Centers(torch.randn(9, 4), torch.randn(9)).to(torch.float64)
    assert store.rows(torch.arange(9), torch.float64).dtype is torch.float64
    assert store.log_weights.dtype is torch.float64
    assert Centers(torch.randn(9, 4), torch.randn(9)).float().log_weights.dtype is torch.float64


@pytest.mark.parametrize("prior", [torch.zeros(4), torch.full((5,), -torch.inf), torch.tensor([0, 0, 0, 0, torch.nan])])
def test_unusable_prior_weights_are_refused(prior: Tensor) -> None:
    with pytest.raises(InputError):
        Centers(torch.randn(5, 2), prior)


@pytest.mark.parametrize("dtype", [torch.float32, torch.float64])
def test_the_defaults_of_a_kernel_give_the_same_sums(dtype: torch.dtype) -> None:
    store = Centers(torch.randn(3000, 20, dtype=torch.float64, generator=seeded(2)))
    x = torch.randn(6, 20, dtype=dtype, generator=seeded(3))
    sigma = torch.tensor([0.01, 0.3, 1.0, 3.0, 20.0, 80.0], dtype=torch.float64)
    ours, slow = sums(x, store, GaussianKernel(sigma)), sums(x, store, Slow(sigma))
    close = 1e-5 if dtype is torch.float32 else 1e-9
    for name in ("mean", "pull", "precision", "log_mass", "r2"):
        torch.testing.assert_close(getattr(slow, name), getattr(ours, name), rtol=close, atol=close)
    assert (Slow(sigma).reach(torch.ones(6).double(), torch.full((6,), 30.0).double()) >= 1 + 60 * sigma**2).all()


@settings(max_examples=20, deadline=None)
@given(
    count=st.integers(2, 200),
    dim=st.integers(1, 12),
    sigma=st.floats(-1.5, 1.5).map(lambda e: 10.0**e),
    seed=st.integers(0, 99),
)
def test_invariants(count: int, dim: int, sigma: float, seed: int) -> None:
    g = seeded(seed)
    centers = torch.randn(count, dim, dtype=torch.float64, generator=g)
    x = torch.randn(4, dim, dtype=torch.float64, generator=g)
    reference = EmpiricalScore(centers).denoise(x, sigma)

    def same(found: Tensor) -> None:
        torch.testing.assert_close(found, reference, rtol=1e-9, atol=1e-9)

    order = torch.randperm(count, generator=g)
    same(EmpiricalScore(centers[order]).denoise(x, sigma))
    same(EmpiricalScore(centers + 3).denoise(x + 3, sigma) - 3)
    same(EmpiricalScore(4 * centers).denoise(4 * x, 4 * sigma) / 4)
    same(EmpiricalScore(centers.repeat(3, 1)).denoise(x, sigma))
    copies = torch.randint(1, 4, (count,), generator=g)
    repeated = EmpiricalScore(centers.repeat_interleave(copies, 0)).denoise(x, sigma)
    torch.testing.assert_close(EmpiricalScore(centers, copies).denoise(x, sigma), repeated, rtol=1e-9, atol=1e-9)
    far = EmpiricalScore(centers).denoise(x, 1e6)
    torch.testing.assert_close(far, centers.mean(0).expand_as(x), rtol=1e-6, atol=1e-6)


def test_expected_scatter_is_the_mean_squared_error() -> None:
    """B8: for x = y + sigma n with y from the mixture, E|D - y|^2 = E tr Cov; four standard errors."""
    g, sigma = seeded(7), 0.8
    store = Centers(torch.randn(40, 3, dtype=torch.float64, generator=g))
    chosen = torch.randint(40, (4000,), generator=g)
    y = store.rows(chosen)
    x = y + sigma * torch.randn(4000, 3, dtype=torch.float64, generator=g)
    found = sums(x, store, GaussianKernel(torch.full((4000,), sigma, dtype=torch.float64)))
    difference = (found.mean - y).square().sum(1) - found.trace * sigma**4
    assert abs(difference.mean()) < 4 * difference.std() / 4000**0.5
    assert (found.trace * sigma**4).mean() > 0.1


@pytest.mark.parametrize("count", [30, 4000])
@pytest.mark.parametrize("sigma", [0.05, 0.5, 4.0])
def test_spread_log_weights_and_active_agree_with_definitions(count: int, sigma: float) -> None:
    store = Centers(torch.randn(count, 10, dtype=torch.float64, generator=seeded(8)))
    x, v = torch.randn(2, 5, 10, dtype=torch.float64, generator=seeded(9))
    kernel = GaussianKernel(torch.full((5,), sigma, dtype=torch.float64))
    rows = store.rows(torch.arange(count))
    weights = (-(x[:, None] - rows).square().sum(2) / (2 * sigma**2)).softmax(1)
    centered = rows - (weights @ rows)[:, None]
    expected = torch.einsum("bj,bjd,bj->bd", weights, centered, torch.einsum("bjd,bd->bj", centered, v)) / sigma**4
    torch.testing.assert_close(spread(x, store, kernel, v), expected, rtol=1e-8, atol=1e-10)
    torch.testing.assert_close(log_weights(x, store, kernel).exp(), weights, rtol=1e-9, atol=1e-18)
    found = active(x, store, kernel)
    listed = torch.zeros_like(weights).scatter_add_(1, found.indices, found.log_weights.exp())
    torch.testing.assert_close(listed, weights, rtol=1e-9, atol=1e-18)
    assert (found.log_weights.diff(dim=1).nan_to_num(0.0) <= 0).all()


@pytest.mark.parametrize("sigma", [0.02, 0.4, 6.0])
def test_node_averages_are_averages_over_nodes(sigma: float) -> None:
    pixels = torch.randint(0, 256, (900, 1, 5, 5), dtype=torch.uint8, generator=seeded(10))
    store = Centers(pixels)
    x = torch.randn(3, 1, 5, 5, dtype=torch.float64, generator=seeded(11))
    nodes = torch.randn(8, 25, dtype=torch.float64, generator=seeded(12))
    level, width = torch.full((3,), sigma).double(), torch.tensor([0.0, 0.1, 1.0]).double()
    found = node_averages(x, store, level, nodes, width, groups=2)
    kernel = GaussianKernel(level)
    shifted = [x + (width[:, None] * z).reshape(x.shape) for z in nodes]
    means = torch.stack([mean(one, store, kernel).flatten(1) for one in shifted])
    torch.testing.assert_close(found.mean, means.reshape(2, 4, 3, 25).mean(1), rtol=1e-8, atol=1e-9)
    masses = torch.stack([sums(one, store, kernel).log_mass for one in shifted], 1)
    torch.testing.assert_close(found.log_mass, masses, rtol=1e-9, atol=1e-9)


def test_image_sets_without_labels_are_not_restricted() -> None:
    images = ImageSet.from_array(np.zeros((2, 1, 4, 4), np.uint8))
    with pytest.raises(InputError, match="labels"):
        EmpiricalScore(images, class_=0)
