"""Noise levels against the tables of the papers and the definitions of the schedules."""

import math

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from scipy.stats import chi

from smoothscore.errors import InputError
from smoothscore.schedules import karras, log_uniform, shell_touch, vp


def test_karras_reproduces_the_printed_edm_grids():
    printed = "80.00 57.59 40.79 28.37 19.35 12.91 8.40 5.32 3.26 1.92 1.09 0.59 0.30 0.14 0.06 0.02 0.01 0.00"
    assert " ".join(f"{level:.2f}" for level in karras(18)) == printed
    levels = karras(40)
    printed = "60.1 44.6 32.7 23.6 16.8 11.7 8.0 5.4 2.2"
    assert " ".join(f"{levels[i]:.1f}" for i in (2, 4, 6, 8, 10, 12, 14, 16, 20)) == printed
    assert f"{levels[17]:.2f}" == "4.37"


@given(
    steps=st.integers(1, 200),
    low=st.floats(1e-4, 1),
    factor=st.floats(1.5, 1e5),
    rho=st.floats(0.5, 12),
)
@settings(max_examples=25, deadline=None)
def test_levels_descend_between_the_ends(steps, low, factor, rho):
    high = low * factor
    for levels in (karras(steps, low, high, rho), log_uniform(steps, low, high)):
        assert levels.shape == (steps,)
        assert levels.dtype == torch.float64
        assert levels[0] == high
        assert steps == 1 or levels[-1] == low
        assert (levels.diff() < 0).all()


def test_log_uniform_is_geometric():
    levels = log_uniform(1000, 0.01, 50)
    ratio = torch.full((999,), 5000 ** (1 / 999), dtype=torch.float64)
    torch.testing.assert_close(levels[:-1] / levels[1:], ratio)


@pytest.mark.parametrize(("kind", "count"), [("linear", 116), ("exact", 112), ("squared", 120)])
def test_shell_touch_counts_at_cifar_size(kind, count):
    levels = shell_touch(0.01, 50, 3072, kind=kind)
    assert len(levels) == count
    assert levels[-1] == 0.01
    assert levels[0] <= 50 < levels[0] * (levels[0] / levels[1])


def test_linear_is_the_default_and_exact_shells_touch():
    assert torch.equal(shell_touch(0.01, 50, 3072), shell_touch(0.01, 50, 3072, kind="linear"))
    assert f"{shell_touch(0.01, 50, 3072)[0] / shell_touch(0.01, 50, 3072)[1]:.7f}" == "1.0765466"
    levels, root = shell_touch(0.01, 50, 3072, kind="exact"), math.sqrt(3072)
    outer, inner = levels * (root + 3 / math.sqrt(2)), levels * (root - 3 / math.sqrt(2))
    torch.testing.assert_close(outer[1:], inner[:-1])
    mass = chi.cdf(root + 3 / 2**0.5, 3072) - chi.cdf(root - 3 / 2**0.5, 3072)
    assert mass == pytest.approx(0.9973025, abs=5e-8)


def test_shell_touch_keeps_a_level_that_falls_on_the_upper_end():
    ratio = 1 + 3 * math.sqrt(2 / 300)
    assert len(shell_touch(0.02, 0.02 * ratio**9, 300)) == 10


def test_vp_matches_the_timesteps_of_the_gap_experiment():
    levels = vp().variance_exploding.flip(0)
    timesteps = [100, 125, 150, 167, 200, 250, 275, 325, 350]
    printed = [0.342, 0.430, 0.522, 0.588, 0.724, 0.958, 1.092, 1.405, 1.591]
    assert levels[timesteps].tolist() == pytest.approx(printed, abs=6e-4)


@pytest.mark.parametrize("kind", ["linear", "scaled-linear", "cosine"])
def test_vp_pairs_preserve_variance_and_follow_the_product_of_betas(kind):
    levels = vp(200, kind=kind)
    alpha, sigma = levels
    torch.testing.assert_close(alpha**2 + sigma**2, torch.ones(200, dtype=torch.float64))
    assert (sigma.diff() < 0).all()
    assert (levels.variance_exploding.diff() < 0).all()
    betas = 1 - (alpha[:-1] / alpha[1:]) ** 2
    assert ((betas > 0) & (betas < 1)).all()
    again = vp(betas=torch.cat([betas, sigma[-1:] ** 2]).flip(0))
    torch.testing.assert_close(again.alpha, alpha)


def test_cosine_levels_are_the_squared_cosine():
    alpha = vp(1000, kind="cosine").alpha.flip(0)
    time = torch.arange(1, 901, dtype=torch.float64) / 1000
    expected = torch.cos((time + 0.008) / 1.008 * math.pi / 2) / math.cos(0.008 / 1.008 * math.pi / 2)
    torch.testing.assert_close(alpha[:900], expected)


@pytest.mark.parametrize(
    "mistake",
    [
        lambda: karras(0),
        lambda: karras(10, sigma_min=0.0),
        lambda: karras(10, rho=0.0),
        lambda: karras(10, sigma_min=2.0, sigma_max=1.0),
        lambda: log_uniform(-1),
        lambda: log_uniform(10, 0.1, math.inf),
        lambda: log_uniform(10, math.nan, 1.0),
        lambda: shell_touch(0.01, 50, 4),
        lambda: shell_touch(0.01, 50, 3072, kind="round"),
        lambda: vp(0),
        lambda: vp(10, beta_end=1.5),
        lambda: vp(10, beta_start=-0.1, kind="scaled-linear"),
        lambda: vp(kind="sigmoid"),
        lambda: vp(betas=torch.tensor([])),
    ],
)
def test_impossible_ranges_are_refused(mistake):
    with pytest.raises(InputError):
        mistake()
