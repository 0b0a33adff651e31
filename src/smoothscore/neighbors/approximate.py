"""Approximate neighbors among very many images, by FAISS.

Images are known by their first 64 principal components, if they have more values. An inverted file (IVF-Flat) looks for
candidates in the cells nearest to a query only; a graph of links (HNSW) is walked towards a query, from neighbor to
neighbor. The candidates' distances are then computed again, exactly, from all values. Their number, and the number of
cells or of images on the way that are looked at, doubles until the share of true neighbors among those found, measured
on a sample, reaches 0.95. FAISS is loaded when it is asked for and not before.
"""

import importlib
from typing import Any, Literal

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from smoothscore import progress
from smoothscore.data import ImageSet
from smoothscore.errors import InputError
from smoothscore.neighbors.rows import Rows
from smoothscore.neighbors.screen import frame, principal
from smoothscore.neighbors.search import Neighbors, Search

__all__ = ["LARGE", "Approximate"]

Kind = Literal["ivf", "hnsw"]
Index = NDArray[np.int64]
Floats = NDArray[np.float64]

LARGE = 1_000_000  # images above which the search is approximate
COMPONENTS = 64
RECALL = 0.95
SAMPLE = 128
NEIGHBORS = 10  # of each image of the sample, in the measured recall
BLOCK = 256
TRAINED = 39  # images a cell that the cells are found from, the least FAISS takes without complaint
LEAST = 4  # candidates a neighbor to begin with
MOST = 64
LINKS = 32  # of each image in a graph
BEGINNING = {"ivf": 1, "hnsw": 64}  # cells or images looked at to begin with
LONGEST = 4096  # images on the way through a graph at most


class Approximate:
    """About the nearest centers of queries, prepared once for many calls.

    Args:
        centers: (M, *shape) in [-1, 1], or an ImageSet.
        kind: "ivf", or "hnsw", which takes longer to prepare and differs a little from run to run with many threads.

    Attributes:
        recall: the share of the 10 nearest that are found, measured on 128 centers.

    Memory: 530 bytes a center beside them, or 800 with "hnsw". Raises InputError without the package faiss-cpu.
    """

    def __init__(self, centers: ImageSet | Tensor, kind: Kind = "ivf") -> None:
        try:
            faiss = importlib.import_module("faiss")
        except ImportError:
            raise InputError('The backend faiss needs the package faiss-cpu; run pip install "faiss-cpu".') from None
        self.rows = Rows(centers, "centers")
        count = self.rows.count
        self._frame = frame(self.rows)
        size = min(COMPONENTS, self.rows.dim, count)
        self._directions = principal(self.rows, self._frame, size).float() if size < self.rows.dim else None
        values = np.empty((count, size), dtype=np.float32)
        with progress.task("components", total=count) as advance:
            for index in self.rows.chunks():
                values[index] = self._components(self.rows.exact(index, pixels=self.rows.integer))
                advance(len(index))
        cells = max(1, min(int(4 * np.sqrt(count)), count // TRAINED))
        chosen = np.random.default_rng(0).permutation(count)[: TRAINED * cells]
        self._kind = kind
        self._index: Any = faiss.index_factory(size, f"IVF{cells},Flat" if kind == "ivf" else f"HNSW{LINKS}")
        self._index.train(values[chosen])
        self._index.add(values)
        del values
        self._candidates = LEAST
        self._effort, self._most = BEGINNING[kind], cells if kind == "ivf" else min(count, LONGEST)
        self.recall = self._tuned(centers, np.sort(chosen[:SAMPLE]))

    def __call__(self, queries: ImageSet | Tensor, k: int) -> Neighbors:
        """About the ``k`` nearest centers of each query, with exact distances."""
        x = Rows(queries, "queries")
        parts = []
        with progress.task("nearest neighbors (FAISS)", total=x.count) as advance:
            for start in range(0, x.count, BLOCK):
                index = np.arange(start, min(start + BLOCK, x.count))
                values = x.exact(index, pixels=self.rows.integer)
                asked = x.raw(index) if self.rows.integer and x.integer else values
                parts.append(self._nearest(values, asked, k))
                advance(len(index))
        indices, squares = (np.concatenate(part) for part in zip(*parts, strict=True))
        return Neighbors(torch.from_numpy(indices), torch.from_numpy(np.sqrt(squares) / self.rows.unit))

    def _components(self, values: Tensor) -> NDArray[np.float32]:
        moved = self._frame(values).float()
        return (moved if self._directions is None else moved @ self._directions).numpy()

    def _nearest(self, x: Tensor, asked: Tensor, k: int) -> tuple[Index, Floats]:
        """Centers (B, k) in the order of their exact squared distances, and these.

        The queries (B, d) are given in float64, and as they are to be measured.
        """
        from smoothscore.neighbors import loops

        width = min(self._candidates * k, self.rows.count)
        components = self._components(x)
        found = self._search(components, width)
        while (found >= 0).sum(1).min() < k:  # too few images in what was looked at
            found = (
                self._search(components, width) if self._widen() else np.tile(np.arange(self.rows.count), (len(x), 1))
            )
        index, square = np.full((len(x), k), self.rows.count), np.full((len(x), k), np.inf)
        loops.measure(found, asked.numpy(), *self.rows.stored, index, square)
        loops.ordered(index, square)
        return index, square

    def _search(self, components: NDArray[np.float32], width: int) -> Index:
        """Candidates (B, width), -1 where there is none."""
        if self._kind == "ivf":
            self._index.nprobe = self._effort
        else:
            self._index.hnsw.efSearch = self._effort
        found: Index = self._index.search(components, width)[1]
        return found

    def _widen(self) -> bool:
        """Look at twice as much from now on, if there is more."""
        before, self._effort = self._effort, min(2 * self._effort, self._most)
        return self._effort > before

    def _tuned(self, centers: ImageSet | Tensor, sample: Index) -> float:
        """Search wider until the recall is high enough; the recall in the end."""
        queries = centers[sample] if isinstance(centers, ImageSet) else centers[torch.from_numpy(sample)]
        k = min(NEIGHBORS, self.rows.count)
        true = Search(centers)(queries, k).indices.numpy()
        while True:
            found = self(queries, k).indices.numpy()
            recall = float(np.mean([np.isin(row, known).mean() for row, known in zip(true, found, strict=True)]))
            if recall >= RECALL or (self._candidates >= MOST and self._effort >= self._most):
                return recall
            self._widen()
            self._candidates = min(2 * self._candidates, MOST)
