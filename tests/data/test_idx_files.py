"""IDX files: plain and gzipped, alone and in folders, whole and damaged."""

import gzip
import re
import struct
from pathlib import Path

import numpy as np
import pytest

from smoothscore.data import load_images
from smoothscore.errors import InputError

RNG = np.random.default_rng(0)
PIXELS = RNG.integers(0, 256, (11, 5, 7), dtype=np.uint8)
LABELS = RNG.integers(0, 10, 11, dtype=np.uint8)


def idx(values: np.ndarray, kind: int = 8) -> bytes:
    return bytes([0, 0, kind, values.ndim]) + struct.pack(f">{values.ndim}I", *values.shape) + values.tobytes()


def mnist_folder(root: Path, zipped: bool) -> Path:
    root.mkdir()
    end, pack = (".gz", gzip.compress) if zipped else ("", bytes)
    for split, pixels, labels in (("train", PIXELS, LABELS), ("t10k", PIXELS[::-1], LABELS[::-1])):
        (root / f"{split}-images-idx3-ubyte{end}").write_bytes(pack(idx(pixels)))
        (root / f"{split}-labels-idx1-ubyte{end}").write_bytes(pack(idx(labels)))
    return root


@pytest.mark.parametrize("zipped", [False, True])
def test_a_folder_as_mnist_comes(tmp_path: Path, zipped: bool) -> None:
    root = mnist_folder(tmp_path / "mnist", zipped)
    for split, step in (("train", 1), ("test", -1)):
        images = load_images(root, split=split)
        np.testing.assert_array_equal(images.read(0, 11), PIXELS[::step, None])
        np.testing.assert_array_equal(images.labels, LABELS[::step])
    with pytest.raises(InputError, match="several splits"):
        load_images(root)


def test_plain_and_gzipped_side_by_side_are_one_set(tmp_path: Path) -> None:
    root = mnist_folder(tmp_path / "mnist", zipped=False)
    mnist_folder(tmp_path / "zipped", zipped=True)
    for path in (tmp_path / "zipped").iterdir():
        path.rename(root / path.name)
    assert len(load_images(root, split="train")) == 11


def test_two_sets_in_one_folder_ask_for_a_file(tmp_path: Path) -> None:
    root = mnist_folder(tmp_path / "mnist", zipped=False)
    (root / "letters-train-images-idx3-ubyte").write_bytes(idx(PIXELS))
    with pytest.raises(InputError, match="holds 2 IDX files"):
        load_images(root, split="train")


def test_one_file_with_and_without_labels_beside_it(tmp_path: Path) -> None:
    root = mnist_folder(tmp_path / "mnist", zipped=True)
    path = root / "train-images-idx3-ubyte.gz"
    np.testing.assert_array_equal(load_images(path).labels, LABELS)
    alone = path.rename(tmp_path / "whatever")
    images = load_images(alone, resolution=4)
    assert images.labels is None
    assert images.shape == (1, 4, 4)
    with pytest.raises(InputError, match="has no splits"):
        load_images(alone, split="train")


def test_blocks_do_not_matter(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("smoothscore.data.idx.BLOCK_BYTES", 3 * 35)
    path = tmp_path / "a"
    path.write_bytes(gzip.compress(idx(PIXELS)))
    np.testing.assert_array_equal(load_images(path).read(0, 11), PIXELS[:, None])


@pytest.mark.parametrize(
    ("data", "message"),
    [
        (idx(PIXELS)[:-1], "fewer values"),
        (gzip.compress(idx(PIXELS)[:-1]), "fewer values"),
        (gzip.compress(idx(PIXELS))[:-30], "fewer values"),
        (idx(PIXELS)[:9], "fewer values"),
        (bytes([0, 0, 8, 3]) + struct.pack(">3I", 2**31, 2**31, 2**31), "fewer values"),
        (gzip.compress(bytes([0, 0, 8, 3]) + struct.pack(">3I", 2**31, 28, 28)), "fewer values"),
        (idx(PIXELS.astype(">f4"), kind=13), "type 13"),
        (idx(LABELS), "1 dimensions, not of images"),
    ],
    ids=lambda value: value if isinstance(value, str) else "file",
)
def test_damage_is_told(tmp_path: Path, data: bytes, message: str) -> None:
    path = tmp_path / "a"
    path.write_bytes(data)
    with pytest.raises(InputError, match=re.escape(message)):
        load_images(path)


def test_labels_of_another_length(tmp_path: Path) -> None:
    (tmp_path / "train-images-idx3-ubyte").write_bytes(idx(PIXELS))
    (tmp_path / "train-labels-idx1-ubyte").write_bytes(idx(LABELS[:-1]))
    with pytest.raises(InputError, match=r"11 images but labels of shape \(10,\)"):
        load_images(tmp_path)
