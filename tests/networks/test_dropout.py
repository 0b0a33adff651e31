"""Dropout: each value lost with its probability, independently, and gradients that follow."""

import pytest
import torch
from scipy import stats

from smoothscore.networks.layers import Dropout


@pytest.mark.parametrize("p", [0.05, 0.13, 0.5, 0.9])
def test_values_are_lost_with_their_probability_and_the_mean_stays(p):
    dropped = Dropout(p)(torch.ones(3, 10_001, dtype=torch.float64))
    lost = int((dropped == 0).sum())
    assert stats.binomtest(lost, dropped.numel(), p).pvalue > 1e-4
    assert (dropped[dropped != 0] - 1 / (1 - p)).abs().max() < 1e-3


def test_neighboring_values_are_independent():
    lost = (Dropout(0.3)(torch.ones(100_000)) == 0).double().reshape(-1, 4)
    correlations = torch.corrcoef(lost.T) - torch.eye(4)
    assert correlations.abs().max() < 4.5 / len(lost) ** 0.5


def test_gradients_pass_where_values_do():
    x = torch.randn(4, 7, requires_grad=True)
    y = Dropout(0.4)(x)
    y.sum().backward()
    torch.testing.assert_close(x.grad * x, y)


def test_evaluation_and_probability_zero_change_nothing():
    x = torch.randn(50)
    assert torch.equal(Dropout(0.5).eval()(x), x)
    assert torch.equal(Dropout(0.0)(x), x)
