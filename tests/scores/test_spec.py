"""Scores by name: what the text says is what is built."""

import pytest
import torch

from smoothscore.data import load_images
from smoothscore.errors import InputError
from smoothscore.schedules import log_uniform, shell_touch
from smoothscore.scores import (
    EmpiricalScore,
    GaussianMixtureScore,
    GaussianScore,
    MollifiedScore,
    Score,
    UnifiedScore,
    load_score,
)

DATA = "mnist-5k?limit=60&seed=1&resolution=8"


@pytest.fixture(scope="module")
def digits():
    return load_images("mnist-5k", limit=60, seed=1, resolution=8)


def same(text: str, expected: Score) -> None:
    x = torch.randn(3, *expected.shape)
    assert torch.equal(load_score(text).score(x, 0.7), expected.score(x, 0.7))


def test_every_closed_form_has_a_name(digits):
    same(f"empirical:{DATA}", EmpiricalScore(digits))
    same(f"gaussian:{DATA}&rank=5", GaussianScore.fit(digits, rank=5))
    same(f"gmm:{DATA}&components=3&rank=5", GaussianMixtureScore.fit(digits, components=3, rank=5))
    same(f"mollified:{DATA}&bandwidth=0.3&samples=4", MollifiedScore(EmpiricalScore(digits), 0.3, samples=4))


def test_unified_has_the_levels_of_the_paper_unless_others_are_asked_for(digits):
    same(f"unified:{DATA}", UnifiedScore(digits, shell_touch(0.02, 100, 64)))
    same(
        f"unified:{DATA}&temperature=5/sigma&neighbors=7",
        UnifiedScore(digits, shell_touch(0.02, 100, 64), "5/sigma", 7),
    )
    levels = log_uniform(9, 0.1, 10)
    same(f"unified:{DATA}&temperature=30&levels=9&sigma_min=0.1&sigma_max=10", UnifiedScore(digits, levels, 30.0))
    paper = shell_touch(0.01, 50, 3072)
    torch.testing.assert_close(shell_touch(0.02, 100, 3072), 2 * paper)  # pixels in [-1, 1] for [0, 1]


@pytest.mark.parametrize(
    ("text", "words"),
    [
        ("unified:mnist-5k?limit=60&temperature=5*sigma", "not a rule"),
        ("unified:mnist-5k?limit=60&neighbors=61", "between 1 and"),
        ("unified:mnist-5k?limit=60&neighbors=few", "not a whole number"),
        ("unified:mnist-5k?limit=60&sigma_min=0", "0 < sigma_min"),
        ("unified:mnist-5k?limit=60&levels=0", "at least 1"),
        ("mollified:mnist-5k?limit=60", "no bandwidth"),
        ("gaussian:mnist-5k?limit=60&rank=much", "not a whole number"),
        ("gmm:mnist-5k?limit=60&components=61", "components"),
        ("unifid:mnist-5k", "names no score"),
    ],
)
def test_mistakes_in_a_name(text, words):
    with pytest.raises(InputError, match=words):
        load_score(text)
