from concurrent.futures import ThreadPoolExecutor

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from sklearn.neighbors import NearestNeighbors
from torch import Tensor

from smoothscore.data import ImageSet
from smoothscore.errors import InputError
from smoothscore.neighbors import Search, nearest
from smoothscore.neighbors.blocks import each


def brute(x: Tensor, y: Tensor, k: int) -> tuple[Tensor, Tensor]:
    """Direct differences in float64; equal distances in the order of the centers."""
    rows, centers = x.double().flatten(1), y.double().flatten(1)
    distances = torch.stack([(centers - row).square().sum(1).sqrt() for row in rows])
    values, order = distances.sort(dim=1, stable=True)
    return order[:, :k], values[:, :k]


def random(seed: int, *shape: int) -> Tensor:
    return torch.rand(shape, generator=torch.Generator().manual_seed(seed), dtype=torch.float64) * 2 - 1


@pytest.mark.parametrize("dtype", [torch.float32, torch.float64])
@pytest.mark.parametrize(("count", "shape"), [(5, (1,)), (300, (2,)), (1000, (1, 8, 8)), (150, (3, 32, 32))])
def test_agrees_with_direct_differences(count: int, shape: tuple[int, ...], dtype: torch.dtype) -> None:
    x, y = random(1, 30, *shape).to(dtype), random(2, count, *shape).to(dtype)
    k = min(7, count)
    found = nearest(x, y, k)
    index, distance = brute(x, y, k)
    assert torch.equal(found.indices, index)
    torch.testing.assert_close(found.distances, distance, rtol=1e-12, atol=1e-14)


def test_agrees_with_scikit_learn_on_digits(digits: tuple[ImageSet, ImageSet]) -> None:
    queries, centers = digits
    pixels = [images.take(np.arange(len(images))).reshape(len(images), -1).astype(float) for images in digits]
    peer = NearestNeighbors(n_neighbors=10, algorithm="brute").fit(pixels[1])
    distances = peer.kneighbors(pixels[0])[0] / 127.5
    np.testing.assert_allclose(nearest(queries, centers, 10).distances, distances, rtol=1e-10)


def test_uint8_distances_are_exact_integers_whatever_the_form(digits: tuple[ImageSet, ImageSet]) -> None:
    queries, centers = digits
    whole = nearest(queries, centers, 5)
    for dtype in (torch.float32, torch.float64):
        found = nearest(queries.tensor(dtype), centers.tensor(dtype), 5)
        assert torch.equal(found.indices, whole.indices)
        assert torch.equal(found.distances, whole.distances)
    squares = (whole.distances * 127.5).square()
    assert (squares - squares.round()).abs().max() < 1e-6


def test_an_image_is_at_exactly_zero_from_itself_in_any_form(digits: tuple[ImageSet, ImageSet]) -> None:
    images = digits[1]
    for queries in (images, images.tensor(), images.tensor(torch.float64)):
        found = nearest(queries, images, 1)
        assert (found.distances == 0).all()
        assert torch.equal(found.indices[:, 0], torch.arange(len(images)))


def test_a_float_image_off_the_grid_is_not_rounded() -> None:
    image = ImageSet.from_array(np.full((1, 1, 4, 4), 100, dtype=np.uint8))
    query = image.tensor(torch.float64)
    query[0, 0, 0, 0] += 1e-6
    assert nearest(query, image, 1).distances.item() == pytest.approx(1e-6, rel=1e-8)


def test_equal_distances_come_in_the_order_of_the_centers() -> None:
    centers = torch.tensor([[1.0, 0.0], [0.0, 1.0], [-1.0, 0.0], [0.0, -1.0]]) * 0.3
    assert nearest(torch.zeros(1, 2), centers, 3).indices.tolist() == [[0, 1, 2]]
    same = torch.full((500, 3), 0.25)
    assert nearest(same[:2], same, 4).indices.tolist() == [[0, 1, 2, 3]] * 2


@settings(max_examples=25, deadline=None)
@given(
    seed=st.integers(0, 2**31),
    scale=st.sampled_from([1e-6, 1e-3, 1.0]),
    offset=st.sampled_from([0.0, 1.0, 1e3]),
    spread=st.sampled_from([0.0, 1.0, 1e4]),
    dim=st.sampled_from([1, 2, 17, 300]),
)
def test_the_bound_holds_where_float32_cannot_tell_centers_apart(
    seed: int, scale: float, offset: float, spread: float, dim: int
) -> None:
    """Tight clusters far apart and far from zero: float32 products see all centers of a cluster as one."""
    clusters = spread * random(seed, 3, dim) + offset
    y = clusters[torch.arange(240) % 3] + scale * random(seed + 1, 240, dim)
    x = torch.cat([(y[:10] + y[3:13]) / 2, clusters + scale, y[:5]])
    found = nearest(x, y, 6)
    _, distance = brute(x, y, 6)
    size = max(offset, spread, 1.0)
    torch.testing.assert_close(found.distances, distance, rtol=1e-9, atol=size * 1e-13 * dim)
    again = (x[:, None] - y[found.indices]).square().sum(2).sqrt()
    torch.testing.assert_close(found.distances, again, rtol=1e-9, atol=size * 1e-13 * dim)


@settings(max_examples=15, deadline=None)
@given(seed=st.integers(0, 2**31), count=st.integers(2, 60))
def test_order_of_centers_does_not_matter(seed: int, count: int) -> None:
    y, x = random(seed, count, 5), random(seed + 1, 4, 5)
    order = torch.randperm(count, generator=torch.Generator().manual_seed(seed))
    plain, shuffled = nearest(x, y, 2), nearest(x, y[order], 2)
    assert torch.equal(plain.distances, shuffled.distances)
    assert torch.equal(plain.indices, order[shuffled.indices])


def test_blocks_of_queries_do_not_change_the_answer() -> None:
    x, y = random(5, 600, 6), random(6, 700, 6)
    whole = nearest(x, y, 3)
    search = Search(y)
    parts = [search(part, 3) for part in x.split(89)]
    assert torch.equal(whole.indices, torch.cat([part.indices for part in parts]))
    assert torch.equal(whole.distances, torch.cat([part.distances for part in parts]))


@pytest.mark.parametrize(
    ("x", "y", "k", "message"),
    [
        (torch.zeros(2, 3), torch.zeros(4, 2), 1, "shape"),
        (torch.zeros(2, 3), torch.zeros(4, 3), 5, "between 1 and"),
        (torch.zeros(2, 3), torch.zeros(4, 3), 0, "between 1 and"),
        (torch.zeros(0, 3), torch.zeros(4, 3), 1, "no queries"),
        (torch.full((2, 3), torch.nan), torch.zeros(4, 3), 1, "NaN"),
        (torch.zeros(2, 3), torch.full((4, 3), torch.inf), 1, "NaN, infinite"),
    ],
)
def test_refusals(x: Tensor, y: Tensor, k: int, message: str) -> None:
    with pytest.raises(InputError, match=message):
        nearest(x, y, k)


def test_the_number_of_threads_does_not_change_the_answer() -> None:
    x, y = random(7, 300, 40), random(8, 900, 40)
    before = torch.get_num_threads()
    try:
        found = []
        for threads in (1, 3):
            torch.set_num_threads(threads)
            found.append(nearest(x, y, 4))
            assert torch.get_num_threads() == threads
    finally:
        torch.set_num_threads(before)
    assert torch.equal(found[0].indices, found[1].indices)
    assert torch.equal(found[0].distances, found[1].distances)


@pytest.mark.parametrize("threads", [1, 2])
def test_a_search_works_inside_inference_mode(threads: int) -> None:
    x, y = random(7, 150, 8), random(8, 90, 8)
    before = torch.get_num_threads()
    try:
        torch.set_num_threads(threads)
        with torch.inference_mode():
            found = nearest(x * 1.0, y * 1.0, 4)
    finally:
        torch.set_num_threads(before)
    assert torch.equal(found.indices, nearest(x, y, 4).indices)


def test_blocks_keep_their_order_and_an_error_leaves_the_threads_as_they_were() -> None:
    before = torch.get_num_threads()
    try:
        torch.set_num_threads(3)
        assert list(each(lambda item: (item, torch.get_num_threads()), range(7))) == [(i, 1) for i in range(7)]
        with pytest.raises(ZeroDivisionError):
            list(each(lambda item: 1 // item, [1, 0, 2]))
        assert torch.get_num_threads() == 3
        with ThreadPoolExecutor(1) as pool:
            assert pool.submit(torch.get_num_threads).result() == 3
    finally:
        torch.set_num_threads(before)
