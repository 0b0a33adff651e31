from pathlib import Path

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from sklearn.neighbors import NearestNeighbors

from smoothscore.data import ImageSet, load_images
from smoothscore.errors import InputError
from smoothscore.neighbors import NeighborGraph, nearest


@pytest.fixture(scope="module")
def digits() -> ImageSet:
    """500 MNIST digits with labels, three of them repeated."""
    images = load_images("mnist-5k").subset(500, seed=1)
    return images[[*range(500), 7, 7, 30]]


def test_pixel_graph_agrees_with_scikit_learn(digits: ImageSet) -> None:
    rows = digits.tensor(torch.float64).flatten(1).numpy()
    distances, indices = NearestNeighbors(n_neighbors=6, algorithm="brute").fit(rows).kneighbors()
    graph = NeighborGraph.build(digits, 6)
    np.testing.assert_allclose(graph.distances, distances, rtol=1e-10, atol=1e-6)
    assert (graph.distances[[7, 500, 501, 30, 502], 0] == 0).all()
    clear = np.diff(distances, axis=1, append=np.inf).min(1) > 1e-6
    np.testing.assert_array_equal(graph.indices[clear], indices[clear])


def test_no_image_is_its_own_neighbor_not_even_among_its_duplicates(digits: ImageSet) -> None:
    graph = NeighborGraph.build(digits, 1)
    assert (graph.indices != torch.arange(503)[:, None]).all()
    same = NeighborGraph.build(torch.zeros(20, 3), 4)
    assert (same.indices != torch.arange(20)[:, None]).all()
    assert (same.distances == 0).all()
    assert graph.duplicates == [[7, 500, 501], [30, 502]]
    assert same.duplicates == [list(range(20))]


def test_graph_within_classes(digits: ImageSet) -> None:
    graph = NeighborGraph.build(digits, 3, within_class=True)
    labels = torch.from_numpy(np.asarray(digits.labels))
    assert (labels[graph.indices] == labels[:, None]).all()
    for label in range(10):
        members = torch.nonzero(labels == label).flatten()
        alone = NeighborGraph.build(digits[members.numpy()], 3)
        assert torch.equal(members[alone.indices], graph.indices[members])
        assert torch.equal(alone.distances, graph.distances[members])


def test_graph_in_a_feature_space(digits: ImageSet) -> None:
    from smoothscore.encoders import encoder

    space = encoder("pca:12", digits)
    graph = NeighborGraph.build(digits, 5, space="pca:12")
    found = nearest(space(digits), space(digits), 6)
    torch.testing.assert_close(graph.distances[50:60], found.distances[50:60, 1:])
    assert graph.space == "pca:12"
    assert torch.equal(NeighborGraph.build(digits, 5, space=space).indices, graph.indices)


def test_saved_and_loaded_for_the_same_images_only(digits: ImageSet, tmp_path: Path) -> None:
    graph = NeighborGraph.build(digits, 2, within_class=True)
    path = graph.save(tmp_path / "graph.safetensors")
    again = NeighborGraph.load(path, digits)
    assert torch.equal(again.indices, graph.indices)
    assert torch.equal(again.distances, graph.distances)
    assert (again.duplicates, again.space, again.within_class, again.recall) == (graph.duplicates, "pixel", True, 1.0)
    with pytest.raises(InputError, match="graph of other images"):
        NeighborGraph.load(path, digits[::-1])
    points = torch.rand(9, 2)
    path = NeighborGraph.build(points, 2).save(tmp_path / "points.safetensors")
    assert torch.equal(NeighborGraph.load(path, points).indices, NeighborGraph.build(points, 2).indices)
    with pytest.raises(InputError, match="graph of other images"):
        NeighborGraph.load(path, points + 0.1)


def test_pixels_have_the_graph_of_their_images(digits: ImageSet, tmp_path: Path) -> None:
    pixels, expected = torch.from_numpy(digits.read(0, 503)), NeighborGraph.build(digits, 3)
    assert torch.equal(NeighborGraph.build(pixels, 3).distances, expected.distances)
    path = expected.save(tmp_path / "graph.safetensors")
    for same in (digits, digits.tensor(), digits.tensor(torch.float64), pixels):
        assert torch.equal(NeighborGraph.load(path, same).indices, expected.indices)
    assert not expected.belongs(pixels.flip(0))
    assert not expected.belongs(digits[:502])


def test_files_that_are_no_graphs(digits: ImageSet, tmp_path: Path) -> None:
    from safetensors.torch import save_file

    (tmp_path / "text").write_text("no graph")
    save_file({"indices": torch.zeros(2)}, tmp_path / "other")
    save_file({"indices": torch.zeros(2)}, tmp_path / "part", {"kind": "smoothscore neighbor graph"})
    for name in ("missing", "text", "other", "part"):
        with pytest.raises(InputError, match="graph"):
            NeighborGraph.load(tmp_path / name, digits)


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"k": 503}, "between 1 and 502"),
        ({"k": -1}, "between 1 and 502"),
        ({"k": 200, "within_class": True}, "class"),
        ({"k": 2, "backend": "annoy"}, "no backend"),
        ({"k": 2, "space": "taste"}, "no encoder"),
    ],
)
def test_refusals(digits: ImageSet, options: dict[str, object], message: str) -> None:
    with pytest.raises(InputError, match=message):
        NeighborGraph.build(digits, **options)  # type: ignore[arg-type]
    with pytest.raises(InputError, match="2 images or more"):
        NeighborGraph.build(digits[:1], 1)
    with pytest.raises(InputError, match="needs labels"):
        NeighborGraph.build(torch.rand(9, 2), 2, within_class=True)


@settings(max_examples=10, deadline=None)
@given(seed=st.integers(0, 10**6), count=st.integers(3, 40))
def test_moving_and_scaling_the_images_keeps_the_graph(seed: int, count: int) -> None:
    points = torch.randn(count, 4, generator=torch.Generator().manual_seed(seed), dtype=torch.float64)
    graph, moved = NeighborGraph.build(points, 2), NeighborGraph.build(8 * points + 16, 2)
    assert torch.equal(graph.indices, moved.indices)
    torch.testing.assert_close(8 * graph.distances, moved.distances, rtol=1e-12, atol=1e-12)


def test_faiss_measures_its_recall_and_ranks_exactly(digits: ImageSet) -> None:
    pytest.importorskip("faiss", reason="faiss-cpu is not installed")
    exact = NeighborGraph.build(digits, 4)
    graph = NeighborGraph.build(digits, 4, backend="faiss")
    assert graph.recall >= 0.95
    same = (graph.indices[:, :, None] == exact.indices[:, None]).any(2).double().mean()
    assert same > 0.9
    agree = (graph.indices == exact.indices).all(1)
    assert agree.any()
    assert torch.equal(graph.distances[agree], exact.distances[agree])


def test_faiss_is_asked_for_by_name(digits: ImageSet, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(__import__("sys").modules, "faiss", None)
    with pytest.raises(InputError, match="pip install"):
        NeighborGraph.build(digits, 4, backend="faiss")
