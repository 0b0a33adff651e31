"""Loops over stored rows against sums in float64, and the scores that are made with them."""

from collections.abc import Iterator

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

from smoothscore import loops
from smoothscore.data import ImageSet
from smoothscore.mixture import Centers, GaussianKernel, compiled_sums, sums, tiles
from smoothscore.mixture.pairs import accumulate, differences
from smoothscore.mixture.products import rows_for
from smoothscore.mixture.rows import Rows, gamma
from smoothscore.mixture.stored import Bytes
from smoothscore.mixture.weights_loop import weigh


def seeded(seed: int) -> torch.Generator:
    return torch.Generator().manual_seed(seed)


@pytest.fixture(params=["AVX2", "DEFAULT"], autouse=True)
def processor(request: pytest.FixtureRequest, monkeypatch: pytest.MonkeyPatch) -> Iterator[None]:
    """The library of each kind of processor that this one is."""
    if request.param != "DEFAULT" and torch.backends.cpu.get_cpu_capability() not in loops.CAPABLE["avx2"]:
        pytest.skip("this processor has no vectors of 32 bytes")
    for known in (loops._library, loops.loop):
        known.cache_clear()
    with monkeypatch.context() as patch:
        patch.setattr(torch.backends.cpu, "get_cpu_capability", lambda: request.param)
        yield
    for known in (loops._library, loops.loop):
        known.cache_clear()


def test_each_processor_has_its_library(processor: None, request: pytest.FixtureRequest) -> None:
    kind = "any" if request.node.callspec.params["processor"] == "DEFAULT" else "avx2"
    assert f"loops-{kind}.so" in loops._library()._name


def views() -> dict[str, tuple[Centers, torch.Tensor]]:
    """9,000 images of 4 x 6 x 5 pixels kept in four ways, and what they are in float64."""
    pixels = torch.randint(0, 256, (9000, 4, 6, 5), generator=seeded(0), dtype=torch.uint8)
    images, order = ImageSet.from_array(pixels.numpy()), np.random.default_rng(0).permutation(9000)
    frozen = pixels.numpy().copy()
    frozen.flags.writeable = False
    exact = (pixels.double() / 127.5 - 1).flatten(1)
    return {
        "tensor": (Centers(pixels), exact),
        "shuffled": (Centers(images[order]), exact[torch.from_numpy(order)]),
        "read only": (Centers(ImageSet.from_array(frozen)), exact),
        "floats": (Centers(exact.float()), exact.float().double()),
    }


@pytest.fixture(scope="module", params=["tensor", "shuffled", "read only", "floats"])
def stored(request: pytest.FixtureRequest) -> tuple[Centers, torch.Tensor]:
    return views()[request.param]


@settings(max_examples=30, deadline=None)
@given(
    count=st.integers(1, 150),
    dim=st.integers(1, 600),
    batch=st.integers(1, 5),
    double=st.booleans(),
    seed=st.integers(0, 99),
)
def test_products_and_sums_of_rows(count: int, dim: int, batch: int, double: bool, seed: int) -> None:
    rng = np.random.default_rng(seed)
    kind = np.float64 if double else np.float32
    rows, stored = rng.integers(0, 200, count), rng.integers(0, 256, (200, dim), dtype=np.uint8)
    x, weights = rng.normal(size=(batch, dim)).astype(kind), rng.random((count, batch)).astype(kind)
    scaled = stored[rows] - 127.5
    found, pulled = np.empty((count, batch)), np.ones((batch, dim))
    compiled_sums.products(stored, rows, 127.5, x, found)
    compiled_sums.total(stored, rows, 127.5, weights, pulled)
    unit = 1e-14 * dim if double else gamma(compiled_sums.BLOCK)
    assert (abs(found - scaled @ x.T.astype(float)) <= unit * abs(scaled) @ abs(x.T.astype(float))).all()
    unit = 1e-14 * count if double else gamma(2 * compiled_sums.GROUP)
    weighed = weights.T.astype(float)
    assert (abs(pulled - 1 - weighed @ scaled) <= unit * weighed @ (255 + abs(scaled)) + 1e-12).all()


@settings(max_examples=30, deadline=None)
@given(
    count=st.integers(1, 600),
    dim=st.integers(1, 1700),
    batch=st.integers(1, 20),
    double=st.booleans(),
    seed=st.integers(0, 99),
)
def test_products_and_sums_in_tiles(count: int, dim: int, batch: int, double: bool, seed: int) -> None:
    rng = np.random.default_rng(seed)
    kind = np.float64 if double else np.float32
    rows, stored = rng.integers(0, 200, count), rng.integers(0, 256, (200, dim), dtype=np.uint8)
    x, less, pulled = (
        rng.normal(size=(batch, dim)).astype(kind),
        rng.random(count),
        tiles.strips(batch, dim, np.dtype(kind)),
    )
    scaled, exact = stored[rows] - 127.5, x.T.astype(float)
    found = np.empty((count, batch), kind)
    tiles.products(stored, rows, 127.5, tiles.packed(x), less, found)
    unit = 1e-15 * dim if double else gamma(tiles.BLOCK)
    rounded = np.finfo(kind).eps * (abs(scaled @ exact) + 1)
    assert (abs(found - (scaled @ exact - less[:, None])) <= unit * abs(scaled) @ abs(exact) + rounded).all()
    weights = np.zeros((count, -(-batch // tiles.FOUR) * tiles.FOUR), kind)
    weights[:, :batch] = rng.random((count, batch))
    extra = np.zeros(weights.shape[1])
    tiles.total(stored, rows, 127.5, weights, less, pulled, extra)
    np.testing.assert_allclose(extra, less @ weights, rtol=1e-12)
    unit = 1e-15 * count if double else gamma(tiles.GROUP)
    weighed = weights[:, :batch].T.astype(float)
    error = abs(tiles.joined(pulled, batch, dim) - weighed @ scaled)
    assert (error <= unit * weighed @ abs(scaled) + 1e-12).all()


@pytest.mark.parametrize("batch", [1, 7, 64])
def test_weights_in_one_loop(batch: int) -> None:
    rng = np.random.default_rng(batch)
    s, middle = (rng.normal(scale=300, size=(100, batch))).astype("f4"), rng.normal(size=batch).astype("f4")
    steep, weights = rng.uniform(0.01, 0.1, batch).astype("f4"), np.empty_like(s)
    logits = (s - middle) * steep
    sums, carries = np.ones((2, batch)), np.empty(100, bool)
    for room in (logits.max() + 1, logits.max() - 1):
        number = weigh(middle, steep, s, np.float32(9.5), room, np.float32(-80), weights, sums, carries)
        assert number == (-1 if room < logits.max() else (logits > 9.5).any(1).sum())
    expected = np.exp(np.maximum(logits, -80).astype(float))
    np.testing.assert_allclose(weights, expected, rtol=1e-6)
    np.testing.assert_allclose(sums, [expected.sum(0), np.zeros(batch)], rtol=1e-6)
    assert (carries == (logits > 9.5).any(1)).all()


def test_distances_and_sums_of_pairs(stored: tuple[Centers, torch.Tensor]) -> None:
    centers, exact = stored
    assert centers.stored is not None
    query = torch.randint(7, (500,), generator=seeded(1)).sort().values
    center, factors = torch.randint(9000, (500,), generator=seeded(2)), torch.rand(500, generator=seeded(3)).double()
    x = torch.randn(7, 120, generator=seeded(4), dtype=torch.float64)
    x[0] = exact[center[0]]
    expected = (x[query] - exact[center]).square().sum(1)
    torch.testing.assert_close(differences(x, centers, query, center), expected, rtol=1e-13, atol=1e-25)
    expected = torch.zeros(7, 120).double().index_add_(0, query, factors[:, None] * exact[center])
    found = accumulate(torch.zeros(7, 120).double(), query, center, centers, factors)
    torch.testing.assert_close(found, expected, rtol=1e-13, atol=1e-13)


@pytest.mark.parametrize("batch", [1, 3, 4, 5, 18])
@pytest.mark.parametrize("sigma", [0.05, 0.3, 1.0, 3.0, 30.0])
def test_any_number_of_queries(stored: tuple[Centers, torch.Tensor], batch: int, sigma: float) -> None:
    centers, exact = stored
    x = exact[:batch] + sigma * torch.randn(batch, 120, generator=seeded(5), dtype=torch.float64)
    assert isinstance(rows_for(x, centers, torch.float32), Bytes if centers.pixels else Rows)
    r2 = torch.stack([(one - exact).square().sum(1) for one in x])
    expected = torch.softmax(-r2 / (2 * sigma**2), 1) @ exact
    kernel = GaussianKernel(torch.full((batch,), sigma, dtype=torch.float64))
    for dtype, tolerance in ((torch.float64, 1e-10), (torch.float32, 1e-5)):
        given = x.to(dtype)
        if dtype is torch.float32:
            r2 = torch.stack([(one - exact).square().sum(1) for one in given.double()])
            expected = torch.softmax(-r2 / (2 * sigma**2), 1) @ exact
        found = sums(given, centers, kernel)
        error = (found.mean.double() - expected).norm(dim=1) / expected.norm(dim=1)
        assert (error <= tolerance).all()
        torch.testing.assert_close(
            found.log_mass, (-r2 / (2 * sigma**2)).logsumexp(1) - np.log(9000), rtol=1e-6, atol=1e-6
        )


def test_a_prior_of_zero_leaves_its_center_out() -> None:
    pixels = torch.randint(0, 256, (9000, 120), generator=seeded(6), dtype=torch.uint8)
    prior = torch.rand(9000, generator=seeded(7)).log()
    prior[::2] = -torch.inf
    kept = Centers(pixels[1::2].contiguous(), prior[1::2])
    kernel = GaussianKernel(torch.full((2,), 20.0, dtype=torch.float64))
    x = 20 * torch.randn(2, 120, generator=seeded(8))
    one, other = (sums(x, centers, kernel) for centers in (Centers(pixels, prior), kept))
    torch.testing.assert_close(one.mean, other.mean, rtol=1e-5, atol=1e-7)
    torch.testing.assert_close(one.log_mass, other.log_mass, rtol=1e-9, atol=1e-9)


@pytest.mark.parametrize("batch", [2, 20])
def test_the_number_of_threads_changes_nothing_that_matters(batch: int) -> None:
    centers = Centers(torch.randint(0, 256, (9000, 500), generator=seeded(9), dtype=torch.uint8))
    x = 5 * torch.randn(batch, 500, generator=seeded(10))
    kernel = GaussianKernel(torch.full((batch,), 5.0, dtype=torch.float64))
    before, found = torch.get_num_threads(), []
    for threads in (1, 2, 3):
        torch.set_num_threads(threads)
        found.append(sums(x, centers, kernel).mean)
    torch.set_num_threads(before)
    assert all((found[0] - other).norm() < 1e-6 * other.norm() for other in found[1:])


@pytest.mark.parametrize("sigma", [0.5, 2.0, 20.0])
@pytest.mark.parametrize("batch", [2, 20])
def test_in_inference_mode(batch: int, sigma: float) -> None:
    """Which each thread has for itself."""
    x = sigma * torch.randn(batch, 500, generator=seeded(11))
    kernel = GaussianKernel(torch.full((batch,), sigma, dtype=torch.float64))
    pixels = torch.randint(0, 256, (9000, 500), generator=seeded(12), dtype=torch.uint8)
    before = torch.get_num_threads()
    torch.set_num_threads(2)
    try:
        expected = sums(x, Centers(pixels), kernel).mean
        with torch.inference_mode():
            found = sums(x.clone(), Centers(pixels), kernel).mean
    finally:
        torch.set_num_threads(before)
    assert torch.equal(found, expected)
