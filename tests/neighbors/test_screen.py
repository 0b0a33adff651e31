"""The bounds of the screens, against distances in float64, on data made to break them."""

import numpy as np
import pytest
import torch
from numpy.typing import NDArray
from torch import Tensor

from smoothscore.data import ImageSet, load_images
from smoothscore.neighbors import Search, nearest
from smoothscore.neighbors.rows import Rows
from smoothscore.neighbors.screen import (
    GROUP,
    TOGETHER,
    PrefixScreen,
    Projection,
    Screen,
    Screened,
    frame,
    padded,
    principal,
)


def normal(seed: int, *shape: int) -> Tensor:
    return torch.randn(shape, generator=torch.Generator().manual_seed(seed), dtype=torch.float64)


def cases() -> dict[str, tuple[Tensor, Tensor]]:
    """Queries and centers by what is hard about them."""
    flat = normal(0, 400, 64)
    steep = normal(1, 400, 64) * 0.7 ** torch.arange(64)
    plane = normal(2, 400, 3) @ normal(3, 3, 64)
    tight = 100 + 1e-4 * normal(4, 400, 64)
    return {
        "flat spectrum": (normal(5, 40, 64), flat),
        "steep spectrum": (torch.cat([steep[:20], (steep[:20] + steep[20:40]) / 2]), steep),
        "no rest": (plane[:40] + 1e-9 * normal(6, 40, 64), plane),
        "one direction": (normal(7, 40, 64), normal(8, 400, 1) * torch.ones(64)),
        "tight and far from zero": (tight[:40] + 1e-5, tight),
        "far queries": (1e6 * normal(9, 40, 64), flat),
        "identical centers": (normal(10, 40, 64), torch.ones(400, 64, dtype=torch.float64)),
    }


def bound(screen: Screen, seen: Screened) -> NDArray[np.float32]:
    """(M, B) as it is compared with a limit, in float32."""
    table = seen.table[: screen.rows.count, : len(seen.rest)].numpy()
    return table - screen.rest.astype(np.float32)[:, None] * seen.rest.astype(np.float32)


@pytest.mark.parametrize("name", cases())
@pytest.mark.parametrize("length", [None, 1, 5, 16])
def test_no_bound_is_above_its_distance(name: str, length: int | None) -> None:
    x, y = cases()[name]
    rows = Rows(y, "centers")
    screen = Screen(rows, frame(rows))
    if length is not None:
        screen = PrefixScreen(screen, Projection(rows, screen.frame, principal(rows, screen.frame, 16)).first(length))
    seen = screen(x, torch.empty(padded(len(y), GROUP), padded(len(x), TOGETHER)))
    squares = torch.stack([(y - row).square().sum(1) for row in x], 1).numpy() / screen.frame.radius**2
    bounds = bound(screen, seen)
    limit = (squares - seen.size) / 2 + seen.error
    assert (bounds <= limit.astype(np.float32)).all()
    if length is None:
        assert (squares <= seen.size + 2 * (bounds.astype(np.float64) + seen.error) + 1e-12 * squares).all()


@pytest.fixture(scope="module")
def digits() -> tuple[ImageSet, ImageSet]:
    queries, centers = load_images("mnist-5k").split((300, 2000), seed=4)
    return queries, centers


def test_a_shortened_search_gives_the_same_answer(digits: tuple[ImageSet, ImageSet]) -> None:
    queries, centers = digits
    few = queries[:30].tensor()
    mixed = torch.cat([few, (few + centers[:30].tensor()) / 2])
    for x, y in ((queries, centers), (mixed, centers), (mixed, centers.tensor() + 0.01)):
        whole = nearest(x, y, 20)
        search = Search(y)
        rows, plain = search.rows, search._screen
        projection = Projection(rows, plain.frame, principal(rows, plain.frame, 48))
        for length in (4, 48):
            search._screen = PrefixScreen(plain, projection.first(length))
            found = search(x, 20)
            assert torch.equal(found.indices, whole.indices)
            assert torch.equal(found.distances, whole.distances)


def test_a_shorter_screen_measures_few_centers_of_images(digits: tuple[ImageSet, ImageSet]) -> None:
    """What the prefix is for: on images, 64 of 784 directions leave less than a fifth of the centers in question."""
    queries, centers = digits
    rows = Rows(centers, "centers")
    plain = Screen(rows, frame(rows))
    screen = PrefixScreen(plain, Projection(rows, plain.frame, principal(rows, plain.frame, 64)))
    x = Rows(queries, "queries").exact(np.arange(100), pixels=True)
    seen = screen(x, torch.empty(padded(rows.count, GROUP), padded(100, TOGETHER)))
    worst = (nearest(queries[:100], centers, 10).distances[:, -1].numpy() * 127.5 / plain.frame.radius) ** 2
    left = bound(screen, seen) <= (worst - seen.size) / 2 + seen.error
    assert left.mean() < 0.2


def test_a_search_tries_shorter_screens_for_many_queries_only(digits: tuple[ImageSet, ImageSet]) -> None:
    queries, centers = digits
    whole = Search(centers)
    few = whole(queries, 3)
    assert type(whole._screen) is Screen
    assert not whole._tried
    prepared = Search(centers, expected=10**6)
    many = prepared(queries, 3)
    assert prepared._tried
    assert torch.equal(few.distances, many.distances)
    assert torch.equal(few.indices, many.indices)
