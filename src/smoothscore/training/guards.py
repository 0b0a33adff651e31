"""What a training step is surrounded by: one sentence when memory runs out, and arithmetic that repeats itself."""

from collections.abc import Iterator
from contextlib import contextmanager

import torch

from smoothscore.errors import InputError

__all__ = ["enough_memory", "reproducible"]

NO_MEMORY = ("out of memory", "allocate memory", "ALLOC_FAILED")
"""What the libraries below say, each in its own words, when memory runs out."""


@contextmanager
def enough_memory(sentence: str) -> Iterator[None]:
    """An InputError that says ``sentence`` for every kind of error that says that memory ran out; others pass."""
    try:
        yield
    except (MemoryError, RuntimeError) as error:  # torch's own is a RuntimeError
        if not isinstance(error, MemoryError | torch.cuda.OutOfMemoryError) and not any(
            words in str(error) for words in NO_MEMORY
        ):
            raise
        raise InputError(sentence) from error


@contextmanager
def reproducible() -> Iterator[None]:
    """Deterministic convolutions inside, and PyTorch's generator as it was afterwards."""
    cudnn = torch.backends.cudnn
    before = cudnn.deterministic, cudnn.benchmark
    cudnn.deterministic, cudnn.benchmark = True, False
    try:
        with torch.random.fork_rng():
            yield
    finally:
        cudnn.deterministic, cudnn.benchmark = before
