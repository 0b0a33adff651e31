"""Near duplicates: the exactness of the test, and planted copies."""

import io
from collections.abc import Callable

import numpy as np
import pytest
import torch
from PIL import Image
from scipy.stats import kstest

from smoothscore.data import ImageSet
from smoothscore.errors import InputError
from smoothscore.geometry.gap_tests import GAPS, copy_p_values, gap_p_values, pooled_p_values
from smoothscore.geometry.near_duplicates import near_duplicates


@pytest.mark.parametrize("dim", [1.0, 4.0, 25.0])
def test_p_values_are_exact_for_poisson_points_of_any_dimension(dim: float) -> None:
    """Radii of a homogeneous process: d_j^m are the arrival times of a Poisson process."""
    arrivals = np.random.default_rng(0).exponential(size=(4000, 20)).cumsum(1)
    distances = 3.0 * arrivals ** (1 / dim)
    p_values, before = gap_p_values(distances)
    assert set(np.unique(before)) == set(range(1, GAPS + 1))
    # the smallest of three nearly independent p-values, times three
    assert (p_values < 0.03).mean() == pytest.approx(1 - (1 - 0.01) ** 3, abs=0.009)
    assert (p_values < 0.3).mean() <= 0.3 + 0.025
    first = (1 + np.log(distances[:, 1] / distances[:, 0]) / _rest_mean(distances) / 18) ** -18.0
    assert kstest(first, "uniform").pvalue > 1e-3


def _rest_mean(distances: np.ndarray) -> np.ndarray:
    spacings = np.arange(1, 20) * np.diff(np.log(distances), axis=1)
    return spacings[:, 1:].mean(1)


@pytest.mark.parametrize("test", [gap_p_values, pooled_p_values])
@pytest.mark.parametrize("dims", [(6.0, 6.0), (2.0, 20.0), (4.0, 30.0)])
def test_false_alarms_are_rare_whatever_the_mixture_of_dimensions(
    test: Callable[[np.ndarray], tuple[np.ndarray, np.ndarray]], dims: tuple[float, float]
) -> None:
    rng = np.random.default_rng(0)
    least, small = [], []
    for _ in range(12):
        dim = rng.uniform(*dims, size=(1000, 1))
        distances = rng.exponential(size=(1000, 20)).cumsum(1) ** (1 / dim)
        p_values = test(distances)[0]
        small.append((p_values < 0.03).mean())
        least.append(p_values.min() * 1000)
    assert np.mean(small) < 0.03 + 4 * (0.03 / 12_000) ** 0.5
    assert np.mean(np.array(least) < 0.05) <= 2 / 12  # one in twenty is expected to be as small
    assert np.median(least) < 60  # and yet they are p-values, not ones


def test_few_neighbors_do_not_hide_a_much_closer_copy() -> None:
    """One image in a thousand has a copy ten times closer than the next image, in six dimensions."""
    rng = np.random.default_rng(1)
    distances = rng.exponential(size=(1000, 20)).cumsum(1) ** (1 / 6)
    distances[0, 0] = distances[0, 1] / 10
    p_values, copies = copy_p_values(distances)
    assert (p_values[0] < 0.05 / 1000, copies[0]) == (True, 1)
    assert p_values[1:].min() > 0.05 / 1000


def scenes(count: int, seed: int = 0, size: int = 12) -> np.ndarray:
    """Smooth random images that vary in 8 ways."""
    rng = np.random.default_rng(seed)
    grid = np.linspace(0, np.pi, size)
    waves = [
        np.cos(a * grid)[:, None] * np.cos(b * grid + b)
        for a, b in [(0, 1), (1, 0), (1, 1), (2, 1), (1, 2), (2, 0), (0, 2), (2, 2)]
    ]
    images = np.tensordot(rng.normal(size=(count, 8)), np.array(waves), 1)
    return np.clip(128 + 30 * images, 0, 255).astype(np.uint8)[:, None]


def test_nothing_among_independent_images() -> None:
    assert near_duplicates(ImageSet.from_array(scenes(120))) == []


def test_planted_copies_are_found() -> None:
    pixels = scenes(120).astype(int)
    rng = np.random.default_rng(1)
    noisy = np.clip(pixels[3] + rng.integers(-2, 3, pixels[3].shape), 0, 255)
    mirrored = pixels[7, :, :, ::-1]
    shifted = np.roll(pixels[11], 1, axis=2)
    again = np.clip(pixels[3] + rng.integers(-2, 3, pixels[3].shape), 0, 255)
    train = np.concatenate([pixels, [noisy, mirrored, shifted, again]]).astype(np.uint8)
    groups = near_duplicates(ImageSet.from_array(train))
    assert {tuple(group.indices) for group in groups} == {(3, 120, 123), (7, 121), (11, 122)}
    assert [group.distance for group in groups] == sorted(group.distance for group in groups)
    assert max(group.p_value for group in groups) < 0.01
    without = near_duplicates(ImageSet.from_array(train), mirror=False)
    assert (7, 121) not in {tuple(group.indices) for group in without}
    as_tensor = near_duplicates(ImageSet.from_array(train).tensor())
    assert [group.indices for group in as_tensor] == [group.indices for group in groups]


def test_compressed_brighter_and_further_shifted_copies_are_found() -> None:
    pixels = scenes(150, size=28)
    stream = io.BytesIO()
    Image.fromarray(pixels[3, 0]).save(stream, "JPEG", quality=50)
    brighter = np.clip(pixels[7].astype(int) + 15, 0, 255)
    shifted = np.roll(pixels[11], (2, -1), axis=(1, 2))
    train = np.concatenate([pixels, [np.asarray(Image.open(stream))[None], brighter, shifted]]).astype(np.uint8)
    groups = near_duplicates(ImageSet.from_array(train))
    assert {tuple(group.indices) for group in groups} == {(3, 150), (7, 151), (11, 152)}


def test_equally_far_neighbors() -> None:
    p_values, before = gap_p_values(np.array([[1.0] * 10, [0.5] + [1.0] * 9]))
    assert p_values[0] == 1
    assert (p_values[1], before[1]) == (0, 1)


def test_exact_duplicates_count_once() -> None:
    pixels = scenes(60)
    assert near_duplicates(ImageSet.from_array(np.concatenate([pixels, pixels[:5]]))) == []


def test_too_few_to_tell() -> None:
    assert near_duplicates(ImageSet.from_array(scenes(7))) == []


@pytest.mark.parametrize(
    ("images", "options", "words"),
    [
        (torch.zeros(9, 5), {}, "larger than twice"),
        (torch.zeros(9, 1, 2, 2), {}, "larger than twice"),
        (torch.zeros(9, 1, 5, 5), {"alpha": 0.0}, "alpha is 0.0"),
        (torch.zeros(9, 1, 5, 5), {"neighbors": 2}, "neighbors 2"),
    ],
)
def test_mistakes_are_named(images: torch.Tensor, options: dict[str, float], words: str) -> None:
    with pytest.raises(InputError, match=words):
        near_duplicates(images, **options)  # type: ignore[arg-type]
