"""Pixels mapped from a file: what is given back is read again, and nobody else's memory is touched."""

import re
from pathlib import Path

import numpy as np
import pytest
import torch

from smoothscore.data import ImageSet
from smoothscore.data.mapped import mapped, release
from smoothscore.mixture import Centers

SHAPE = (3000, 3, 16, 16)


@pytest.fixture
def pixels(tmp_path: Path) -> tuple[np.ndarray, np.ndarray]:
    """Pixels of a file, and a copy."""
    values = np.random.default_rng(0).integers(0, 256, SHAPE, dtype=np.uint8)
    (tmp_path / "pixels").write_bytes(values.tobytes())
    return mapped(tmp_path / "pixels", SHAPE), values


def resident(path: str = "pixels") -> int:
    """KB of the file that this process holds."""
    text = Path("/proc/self/smaps").read_text()
    return sum(int(size) for size in re.findall(rf"/{path}\n(?:.*\n)??Size:.*\n(?:.*\n)*?Rss: +(\d+) kB", text))


def test_what_is_given_back_is_read_again(pixels: tuple[np.ndarray, np.ndarray]) -> None:
    found, expected = pixels
    for part in (slice(0, 3000), slice(17, 18), slice(5, 2000), slice(2999, 3000)):
        np.testing.assert_array_equal(found[part], expected[part])
        release(found[part])
        np.testing.assert_array_equal(found, expected)


def test_an_array_of_another_kind_is_left_alone() -> None:
    values = np.arange(20000, dtype=np.uint8)
    release(values[:16384])
    np.testing.assert_array_equal(values, np.arange(20000, dtype=np.uint8))


def test_what_a_user_wrote_into_his_own_mapping_stays(tmp_path: Path) -> None:
    (tmp_path / "pixels").write_bytes(bytes(8192 * 3))
    own = np.memmap(tmp_path / "pixels", np.uint8, mode="c", shape=(8, 3, 32, 32))
    own[:] = 7
    images = ImageSet.from_array(own)
    images.release(0, 8)
    assert (images.read(0, 8) == 7).all()


@pytest.mark.skipif(not Path("/proc/self/smaps").exists(), reason="asks Linux for the memory of a mapping")
def test_a_pass_over_the_centers_leaves_no_pages(pixels: tuple[np.ndarray, np.ndarray]) -> None:
    found, expected = pixels
    centers = Centers(ImageSet.from_array(found))
    assert found.sum(dtype=np.int64) > 0
    assert resident() > 2000
    half = centers.half_norms
    assert resident() < 100
    exact = (torch.from_numpy(expected).double() / 127.5 - 1).flatten(1).square().sum(1) / 2
    torch.testing.assert_close(half, exact, rtol=1e-13, atol=0)


def test_a_selection_is_not_given_back_but_right(pixels: tuple[np.ndarray, np.ndarray]) -> None:
    found, expected = pixels
    images = ImageSet.from_array(found)[[5, 1, 2000]]
    images.release(0, 3)
    np.testing.assert_array_equal(images.read(0, 3), expected[[5, 1, 2000]])
