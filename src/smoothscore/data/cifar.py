"""CIFAR-10 and CIFAR-100 as their authors publish them: batches in Python's pickle format, or binary ones.

Both hold 32x32 RGB images, channel by channel. CIFAR-100 is read with its 100 fine classes.
"""

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt

from smoothscore.data.labels import integer_labels
from smoothscore.data.pickles import StoredArray, read_pickle
from smoothscore.data.source import Content, Source, choose_split, file_key
from smoothscore.errors import InputError

__all__ = ["cifar_source", "folder_source", "is_cifar"]

PIXELS = 3 * 32 * 32
CLASS_FILES = ("batches.meta", "meta", "batches.meta.txt", "fine_label_names.txt")


@dataclass(frozen=True)
class Batch:
    """The images of one file."""

    pixels: npt.NDArray[np.uint8]
    labels: npt.NDArray[np.int64]
    names: list[str]


def is_cifar(path: Path) -> bool:
    """Whether a file may be a batch: a pickle by its first bytes, or binary by its size and its labels."""
    if path.name in CLASS_FILES:
        return False
    return _is_pickle(path) or _label_bytes(path) is not None


def cifar_source(files: Sequence[Path], title: str) -> Source:
    """The images of some batches, in the order of the files."""
    classes = next((path for name in CLASS_FILES if (path := files[0].with_name(name)).exists()), None)
    key = ", ".join(file_key(path) for path in ([*files, classes] if classes else files))
    return Source(title, key, lambda resolution: _open(files, classes, title))


def folder_source(files: Sequence[Path], title: str, split: str | None) -> Source:
    """The batches of the asked split, told by the names that their authors gave them."""
    splits = {path: _split_of(path.name) for path in sorted(files)}
    wanted = choose_split([one for one in splits.values() if one], split, title)
    return cifar_source([path for path, one in splits.items() if one == wanted], title)


def _open(files: Sequence[Path], classes: Path | None, title: str) -> Content:
    batches = [_from_pickle(path) if _is_pickle(path) else _from_binary(path) for path in files]
    return Content(
        iter([batch.pixels for batch in batches]),
        sum(len(batch.pixels) for batch in batches),
        labels=np.concatenate([batch.labels for batch in batches]),
        names=[name for batch in batches for name in batch.names],
        class_names=None if classes is None else _class_names(classes),
    )


def _from_pickle(path: Path) -> Batch:
    entries = read_pickle(path.read_bytes(), path.name)
    data = _entry(entries, "data")
    values = data.values if isinstance(data, StoredArray) else None
    labels = _entry(entries, "fine_labels") or _entry(entries, "labels")
    labels = labels.values if isinstance(labels, StoredArray) else labels
    if values is None or values.dtype != np.uint8 or values.ndim != 2 or values.shape[1] != PIXELS or labels is None:
        raise InputError(f"{path.name} is a pickle, but not of CIFAR images and labels; give a batch as published.")
    names = _entry(entries, "filenames") or [f"{path.name}/{i:05d}" for i in range(len(values))]
    return Batch(_images(values), integer_labels(labels, len(values), path.name), [_text(name) for name in names])


def _from_binary(path: Path) -> Batch:
    labels = _label_bytes(path)
    assert labels is not None  # is_cifar said so
    rows = np.fromfile(path, dtype=np.uint8).reshape(-1, labels + PIXELS)
    names = [f"{path.stem}/{i:05d}" for i in range(len(rows))]
    return Batch(_images(rows[:, labels:]), rows[:, labels - 1].astype(np.int64), names)


def _images(rows: npt.NDArray[np.uint8]) -> npt.NDArray[np.uint8]:
    return np.ascontiguousarray(rows).reshape(-1, 3, 32, 32)


def _class_names(path: Path) -> list[str] | None:
    if not _is_pickle(path):
        return path.read_text(encoding="utf-8").split()
    entries = read_pickle(path.read_bytes(), path.name)
    names = _entry(entries, "fine_label_names") or _entry(entries, "label_names")
    return [_text(name) for name in names] if names else None


def _entry(entries: Any, name: str) -> Any:
    """An entry of a pickled dict, whether Python 2 or 3 wrote it."""
    return entries.get(name.encode(), entries.get(name)) if isinstance(entries, dict) else None


def _text(value: str | bytes) -> str:
    return value.decode("utf-8", "replace") if isinstance(value, bytes) else str(value)


def _is_pickle(path: Path) -> bool:
    with path.open("rb") as file:
        start = file.read(2)
    return len(start) == 2 and start[0] == 0x80 and 2 <= start[1] <= 5


def _label_bytes(path: Path) -> int | None:
    """Bytes before the pixels of a record: 1 in CIFAR-10, 2 in CIFAR-100, None in anything else."""
    size = path.stat().st_size
    for classes in ((10,), (20, 100)):
        record = len(classes) + PIXELS
        if size and size % record == 0:
            values = np.memmap(path, dtype=np.uint8, mode="r").reshape(-1, record)
            if all((values[:, column] < limit).all() for column, limit in enumerate(classes)):
                return len(classes)
    return None


def _split_of(name: str) -> str | None:
    if name.startswith(("data_batch", "train")):
        return "train"
    return "test" if name.startswith("test") else None
