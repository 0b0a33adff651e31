"""Entries that follow a trained network: steps at the true noise level, and the checkpoints of a run."""

import numpy as np
import pytest
import torch

import smoothscore as ss
from smoothscore import InputError
from smoothscore.geometry import unexplained_variance
from smoothscore.reproduce import reproduce
from smoothscore.reproduce.gaussian_learning import SIGMAS, _order, _reached
from smoothscore.reproduce.smoothing_steps import START, STEPS


@pytest.fixture(scope="module")
def digits():
    return ss.load_images("digits").subset(200, 0)


@pytest.fixture(scope="module")
def run(digits, tmp_path_factory):
    config = ss.TrainConfig(
        steps=6,
        batch_size=8,
        checkpoint_every=2,
        keep=3,
        ema=(100.0,),
        network_options={"width": 4, "blocks": 1},
    )
    folder = tmp_path_factory.mktemp("runs") / "digits"
    ss.train(digits, config, folder)
    return folder


def test_steps_shorten_the_noise_by_what_the_schedule_spans():
    for steps, alpha in STEPS.items():
        assert 5e-5 < (1 - alpha) ** steps < 2e-4  # 0.01 over 50
        assert START * (1 - alpha) ** (steps - 1) < 0.03


def test_images_that_depend_on_the_noise_alone_are_consistent(digits):
    class Direction(ss.UnifiedScore):
        def denoise(self, x, sigma=None):
            return x / x.flatten(1).norm(dim=1).reshape(-1, 1, 1, 1)

    result = reproduce("true-level-steps", "quick", data=digits, score=Direction(digits, (0.01, 100.0)))
    for row in result.rows:
        assert row.verdict == "hit"
        assert row.ours == pytest.approx(0 if "distance" in row.quantity else 1, abs=1e-4)


def test_images_of_a_score_that_forgets_its_noise_are_not(digits):
    class Restless(ss.UnifiedScore):
        def denoise(self, x, sigma=None):
            return torch.rand_like(x)

    result = reproduce("true-level-steps", "quick", data=digits, score=Restless(digits, (0.01, 100.0)))
    assert [row.verdict for row in result.rows] == ["missed"] * 8


def test_true_level_steps_refuse_a_scheduled_score(digits):
    with pytest.raises(InputError, match="noise level from a schedule"):
        reproduce("true-level-steps", "quick", data=digits, score=ss.EmpiricalScore(digits))


def test_learning_dynamics_are_the_unexplained_variances_of_the_checkpoints(run, digits):
    result = reproduce("learning-dynamics", "quick", data=digits, score=f"{run}?ema=raw")
    table = result.blocks[-1]
    columns = list(table.columns)
    assert columns == ["step", "noise level", "isotropic", "Gaussian", "mixture", "exact delta"]
    assert len(table.rows) == 3 * len(SIGMAS)
    score = ss.load_score(f"{run}?step=4&ema=raw")
    expected = unexplained_variance(score, ss.GaussianScore.fit(digits), digits, (0.5,), 0, 64).mean[0]
    (found,) = (row for row in table.rows if row[:2] == ["4", "0.5"])
    assert float(found[3]) == pytest.approx(expected, rel=6e-3)  # printed to three digits
    assert "3" in str(result.conditions["checkpoints"])


def test_order_is_compared_only_where_the_checkpoints_tell_it():
    steps = [1, 2, 3, 4]
    assert _reached(steps, np.array([1.0, 0.5, 0.21, 0.2])) == 3
    assert _order(0.5, [1, 2, 2]).verdict == "hit"
    assert _order(0.5, [3, 2, 4]).verdict == "missed"
    assert _order(0.5, [2, 2, 2]).verdict == "shown"


def test_learning_dynamics_need_a_run_with_checkpoints(run, digits, tmp_path):
    for score in (None, "empirical:digits", ss.EmpiricalScore(digits), str(tmp_path)):
        with pytest.raises(InputError, match="folder of a run"):
            reproduce("learning-dynamics", "quick", data=digits, score=score)
    (tmp_path / "checkpoints").mkdir()
    with pytest.raises(InputError, match="two checkpoints"):
        reproduce("learning-dynamics", "quick", data=digits, score=str(tmp_path))
    with pytest.raises(InputError, match="give the images that the score belongs to"):
        reproduce("learning-dynamics", "quick", data=torch.zeros(8, 1, 5, 5), score=str(run))


def test_a_network_is_examined_beside_the_empirical_optimum(run, digits):
    rows = {row.quantity: row for row in reproduce("denoising-error", "quick", data=digits, score=str(run)).rows}
    assert rows["given score: copies among one-step outputs, most"].ours < 0.2  # it has learned nothing yet
    assert "given score: largest gap, held-out less training error" in rows
