"""Pixels in files, mapped into memory, which can be given back when they are not needed."""

import mmap
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt

__all__ = ["mapped", "release"]

Pixels = npt.NDArray[np.uint8]


class _Pages(mmap.mmap):
    """A file mapped here, into which nobody writes."""


def mapped(path: Path, shape: tuple[int, ...]) -> Pixels:
    """The bytes of a file in this shape: writable, as torch wants its memory, but the file stays as it is."""
    with path.open("rb") as file:
        return np.frombuffer(_Pages(file.fileno(), 0, access=mmap.ACCESS_COPY), np.uint8).reshape(shape)


def release(pixels: Pixels) -> None:
    """Give the memory of consecutive pixels back to the system, if they are of :func:`mapped`; else nothing.

    What has been written into them is lost.
    """
    base: Any = pixels
    while isinstance(base, np.ndarray):
        base = base.base
    pages = base.obj if isinstance(base, memoryview) else base
    if not isinstance(pages, _Pages) or not hasattr(mmap, "MADV_DONTNEED"):
        return
    start = pixels.ctypes.data - np.frombuffer(pages, np.uint8).ctypes.data
    first = -(-start // mmap.PAGESIZE) * mmap.PAGESIZE
    size = start + pixels.nbytes - first
    if size > 0:
        pages.madvise(mmap.MADV_DONTNEED, first, size)
