"""Neighbors by FAISS: their recall as measured, their distances exact, all of them where all are asked for."""

import numpy as np
import pytest
import torch

from smoothscore.data import ImageSet
from smoothscore.errors import InputError
from smoothscore.neighbors import NeighborGraph, Search
from smoothscore.neighbors.approximate import RECALL, Approximate

pytest.importorskip("faiss", reason="faiss-cpu is not installed")


@pytest.mark.parametrize("kind", ["ivf", "hnsw"])
def test_most_neighbors_are_found_with_exact_distances(kind, digits: tuple[ImageSet, ImageSet]) -> None:
    for queries, centers in (digits, (torch.randn(50, 20), torch.randn(2000, 20))):
        search = Approximate(centers, kind)
        found, true = search(queries, 7), Search(centers)(queries, 7)
        share = np.mean([np.isin(a, b).mean() for a, b in zip(true.indices, found.indices, strict=True)])
        assert search.recall >= RECALL
        assert share > 0.85
        assert (found.distances >= true.distances).all()
        same = found.indices == true.indices
        assert torch.equal(found.distances[same], true.distances[same])


@pytest.mark.parametrize("kind", ["ivf", "hnsw"])
def test_all_centers_are_found_where_all_are_asked_for(kind) -> None:
    """A graph of links may not lead to every image; nor do the cells looked into at first."""
    clusters = torch.randn(300, 3) + 100 * torch.arange(3).repeat_interleave(100)[:, None]
    found = Approximate(clusters, kind)(torch.randn(2, 3), 300)
    assert all(sorted(row) == list(range(300)) for row in found.indices.tolist())


def test_a_graph_by_links(digits: tuple[ImageSet, ImageSet]) -> None:
    images = digits[1]
    exact, linked = (NeighborGraph.build(images, 5, backend=backend) for backend in ("exact", "hnsw"))
    assert exact.recall == 1
    assert RECALL <= linked.recall <= 1
    same = exact.indices == linked.indices
    assert same.double().mean() > 0.8
    assert torch.equal(exact.distances[same], linked.distances[same])
    with pytest.raises(InputError, match="hnsw"):
        NeighborGraph.build(images, 5, backend="flat")
