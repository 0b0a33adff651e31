"""IDX files, the format of MNIST and its kin, gzipped or not.

A file starts with two zero bytes, the type (8 for unsigned bytes) and the number of dimensions; then come the
dimensions as big-endian 32-bit integers, then the values.
"""

import gzip
import math
import struct
import zlib
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import IO, cast

import numpy as np
import numpy.typing as npt

from smoothscore.data.labels import integer_labels
from smoothscore.data.source import Content, Source, choose_split, file_key, split_of
from smoothscore.errors import InputError

__all__ = ["folder_source", "idx_source", "is_idx"]

BLOCK_BYTES = 2**24
GZIP = b"\x1f\x8b"
DEFLATE_RATIO = 1032  # deflate spends at least 2 bits on at most 258 bytes
TYPES = (8, 9, 11, 12, 13, 14)


def is_idx(path: Path) -> bool:
    """Whether a file begins as IDX does, after unzipping where it is gzipped."""
    try:
        with _unzipped(path) as file:
            start = file.read(4)
    except (OSError, EOFError, zlib.error):
        return False
    return len(start) == 4 and start[:2] == b"\0\0" and start[2] in TYPES and 1 <= start[3] <= 4


def idx_source(images: Path, title: str, class_names: Sequence[str] | None = None) -> Source:
    """Images from one IDX file, with the labels from the file of the same name with "labels" for "images"."""
    labels = _labels_beside(images)
    key = file_key(images) + (f", {file_key(labels)}" if labels else "")
    return Source(title, key, lambda resolution: _open(images, labels, title, class_names))


def folder_source(files: Sequence[Path], title: str, split: str | None, names: Sequence[str] | None = None) -> Source:
    """The asked split among IDX files; where a file is there both plain and gzipped, the plain one."""
    images = {path.name.removesuffix(".gz"): path for path in sorted(files, reverse=True) if len(_shape(path)) == 3}
    splits = {name: split_of(name) for name in images}
    if split is not None or len(images) > 1:
        wanted = choose_split([one for one in splits.values() if one], split, title)
        images = {name: path for name, path in images.items() if splits[name] == wanted}
    if len(images) != 1:
        raise InputError(f"{title} holds {len(images)} IDX files of images for one split; give one of the files.")
    return idx_source(next(iter(images.values())), title, names)


def _open(images: Path, labels: Path | None, title: str, class_names: Sequence[str] | None) -> Content:
    shape = _shape(images)
    if len(shape) != 3:
        raise InputError(f"{title} is an IDX file of {len(shape)} dimensions, not of images; give the images' file.")
    values = None
    if labels is not None:
        values = integer_labels(np.concatenate(list(_values(labels, _shape(labels)))), shape[0], title)
    blocks = (block[:, None] for block in _values(images, shape))
    return Content(blocks, shape[0], values, class_names=class_names)


def _values(path: Path, shape: tuple[int, ...]) -> Iterator[npt.NDArray[np.uint8]]:
    row = int(np.prod(shape[1:]))
    step = max(1, BLOCK_BYTES // row)
    with _unzipped(path) as file:
        file.read(4 + 4 * len(shape))
        for start in range(0, shape[0], step):
            count = min(step, shape[0] - start)
            try:
                data = file.read(count * row)
            except (OSError, EOFError, zlib.error) as problem:
                raise _truncated(path) from problem
            if len(data) < count * row:
                raise _truncated(path)
            yield np.frombuffer(data, dtype=np.uint8).reshape(count, *shape[1:])


def _shape(path: Path) -> tuple[int, ...]:
    """The dimensions a file declares, checked against its size."""
    with _unzipped(path) as file:
        start = file.read(4)
        kind, dimensions = start[2], start[3]
        shape = struct.unpack(f">{dimensions}I", file.read(4 * dimensions).ljust(4 * dimensions, b"\0"))
    if kind != 8:
        raise InputError(f"{path.name} is an IDX file of type {kind}, not of unsigned bytes; convert it to uint8.")
    ratio = DEFLATE_RATIO if _is_zipped(path) else 1
    if 0 in shape or math.prod(shape) > ratio * path.stat().st_size:
        raise _truncated(path)
    return shape


def _unzipped(path: Path) -> IO[bytes]:
    return cast(IO[bytes], gzip.open(path)) if _is_zipped(path) else path.open("rb")


def _is_zipped(path: Path) -> bool:
    with path.open("rb") as file:
        return file.read(2) == GZIP


def _labels_beside(images: Path) -> Path | None:
    plain = images.name.removesuffix(".gz").replace("images", "labels").replace("idx3", "idx1")
    beside = [images.with_name(plain + end) for end in ("", ".gz")]
    return next((path for path in beside if plain != images.name.removesuffix(".gz") and path.exists()), None)


def _truncated(path: Path) -> InputError:
    return InputError(f"{path.name} holds fewer values than its header declares; fetch the file anew.")
