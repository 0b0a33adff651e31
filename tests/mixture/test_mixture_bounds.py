"""The bounds that choose candidates: attempts to break them, and what they leave out."""

import copy
import math

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from torch import Tensor

from smoothscore.mixture import Centers, GaussianKernel, sums
from smoothscore.mixture.products import products
from smoothscore.mixture.screen import candidates


def seeded(seed: int) -> torch.Generator:
    return torch.Generator().manual_seed(seed)


@pytest.fixture(scope="module")
def store() -> Centers:
    """Pixels with a steep spectrum, duplicates, and constant images: 8,300 centers of 800 values."""
    g = seeded(0)
    scales = 30 * torch.arange(1, 801, dtype=torch.float32) ** -0.7
    mixing = torch.linalg.qr(torch.randn(800, 800, generator=g))[0]
    smooth = (torch.randn(8300, 800, generator=g) * scales) @ mixing * 40 + 127.5
    pixels = smooth.round().clamp(0, 255).to(torch.uint8)
    pixels[100:120] = pixels[0]
    pixels[200], pixels[201], pixels[202] = 0, 255, 128
    return Centers(pixels.reshape(8300, 1, 20, 40))


def exact(x: Tensor, centers: Centers) -> Tensor:
    """S (M, B) in float64."""
    rows = centers.rows(torch.arange(centers.count))
    return rows @ x.T - rows.square().sum(1, keepdim=True) / 2


def hard_queries(store: Centers) -> Tensor:
    g = seeded(1)
    rows = store.rows(torch.randint(store.count, (6,), generator=g))
    noise = torch.randn(6, store.dim, generator=g, dtype=torch.float64)
    outside = rows - (rows @ store.index.basis.double()) @ store.index.basis.double().T
    last = rows @ store.index.basis.double()[:, 640:] @ store.index.basis.double()[:, 640:].T
    along = [20 * part / part.norm(dim=1, keepdim=True) for part in (outside, last)]
    midway = (rows + rows.roll(1, 0)) / 2
    return torch.cat([rows, midway, rows + 0.3 * noise, 3 * noise, 1e5 * noise, 1e-6 * noise, 0 * noise, *along])


def test_index_bounds_hold_and_are_tight(store: Centers) -> None:
    x = hard_queries(store)
    table, near, coordinates = store.index.bound(x, store)
    truth = exact(x, store)
    scale = x.norm(dim=1) * store.largest
    for _ in range(2):
        gap = table.values[: store.count].double() - truth
        assert (gap >= 0).all()
        assert torch.equal(table.peaks[0], table.values[:16].amax(0))
        store.index.tighten(table, x, coordinates)
    # Queries along what a center has outside the coordinates meet Cauchy-Schwarz with equality: nothing but
    # the rounding terms is between bound and truth there, so a bound that forgot a part would fail above.
    along = gap[:, -12:].min(0).values / scale[-12:]
    assert (along < 2e-3).all()
    assert near[:6].tolist() == exact(x[:6], store).argmax(0).tolist()


@pytest.mark.parametrize("kind", ["flat", "tiny", "huge", "one direction"])
def test_index_bounds_hold_for_unusual_centers(kind: str) -> None:
    g = seeded(2)
    values = {
        "flat": torch.full((8192, 768), 0.25) + 1e-4 * torch.randn(8192, 768, generator=g),
        "tiny": 1e-6 * torch.randn(8192, 768, generator=g),
        "huge": 1e4 * torch.randn(8192, 768, generator=g),
        "one direction": torch.randn(8192, 1, generator=g) * torch.randn(1, 768, generator=g),
    }[kind]
    centers = Centers(values)
    x = torch.cat([values[:4], values[4:8] * 3, torch.randn(4, 768, generator=g)]).double()
    table, _, coordinates = centers.index.bound(x, centers)
    assert (table.values[:8192].double() >= exact(x, centers)).all()
    centers.index.tighten(table, x, coordinates)
    assert (table.values[:8192].double() >= exact(x, centers)).all()


@pytest.mark.parametrize("batch", [1, 3, 64])
def test_product_rounding_is_bounded(store: Centers, batch: int) -> None:
    """In either kind of compiled loops, for few queries and for many."""
    for x in torch.split(hard_queries(store), batch):
        table = products(x, store, torch.float32)
        assert (table.values.dtype is torch.float64) == (batch < 5)
        error = (table.values[: store.count].double() - exact(x, store)).abs().amax(0)
        assert (error <= table.error).all()
        assert (error >= 1e-6 * table.error * (x != 0).any(1)).any()


@pytest.mark.parametrize("sigma", [0.002, 0.05, 0.3, 1.0, 1.5])
def test_left_out_weight_is_below_the_tolerance(store: Centers, sigma: float) -> None:
    g = seeded(3)
    every = store.rows(torch.arange(store.count))
    rows = every[torch.randint(store.count, (8,), generator=g)]
    noise = torch.randn(8, store.dim, generator=g, dtype=torch.float64)
    x = torch.cat([rows + sigma * noise, (rows + rows.roll(1, 0)) / 2 + sigma * noise]).float().double()
    kernel = GaussianKernel(torch.full((16,), sigma, dtype=torch.float64))
    assert store.index is not None
    found = candidates(x, store, kernel, 1e-9)
    assert len(found.query), "every query was crowded: nothing was tested"
    r2 = torch.stack([(one - every).square().sum(1) for one in x])
    weights = torch.softmax(-r2 / (2 * sigma**2), 1)
    expected = weights @ every
    denoised = sums(x.float(), store, kernel).mean.double()
    assert ((denoised - expected).norm(dim=1) / expected.norm(dim=1)).max() < 1e-5
    weights[found.query, found.center] = 0
    light = torch.ones(16, dtype=torch.bool).index_fill_(0, found.crowded, False)
    assert (weights[light].sum(1) < 1e-9).all()


def test_the_index_is_made_when_it_has_become_worth_its_making() -> None:
    centers = Centers(torch.rand(8192, 768, generator=seeded(5)))
    x, kernel = centers.rows(torch.arange(16)), GaussianKernel(torch.full((16,), 0.05))
    before = candidates(x, centers, kernel, 1e-9)
    assert "index" not in centers.__dict__
    centers.work += 10**9
    after = candidates(x, centers, kernel, 1e-9)
    assert "index" in centers.__dict__
    assert torch.equal(before.query, after.query)
    assert torch.equal(before.center, after.center)


@pytest.mark.parametrize("sigma", [0.05, 0.3, 0.7, 1.0, 1.5])
@pytest.mark.parametrize("batch", [1, 2, 14])
def test_what_remains_does_not_depend_on_what_bounds_were_used(store: Centers, sigma: float, batch: int) -> None:
    assert store.index is not None
    plain = copy.copy(store)
    plain.__dict__["index"] = None
    x = store.rows(torch.arange(batch)) + sigma * torch.randn(batch, 800, generator=seeded(7), dtype=torch.float64)
    kernel = GaussianKernel(torch.full((batch,), sigma, dtype=torch.float64))
    one, other = (candidates(x, centers, kernel, 1e-9, listed=True) for centers in (store, plain))
    assert torch.equal(one.query, other.query)
    assert torch.equal(one.center, other.center)
    assert torch.equal(one.r2, other.r2)


@settings(max_examples=25, deadline=None)
@given(
    count=st.integers(65, 300),
    dim=st.integers(1, 40),
    sigma=st.floats(-3, 1.5).map(lambda e: 10.0**e),
    spread=st.floats(-4, 3).map(lambda e: 10.0**e),
    prior=st.booleans(),
    seed=st.integers(0, 99),
)
def test_candidates_hold_the_weight(count: int, dim: int, sigma: float, spread: float, prior: bool, seed: int) -> None:
    g = seeded(seed)
    values = spread * torch.randn(count, dim, generator=g, dtype=torch.float64) + 1
    log_weights = 20 * torch.randn(count, generator=g, dtype=torch.float64) if prior else None
    centers = Centers(values, log_weights)
    x = torch.cat([values[:3], (values[:3] + values[3:6]) / 2, 5 * torch.randn(3, dim, generator=g).double()])
    found = candidates(x, centers, GaussianKernel(torch.full((9,), sigma)), 1e-9, listed=True)
    r2 = (x[:, None] - values).square().sum(2)
    logits = centers.log_weights - r2 / (2 * sigma**2)
    left = torch.ones_like(logits, dtype=torch.bool)
    left[found.query, found.center] = False
    logits = logits - logits.logsumexp(1, keepdim=True)
    assert (logits.masked_fill(~left, -math.inf).logsumexp(1) < math.log(1e-9)).all()
