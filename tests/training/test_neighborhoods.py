"""Sums over neighbors, and which need none, against float64."""

import pytest
import torch

import smoothscore as ss
from smoothscore.mixture import Centers
from smoothscore.neighbors import NeighborGraph
from smoothscore.training import Temperature
from smoothscore.training.neighborhoods import Listed, Stored
from smoothscore.training.objective import Batch
from smoothscore.training.temperature import _base


@pytest.fixture(scope="module")
def digits():
    """A view whose rows are not those of the file."""
    return ss.load_images("mnist-5k", limit=1500, seed=1)


@pytest.mark.parametrize("read", ["stored", "written out"])
@pytest.mark.parametrize(
    ("kind", "dtype"), [("view", torch.float32), ("view", torch.float64), ("float32", torch.float32)]
)
def test_sums_are_those_of_float64(digits, kind, dtype, read):
    exact = digits.tensor(torch.float64)
    centers = Centers(digits if kind == "view" else exact.float())
    indices = torch.randint(len(digits), (5, 70))
    noise = torch.randn(5, centers.dim, dtype=dtype)
    shares = torch.rand(5, 70, dtype=torch.float64).softmax(1)
    rows = exact.flatten(1)[indices]
    tolerance = 1e-6 if dtype == torch.float32 else 1e-12
    listed = Listed(
        centers.scaled_rows(indices.flatten(), torch.empty(350, 784, dtype=dtype)).reshape(5, 70, -1), centers.scale
    )
    near = listed if read == "written out" else Stored(centers, indices)
    along = torch.einsum("bkd,bd->bk", rows, noise.double())
    torch.testing.assert_close(near.along(noise), along, rtol=0, atol=tolerance * 784)
    total = torch.einsum("bk,bkd->bd", shares, rows)
    torch.testing.assert_close(near.sum(shares).double(), total, rtol=0, atol=tolerance)
    torch.testing.assert_close(listed.squares(), (rows - rows[:, :1]).square().sum(2), rtol=1e-5, atol=1e-5)


@pytest.mark.parametrize(
    ("space", "temperature"), [("pixel", "perplexity:4"), ("pca:8", "perplexity:4"), ("pixel", 3.0)]
)
def test_targets_are_those_of_the_definition(digits, space, temperature):
    objective = Temperature(digits, NeighborGraph.build(digits, 9, space=space), temperature, form="edm")
    images, indices = digits.tensor()[:8], torch.arange(8)
    sigma = torch.logspace(-1.5, 1, 8)
    batch = Batch(images, torch.randn_like(images), sigma, indices, None, conditional=True)
    target = objective.target(batch)
    centers = digits.tensor(torch.float64)[objective.indices[:8]]
    r2 = (batch.x.double().unsqueeze(1) - centers).flatten(2).square().sum(2)
    logits = -r2 / (2 * sigma.double()[:, None] ** 2)
    heat = torch.full((8,), 3.0) if temperature == 3.0 else ss.scores.temperature.perplexity_temperature(logits, 4.0)
    weights = torch.softmax(logits / heat[:, None], 1)
    expected = torch.where(heat.reshape(-1, 1, 1, 1) > 1, (weights[:, :, None, None, None] * centers).sum(1), images)
    assert (heat > 1).sum() > 4
    torch.testing.assert_close(target.images.double(), expected, rtol=0, atol=1e-5)


@pytest.mark.parametrize(
    ("form", "temperature"), [("edm", "5/sigma"), ("edm", "collapse"), ("edm", 40.0), ("noise", 1.0), ("noise", 5.0)]
)
def test_images_whose_neighbors_are_out_of_reach_need_none_of_them(digits, form, temperature, monkeypatch):
    graph = NeighborGraph.build(digits, 9)
    objective = Temperature(digits, graph, temperature, form=form)
    images, indices = digits.tensor(torch.float64)[:200], torch.arange(200)
    sigma = torch.logspace(-2.6, 1.5, 200, dtype=torch.float64)
    batch = Batch(images, torch.randn_like(images), sigma, indices, None, conditional=form == "edm")
    within = objective._within_reach(batch, indices, _base(batch))
    target = objective.target(batch)
    assert 10 < (~within).sum() < 190
    monkeypatch.setattr(Temperature, "_within_reach", lambda _, __, some, ___: torch.ones_like(some, dtype=torch.bool))
    whole = objective.target(batch)
    torch.testing.assert_close(target.images, whole.images, rtol=0, atol=1e-9)
    torch.testing.assert_close(target.effective, whole.effective, rtol=0, atol=1e-8)


def test_a_batch_may_have_no_neighbor_within_reach(digits):
    objective = Temperature(digits, NeighborGraph.build(digits, 9), 2.0, form="edm")
    images, indices = digits.tensor()[:3], torch.arange(3)
    batch = Batch(images, torch.randn_like(images), torch.full((3,), 0.01), indices, None, conditional=True)
    torch.testing.assert_close(objective.target(batch).images, images)


def test_noise_of_half_precision_is_summed_in_float32(digits):
    near = Stored(Centers(digits), torch.arange(6).reshape(2, 3))
    noise = torch.randn(2, 784).half()
    torch.testing.assert_close(near.along(noise), near.along(noise.float()), rtol=0, atol=0)
