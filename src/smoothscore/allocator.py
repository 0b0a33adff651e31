"""The C library's allocator, told to keep what is freed.

A step of a network allocates and frees the same gigabytes as the one before. glibc gives every block above 32 MB, and
whatever lies free at the top of its heap, back to the system, which has to clear the pages again at the next step:
a tenth of the processor time with blocks of 32 MB, a third and more with larger ones (docs/benchmarks-training.md).
"""

import ctypes
import sys
from collections.abc import Iterator
from contextlib import contextmanager

__all__ = ["return_freed_memory", "reuse_freed_memory"]

TRIM_THRESHOLD, MMAP_THRESHOLD, MMAP_MAX = -1, -3, -4  # of <malloc.h>
KEEP = {MMAP_MAX: 0, TRIM_THRESHOLD: -1}  # every block from the heap, whose top is never given back
USUAL = {MMAP_MAX: 65536, TRIM_THRESHOLD: 64 << 20, MMAP_THRESHOLD: 32 << 20}  # what glibc's own rule ends at

_inside = False


def return_freed_memory() -> None:
    """Give what has been freed back to the system: glibc keeps what lies between blocks that are still held."""
    if sys.platform == "linux" and hasattr(library := ctypes.CDLL(None), "malloc_trim"):
        library.malloc_trim(0)


@contextmanager
def reuse_freed_memory() -> Iterator[None]:
    """Inside, freed memory stays with the process, for the next block; afterwards it is given back.

    For work that allocates the same sizes again and again. The largest memory of the process can be a tenth more, since
    blocks of different sizes share one heap. Without effect where there is no glibc.

    Source: mallopt(3).
    """
    global _inside
    if _inside or sys.platform != "linux" or not hasattr(library := ctypes.CDLL(None), "mallopt"):
        yield
        return
    _inside = True
    for name, value in KEEP.items():
        library.mallopt(name, value)
    try:
        yield
    finally:
        for name, value in USUAL.items():
            library.mallopt(name, value)
        return_freed_memory()
        _inside = False
