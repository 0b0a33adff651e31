"""Texts that name data with options."""

from pathlib import Path

import pytest

from smoothscore.data import as_images, load_images, parse_source
from smoothscore.errors import InputError


def test_options_after_the_question_mark() -> None:
    text = "some/where.zip?split=test&limit=10&seed=3&resolution=32&class_=3&rank=5"
    assert parse_source(text, extra=("rank",)) == (
        {"source": "some/where.zip", "split": "test", "limit": 10, "seed": 3, "resolution": 32, "class_": "3"},
        {"rank": "5"},
    )
    assert parse_source("some/where.zip") == ({"source": "some/where.zip"}, {})


def test_the_text_means_what_the_arguments_mean() -> None:
    by_text = as_images("digits?class_=4&limit=9&seed=5&resolution=4")
    by_arguments = load_images("digits", class_=4, limit=9, seed=5, resolution=4)
    assert by_text.fingerprint == by_arguments.fingerprint
    assert by_text.shape == (1, 4, 4)


def test_a_path_that_exists_is_taken_as_it_stands(tmp_path: Path) -> None:
    odd = tmp_path / "is it?limit=3"
    odd.mkdir()
    assert parse_source(str(odd)) == ({"source": str(odd)}, {})


@pytest.mark.parametrize("text", ["a?colour=red", "a?limit=ten", "a?limit=-1", "a?limit=1&limit=2", "a?"])
def test_wrong_options_are_refused(text: str) -> None:
    with pytest.raises(InputError):
        parse_source(text)
