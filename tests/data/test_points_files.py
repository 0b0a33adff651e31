"""Files of points: floating-point (N, d) as they are, where points are welcome; images are read as before."""

from pathlib import Path

import numpy as np
import pytest
import torch

from smoothscore.data import ImageSet, as_given, load_given, load_images
from smoothscore.errors import InputError

POINTS = np.random.default_rng(0).normal(size=(30, 2)) * 7


@pytest.mark.parametrize(
    ("kind", "given"), [("<f8", torch.float64), (">f8", torch.float64), ("<f4", torch.float32), ("<f2", torch.float32)]
)
def test_points_are_taken_as_they_are(tmp_path: Path, kind: str, given: torch.dtype) -> None:
    np.save(tmp_path / "p.npy", POINTS.astype(kind))
    points = as_given(tmp_path / "p.npy")
    assert isinstance(points, torch.Tensor)
    assert points.dtype == given
    np.testing.assert_array_equal(points.numpy(), POINTS.astype(kind))


def test_a_limit_draws_the_rows_that_it_draws_of_images(tmp_path: Path) -> None:
    rows = np.arange(30)
    np.save(tmp_path / "p.npy", np.stack([rows, rows], 1).astype(np.float32))
    points = as_given(f"{tmp_path / 'p.npy'}?limit=7&seed=3")
    images = ImageSet.from_array(rows.astype(np.uint8).reshape(-1, 1, 1, 1)).subset(7, 3)
    assert isinstance(points, torch.Tensor)
    np.testing.assert_array_equal(points[:, 0].numpy(), images.read(0, 7).ravel())


@pytest.mark.parametrize(
    "values",
    [np.zeros((5, 4, 4)), np.zeros((5, 2), dtype=int), np.zeros((5, 2), dtype=np.uint8), np.zeros(5), np.zeros((0, 2))],
)
def test_everything_else_is_left_to_the_reader_of_images(tmp_path: Path, values: np.ndarray) -> None:
    np.save(tmp_path / "p.npy", values)
    if values.ndim == 3:
        np.save(tmp_path / "p.npy", values + np.linspace(0, 1, 5)[:, None, None])
        assert isinstance(load_given(tmp_path / "p.npy"), ImageSet)
    else:
        with pytest.raises(InputError, match=r"reshape it|at least one image"):
            load_given(tmp_path / "p.npy")


def test_mistakes_are_one_sentence(tmp_path: Path) -> None:
    np.save(tmp_path / "p.npy", POINTS)
    with pytest.raises(InputError, match="leave resolution out"):
        load_given(tmp_path / "p.npy", resolution=8)
    with pytest.raises(InputError, match="asks for no points"):
        load_given(tmp_path / "p.npy", limit=0)
    with pytest.raises(InputError, match="reshape it"):
        load_images(tmp_path / "p.npy")
    np.save(tmp_path / "p.npy", np.where(np.eye(30, 2) > 0, np.nan, POINTS))
    with pytest.raises(InputError, match="NaN or infinite"):
        load_given(tmp_path / "p.npy")
    (tmp_path / "broken.npy").write_bytes(b"\x93NUMPY damaged")
    with pytest.raises(InputError, match="cannot be read"):
        load_given(tmp_path / "broken.npy")
