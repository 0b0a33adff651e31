"""Approximate neighbors among very many images, by FAISS.

Images are known by their first 64 principal components, if they have more values. An inverted file (IVF-Flat) looks for
candidates in the cells nearest to a query only; their distances are then computed again, exactly, from all values.
The number of candidates and of cells looked into doubles until the share of true neighbors among those found, measured
on a sample, reaches 0.95. FAISS is loaded when it is asked for and not before.
"""

import importlib
from typing import Any

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


class Approximate:
    """About the nearest centers of queries, prepared once for many calls.

    Args:
        centers: (M, *shape) in [-1, 1], or an ImageSet.

    Attributes:
        recall: the share of the 10 nearest that are found, measured on 128 centers.

    Memory: 530 bytes a center beside them. Raises InputError without the package faiss-cpu.
    """

    def __init__(self, centers: ImageSet | Tensor) -> None:
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
        self._index: Any = faiss.index_factory(size, f"IVF{cells},Flat")
        self._index.train(values[chosen])
        self._index.add(values)
        del values
        self._candidates = LEAST
        self.recall = self._tuned(centers, np.sort(chosen[:SAMPLE]), cells)

    def __call__(self, queries: ImageSet | Tensor, k: int) -> Neighbors:
        """About the ``k`` nearest centers of each query, with exact distances."""
        x = Rows(queries, "queries")
        parts = []
        with progress.task("nearest neighbors (FAISS)", total=x.count) as advance:
            for start in range(0, x.count, BLOCK):
                index = np.arange(start, min(start + BLOCK, x.count))
                parts.append(self._nearest(x.exact(index, pixels=self.rows.integer), k))
                advance(len(index))
        indices, squares = (np.concatenate(part) for part in zip(*parts, strict=True))
        return Neighbors(torch.from_numpy(indices), torch.from_numpy(np.sqrt(squares) / self.rows.unit))

    def _components(self, values: Tensor) -> NDArray[np.float32]:
        moved = self._frame(values).float()
        return (moved if self._directions is None else moved @ self._directions).numpy()

    def _nearest(self, x: Tensor, k: int) -> tuple[Index, Floats]:
        """Centers (B, k) in the order of their exact squared distances to float64 queries (B, d), and these."""
        width = min(self._candidates * k, self.rows.count)
        components = self._components(x)
        found = self._index.search(components, width)[1]
        while (found < 0).sum(1).max() > width - k:  # too few images in the cells looked into
            self._index.nprobe *= 2
            found = self._index.search(components, width)[1]
        found.sort(axis=1)
        query, place = np.nonzero(found >= 0)
        squares = np.full(found.shape, np.inf)
        squares[query, place] = self.rows.squares(x, query, found[query, place])
        order = squares.argsort(axis=1, kind="stable")[:, :k]
        return np.take_along_axis(found, order, 1), np.take_along_axis(squares, order, 1)

    def _tuned(self, centers: ImageSet | Tensor, sample: Index, cells: int) -> float:
        """Search wider until the recall is high enough; the recall in the end."""
        queries = centers[sample] if isinstance(centers, ImageSet) else centers[torch.from_numpy(sample)]
        k = min(NEIGHBORS, self.rows.count)
        true = Search(centers)(queries, k).indices.numpy()
        self._index.nprobe = 1
        while True:
            found = self(queries, k).indices.numpy()
            recall = float(np.mean([np.isin(row, known).mean() for row, known in zip(true, found, strict=True)]))
            if recall >= RECALL or (self._index.nprobe >= cells and self._candidates >= MOST):
                return recall
            self._index.nprobe = min(2 * self._index.nprobe, cells)
            self._candidates = min(2 * self._candidates, MOST)
