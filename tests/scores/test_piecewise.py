"""Swapping scores by noise level."""

import pytest
import torch

from smoothscore.errors import InputError
from smoothscore.scores.empirical import EmpiricalScore
from smoothscore.scores.gaussian import GaussianScore
from smoothscore.scores.piecewise import PiecewiseScore


def pieces():
    centers = torch.randn(8, 2, 3, generator=torch.Generator().manual_seed(0), dtype=torch.float64)
    return centers, EmpiricalScore(centers), GaussianScore.fit(centers)


@pytest.mark.parametrize("call", ["score", "denoise", "log_density"])
def test_each_image_is_evaluated_by_the_score_of_its_own_level(call):
    centers, empirical, gaussian = pieces()
    score = PiecewiseScore([(2.0, gaussian), (0.0, empirical), (10.0, empirical)])
    levels = torch.tensor([20.0, 0.1, 5.0, 1.99, 2.0, 10.0], dtype=torch.float64)
    x = centers[:6] * 1.5
    used = [empirical, empirical, gaussian, empirical, gaussian, empirical]
    expected = [getattr(one, call)(x[i : i + 1], float(levels[i])) for i, one in enumerate(used)]
    torch.testing.assert_close(getattr(score, call)(x, levels), torch.cat(expected), rtol=1e-12, atol=1e-12)
    narrow = getattr(score, call)(x.float(), levels.float())
    torch.testing.assert_close(narrow, torch.cat(expected).float(), rtol=1e-4, atol=1e-4)


def test_a_swap_moves_with_its_scores_and_is_differentiable():
    centers, empirical, gaussian = pieces()
    score = PiecewiseScore([(0, empirical), (1, gaussian)])
    assert len(list(score.buffers())) == len(list(empirical.buffers())) + len(list(gaussian.buffers()))
    x = centers[:4].clone().requires_grad_()
    levels = torch.tensor([0.5, 2.0, 0.5, 2.0], dtype=torch.float64)
    (gradient,) = torch.autograd.grad(score.log_density(x, levels).sum(), x)
    torch.testing.assert_close(gradient, score.score(x, levels), rtol=1e-9, atol=1e-9)


@pytest.mark.parametrize(
    "regions",
    [
        [],
        [(0.1, pieces()[1])],
        [(0, pieces()[1]), (float("inf"), pieces()[2])],
        [(0, pieces()[1]), (float("nan"), pieces()[2])],
        [(0, pieces()[1]), (0, pieces()[2])],
        [(0, pieces()[1]), (1, EmpiricalScore(torch.zeros(3, 5)))],
    ],
)
def test_gaps_and_mismatches_are_refused(regions):
    with pytest.raises(InputError):
        PiecewiseScore(regions)
