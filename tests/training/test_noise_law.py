"""Noise levels: their distribution against scipy, and nothing inside a gap."""

import numpy as np
import pytest
import torch
from scipy import stats

import smoothscore as ss
from smoothscore.training import NoiseLaw, timestep_gap

U = (torch.arange(20_000, dtype=torch.float64) + 0.5) / 20_000


def test_lognormal_is_that_of_scipy_cut_to_its_range():
    law = NoiseLaw("lognormal", -1.0, 1.5, 0.05, 5.0)
    low, high = (np.log([0.05, 5.0]) + 1.0) / 1.5
    expected = np.exp(stats.truncnorm.ppf(U.numpy(), low, high, loc=-1.0, scale=1.5))
    np.testing.assert_allclose(law.sigma(U).numpy(), expected, rtol=1e-9)


def test_log_uniform_is_straight_in_the_logarithm():
    sigma = NoiseLaw("log-uniform", sigma_min=0.1, sigma_max=10.0).sigma(U)
    np.testing.assert_allclose(sigma.log().numpy(), np.log(0.1) + U.numpy() * np.log(100), rtol=0, atol=1e-12)


@pytest.mark.parametrize("kind", ["lognormal", "log-uniform"])
def test_gaps_give_the_law_of_rejection(kind):
    gaps = ((0.2, 0.5), (0.4, 1.0), (3.0, 4.0))
    whole = NoiseLaw(kind, sigma_min=0.01, sigma_max=20.0).sigma(U)
    kept = whole[~(((whole > 0.2) & (whole < 1.0)) | ((whole > 3.0) & (whole < 4.0)))]
    sigma = NoiseLaw(kind, sigma_min=0.01, sigma_max=20.0, gaps=gaps).sigma(U)
    assert not ((sigma > 0.2 * (1 + 1e-9)) & (sigma < 1.0 * (1 - 1e-9))).any()
    assert not ((sigma > 3.0 * (1 + 1e-9)) & (sigma < 4.0 * (1 - 1e-9))).any()
    assert stats.ks_2samp(kept.numpy(), sigma.numpy()).statistic < 2e-3


def test_shell_touch_draws_each_level_equally_often():
    law = NoiseLaw("shell-touch", sigma_min=0.01, sigma_max=50.0, dim=3072)
    levels, counts = law.sigma(U).unique(return_counts=True)
    assert torch.equal(levels, ss.schedules.shell_touch(0.01, 50.0, 3072).flip(0))
    assert counts.max() - counts.min() <= 1
    gapped = law.without([(1.0, 2.0)]).sigma(U)
    assert not ((gapped >= 1.0) & (gapped <= 2.0)).any()


def test_a_gap_with_nearly_all_the_probability_is_refused():
    with pytest.raises(ss.InputError, match="leave more"):
        NoiseLaw("lognormal", -1.2, 0.1, gaps=[(0.01, 10.0)])


def test_gaps_in_timesteps_are_those_of_the_papers_schedule():
    low, high = timestep_gap(150, 250)
    assert (low, high) == (pytest.approx(0.522, abs=5e-4), pytest.approx(0.958, abs=5e-4))
    with pytest.raises(ss.InputError, match="timesteps"):
        timestep_gap(0, 1000)
