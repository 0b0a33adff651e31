"""The accuracy promise, against extended-precision brute force by direct differences."""

import math
from pathlib import Path

import numpy as np
import pytest
import torch
from torch import Tensor

from smoothscore.data import ImageSet, load_images
from smoothscore.mixture import Centers, GaussianKernel, centers, products, small, sums
from smoothscore.scores.empirical import EmpiricalScore

SIGMAS = [0.002, 0.01, 0.05, 0.1, 0.5, 1.0, 2.0, 10.0, 80.0]


def reference(x: Tensor, rows: Tensor, sigma: float, prior: Tensor | None = None) -> tuple[Tensor, Tensor]:
    """Denoised (B, d) and log-density (B,), distances and weights in extended precision."""
    wide, centers = x.double().flatten(1).numpy(), rows.numpy()
    weight = np.full(len(centers), 1 / np.longdouble(len(centers)))
    if prior is not None:
        weight = prior.numpy().astype(np.longdouble) / prior.numpy().sum()
    means, logs = [], []
    for one in wide:
        with np.errstate(divide="ignore"):
            logits = np.log(weight) - squares(centers, one) / (2 * np.longdouble(sigma) ** 2)
        top = logits.max()
        p = np.exp(logits - top)
        means.append((p / p.sum()).astype(float) @ centers)
        logs.append(top + np.log(p.sum()) - len(one) / 2 * np.log(2 * np.pi * np.longdouble(sigma) ** 2))
    return torch.from_numpy(np.stack(means).astype(float)), torch.from_numpy(np.array(logs, float))


def squares(centers: np.ndarray, one: np.ndarray) -> np.ndarray:
    parts = np.split(centers, range(1000, len(centers), 1000))
    return np.concatenate([((part.astype(np.longdouble) - one) ** 2).sum(1) for part in parts])


def queries(rows: Tensor, sigma: float, seed: int = 0) -> Tensor:
    """Noisy, halfway between two centers, equal to one, and far away: (12, d) float64."""
    g = torch.Generator().manual_seed(seed)
    chosen = rows[torch.randint(len(rows), (6,), generator=g)]
    noise = torch.randn(3, rows.shape[1], generator=g, dtype=torch.float64)
    far = 1e3 * sigma * noise / noise.norm(dim=1, keepdim=True)
    halfway = (chosen[:3] + chosen[3:]) / 2
    return torch.cat([chosen[:3] + sigma * noise, halfway + 0.1 * sigma * noise, halfway, chosen[:3] + far])


def check(score: EmpiricalScore, rows: Tensor, sigma: float, x: Tensor, mean: float, log: float) -> None:
    expected, density = reference(x, rows, sigma)
    denoised = score.denoise(x, sigma).double().flatten(1)
    error = (denoised - expected).norm(dim=1) / expected.norm(dim=1)
    assert error.max() <= mean, error
    logs = ((score.log_density(x, sigma).double() - density) / density).abs()
    assert logs.max() <= log, logs


@pytest.fixture(params=["one table", "loops", "matrix products"])
def every_way(request: pytest.FixtureRequest, monkeypatch: pytest.MonkeyPatch) -> None:
    """All ways to sum pixels for many queries, whatever the number of centers."""
    monkeypatch.setattr(centers, "LEAST", 0)
    if request.param != "one table":
        monkeypatch.setattr(small, "MOST", 0)
        monkeypatch.setattr(products, "LOOPS", 0 if request.param == "loops" else 2**60)


@pytest.fixture(scope="module")
def digits() -> ImageSet:
    return load_images("mnist-5k", limit=1000)


@pytest.mark.usefixtures("every_way")
@pytest.mark.parametrize("sigma", SIGMAS)
def test_digits(digits: ImageSet, sigma: float) -> None:
    score = EmpiricalScore(digits)
    rows = score.centers.rows(torch.arange(1000))
    x = queries(rows, sigma).reshape(-1, 1, 28, 28)
    check(score, rows, sigma, x, 1e-10, 1e-12)
    check(score, rows, sigma, x.float(), 1e-5, 1e-6)


@pytest.mark.usefixtures("every_way")
@pytest.mark.parametrize("sigma", [0.002, 0.005, 0.02])
def test_exactly_halfway_between_two_digits(digits: ImageSet, sigma: float) -> None:
    """Where one unit in the last place of the query moves the result by 1e-10, as float64 brute force shows."""
    score, rows = EmpiricalScore(digits), digits.tensor(torch.float64).flatten(1)
    chosen = rows[torch.randint(1000, (24,), generator=torch.Generator().manual_seed(7))]
    x = (chosen[:12] + chosen[12:]) / 2
    expected, _ = reference(x, rows, sigma)
    found = score.denoise(x.reshape(-1, 1, 28, 28), sigma).flatten(1)
    error = (found - expected).norm(dim=1) / expected.norm(dim=1)
    assert error.max() <= 3e-12, error


@pytest.mark.parametrize("sigma", [0.002, 0.05, 1.0, 80.0])
def test_points_in_the_plane_with_duplicates(sigma: float) -> None:
    rows = torch.rand(3000, 2, generator=torch.Generator().manual_seed(3), dtype=torch.float64) * 2 - 1
    rows[1000:1500] = rows[:500]
    x = queries(rows, sigma, 1)
    check(EmpiricalScore(rows), rows, sigma, x, 1e-10, 1e-10)
    rows = rows.float().double()
    check(EmpiricalScore(rows.float()), rows, sigma, x.float(), 1e-5, 1e-6)


@pytest.mark.parametrize("dtype", [torch.float32, torch.float64])
def test_a_tight_cluster_far_from_zero(dtype: torch.dtype) -> None:
    """Two thousand centers within the noise of each other: float32 products know nothing here."""
    g = torch.Generator().manual_seed(4)
    rows = (1 + 1e-4 * torch.randn(2000, 300, generator=g, dtype=torch.float64)).to(dtype).double()
    x = (1 + 1e-3 * torch.randn(5, 300, generator=g, dtype=torch.float64)).to(dtype)
    exact = dtype is torch.float64
    check(EmpiricalScore(rows.to(dtype)), rows, 1e-3, x, 1e-10 if exact else 1e-5, 1e-10 if exact else 1e-6)
    # The mean is nearly the same for any weights, so look at what differs: the score.
    expected = (reference(x, rows, 1e-3)[0] - x.double()) / 1e-6
    ours = EmpiricalScore(rows.to(dtype)).score(x, 1e-3).double()
    assert ((ours - expected).norm(dim=1) / expected.norm(dim=1)).max() < (1e-8 if exact else 1e-4)


@pytest.mark.usefixtures("every_way")
def test_prior_weights(digits: ImageSet) -> None:
    g = torch.Generator().manual_seed(5)
    prior = torch.rand(1000, generator=g, dtype=torch.float64) ** 8
    prior[::3] = 0
    prior[:200] = 0
    score = EmpiricalScore(digits, weights=prior)
    rows = score.centers.rows(torch.arange(1000))
    for sigma in (0.05, 2.0, 10.0):
        x = queries(rows, sigma).reshape(-1, 1, 28, 28)
        expected, density = reference(x, rows, sigma, prior)
        found = score.denoise(x, sigma).flatten(1)
        assert ((found - expected).norm(dim=1) / expected.norm(dim=1)).max() < 1e-10
        torch.testing.assert_close(score.log_density(x, sigma), density, rtol=1e-12, atol=0)
        assert (score.weights(x, sigma)[:, prior == 0] == 0).all()
        for given in (x, x.float()):
            every = sums(given, score.centers, GaussianKernel(torch.full((12,), sigma, dtype=torch.float64)))
            assert all(torch.isfinite(value).all() for value in vars(every).values())


def test_a_vanishing_prior_on_the_nearest_center() -> None:
    values = torch.tensor([[0.0], [30.0]], dtype=torch.float64).repeat(40, 1)
    values += 1e-3 * torch.arange(80, dtype=torch.float64)[:, None]
    log_weights = torch.where(values[:, 0] < 15, -5000.0, 0.0)
    found = sums(torch.zeros(1, 1).double(), Centers(values, log_weights), GaussianKernel(torch.ones(1) * 9))
    assert found.mean[0, 0] > 29


@pytest.mark.usefixtures("every_way")
def test_levels_may_differ_within_a_batch_and_batches_do_not_matter(digits: ImageSet) -> None:
    score = EmpiricalScore(digits)
    rows = score.centers.rows(torch.arange(1000))
    x = torch.cat([queries(rows, sigma)[:3] for sigma in SIGMAS]).float().reshape(-1, 1, 28, 28)
    levels = torch.tensor(SIGMAS).repeat_interleave(3)
    together = score.denoise(x, levels)
    alone = torch.cat([score.denoise(x[i : i + 1], levels[i]) for i in range(len(x))])
    assert ((together - alone).flatten(1).norm(dim=1) / alone.flatten(1).norm(dim=1)).max() < 5e-6
    many = score.denoise(x.repeat(6, 1, 1, 1), levels.repeat(6))  # more than one block of queries
    assert ((many[-27:] - together).flatten(1).norm(dim=1) / together.flatten(1).norm(dim=1)).max() < 5e-6


def test_non_contiguous_queries(digits: ImageSet) -> None:
    score = EmpiricalScore(digits)
    x = torch.randn(28, 28, 1, 3).permute(3, 2, 1, 0)
    assert torch.equal(score.denoise(x, 0.5), score.denoise(x.contiguous(), 0.5))


@pytest.mark.usefixtures("every_way")
@pytest.mark.parametrize("size", [1e-30, 1e6, 1e15, 1e30, 3e37])
@pytest.mark.parametrize("sigma", [0.002, 80.0, 1e6])
def test_results_are_finite_for_finite_queries(digits: ImageSet, size: float, sigma: float) -> None:
    score = EmpiricalScore(digits[:100])
    x = size * torch.randn(3, 1, 28, 28, generator=torch.Generator().manual_seed(6)).clamp(-3, 3)
    assert torch.isfinite(score.denoise(x, sigma)).all()
    assert torch.isfinite(score.log_density(x.double(), sigma)).all()


@pytest.mark.usefixtures("every_way")
def test_other_sums(digits: ImageSet) -> None:
    stored = Centers(digits)
    rows = stored.rows(torch.arange(1000))
    for sigma in (0.1, 3.0, 20.0):
        x = queries(rows, sigma)
        r2 = torch.stack([(rows - one).square().sum(1) for one in x])
        logits = -r2 / (2 * sigma**2)
        weights = logits.softmax(1)
        for dtype, tolerance in ((torch.float64, 1e-9), (torch.float32, 1e-5)):
            found = sums(x.to(dtype), stored, GaussianKernel(torch.full((12,), sigma, dtype=torch.float64)))
            expected = {
                "log_mass": logits.logsumexp(1) - math.log(1000),
                "r2": (weights * r2).sum(1),
                "precision": torch.full((12,), 1 / sigma**2, dtype=torch.float64),
            }
            for name, value in expected.items():
                torch.testing.assert_close(getattr(found, name), value, rtol=tolerance, atol=tolerance)


@pytest.mark.slow
@pytest.mark.parametrize("sigma", SIGMAS)
def test_cifar(cifar_train: Path, sigma: float) -> None:
    images = load_images(str(cifar_train))
    score = EmpiricalScore(images)
    rows = score.centers.rows(torch.arange(len(images)))
    x = queries(rows, sigma)[::2].reshape(-1, 3, 32, 32)
    check(score, rows, sigma, x, 1e-10, 1e-12)
    check(score, rows, sigma, x.float(), 1e-5, 1e-6)
