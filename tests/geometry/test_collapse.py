"""Paths at the true noise level against their exact contraction, and collapse times worked out by hand."""

import math

import numpy as np
import pytest
import torch

import smoothscore as ss
from smoothscore.geometry.collapse import collapse_time, true_level_path


def test_one_center_is_approached_at_the_stated_rate():
    center = torch.zeros(1, 20, dtype=torch.float64)
    start = torch.from_numpy(np.random.default_rng(0).standard_normal((3, 20)))
    path = list(true_level_path(ss.EmpiricalScore(center), center, start, steps=30, contraction=0.2))
    assert len(path) == 30
    for step, (x, sigma) in enumerate(path):
        assert torch.allclose(x, 0.8**step * start, rtol=1e-9)
        assert torch.allclose(sigma, x.norm(dim=1) / math.sqrt(20), rtol=1e-9)


def test_collapse_is_the_first_step_above_the_threshold():
    """Between centers at -1 and 1 the weight of the second is 1 / (1 + exp(-2 x / sigma^2))."""
    score = ss.EmpiricalScore(torch.tensor([[-1.0], [1.0]], dtype=torch.float64))
    sigma = 0.7
    edge = math.log(0.95 / 0.05) * sigma**2 / 2
    rows = [[0.0, -0.1, 0.0], [edge - 1e-6, -edge - 1e-6, 0.1], [edge + 1e-6, 0.0, 0.0]]
    path = [(torch.tensor(row, dtype=torch.float64)[:, None], torch.full((3,), sigma)) for row in rows]
    assert collapse_time(score.weights, path).tolist() == [3, 2, math.inf]


def test_an_empirical_path_ends_on_a_training_image_and_a_hot_one_does_not():
    images = ss.load_images("digits", limit=200, seed=0)
    start = 20 * torch.from_numpy(np.random.default_rng(0).standard_normal((3, *images.shape))).float()
    empirical = ss.EmpiricalScore(images)
    path = list(true_level_path(empirical, images, start, steps=60, contraction=0.15))
    times = collapse_time(empirical.weights, path)
    assert (times < 60).all()
    assert (path[-1][1] < 0.85**20 * path[0][1]).all()
    levels = ss.schedules.log_uniform(100, 1e-3, 50.0)
    hot = ss.UnifiedScore(images, levels, temperature=1000.0, optimal_shell="continuous")
    path = true_level_path(hot, images, start, steps=60, contraction=0.15)
    assert collapse_time(hot.weights, path).isinf().all()


@pytest.mark.parametrize("threshold", [0.5, 0.99])
def test_a_lower_threshold_is_never_later(threshold):
    centers = torch.from_numpy(np.random.default_rng(1).standard_normal((30, 12)))
    score = ss.EmpiricalScore(centers)
    path = list(true_level_path(score, centers, 10 * centers[:5].flip(1), steps=40, contraction=0.2))
    assert (collapse_time(score.weights, path, threshold) <= collapse_time(score.weights, path, 0.995)).all()
