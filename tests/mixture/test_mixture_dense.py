"""Sums over all centers in float32: attempts to make their rounding errors matter unseen."""

from collections.abc import Callable

import pytest
import torch
from torch import Tensor

from smoothscore.mixture import Centers, GaussianKernel, dense, rows, small, sums
from smoothscore.mixture.rows import multiply
from smoothscore.mixture.stored import Bytes
from smoothscore.scores.empirical import EmpiricalScore
from smoothscore.scores.unified import UnifiedScore

COUNT, DIM = 3000, 128


def seeded(seed: int) -> torch.Generator:
    return torch.Generator().manual_seed(seed)


def two_clusters() -> Tensor:
    """Copies of two images: errors of all copies are the same, and nothing averages out."""
    values = torch.rand(2, DIM, generator=seeded(0)).repeat_interleave(COUNT // 2, 0)
    return values + 1e-5 * torch.rand(COUNT, DIM, generator=seeded(1))


def all_white() -> Tensor:
    """Equal summands: rounding in a sum of them is all one way."""
    return 1 - 0.01 * torch.rand(COUNT, DIM, generator=seeded(2))


def few_large() -> Tensor:
    """Large centers among small ones, where a regular sample of the rows would miss them."""
    values = 0.01 * torch.randn(COUNT, DIM, generator=seeded(3))
    values[7::41] *= 300
    return values


def pixels() -> Tensor:
    return torch.randint(0, 256, (COUNT, DIM), generator=seeded(4), dtype=torch.uint8)


def kernel(x: Tensor, sigma: float) -> GaussianKernel:
    return GaussianKernel(torch.full((len(x),), sigma, dtype=torch.float64))


def reference(x: Tensor, rows: Tensor, sigma: float) -> Tensor:
    r2 = torch.stack([(one - rows).square().sum(1) for one in x.double()])
    return torch.softmax(-r2 / (2 * sigma**2), 1) @ rows


def error(x: Tensor, centers: Centers, sigma: float) -> Tensor:
    expected = reference(x, centers.rows(torch.arange(centers.count)), sigma)
    found = sums(x, centers, kernel(x, sigma)).mean.double()
    return (found - expected).norm(dim=1) / expected.norm(dim=1)


@pytest.fixture(params=[0, 2**60], ids=["chunks", "one table"])
def way(request: pytest.FixtureRequest, monkeypatch: pytest.MonkeyPatch) -> None:
    """Both ways to sum over all centers, whatever their number."""
    monkeypatch.setattr(small, "MOST", request.param)


@pytest.mark.usefixtures("way")
@pytest.mark.parametrize("values", [two_clusters, all_white, few_large, pixels])
@pytest.mark.parametrize("sigma", [3.0, 10.0, 80.0])
def test_hard_sets_of_centers(values: Callable[[], Tensor], sigma: float) -> None:
    centers = Centers(values())
    rows = centers.rows(torch.arange(COUNT))
    chosen = rows[torch.randint(COUNT, (6,), generator=seeded(5))]
    noise = torch.randn(6, DIM, generator=seeded(6), dtype=torch.float64)
    x = torch.cat([chosen + sigma * noise, sigma * noise.abs(), 100 * sigma * noise]).float()
    assert error(x, centers, sigma).max() < 1e-5


@pytest.mark.usefixtures("way")
@pytest.mark.parametrize("share", [0.3, 1.0])
def test_wrong_products_are_noticed(monkeypatch: pytest.MonkeyPatch, share: float) -> None:
    """float32 products that are off, for a part of the centers and in favor of bright ones, change nothing."""
    centers = Centers(pixels())
    wrong = torch.rand(COUNT, generator=seeded(7)) < share
    bright = centers.rows(torch.arange(COUNT)).mean(1)
    used: list[int] = []

    def spoiled(block: Tensor, columns: Tensor, out: Tensor) -> Tensor:
        multiply(block, columns, out)
        if out.dtype is torch.float32:
            start = sum(used) % COUNT
            rows = slice(start, start + len(block))
            out += 3 * (wrong[rows] * bright[rows])[:, None].float()
            used.append(len(block))
        return out

    x = (10 * torch.randn(8, DIM, generator=seeded(8))).float()
    clean = error(x, centers, 10.0)
    monkeypatch.setattr(rows, "multiply", spoiled)
    assert sum(used) == 0
    assert error(x, centers, 10.0).max() < 1e-5
    assert sum(used) == COUNT, "nothing was spoiled, so nothing was tested"
    for module in (dense, small):
        monkeypatch.setattr(module, "passes", lambda *a: torch.ones(8, dtype=torch.bool))
    assert error(x, centers, 10.0).max() > 10 * clean.max(), "what was spoiled did not matter"


@pytest.mark.usefixtures("way")
@pytest.mark.parametrize("batch", [3, 8])
def test_wrong_products_of_stored_pixels_are_noticed(monkeypatch: pytest.MonkeyPatch, batch: int) -> None:
    """The same where the pixels are summed as they are stored."""
    centers = Centers(torch.randint(0, 256, (3 * COUNT, DIM), generator=seeded(4), dtype=torch.uint8))
    bright = centers.rows(torch.arange(centers.count)).mean(1)
    right, used = Bytes.products, []

    def spoiled(self: Bytes, start: int, stop: int, out: Tensor) -> Tensor:
        right(self, start, stop, out)
        if "float32" in (str(self.x.dtype), str(out.dtype)):
            out += 3 * bright[start:stop, None].to(out.dtype)
            used.append(stop - start)
        return out

    x = (10 * torch.randn(batch, DIM, generator=seeded(8))).float()
    clean = error(x, centers, 10.0)
    monkeypatch.setattr(Bytes, "products", spoiled)
    assert error(x, centers, 10.0).max() < 1e-5
    assert sum(used) == centers.count, "nothing was spoiled, so nothing was tested"
    for module in (dense, small):
        monkeypatch.setattr(module, "passes", lambda *a: torch.ones(batch, dtype=torch.bool))
    assert error(x, centers, 10.0).max() > 10 * clean.max(), "what was spoiled did not matter"


@pytest.mark.usefixtures("way")
@pytest.mark.parametrize("sigma", [0.05, 1.0, 10.0])
def test_no_tensor_is_made_on_another_device(sigma: float) -> None:
    """Whatever names no device fails here, as it would where the centers are on an accelerator."""
    x = torch.randn(3, DIM, generator=seeded(9))
    score, every = EmpiricalScore(pixels()), UnifiedScore(pixels(), [0.1, 1.0, 10.0])
    expected = score.denoise(x, sigma), score.log_density(x, sigma), every.score(x)
    values = pixels()
    with torch.device("meta"):
        fresh = EmpiricalScore(values)
        found = fresh.denoise(x, sigma), fresh.log_density(x, sigma), every.score(x)
    assert all(torch.equal(one, other) for one, other in zip(found, expected, strict=True))
