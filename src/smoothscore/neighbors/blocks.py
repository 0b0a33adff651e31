"""Blocks of work, one in each thread.

PyTorch's threads share every product and then wait, busily, for some milliseconds: loops between products would have
to share the processor with them. Where each thread has products of its own, none waits.
"""

from collections.abc import Callable, Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor
from typing import TypeVar

import torch

__all__ = ["each"]

Item = TypeVar("Item")
Result = TypeVar("Result")


def each(work: Callable[[Item], Result], items: Sequence[Item]) -> Iterator[Result]:
    """``work`` of every item, in order, by as many threads as PyTorch has, in each of which it has only one.

    Threads that others start meanwhile have one, too.
    """
    threads = torch.get_num_threads()

    @torch.inference_mode()  # the caller's, if there is one, does not reach other threads
    def one(item: Item) -> Result:
        return work(item)

    try:
        with ThreadPoolExecutor(threads, initializer=torch.set_num_threads, initargs=(1,)) as pool:
            yield from pool.map(one, items)
    finally:
        torch.set_num_threads(threads)
