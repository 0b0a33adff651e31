r"""The centers of a mixture: where they are stored, and how they are read.

Images are kept as the pixels they came as, :math:`u\in\{0..255\}`, and turned into
:math:`\mu=u/127.5-1` when a chunk or a row is read, in the precision that the reader asks for: float32 copies
of the pixels are not exact enough at small noise levels, and four times as large.
"""

from collections.abc import Iterator
from functools import cached_property
from typing import TYPE_CHECKING, Any

import numpy as np
import torch
from torch import Tensor, nn

from smoothscore.data import ImageSet
from smoothscore.errors import InputError

if TYPE_CHECKING:
    from smoothscore.mixture.index import Index

__all__ = ["PIXEL_SCALE", "Centers"]

Array = np.ndarray[Any, np.dtype[Any]]

PIXEL_SCALE = 127.5
LEAST = 2**20  # values in all centers from which on loops read them
LOOPED = (torch.uint8, torch.float32, torch.float64)
CHUNK = 512  # centers read at a time: in float32 they and the queries stay near the cache


class Centers(nn.Module):
    """Centers :math:`\\mu_j` with prior weights, read exactly, in chunks or by index.

    Args:
        source: ``(M, *shape)`` floating-point tensor (values as they are), ``(M, *shape)`` uint8 tensor
            (pixels; 0..255 is [-1, 1]), or an ``ImageSet``, which stays where it is (memory or disk).
        log_weights: ``(M,)`` logarithms of prior weights, normalized here; uniform when absent.
            A weight of zero (``-inf``) leaves its center out of every sum.

    Attributes:
        count, dim, shape: number of centers, values per center, shape of one center.
        log_weights: ``(M,)`` float64, normalized to ``logsumexp = 0``.
        uniform: whether all weights are the same.

    Memory: nothing beyond the source but a few numbers a center.

    Raises:
        InputError: no centers, another dtype, NaN or infinite values, or weights of another length.
    """

    log_weights: Tensor
    values: Tensor | None

    def __init__(self, source: Tensor | ImageSet, log_weights: Tensor | None = None) -> None:
        super().__init__()
        if isinstance(source, Tensor):
            _check(source)
            self.shape = source.shape[1:]
            self.count = len(source)
            self.images = None
            self.register_buffer("values", source.detach().reshape(len(source), -1), persistent=False)
        elif not isinstance(source, ImageSet):
            raise InputError(f"The centers are a {type(source).__name__}; pass a tensor (M, *shape) or an ImageSet.")
        else:
            self.shape = torch.Size(source.shape)
            self.count = len(source)
            self.images = source
            self.values = None
        if self.count == 0:
            raise InputError("There are no centers; pass at least one image.")
        device = source.device if isinstance(source, Tensor) else torch.device("cpu")
        prior = torch.zeros(self.count, device=device) if log_weights is None else log_weights.detach()
        prior = prior.to(device, torch.float64)
        if prior.shape != (self.count,) or torch.isnan(prior).any() or prior.isposinf().any():
            raise InputError(f"log_weights must be {self.count} numbers below infinity, one for each center.")
        self.uniform = bool((prior == prior[0]).all())
        prior = prior - torch.logsumexp(prior, 0)
        if torch.isnan(prior).any():
            raise InputError("All prior weights are zero; give at least one center a positive weight.")
        self.register_buffer("log_weights", prior, persistent=False)
        self.work = 0

    def _apply(self, fn, recurse=True):  # type: ignore[no-untyped-def]
        """Move with ``.to``; the log weights stay float64, whatever the rest becomes."""
        exact = self.log_weights
        super()._apply(fn, recurse)  # type: ignore[no-untyped-call]
        self.log_weights = exact.to(self.log_weights.device)
        for name in ("half_norms", "largest", "usual", "spread", "stored", "index"):
            self.__dict__.pop(name, None)
        return self

    @property
    def dim(self) -> int:
        """Number of values in one center."""
        return self.shape.numel()

    @property
    def device(self) -> torch.device:
        """Where the log weights live, and with them the values that are not on disk."""
        return self.log_weights.device

    @property
    def scale(self) -> float:
        """Stored values are ``scale`` times the centers (127.5 for pixels, after subtracting 127.5)."""
        return 1.0 if self.values is not None and self.values.is_floating_point() else PIXEL_SCALE

    @property
    def shift(self) -> float:
        """What is subtracted from stored values: 127.5 from pixels."""
        return PIXEL_SCALE if self.pixels else 0.0

    @property
    def pixels(self) -> bool:
        """Whether the stored values are pixels."""
        return self.scale == PIXEL_SCALE

    @cached_property
    def stored(self) -> tuple[Array, Array] | None:
        """For loops: the array (N, dim) that the values are kept in, and the row (M,) of each center.

        None for values elsewhere than in the main memory or on disk, or not one after the other, and for so few that
        loops do not pay.
        """
        if self.device.type != "cpu" or self.count * self.dim < LEAST:
            return None
        if self.images is not None:
            return self.images.stored()
        assert self.values is not None
        if not self.values.is_contiguous() or self.values.dtype not in LOOPED:
            return None
        return self.values.numpy(), np.arange(self.count)

    @cached_property
    def half_norms(self) -> Tensor:
        """Half the squared norms, (M,) float64; infinite for centers without weight. Read once, at first use."""
        # Nothing but one buffer and the result: small results made beside large blocks fragment the heap by gigabytes.
        half = torch.empty(self.count, dtype=torch.float64, device=self.device)
        buffer = torch.empty(CHUNK, self.dim, dtype=torch.float64, device=self.device)
        for start in range(0, self.count, CHUNK):
            block = self.scaled(start, min(start + CHUNK, self.count), buffer)
            half[start : start + len(block)] = torch.linalg.vector_norm(block, dim=1)
            self.release(start, start + len(block))
        half.div_(self.scale).square_().div_(2)
        return half.masked_fill_(self.log_weights.isneginf(), torch.inf)

    @cached_property
    def largest(self) -> float:
        """The largest norm of a center with weight."""
        half = self.half_norms[self.half_norms.isfinite()]
        return float((2 * half.max()).sqrt())

    @cached_property
    def usual(self) -> float:
        """The root mean square of the norms of the centers with weight."""
        return float((2 * self.half_norms[self.half_norms.isfinite()].mean()).sqrt())

    @cached_property
    def first(self) -> int:
        """A center of largest prior weight."""
        return int(self.log_weights.argmax())

    @cached_property
    def index(self) -> "Index | None":
        """Bounds of distances for low noise, where there are centers enough; ask for it to have it made now."""
        from smoothscore.mixture.index import Index

        return Index(self) if Index.suits(self) else None

    def bounds(self, work: int) -> "Index | None":
        """The index, made when the work that it could have saved has reached the work of making it.

        ``work`` is what one evaluation takes without it, in products of one query with one center.
        """
        self.work += work
        made = "index" in self.__dict__
        return self.index if made or self.work > 768 * (self.count + 8 * 4096) else None

    @cached_property
    def spread(self) -> float:
        """Mean squared distance of the centers from their mean, estimated from at most 1,024 of them."""
        chosen = torch.randperm(self.count, generator=torch.Generator().manual_seed(0), device="cpu")[:1024]
        return float(self.rows(chosen.to(self.device)).var(0, unbiased=False).sum())

    def raw(self, start: int, stop: int) -> Tensor:
        """Stored rows ``start`` to ``stop`` as they are: (n, dim), uint8 or floating point."""
        if self.values is not None:
            return self.values[start:stop]
        assert self.images is not None
        rows = torch.from_numpy(self.images.read(start, stop))
        return rows.reshape(stop - start, -1).to(self.device)

    def scaled(self, start: int, stop: int, out: Tensor) -> Tensor:
        """``scale`` times rows ``start`` to ``stop``, written into the first rows of ``out``: exact for pixels."""
        block = out[: stop - start].copy_(self.raw(start, stop))
        return block.sub_(PIXEL_SCALE) if self.pixels else block

    def scaled_rows(self, indices: Tensor, out: Tensor) -> Tensor:
        """``scale`` times centers ``indices`` (n,), written into the first rows of ``out``: exact for pixels."""
        block = out[: len(indices)].copy_(self.take(indices))
        return block.sub_(PIXEL_SCALE) if self.pixels else block

    def rows(self, indices: Tensor, dtype: torch.dtype = torch.float64) -> Tensor:
        """Centers ``indices`` (n,) as (n, dim), exact up to one rounding in ``dtype``.

        In float64 the very numbers of :meth:`ImageSet.tensor`: at tiny noise levels a query halfway between two of them
        tells them from others that are as near to the pixels.
        """
        rows = self.take(indices).to(dtype)
        if self.pixels and dtype is torch.float64:
            return rows.div_(PIXEL_SCALE).sub_(1)
        return rows.sub_(PIXEL_SCALE).div_(PIXEL_SCALE) if self.pixels else rows

    def take(self, indices: Tensor) -> Tensor:
        """Stored rows ``indices`` (n,) as they are: (n, dim), uint8 or floating point."""
        if self.values is not None:
            return self.values[indices]
        assert self.images is not None
        rows = torch.from_numpy(self.images.take(indices.cpu().numpy()))
        return rows.reshape(len(indices), self.dim).to(self.device)

    def chunks(self, size: int, dtype: torch.dtype = torch.float64) -> Iterator[tuple[int, Tensor]]:
        """All centers in order, as ``(start, (n, dim) tensor)`` with n at most ``size``; their pages are given back."""
        for start in range(0, self.count, size):
            rows = self.raw(start, min(start + size, self.count)).to(dtype, copy=True)
            yield start, rows.sub_(PIXEL_SCALE).div_(PIXEL_SCALE) if self.pixels else rows
            self.release(start, start + len(rows))

    def release(self, start: int, stop: int) -> None:
        """Let the system take back the memory of rows ``start`` to ``stop`` where they are mapped from disk."""
        if self.images is not None:
            self.images.release(start, stop)


def _check(source: Tensor) -> None:
    if source.ndim < 2 or len(source) == 0:
        raise InputError(
            f"Centers of shape {tuple(source.shape)} cannot be used; pass (M, *shape) with M of at least 1."
        )
    if source.dtype != torch.uint8 and not source.is_floating_point():
        raise InputError(f"Centers of dtype {source.dtype} cannot be used; pass uint8 pixels or floats.")
    if source.is_floating_point() and not torch.isfinite(source).all():
        raise InputError("The centers have NaN or infinite values; mend or drop those images first.")
