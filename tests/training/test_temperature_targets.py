"""Softened targets against the closed-form scores and against sums in float64."""

import pytest
import torch
from torch import nn

import smoothscore as ss
from smoothscore.neighbors import NeighborGraph
from smoothscore.training import NoiseLaw, Temperature
from smoothscore.training.objective import Batch

LEVELS = torch.tensor([0.02, 0.1, 0.3, 1.0, 3.0, 10.0])


@pytest.fixture(scope="module")
def images():
    return ss.load_images("digits", limit=60)


def batch_of(images, conditional=False):
    clean = images.tensor()[:6]
    noise = torch.randn(clean.shape, generator=torch.Generator().manual_seed(1))
    return Batch(clean, noise, LEVELS, torch.arange(6), None, conditional)


@pytest.mark.parametrize("temperature", [1.0, 20.0])
def test_all_neighbors_give_the_unified_score_on_continuous_shells(images, temperature):
    graph = NeighborGraph.build(images, len(images) - 1)
    objective = Temperature(images, graph, temperature)
    batch = batch_of(images)
    score = ss.UnifiedScore(images, [0.002, 80.0], temperature=temperature, optimal_shell="continuous")
    x = batch.x.double()
    expected = x + LEVELS.double().reshape(-1, 1, 1, 1) ** 2 * score.score(x)
    target = objective.target(batch)
    torch.testing.assert_close(target.images.double(), expected, rtol=1e-4, atol=1e-4)
    weights = score.weights(x)
    torch.testing.assert_close(target.effective.double(), torch.special.entr(weights).sum(1).exp(), rtol=1e-3, atol=0)
    torch.testing.assert_close(target.top_weight.double(), weights.amax(1), rtol=1e-3, atol=0)


def test_a_network_that_takes_the_level_gets_the_tempered_posterior_mean(images):
    graph = NeighborGraph.build(images, 9)
    objective = Temperature(images, graph, 4.0, form="edm")
    batch = batch_of(images, conditional=True)
    centers = images.tensor().double()[torch.cat([torch.arange(6)[:, None], graph.indices[:6]], 1)]
    r2 = (batch.x.double().unsqueeze(1) - centers).flatten(2).square().sum(2)
    weights = torch.softmax(-r2 / (2 * 4.0 * LEVELS.double()[:, None] ** 2), 1)
    expected = (weights[:, :, None, None, None] * centers).sum(1)
    torch.testing.assert_close(objective.target(batch).images.double(), expected, rtol=1e-5, atol=1e-5)


def test_the_rule_leaves_levels_alone_where_it_has_come_down_to_1(images):
    graph = NeighborGraph.build(images, 9)
    target = Temperature(images, graph, "1/sigma").target(batch_of(images))
    clean = images.tensor()[:6]
    assert torch.equal(target.images[3:], clean[3:])
    assert not torch.equal(target.images[1], clean[1])
    assert torch.equal(target.effective[3:], torch.ones(3))


def test_sigma_collapse_says_from_where_targets_are_ordinary(images):
    graph = NeighborGraph.build(images, 9)
    target = Temperature(images, graph, 50.0, sigma_collapse=0.5).target(batch_of(images))
    assert torch.equal(target.images[3:], images.tensor()[3:6])
    assert (target.effective[:3] > 1.5).all()


def test_perplexity_shares_each_target_among_that_many(images):
    graph = NeighborGraph.build(images, 19)
    target = Temperature(images, graph, "perplexity:6").target(batch_of(images))
    torch.testing.assert_close(target.effective[:3], torch.full((3,), 6.0), rtol=1e-4, atol=0)


def test_feature_neighbors_are_weighted_by_pixels(images):
    graph = NeighborGraph.build(images, 9, space="pca:3")
    objective = Temperature(images, graph, 5.0)
    rows = images.tensor().double()
    expected = (rows[:, None] - rows[objective.indices]).flatten(2).square().sum(2)
    torch.testing.assert_close(objective.squares, expected, rtol=1e-5, atol=1e-5)


def test_the_loss_is_zero_for_the_network_that_gives_the_target(images):
    """A network without a level that computes eq. 10 itself, all images being neighbors of all."""
    score = ss.UnifiedScore(images, [0.002, 80.0], temperature=8.0, optimal_shell="continuous")

    class Exact(nn.Module):
        def __init__(self) -> None:
            super().__init__()
            self.dummy = nn.Parameter(torch.zeros((), dtype=torch.float64))

        def forward(self, x):
            return score.score(x)

    graph = NeighborGraph.build(images, len(images) - 1)
    law = NoiseLaw("log-uniform", sigma_min=0.1, sigma_max=5.0)
    objective = Temperature(images, graph, 8.0, form="score", law=law)
    objective.profile = score.profile
    losses = objective.losses(Exact(), images.tensor()[:32], torch.arange(32))
    assert losses.loss.max() < 1e-6


def test_graphs_of_other_images_and_missing_indices_are_refused(images):
    graph = NeighborGraph.build(images, 5)
    with pytest.raises(ss.InputError, match="60 images"):
        Temperature(images[:50], graph)
    objective = Temperature(images, graph, form="score")
    with pytest.raises(ss.InputError, match="indices"):
        objective(nn.Identity(), images.tensor()[:4])


def test_points_in_the_plane_need_a_network_that_takes_the_level(tmp_path):
    """Their shells have no best level."""
    points = torch.tensor([0.5, 0.0]) + 0.1 * torch.randn(100, 2)
    objective = Temperature(points, NeighborGraph.build(points, 4))
    with pytest.raises(ss.InputError, match="Points of 2 values have no best shell"):
        objective(ss.networks.build("mlp", (2,), noise_conditional=False), points[:8], torch.arange(8))
    settings = {"method": "temperature", "neighbors": 5, "network": "mlp", "steps": 2}
    with pytest.raises(ss.InputError, match="take the preconditioning 'edm'"):
        ss.train(points, ss.TrainConfig(**settings), tmp_path / "run")
    assert not (tmp_path / "run").exists()
    run = ss.train(points, ss.TrainConfig(**settings, preconditioning="edm"), tmp_path / "run")
    assert run.step == 2
