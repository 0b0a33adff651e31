"""The k nearest centers of each query, exactly, by two looks after the screen.

1. Of the centers that seem nearest, at least k are measured exactly. The k-th smallest of these distances, T, is not
   below the true k-th distance.
2. So is every other center whose bound lets it be as near: |x'|^2 + 2 (s(x, y) - rho_x rho_y - e(x)) <= (T / R)^2. T
   falls on the way.

No center left out can be nearer than T, whatever the data; how many are measured decides the time only.
"""

from collections.abc import Callable
from dataclasses import dataclass
from itertools import pairwise
from threading import local
from time import perf_counter

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from smoothscore import progress
from smoothscore.data import ImageSet
from smoothscore.errors import InputError
from smoothscore.neighbors.blocks import each
from smoothscore.neighbors.rows import Rows
from smoothscore.neighbors.screen import (
    GROUP,
    TOGETHER,
    PrefixScreen,
    Projection,
    Screen,
    frame,
    padded,
    principal,
)

__all__ = ["Neighbors", "Search", "nearest"]

Index = NDArray[np.int64]
Floats = NDArray[np.float64]

_QUERIES = 256  # in one block
_SCRATCH = 2**25  # bounds held at once
_OWN = 2**23  # of them by each thread, if each has its own block
_LEAST = 64  # queries in such a block
_MOST = 256  # principal directions tried
_STEPS = 4  # lengths of the screen tried
_TRIAL = 128  # queries it is tried on
_PREPARATION = 8  # cost of trying one direction, in queries


@dataclass(frozen=True)
class Neighbors:
    """The nearest centers of each query.

    Attributes:
        indices: (Q, k) int64, nearest first; equal distances in the order of the centers.
        distances: (Q, k) float64, ascending; Euclidean and unsquared, in the units of data scaled to [-1, 1].
    """

    indices: Tensor
    distances: Tensor


def nearest(queries: Tensor | ImageSet, centers: Tensor | ImageSet, k: int) -> Neighbors:
    """The ``k`` nearest centers of each query, exactly.

    Squared distances between uint8 images are exact integers in units of (2 / 255)^2, so identical images give
    exactly 0. A float image (C, H, W) whose every value is u / 127.5 - 1 for an integer u in 0..255, up to rounding,
    is that uint8 image; anything else is compared as given, by direct differences in float64.

    Args:
        queries: (Q, *shape) in [-1, 1], or an ImageSet. Feature vectors (Q, f) on any scale will do, too.
        centers: (M, *shape) in [-1, 1], or an ImageSet (memory-mapped sets are read in chunks).
        k: 1 to M.

    Raises:
        InputError: shapes differ, values are not finite, a set is empty, or k is out of range.

    Cost: one float32 product of queries and centers, or 0.1 to 0.2 of it for thousands of queries of images with a
    steep spectrum; and some 1.1 k to 8 k exact distances a query. Memory: about 150 MB beside the data, 0.3 to 1 KB a
    center for thousands of queries, and a float32 copy of centers that are no uint8 images.
    """
    return Search(centers)(queries, k)


class Search:
    """:func:`nearest` among the same centers, prepared once for many calls.

    Args:
        centers: (M, *shape) in [-1, 1], or an ImageSet.
        expected: how many queries will be asked in all, if more than in one call; preparing for many takes longer.
    """

    def __init__(self, centers: Tensor | ImageSet, expected: int = 0) -> None:
        self.rows = Rows(centers, "centers")
        self.expected = expected
        self._screen = Screen(self.rows, frame(self.rows))
        self._tried = False

    def __call__(self, queries: Tensor | ImageSet, k: int) -> Neighbors:
        """The ``k`` nearest centers of each query; see :func:`nearest`."""
        x, y = Rows(queries, "queries"), self.rows
        if x.shape != y.shape:
            raise InputError(
                f"The queries have shape {tuple(x.shape)} and the centers {tuple(y.shape)}; bring them to one shape."
            )
        if not isinstance(k, int | np.integer) or not 1 <= k <= y.count:
            raise InputError(f"k is {k!r}; it must be between 1 and the number of centers, {y.count}.")
        if not self._tried:
            self._shorten(x, k)
        with progress.task("nearest neighbors", total=x.count) as advance:
            indices, squares = self._found(x, np.arange(x.count), k, advance)
        return Neighbors(torch.from_numpy(indices), torch.from_numpy(np.sqrt(squares) / y.unit))

    def _found(
        self, queries: Rows, chosen: Index, k: int, advance: Callable[[int], None] = lambda _: None
    ) -> tuple[Index, Floats]:
        """Indices and squared distances (n, k) of the chosen queries (n,): a block for each thread, if that pays."""
        threads, scratches = torch.get_num_threads(), local()
        own = min(_QUERIES // 2, _OWN // self.rows.count, -(-len(chosen) // threads))
        size = own if own >= _LEAST else min(_QUERIES, max(1, _SCRATCH // self.rows.count))
        self.rows.stored  # noqa: B018 (found once, before there are threads)

        def nearest(block: Index) -> tuple[Index, Floats]:
            if not hasattr(scratches, "scratch"):
                shape = padded(self.rows.count, GROUP), padded(min(size, len(chosen)), TOGETHER)
                scratches.scratch = torch.empty(shape)
            return self._nearest(queries, block, k, scratches.scratch)

        blocks = [chosen[start : start + size] for start in range(0, len(chosen), size)]
        indices, squares, done = np.empty((len(chosen), k), dtype=np.int64), np.empty((len(chosen), k)), 0
        for found in each(nearest, blocks) if threads > 1 and own >= _LEAST else map(nearest, blocks):
            rows = slice(done, done := done + len(found[0]))
            indices[rows], squares[rows] = found
            advance(len(found[0]))
        return indices, squares

    def _nearest(self, queries: Rows, chosen: Index, k: int, scratch: Tensor) -> tuple[Index, Floats]:
        """Indices and squared distances (B, k) of the chosen queries (B,)."""
        from smoothscore.neighbors import loops

        x = queries.exact(chosen, pixels=self.rows.integer)
        seen = self._screen(x, scratch)
        index = np.full((len(x), k), self.rows.count)
        square = np.full((len(x), k), np.inf)
        asked = queries.raw(chosen) if self.rows.integer and queries.integer else x
        scale, offset = 0.5 / self._screen.frame.radius**2, seen.error - seen.size / 2

        def look(rest: Floats, own_rest: Floats, limit: Floats) -> None:
            """Measure what is within these limits."""
            loops.look(
                seen.table.numpy(), rest.astype(np.float32), _widened(own_rest, seen.table, 0),
                _widened(limit, seen.table, -np.inf), scale, offset, asked.numpy(), *self.rows.stored, index, square,
            )  # fmt: skip

        none = np.zeros(len(x))
        look(self._screen.rest, none, self._seeming(seen.table[:, : len(x)], k))
        look(self._screen.rest, seen.rest, scale * square[:, 0] + offset)
        loops.ordered(index, square)
        return index, square

    def _seeming(self, table: Tensor, k: int) -> Floats:
        """(B,) what s is not above for k centers or some more."""
        wanted = min(k + (k // 4 + 1 if self._screen.rest.any() else 0), self.rows.count)
        group = GROUP
        while group > 1 and self.rows.count // group < 6 * wanted:
            group //= 2
        minima = table.view(-1, group, table.shape[1]).amin(1).T.contiguous().numpy()
        least: Floats = np.partition(minima, wanted - 1, axis=1)[:, wanted - 1]
        return least

    def _shorten(self, queries: Rows, k: int) -> None:
        """Screen along principal directions where that is faster for such queries, as a trial on some of them tells."""
        plain, most = self._screen, min(_MOST, self.rows.dim // 2, self.rows.count // 8)
        if most < _STEPS or max(queries.count, self.expected) < _PREPARATION * most:
            return
        self._tried = True
        projection = Projection(self.rows, plain.frame, principal(self.rows, plain.frame, most))
        some = np.unique(np.linspace(0, queries.count - 1, min(_TRIAL, queries.count)).astype(np.int64))
        fastest = self._seconds(queries, some, k)
        best = plain
        for step in range(_STEPS, 0, -1):
            self._screen = PrefixScreen(plain, projection.first(most * step // _STEPS))
            seconds = self._seconds(queries, some, k)
            if seconds > 1.2 * fastest:
                break
            if seconds < fastest:
                fastest, best = seconds, self._screen
        self._screen = best

    def _seconds(self, queries: Rows, some: Index, k: int) -> float:
        """Time of some queries with the present screen, the better of two."""
        moments = [perf_counter()]
        for _ in range(2):
            self._found(queries, some, k)
            moments.append(perf_counter())
        return min(after - before for before, after in pairwise(moments))


def _widened(values: Floats, table: Tensor, beyond: float) -> NDArray[np.float32]:
    """A number a query as one a column of the table."""
    wide = np.full(table.shape[1], beyond, dtype=np.float32)
    wide[: len(values)] = values
    return wide
