"""Searches shared by the processes of ``accelerate launch`` or ``torchrun``.

Every process holds the training set, which is mapped from disk, and inside :func:`together` searches for its part of
the images; then all get all parts. Parts end where blocks of the search end, so each block is computed by the same
operations as in one process, and the answer is the same to the bit. What lies in the cache is read by the first
process for all.
"""

from collections.abc import Callable, Iterator
from contextlib import contextmanager
from contextvars import ContextVar
from typing import Any, TypeVar

import numpy as np
from numpy.typing import NDArray

from smoothscore.sampling.store import Processes, processes

__all__ = ["first_decides", "shared", "together"]

Integers = NDArray[np.int64]
Pair = tuple[Integers, NDArray[np.float64]]
Chosen = TypeVar("Chosen")

_here: ContextVar[Processes] = ContextVar("smoothscore_processes")  # unset: searches are this process's own


@contextmanager
def together() -> Iterator[Processes]:
    """Inside, all processes ask for the same searches in the same order."""
    token = _here.set(processes())
    try:
        yield _here.get()
    finally:
        _here.reset(token)


def shared(count: int, block: int, search: Callable[[Integers], Pair]) -> Pair:
    """Indices and distances of ``count`` images, from a search that takes the numbers of some of them.

    Args:
        count: 1 or more.
        block: images that are searched for at once.
        search: called once in a process, or not at all.
    """
    here = _here.get(Processes())
    if here.count == 1:
        return search(np.arange(count))
    from accelerate.utils import gather_object  # type: ignore[import-untyped]

    blocks = -(-count // block)
    start, end = (min(count, blocks * rank // here.count * block) for rank in (here.rank, here.rank + 1))
    mine = [search(np.arange(start, end))] if end > start else []
    indices, distances = zip(*gather_object(mine), strict=True)
    return np.concatenate(indices), np.concatenate(distances)


def first_decides(choose: Callable[[], Chosen]) -> Chosen:
    """What the first process chooses, in all of them."""
    here = _here.get(Processes())
    if here.count == 1:
        return choose()
    from accelerate.utils import broadcast_object_list

    chosen: list[Any] = [choose() if here.rank == 0 else None]
    broadcast_object_list(chosen)
    found: Chosen = chosen[0]
    return found
