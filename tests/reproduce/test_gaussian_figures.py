"""Far field, paths and the score's noise where the answers are known."""

import math

import pytest
import torch

import smoothscore as ss
from smoothscore import InputError
from smoothscore.reproduce import reproduce
from smoothscore.reproduce.far_field import linear_error
from smoothscore.reproduce.score_noise import line_covariance, line_limit


def rows_of(result):
    return {row.quantity: row for row in result.rows}


@pytest.fixture(scope="module")
def digits():
    return ss.load_images("digits").subset(300, 0)


def test_error_of_the_linear_denoiser_falls_as_sigma_to_minus_two_of_skewed_data_and_three_of_symmetric():
    skewed = torch.tensor([[0.0, 0.0], [0.0, 1.0], [3.0, 0.0], [0.2, 0.1]], dtype=torch.float64)
    for points, power in ((skewed, 2.0), (torch.cat([skewed, -skewed]), 3.0)):
        gaussian = ss.GaussianScore.fit(points)
        near, far = linear_error(ss.EmpiricalScore(points), gaussian, (300.0, 600.0), 200, 0)
        assert math.log2(near / far) == pytest.approx(power, abs=0.05)


def test_far_field_of_digits(digits):
    result = reproduce("far-field", "quick", data=digits)
    rows = rows_of(result)
    slope = next(row for name, row in rows.items() if name.startswith("slope"))
    assert slope.verdict == "hit"
    assert rows["Gaussian leaves under 1 % from sigma ="].ours > 0


def test_a_gaussian_follows_its_own_closed_form(digits):
    """Heun's method in 18 steps against the exact path."""
    result = reproduce("gaussian-paths", "quick", data=digits, score=ss.GaussianScore.fit(digits))
    rows = rows_of(result)
    assert math.isnan(rows["given score and Gaussian part (MSE 0.01) below sigma ="].ours)
    assert rows["final images, given score: MSE to the Gaussian's"].ours < 2e-3


def test_the_exact_score_leaves_the_gaussian_earlier_than_the_mixture_does(digits):
    rows = rows_of(reproduce("gaussian-paths", "quick", data=digits))
    exact = rows["exact score and Gaussian part (MSE 0.01) below sigma ="].ours
    assert exact > rows["mixture and Gaussian part below sigma ="].ours > 0
    with pytest.raises(InputError, match="shape"):
        reproduce("gaussian-paths", "quick", data=digits, score=ss.EmpiricalScore(torch.zeros(2, 1, 5, 5)))


def test_printed_bound_of_the_rotation_formula_fails_for_large_variances(digits):
    rows = rows_of(reproduce("rotation", "quick", data=digits))
    for variance, least in ((1.0, -0.4142), (4.0, -0.5578), (100.0, -0.8142)):
        row = rows[f"least J, variance {variance:g}"]
        assert row.ours == pytest.approx(least, abs=1e-4)
        assert row.verdict == ("hit" if variance < 5 else "missed")
    assert rows["largest |J| of all"].verdict == "hit"


def test_line_covariance_tends_to_its_limit():
    for w in (0.0, 0.7, 2.5):
        t = 1e-5
        x, y = 0.4, 0.4 + w * math.sqrt(t)
        assert line_covariance(x, y, t) == pytest.approx(line_limit(x, y, t), rel=1e-3)


def test_score_noise_runs_along_the_manifold():
    result = reproduce("score-noise", "quick")
    assert [row.quantity for row in result.rows if row.verdict == "missed"] == []
    assert len(result.blocks) == 3
    with pytest.raises(InputError, match="28 x 28"):
        reproduce("score-noise", "quick", data="digits")
