"""The k nearest centers of each query, exactly, in two rounds after the screen.

1. Of the centers that look nearest, at least k are measured exactly. The k-th smallest of these distances, T, is not
   below the true k-th distance.
2. So is every other center whose bound lets it be as near: |x'|^2 + 2 (s(x, y) - e(x)) <= (T / R)^2.

No center left out can be nearer than T, whatever the data; how many are measured decides the time only.
"""

from dataclasses import dataclass
from itertools import pairwise
from time import perf_counter

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from smoothscore import progress
from smoothscore.data import ImageSet
from smoothscore.errors import InputError
from smoothscore.neighbors.rows import Rows
from smoothscore.neighbors.screen import GROUP, PrefixScreen, Projection, Screen, frame, principal

__all__ = ["Neighbors", "Search", "nearest"]

Index = NDArray[np.int64]
Floats = NDArray[np.float64]

_QUERIES = 256  # in one block
_SCRATCH = 2**24  # bounds held at once
_MOST = 512  # principal directions tried
_STEPS = 4  # lengths of the screen tried
_TRIAL = 128  # queries it is tried on
_PREPARATION = 12  # cost of trying one direction, in queries


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

    Cost: one float32 product of queries and centers, or 0.4 of it for thousands of queries of images with a steep
    spectrum; and some 1.1 k to 3 k exact distances a query. Memory: about 150 MB beside the data, and a float32 copy
    of centers that are no uint8 images.
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
        if self.rows.integer:
            self._sizes = self.rows.sizes(torch.full((self.rows.dim,), 128.0))

    def __call__(self, queries: Tensor | ImageSet, k: int) -> Neighbors:
        """The ``k`` nearest centers of each query; see :func:`nearest`."""
        x, y = Rows(queries, "queries"), self.rows
        if x.shape != y.shape:
            raise InputError(
                f"The queries have shape {tuple(x.shape)} and the centers {tuple(y.shape)}; bring them to one shape."
            )
        if not isinstance(k, int | np.integer) or not 1 <= k <= y.count:
            raise InputError(f"k is {k!r}; it must be between 1 and the number of centers, {y.count}.")
        block = max(1, min(_QUERIES, _SCRATCH // y.count))
        scratch = torch.empty(-(-y.count // GROUP) * GROUP, min(block, x.count))
        if not self._tried:
            self._shorten(x, k, scratch)
        found = []
        with progress.task("nearest neighbors", total=x.count) as advance:
            for start in range(0, x.count, block):
                index = np.arange(start, min(start + block, x.count))
                found.append(self._nearest(x, index, k, scratch))
                advance(len(index))
        indices, squares = (np.concatenate(parts) for parts in zip(*found, strict=True))
        return Neighbors(torch.from_numpy(indices), torch.from_numpy(np.sqrt(squares) / y.unit))

    def _nearest(self, queries: Rows, chosen: Index, k: int, scratch: Tensor) -> tuple[Index, Floats]:
        """Indices and squared distances (B, k) of the chosen queries (B,)."""
        x = queries.exact(chosen, pixels=self.rows.integer)
        seen = self._screen(x, scratch)
        query, index, cut = self._near(seen.low, k)
        low = seen.low.numpy()[index, query]
        promising = np.zeros(len(query), dtype=np.bool_)
        spare = k // 4 + 1 if self._screen.rest.any() else 0
        count = min(k + spare, int(np.bincount(query).min()))
        promising[_first(count, query, low + seen.rest[query] * self._screen.rest[index])] = True

        # First round: T, and with it what the bound of a center as near cannot exceed.
        first = self._measure(queries, x, query[promising], index[promising])
        worst = first[_first(k, query[promising], first)[:, -1]]
        limit = (worst / self._screen.frame.radius**2 - seen.size) / 2 + seen.error

        # Second round: the other pairs at hand, and for a limit beyond the cut those not yet looked at.
        second = ~promising & (low <= limit[query])
        beyond = np.flatnonzero(limit > cut)
        columns, taken, allowed = seen.low[:, beyond], torch.from_numpy(cut[beyond]), torch.from_numpy(limit[beyond])
        missed, missed_index = _pairs((columns > taken) & (columns <= allowed))
        more = np.concatenate([query[second], beyond[missed]])
        more_index = np.concatenate([index[second], missed_index])
        order = more.argsort(kind="stable")
        squares = np.concatenate([first, self._measure(queries, x, more[order], more_index[order])])

        query = np.concatenate([query[promising], more[order]])
        index = np.concatenate([index[promising], more_index[order]])
        near = np.flatnonzero(squares <= worst[query])
        near = near[np.lexsort((index[near], query[near]))]
        best = near[_first(k, query[near], squares[near])]
        return index[best], squares[best]

    def _near(self, low: Tensor, k: int) -> tuple[Index, Index, Floats]:
        """Pairs (query, center), sorted by both, of k or more low bounds of each query; and the largest taken (B,)."""
        group = GROUP
        while group > 1 and self.rows.count // group < 6 * k:
            group //= 2
        minima = low.view(-1, group, low.shape[1]).amin(1).T.contiguous()
        cut = minima.topk(min(3 * k, self.rows.count // group), largest=False).values[:, -1]
        return *_pairs(low <= cut), cut.double().numpy()

    def _measure(self, queries: Rows, x: Tensor, query: Index, index: Index) -> Floats:
        """Squared distances of some pairs, exactly; ``query`` is sorted."""
        if self.rows.integer and queries.integer:
            return self.rows.integer_squares(x, query, index, self._sizes)
        return self.rows.squares(x, query, index)

    def _shorten(self, queries: Rows, k: int, scratch: Tensor) -> None:
        """Screen along principal directions where that is faster for such queries, as a trial on some of them tells."""
        plain, most = self._screen, min(_MOST, self.rows.dim // 2, self.rows.count // 8)
        if most < _STEPS or max(queries.count, self.expected) < _PREPARATION * most:
            return
        self._tried = True
        projection = Projection(self.rows, plain.frame, principal(self.rows, plain.frame, most))
        some = np.unique(np.linspace(0, queries.count - 1, min(_TRIAL, scratch.shape[1])).astype(np.int64))
        fastest = self._seconds(queries, some, k, scratch)
        best = plain
        for step in range(1, _STEPS + 1):
            self._screen = PrefixScreen(plain, projection.first(most * step // _STEPS))
            seconds = self._seconds(queries, some, k, scratch)
            if seconds < fastest:
                fastest, best = seconds, self._screen
        self._screen = best

    def _seconds(self, queries: Rows, some: Index, k: int, scratch: Tensor) -> float:
        """Time of some queries with the present screen, the better of two."""
        moments = [perf_counter()]
        for _ in range(2):
            self._nearest(queries, some, k, scratch)
            moments.append(perf_counter())
        return min(after - before for before, after in pairwise(moments))


def _pairs(mask: Tensor) -> tuple[Index, Index]:
    """(query, center) where ``mask`` (centers, queries) is set, sorted by query, then center."""
    flat = mask.numpy().reshape(-1, 8)
    word = np.flatnonzero(flat.view(np.uint64))
    part, byte = np.nonzero(flat[word])
    index, query = np.divmod(word[part] * 8 + byte, max(1, mask.shape[1]))
    order = query.astype(np.uint16).argsort(kind="stable")
    return query[order], index[order]


def _first(k: int, query: Index, value: Floats) -> Index:
    """For each query the positions of its ``k`` pairs of least value, equal values in their order: (B, k)."""
    starts = np.flatnonzero(np.diff(query, prepend=-1))
    widths = np.diff(starts, append=len(query))
    table = np.full((len(starts), widths.max()), np.inf)
    table[query, np.arange(len(query)) - starts[query]] = value
    return starts[:, None] + table.argsort(axis=1, kind="stable")[:, :k]
