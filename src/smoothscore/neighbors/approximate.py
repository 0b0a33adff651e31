"""Approximate neighbors among very many images, by FAISS.

An inverted file (IVF-Flat) looks into the cells nearest to a query only. The number of cells looked into doubles until
the share of true neighbors among those found, measured on a sample, reaches 0.95; the distances of what it finds
are computed again, exactly. FAISS is loaded when it is asked for and not before.
"""

import importlib

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from smoothscore import progress
from smoothscore.data import ImageSet
from smoothscore.errors import InputError
from smoothscore.neighbors.rows import Rows
from smoothscore.neighbors.search import Neighbors, Search

__all__ = ["approximate"]

Index = NDArray[np.int64]
Floats = NDArray[np.float64]

RECALL = 0.95
SAMPLE = 128
BLOCK = 1024
TRAINED = 39  # images a cell that the cells are found from, the least FAISS takes without complaint


def approximate(images: ImageSet | Tensor, k: int) -> tuple[Neighbors, float]:
    """About the ``k`` nearest of each image among all of them, itself included, and the share of true ones.

    Memory: a float32 copy of the images. Raises InputError without the package faiss-cpu.
    """
    try:
        faiss = importlib.import_module("faiss")
    except ImportError:
        raise InputError('The backend faiss needs the package faiss-cpu; run pip install "faiss-cpu".') from None
    rows = Rows(images, "images")
    values = np.concatenate([rows.exact(index, pixels=rows.integer).float().numpy() for index in rows.chunks()])
    cells = max(1, min(int(4 * np.sqrt(rows.count)), rows.count // TRAINED))
    index = faiss.index_factory(rows.dim, f"IVF{cells},Flat")
    chosen = np.random.default_rng(0).permutation(rows.count)[: TRAINED * cells]
    index.train(values[chosen])
    index.add(values)

    sample = np.sort(chosen[:SAMPLE])
    true = Search(images)(images[sample], k).indices.numpy()
    index.nprobe = 1
    while True:
        found = index.search(values[sample], k)[1]
        recall = float(np.mean([np.isin(row, known).mean() for row, known in zip(true, found, strict=True)]))
        if recall >= RECALL or index.nprobe >= cells:
            break
        index.nprobe = min(2 * index.nprobe, cells)
    parts = []
    with progress.task("nearest neighbors (FAISS)", total=rows.count) as advance:
        for start in range(0, rows.count, BLOCK):
            part = np.arange(start, min(start + BLOCK, rows.count))
            found = index.search(values[part], k)[1]
            while (found < 0).any():  # too few images in the cells looked into
                index.nprobe = min(2 * index.nprobe, cells)
                found = index.search(values[part], k)[1]
            parts.append(_measured(rows, part, np.sort(found, 1)))
            advance(len(part))
    indices, squares = (np.concatenate(part) for part in zip(*parts, strict=True))
    return Neighbors(torch.from_numpy(indices), torch.from_numpy(np.sqrt(squares) / rows.unit)), recall


def _measured(rows: Rows, part: Index, found: Index) -> tuple[Index, Floats]:
    """What was found for some images (n, k), in the order of their exact squared distances, and these."""
    x = rows.exact(part, pixels=rows.integer)
    squares = rows.squares(x, np.arange(len(part)).repeat(found.shape[1]), found.ravel()).reshape(found.shape)
    order = squares.argsort(axis=1, kind="stable")
    return np.take_along_axis(found, order, 1), np.take_along_axis(squares, order, 1)
