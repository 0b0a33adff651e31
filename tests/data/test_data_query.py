"""Texts that name data with options."""

from pathlib import Path

import numpy as np
import pytest
import torch
from PIL import Image

from smoothscore.data import as_given, as_images, load_images, parse_source
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


@pytest.mark.parametrize(
    "text", ["a?colour=red", "a?limit=ten", "a?limit=-1", "a?limit=1&limit=2", "a?", "a?max_bad=2", "a?max_bad=x"]
)
def test_wrong_options_are_refused(text: str) -> None:
    with pytest.raises(InputError):
        parse_source(text)


def test_more_bad_files_are_allowed_by_text(tmp_path: Path) -> None:
    for i in range(4):
        Image.new("L", (5, 5), 40 * i).save(tmp_path / f"{i}.png")
    (tmp_path / "2.png").write_bytes(b"none")
    with pytest.raises(InputError, match=r"max_bad, as in 'DATA\?max_bad=0.1'"):
        as_images(str(tmp_path))
    with pytest.warns(match="1 of the 4 images"):
        assert len(as_images(f"{tmp_path}?max_bad=0.25")) == 3


def test_arrays_and_tensors_stand_for_images() -> None:
    digits = load_images("digits", limit=6)
    pixels, values = digits.take(range(6)), digits.tensor(torch.float64)
    for given in (pixels, torch.from_numpy(pixels)):
        assert as_given(given).fingerprint == digits.fingerprint  # type: ignore[union-attr]
    for given in (values, values.numpy(), values.numpy()[:, ::-1, ::-1, ::-1][:, ::-1, ::-1, ::-1]):
        assert torch.equal(as_given(given), values)  # type: ignore[arg-type]
        assert as_images(given).fingerprint == digits.fingerprint
    for wrong in (None, 3, [values[0]], np.zeros((2, 1, 3, 3), dtype=np.int64), values > 0):
        with pytest.raises(InputError):
            as_given(wrong)  # type: ignore[arg-type]
