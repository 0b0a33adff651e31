"""Loops over stored pixels, compiled to machine code at first use and kept on disk.

A matrix product wants floats, so uint8 pixels are first written out four times as large. Loops read the bytes
themselves: for one query, or for chosen pairs of images, that is several times as fast, and for many queries no slower.
Importing this module costs half a second and 70 MB (numba, LLVM), so it is imported where a loop is needed.
"""

from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from typing import Any, TypeVar, cast

import numba
import torch

__all__ = ["compiled", "threaded"]

Function = TypeVar("Function", bound=Callable[..., Any])

# Sums in any order, multiplication and addition in one rounding; nothing is assumed of NaN and infinity.
_ORDER = {"reassoc", "contract", "nsz"}


def compiled(function: Function) -> Function:
    """The function as machine code that lets other threads run; where no folder can be written, not kept on disk."""
    try:
        return cast(Function, numba.njit(nogil=True, cache=True, fastmath=_ORDER)(function))
    except RuntimeError:
        return cast(Function, numba.njit(nogil=True, fastmath=_ORDER)(function))


def threaded(function: Callable[..., None], count: int, *arguments: object) -> None:
    """Call ``function(start, stop, *arguments)`` on parts of ``range(count)``, as many as PyTorch has threads.

    A loop that needs less than some milliseconds is faster alone.
    """
    threads = max(1, min(torch.get_num_threads(), count))
    edges = [count * part // threads for part in range(threads + 1)]
    if threads == 1:
        function(0, count, *arguments)
        return
    with ThreadPoolExecutor(threads - 1) as pool:
        inference = torch.is_inference_mode_enabled()  # known to each thread alone

        def part(start: int, stop: int) -> None:
            with torch.inference_mode(inference):
                function(start, stop, *arguments)

        others = [pool.submit(part, edges[i], edges[i + 1]) for i in range(1, threads)]
        function(edges[0], edges[1], *arguments)
        for done in others:
            done.result()
