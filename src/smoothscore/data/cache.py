"""Decoded images, kept on disk between runs.

One entry is a folder of two files: ``pixels``, the raw uint8 values, which are memory-mapped, and ``index``,
JSON behind a line with its SHA-256. An entry is built under a temporary name and renamed, so that it is there
whole or not at all, also when several processes build it at once. An entry whose size or hash is wrong is
built anew.

The cache lies in the user's cache folder, or in ``$SMOOTHSCORE_CACHE``, and may be deleted at any time.
"""

import errno
import hashlib
import json
import math
import os
import shutil
import tempfile
import time
from contextlib import suppress
from dataclasses import asdict, dataclass
from itertools import count
from pathlib import Path

import numpy as np
import PIL
import platformdirs

from smoothscore import progress
from smoothscore.data.imageset import ImageSet, seal
from smoothscore.data.mapped import mapped
from smoothscore.data.resize import fitted
from smoothscore.data.source import Source
from smoothscore.errors import InputError
from smoothscore.version import __version__

__all__ = ["cache_folder", "cached"]

DAY = 86400.0


@dataclass(frozen=True)
class Index:
    """All of an entry but its pixels; ``modified_ns`` is the time of the pixel file."""

    shape: list[int]
    fingerprint: str
    modified_ns: int
    labels: list[int] | None
    names: list[str]
    class_names: list[str] | None
    notes: list[str]
    skipped: list[str]


def cache_folder() -> Path:
    """Where decoded images are kept."""
    return Path(os.environ.get("SMOOTHSCORE_CACHE") or platformdirs.user_cache_dir("smoothscore")) / "images"


def cached(source: Source, resolution: int | None) -> ImageSet:
    """All images of a source, from the cache, after building the entry where it is missing or damaged.

    Memory: one block of images while building; afterwards the pixels stay on disk. Opening costs the reading
    of the index, and a hash of the pixels only when their file was touched since it was built.
    """
    key = hashlib.sha256(repr((__version__, PIL.__version__, source.key, resolution)).encode()).hexdigest()[:32]
    entry = cache_folder() / key
    images = _open(entry, source.title)
    if images is not None:
        return images
    try:
        entry.parent.mkdir(parents=True, exist_ok=True)
        _sweep(entry)
        with tempfile.TemporaryDirectory(prefix=f"{key}.", dir=entry.parent, ignore_cleanup_errors=True) as work:
            _build(source, resolution, Path(work) / "new")
            _publish(Path(work), entry)
    except OSError as problem:
        raise InputError(
            f"Reading {source.title} into the cache {entry.parent} failed ({problem}); "
            "make room there, or set SMOOTHSCORE_CACHE to another folder."
        ) from problem
    images = _open(entry, source.title)
    if images is None:
        raise InputError(f"The cache {entry.parent} changed while {source.title} was read into it; try again.")
    return images


def _open(entry: Path, title: str) -> ImageSet | None:
    """The images of an entry, or None when it is missing or damaged."""
    try:
        checksum, text = (entry / "index").read_text(encoding="utf-8").split("\n", 1)
        if _sha256(text) != checksum:
            return None
        index = Index(**json.loads(text))
        file = entry / "pixels"
        if file.stat().st_size != math.prod(index.shape):
            return None
        pixels = mapped(file, tuple(index.shape))
        if file.stat().st_mtime_ns != index.modified_ns and index.fingerprint != seal(
            hashlib.sha256(pixels.data), index.shape
        ):
            return None
    except (OSError, ValueError, TypeError):
        return None
    return ImageSet(
        pixels,
        labels=None if index.labels is None else np.array(index.labels, dtype=np.int64),
        names=index.names,
        class_names=index.class_names,
        source=title,
        notes=tuple(index.notes),
        skipped=tuple(index.skipped),
        fingerprint=index.fingerprint,
    )


def _build(source: Source, resolution: int | None, entry: Path) -> None:
    content = fitted(source.open(resolution), resolution)
    entry.mkdir()
    digest, total, shape = hashlib.sha256(), 0, (0, 0, 0)
    task = progress.task(f"reading {source.title}", total=content.count)
    with task as advance, (entry / "pixels").open("wb") as file:
        for block in content.blocks:
            values = np.ascontiguousarray(block).data
            file.write(values)
            digest.update(values)
            total, shape = total + len(block), block.shape[1:]
            advance(len(block))
        file.flush()
        os.fsync(file.fileno())
    if total == 0:
        position, reason = next(iter(content.bad.items()))
        name = content.names[position] if content.names else position
        raise InputError(f"None of the {content.count} images of {source.title} can be read ({name}: {reason}).")
    kept = [position for position in range(content.count) if position not in content.bad]
    names = content.names or [f"{position:06d}" for position in range(content.count)]
    index = Index(
        shape=[total, *shape],
        fingerprint=seal(digest, (total, *shape)),
        modified_ns=(entry / "pixels").stat().st_mtime_ns,
        labels=None if content.labels is None else content.labels[kept].tolist(),
        names=[names[position] for position in kept],
        class_names=None if content.class_names is None else list(content.class_names),
        notes=content.notes,
        skipped=[f"{names[position]}: {reason}" for position, reason in content.bad.items()],
    )
    text = json.dumps(asdict(index))
    with (entry / "index").open("w", encoding="utf-8") as file_of_index:
        file_of_index.write(f"{_sha256(text)}\n{text}")
        file_of_index.flush()
        os.fsync(file_of_index.fileno())


def _publish(work: Path, entry: Path) -> None:
    """Rename the new entry into place, unless another process has put an intact one there."""
    for attempt in count():
        try:
            (work / "new").rename(entry)
            return
        except OSError as problem:
            if problem.errno not in (errno.ENOTEMPTY, errno.EEXIST):
                raise
        if _open(entry, "") is not None:
            return
        with suppress(FileNotFoundError):
            entry.rename(work / f"damaged {attempt}")


def _sweep(entry: Path) -> None:
    """Remove what killed processes left of this entry, a day ago or more."""
    for left in entry.parent.glob(f"{entry.name}.*"):
        with suppress(FileNotFoundError):
            if time.time() - left.stat().st_mtime > DAY:
                shutil.rmtree(left, ignore_errors=True)


def _sha256(text: str) -> str:
    return hashlib.sha256(text.encode()).hexdigest()
