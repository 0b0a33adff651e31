"""Tables 4 to 6 of the Gaussian paper: the printed columns, the jackknife, and a score for which jumps are exact."""

import numpy as np
import pytest
import torch

import smoothscore as ss
from smoothscore import InputError, schedules
from smoothscore.memorization.frechet import moments
from smoothscore.reproduce import reproduce
from smoothscore.reproduce.gaussian_teleport import PRINTED, _change, _saved


@pytest.mark.parametrize("steps", [18, 40])
def test_printed_columns_are_those_of_the_schedule(steps):
    levels = schedules.karras(steps)
    for skipped, (evaluations, level, _) in PRINTED[steps].items():
        assert evaluations == 2 * (steps - skipped) - 1
        assert f"{float(levels[skipped]):.1f}" == level


@pytest.mark.parametrize(
    ("steps", "name", "saved"), [(18, "CIFAR-10", 12 / 35), (40, "FFHQ-64", 8 / 79), (40, "AFHQv2-64", 24 / 79)]
)
def test_savings_of_the_printed_tables_are_those_of_the_text(steps, name, saved):
    """34 % of CIFAR-10 evaluations for less than 0.2 %, 10 to 15 % of FFHQ's for around 3 %, 25 to 30 % of AFHQ's."""
    first = PRINTED[steps][0][2][name]
    changes = {skipped: row[2][name] / first - 1 for skipped, row in PRINTED[steps].items()}
    assert _saved(changes, steps) == pytest.approx(saved)


def test_savings_end_at_the_first_change_that_is_too_large():
    assert _saved({0: 0.0, 1: 0.01, 2: 0.2, 3: 0.0}, 18) == 2 / 35
    assert _saved({0: 0.0, 1: 0.5}, 18) == 0


def test_standard_error_of_a_change_is_its_spread_over_draws():
    rng = np.random.default_rng(0)
    data = moments(rng.standard_normal((4000, 3)))
    changes, errors = [], []
    for _ in range(150):
        first = rng.standard_normal((300, 3)) + 1
        moved = 1.2 * first + 0.3 * rng.standard_normal((300, 3))
        change, error = _change(torch.from_numpy(moved), torch.from_numpy(first), data)
        changes.append(change)
        errors.append(error)
    # 150 draws know a standard deviation to 6 %, ten groups to a quarter each
    assert np.mean(errors) == pytest.approx(np.std(changes, ddof=1), rel=0.25)
    assert _change(torch.from_numpy(first), torch.from_numpy(first), data) == (0, 0)


def test_a_gaussian_loses_nothing_by_its_own_jump():
    digits = ss.load_images("digits").subset(300, 0)
    gaussian = ss.sampling.fit_gaussian(digits)
    result = reproduce("teleportation", "quick", data=digits, score=gaussian)
    rows = {row.quantity: row for row in result.rows}
    for steps in (18, 40):
        assert rows[f"{steps} levels: counts of evaluations that differ from the printed ones"].verdict == "hit"
    fine = next(block for block in result.blocks if "40 levels" in block.caption)
    moved = [float(row[-1]) for row in fine.rows]
    assert moved[0] == 0
    assert max(moved) < 1e-3  # the error of Heun's method in the skipped steps


def test_scores_of_other_shapes_are_refused():
    with pytest.raises(InputError, match="shape"):
        reproduce("teleportation", "quick", data="digits", score=ss.EmpiricalScore(torch.zeros(2, 1, 5, 5)))
