"""Sums over neighbors: read in place and written out, against float64."""

import pytest
import torch

import smoothscore as ss
from smoothscore.mixture import Centers
from smoothscore.neighbors import NeighborGraph
from smoothscore.training import Temperature
from smoothscore.training.neighborhoods import Listed, Stored
from smoothscore.training.objective import Batch


@pytest.fixture(scope="module")
def digits():
    """A view whose rows are not those of the file: large enough that loops are compiled."""
    return ss.load_images("mnist-5k", limit=1500, seed=1)


@pytest.mark.parametrize(
    ("kind", "dtype"), [("view", torch.float32), ("view", torch.float64), ("float32", torch.float32)]
)
def test_both_ways_give_the_sums_of_float64(digits, kind, dtype):
    exact = digits.tensor(torch.float64)
    centers = Centers(digits if kind == "view" else exact.float())
    indices = torch.randint(len(digits), (5, 70))  # more than are summed at a time
    noise = torch.randn(5, centers.dim, dtype=dtype)
    shares = torch.rand(5, 70, dtype=torch.float64).softmax(1)
    rows = exact.flatten(1)[indices]
    along = torch.einsum("bkd,bd->bk", rows, noise.double())
    total = torch.einsum("bk,bkd->bd", shares, rows)
    tolerance = 1e-6 if dtype == torch.float32 else 1e-12
    for near in (Stored(centers, indices), Listed(centers.rows(indices.flatten(), dtype).reshape(5, 70, -1))):
        torch.testing.assert_close(near.along(noise), along, rtol=0, atol=tolerance * 784)
        assert near.sum(shares, dtype).dtype == dtype
        torch.testing.assert_close(near.sum(shares, dtype).double(), total, rtol=0, atol=tolerance)


@pytest.mark.parametrize("space", ["pixel", "pca:8"])
def test_targets_read_in_place_are_those_of_neighbors_written_out(digits, space, monkeypatch):
    """And those of float64, from the definition."""
    objective = Temperature(digits, NeighborGraph.build(digits, 9, space=space), "perplexity:4", form="edm")
    assert objective.centers.stored is not None
    images, indices = digits.tensor()[:8], torch.arange(8)
    sigma = torch.logspace(-1.5, 1, 8)
    batch = Batch(images, torch.randn_like(images), sigma, indices, None, conditional=True)
    target = objective.target(batch)
    centers = digits.tensor(torch.float64)[objective.indices[:8]]
    r2 = (batch.x.double().unsqueeze(1) - centers).flatten(2).square().sum(2)
    logits = -r2 / (2 * sigma.double()[:, None] ** 2)
    heat = ss.scores.temperature.perplexity_temperature(logits, 4.0)
    weights = torch.softmax(logits / heat[:, None], 1)
    expected = torch.where(heat.reshape(-1, 1, 1, 1) > 1, (weights[:, :, None, None, None] * centers).sum(1), images)
    assert (heat > 1).sum() > 4
    torch.testing.assert_close(target.images.double(), expected, rtol=0, atol=1e-5)
    monkeypatch.setattr(Centers, "stored", None)
    torch.testing.assert_close(objective.target(batch).images, target.images, rtol=0, atol=1e-5)
