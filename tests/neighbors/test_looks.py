"""The compiled loops against brute force."""

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from numpy.typing import NDArray

from smoothscore.data import ImageSet
from smoothscore.neighbors import Search, loops, nearest

Floats = NDArray[np.float64]
Numbers = NDArray[np.int64]

FORMS = [("uint8", "uint8"), ("float64", "uint8"), ("float64", "float32"), ("float64", "float64")]


def squares(x: NDArray, y: NDArray) -> Floats:
    return np.stack([np.square(y.astype(np.float64) - row).sum(1) for row in x.astype(np.float64)])


def brute(table: Floats, k: int) -> tuple[Numbers, Floats]:
    """The k least of each row, equal ones in the order of the columns."""
    order = table.argsort(axis=1, kind="stable")[:, :k]
    return order, np.take_along_axis(table, order, 1)


def heaps(queries: int, k: int, centers: int) -> tuple[Numbers, Floats]:
    return np.full((queries, k), centers), np.full((queries, k), np.inf)


def columns(values: Floats, beyond: float) -> NDArray[np.float32]:
    wide = np.full(-(-len(values) // loops.WIDTH) * loops.WIDTH, beyond, dtype=np.float32)
    wide[: len(values)] = values
    return wide


@settings(max_examples=40, deadline=None)
@given(
    seed=st.integers(0, 2**31),
    form=st.sampled_from(FORMS),
    queries=st.integers(1, 40),
    centers=st.integers(1, 90),
    dim=st.integers(1, 70),
    values=st.sampled_from([2, 5, 256]),
    share=st.floats(0.01, 1),
)
def test_the_nearest_are_those_of_all_distances(
    seed: int, form: tuple[str, str], queries: int, centers: int, dim: int, values: int, share: float
) -> None:
    """Whole numbers, so that distances are exact and many of them equal; rows of which the centers are some."""
    rng = np.random.default_rng(seed)
    stored = rng.integers(0, values, (centers + 3, dim)).astype(form[1])
    row = rng.permutation(centers + 3)[:centers]
    x = rng.integers(0, values, (queries, dim)).astype(form[0])
    true, k = squares(x, stored[row]), max(1, round(share * centers))
    expected = brute(true, k)

    own_rest, rest = rng.uniform(0, 3, queries), rng.uniform(0, 3, centers).astype(np.float32)
    low = np.stack([columns(one, 0) for one in (true + np.outer(own_rest, rest) - 1).T])
    index, square = heaps(queries, k, centers)
    limit = columns(np.full(queries, np.inf), -np.inf)
    loops.look(low, rest, columns(own_rest, 0), limit, 1.0, np.zeros(queries), x, stored, row, index, square)
    loops.ordered(index, square)
    np.testing.assert_array_equal(index, expected[0])
    np.testing.assert_array_equal(square, expected[1])

    found = np.concatenate([rng.permutation(centers), [-1, -1]])[None].repeat(queries, 0)
    index, square = heaps(queries, k, centers)
    loops.measure(found, x, stored, row, index, square)
    loops.ordered(index, square)
    np.testing.assert_array_equal(index, expected[0])
    np.testing.assert_array_equal(square, expected[1])


def test_a_look_measures_once_what_is_within_the_limit_and_no_more() -> None:
    rng = np.random.default_rng(0)
    y, x = rng.integers(0, 256, (500, 30), dtype=np.uint8), rng.integers(0, 256, (20, 30), dtype=np.uint8)
    true = squares(x, y)
    low = np.stack([columns(one, 0) for one in (true - 1000).T])
    index, square = heaps(20, 5, 500)
    zeros, limit = np.zeros(500, dtype=np.float32), columns(np.sort(true, 1)[:, 9] - 1000, -np.inf)
    arguments = x, y, np.arange(500), index, square
    loops.look(low, zeros, columns(np.zeros(20), 0), limit.copy(), 0.0, np.full(20, np.inf), *arguments)
    measured = np.isinf(low[:, :20])
    np.testing.assert_array_equal(measured.sum(0), 10)
    assert not np.isinf(low[:, 20:]).any()
    worst = square[:, 0].copy()
    loops.look(low, zeros, columns(np.zeros(20), 0), limit, 1.0, np.zeros(20), *arguments)
    np.testing.assert_array_equal(np.isinf(low[:, :20]), measured)
    np.testing.assert_array_equal(square[:, 0], worst)
    loops.ordered(index, square)
    np.testing.assert_array_equal(square, np.sort(true, 1)[:, :5])


def test_a_limit_falls_with_what_is_found() -> None:
    """With exact bounds and the nearest centers first, nothing beyond them is measured."""
    y = np.arange(200, dtype=np.float64)[:, None]
    x = np.zeros((1, 1))
    low = np.repeat(np.square(y), loops.WIDTH, 1).astype(np.float32)
    index, square = heaps(1, 4, 200)
    limit = columns(np.full(1, np.inf), -np.inf)
    zeros = np.zeros(200, dtype=np.float32)
    loops.look(low, zeros, zeros[: loops.WIDTH], limit, 1.0, np.zeros(1), x, y, np.arange(200), index, square)
    assert np.isinf(low).sum() == 4


@pytest.mark.parametrize("dim", [2**15 - 1, 2**15 + 1, 70_001])
def test_long_rows_of_the_largest_differences_do_not_overflow(dim: int) -> None:
    y = np.zeros((2, dim), dtype=np.uint8)
    y[1, ::2] = 255
    index, square = heaps(1, 2, 2)
    x = np.full((1, dim), 255, dtype=np.uint8)
    loops.measure(np.array([[0, 1]]), x, y, np.arange(2), index, square)
    loops.ordered(index, square)
    assert index.tolist() == [[1, 0]]
    assert square.tolist() == [[255**2 * (dim // 2), 255**2 * dim]]


def test_images_are_the_same_however_they_lie_in_memory(digits: tuple[ImageSet, ImageSet]) -> None:
    queries, centers = digits
    whole = nearest(queries, centers, 4)
    pixels = centers.take(np.arange(len(centers)))
    turned = ImageSet.from_array(np.ascontiguousarray(pixels[..., ::-1])[..., ::-1])
    chosen = ImageSet.from_array(np.repeat(pixels, 2, 0))[np.arange(len(pixels)) * 2]
    assert turned.stored() is None
    for form in (turned, chosen):
        found = nearest(queries, form, 4)
        assert torch.equal(found.indices, whole.indices)
        assert torch.equal(found.distances, whole.distances)


def test_float_images_of_which_some_are_uint8_images(digits: tuple[ImageSet, ImageSet]) -> None:
    """Those on the grid are at exactly 0 from themselves, in float32, too; the others are compared as they are."""
    queries, centers = digits
    mixed = centers[:50].tensor()
    mixed[::2] += 1e-3
    search = Search(mixed)
    assert not search.rows.integer
    found = search(queries, 3)
    stored = mixed.double()
    stored[1::2] = centers[:50].tensor(torch.float64)[1::2]
    expected = squares(queries.tensor(torch.float64).flatten(1).numpy(), stored.flatten(1).numpy())
    np.testing.assert_array_equal(found.indices, brute(expected, 3)[0])
    np.testing.assert_allclose(found.distances, np.sqrt(brute(expected, 3)[1]), rtol=1e-12)
    assert (search(centers[:50], 1).distances[1::2] == 0).all()
    assert (search(mixed, 1).distances == 0).all()


@pytest.mark.parametrize("dtype", [torch.float16, torch.bfloat16])
def test_short_floats_are_compared_as_they_are(dtype: torch.dtype) -> None:
    y = torch.randn(90, 12).to(dtype)
    found = nearest(y[:9], y, 3)
    expected = brute(squares(y[:9].double().numpy(), y.double().numpy()), 3)
    np.testing.assert_array_equal(found.indices, expected[0])
    np.testing.assert_allclose(found.distances, np.sqrt(expected[1]), rtol=1e-12)
