"""Loops over stored pixels and other arrays, in C++ beside the modules that call them; compiled on installation.

A matrix product wants floats, so uint8 pixels are first written out four times as large. Loops read the bytes
themselves: for one query, or for chosen pairs of images, that is several times as fast, and for many queries no slower.
Modules that take a :func:`constant` load the library, and may have to compile it, so they are imported where a loop is
needed.
"""

import ctypes
import hashlib
import os
import platform
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from functools import cache
from pathlib import Path
from typing import Any

import numpy as np
import platformdirs
import torch

from smoothscore.compilation import build, libraries, sources
from smoothscore.errors import InputError

__all__ = ["Array", "constant", "loop", "threaded"]

Array = np.ndarray[Any, np.dtype[Any]]

CAPABLE = {"avx2": ("AVX2", "AVX512"), "any": ()}
"""The processors that run a library, in PyTorch's words; the last one runs everywhere."""


@cache
def _library() -> ctypes.CDLL:
    found = libraries(Path(__file__).parent)
    if not all(path.exists() for path in found.values()):
        found = libraries(_compiled())
    capability = torch.backends.cpu.get_cpu_capability()
    kind = next(kind for kind, known in CAPABLE.items() if kind in found and (capability in known or not known))
    return ctypes.CDLL(str(found[kind]))


def _compiled() -> Path:
    """A folder in the user's cache that the loops have been compiled into."""
    digest = hashlib.sha256(b"".join(path.read_bytes() for path in sources())).hexdigest()[:16]
    cache = os.environ.get("SMOOTHSCORE_CACHE") or platformdirs.user_cache_dir("smoothscore")
    folder = Path(cache) / f"loops-{digest}-{platform.machine()}"
    try:
        build(folder)
    except (RuntimeError, OSError) as error:
        raise InputError(
            f"The loops of smoothscore are not compiled, and could not be, into {folder}; install a C++ compiler, or "
            f"name it in CXX. {error}"
        ) from error
    return folder


def constant(name: str) -> int:
    """A number that loops and their callers share."""
    return ctypes.c_int64.in_dll(_library(), name).value


@cache
def loop(name: str, *kinds: np.dtype[Any]) -> Callable[..., int]:
    """The loop of this name, for arrays of these kinds where there are several.

    It takes arrays, whole numbers and other numbers in the order of its C++ declaration, and returns what that returns.
    Arrays have to be C-contiguous and of the declared kind, and are given before their sizes; nothing is checked but
    contiguity, so that only the modules beside the sources call it. Other Python threads run meanwhile.
    """
    function = getattr(_library(), "_".join([name, *(f"{kind.kind}{kind.itemsize}" for kind in kinds)]))
    function.restype = ctypes.c_int64

    def call(*arguments: Any) -> int:
        return int(function(*map(_passed, arguments)))

    return call


def _passed(argument: Any) -> Any:
    if isinstance(argument, np.ndarray):
        if not argument.flags.c_contiguous:
            raise ValueError(f"An array of shape {argument.shape} is not contiguous.")
        return ctypes.c_void_p(argument.ctypes.data)
    return ctypes.c_int64(int(argument)) if isinstance(argument, int | np.integer) else ctypes.c_double(argument)


def threaded(function: Callable[..., object], count: int, *arguments: object) -> None:
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
