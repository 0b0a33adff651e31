"""ImageSet: the scale, views against numpy, fingerprints, subsets, duplicates."""

import hashlib
import re

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from hypothesis.extra import numpy as hnp

from smoothscore.data import ImageSet, as_images, to_images
from smoothscore.errors import InputError

EVERY_LEVEL = np.arange(256, dtype=np.uint8).reshape(4, 1, 8, 8)


def random_images(count: int, shape: tuple[int, ...] = (3, 4, 5), seed: int = 0) -> np.ndarray:
    return np.random.default_rng(seed).integers(0, 256, (count, *shape), dtype=np.uint8)


pixel_arrays = hnp.arrays(
    np.uint8,
    st.tuples(st.integers(1, 12), st.sampled_from([1, 3]), st.integers(1, 5), st.integers(1, 5)),
    elements=st.integers(0, 255),
)


@pytest.mark.parametrize("dtype", [torch.float64, torch.float32])
def test_tensor_is_the_stated_scale_and_to_images_inverts_it(dtype: torch.dtype) -> None:
    images = ImageSet.from_array(EVERY_LEVEL)
    values = images.tensor(dtype)
    assert values.dtype == dtype
    assert values.shape == (4, 1, 8, 8)
    expected = torch.from_numpy(EVERY_LEVEL.astype(np.float64) / 127.5 - 1)
    torch.testing.assert_close(values.double(), expected, rtol=0, atol=2 * torch.finfo(dtype).eps)
    assert (float(values.min()), float(values.max())) == (-1, 1)
    assert to_images(values).fingerprint == images.fingerprint


def test_half_precision_is_rounded_once() -> None:
    images = ImageSet.from_array(EVERY_LEVEL)
    assert torch.equal(images.tensor(torch.bfloat16), images.tensor(torch.float32).bfloat16())


def test_to_images_rounds_to_the_nearest_level_and_clips() -> None:
    values = torch.tensor([-7.0, -1.0, 0.49 / 127.5 - 1, 0.51 / 127.5 - 1, 1.0, 7.0]).reshape(1, 1, 2, 3)
    assert to_images(values)[0].flatten().tolist() == [0, 0, 0, 1, 255, 255]


@given(pixel_arrays, st.data())
@settings(max_examples=25, deadline=None)
def test_a_view_of_a_view_is_what_numpy_selects(pixels: np.ndarray, data: st.DataObject) -> None:
    labels = np.arange(len(pixels)) % 3
    view, expected, kept = ImageSet.from_array(pixels, labels), pixels, labels
    for _ in range(2):
        count = len(expected)
        by_slice = st.slices(count)
        by_index = st.lists(st.integers(-count, count - 1), min_size=1).map(np.array)
        by_mask = hnp.arrays(bool, count)
        chosen = data.draw(st.one_of(by_slice, by_index, by_mask))
        if len(expected[chosen]) == 0:
            with pytest.raises(InputError, match="no images"):
                view[chosen]
            return
        view, expected, kept = view[chosen], expected[chosen], kept[chosen]
    assert len(view) == len(expected)
    np.testing.assert_array_equal(view.read(0, len(view)), expected)
    np.testing.assert_array_equal(view.take(np.arange(len(view))[::-1]), expected[::-1])
    np.testing.assert_array_equal(view[-1], expected[-1])
    np.testing.assert_array_equal(view.labels, kept)
    assert len(view.names) == len(view)
    assert view.fingerprint == ImageSet.from_array(expected.copy()).fingerprint


def test_views_and_reading_share_the_pixels() -> None:
    pixels = random_images(100)
    images = ImageSet.from_array(pixels)
    assert np.shares_memory(images[10:50].read(3, 9), pixels)
    assert np.shares_memory(images[np.arange(10, 50)].read(3, 9), pixels)


def test_what_is_read_from_read_only_memory_can_be_made_a_tensor() -> None:
    pixels = np.frombuffer(random_images(4).tobytes(), dtype=np.uint8).reshape(4, 3, 4, 5)
    block = ImageSet.from_array(pixels).read(0, 4)
    assert block.flags.writeable
    np.testing.assert_array_equal(block, pixels)


def test_iteration_gives_every_image_once() -> None:
    pixels = random_images(5)
    images = list(ImageSet.from_array(pixels))
    np.testing.assert_array_equal(torch.stack(images), pixels)
    with pytest.raises(IndexError):
        ImageSet.from_array(pixels)[5]


def test_fingerprint_is_the_hash_of_pixels_then_shape(monkeypatch: pytest.MonkeyPatch) -> None:
    pixels = random_images(7)
    images = ImageSet.from_array(pixels)
    expected = hashlib.sha256(pixels.tobytes() + b"(7, 3, 4, 5)").hexdigest()
    assert images.fingerprint == expected
    monkeypatch.setattr("smoothscore.data.imageset.CHUNK_BYTES", 100)
    assert ImageSet.from_array(pixels).fingerprint == expected
    assert images[::-1].fingerprint != expected
    assert ImageSet.from_array(pixels.reshape(7, 3, 5, 4)).fingerprint != expected
    assert images[[0, 1]].fingerprint != images.fingerprint


def test_results_do_not_depend_on_the_chunk(monkeypatch: pytest.MonkeyPatch) -> None:
    images = ImageSet.from_array(random_images(50))[::-1]
    whole, first, group = images.tensor(), *images.distinct()
    monkeypatch.setattr("smoothscore.data.imageset.CHUNK_BYTES", 7 * images.dim)
    assert torch.equal(images.tensor(), whole)
    np.testing.assert_array_equal(images.distinct()[0], first)
    np.testing.assert_array_equal(images.distinct()[1], group)
    assert to_images(whole).fingerprint == images.fingerprint


def test_subsets_are_random_repeatable_and_nested() -> None:
    images = ImageSet.from_array(random_images(60), names=[f"n{i:02d}" for i in range(60)])
    small, large = images.subset(10, seed=3), images.subset(30, seed=3)
    assert small.names == images.subset(10, seed=3).names != images.subset(10, seed=4).names
    assert set(small.names) < set(large.names)
    assert large.names == sorted(large.names)
    assert "random subset of 10 of 60 images (seed 3)" in small.notes
    trials = 600
    counts = np.zeros(60)
    for seed in range(trials):
        counts[[int(name[1:]) for name in images.subset(15, seed).names]] += 1
    # Binomial(600, 1/4): standard error 10.6; 60 counts within 4.5 of them but for a chance of 4e-4.
    assert np.abs(counts - trials / 4).max() < 4.5 * np.sqrt(trials * 3 / 16)


def test_splits_are_disjoint_and_cover() -> None:
    images = ImageSet.from_array(random_images(50))
    first, rest = images.split(0.3, seed=1)
    assert (len(first), len(rest)) == (15, 35)
    assert sorted(first.names + rest.names) == images.names
    parts = images.split([10, 20, 5], seed=1)
    assert [len(part) for part in parts] == [10, 20, 5]
    assert len({name for part in parts for name in part.names}) == 35
    assert images.split([10, 20, 5], seed=2)[0].names != parts[0].names


@given(pixel_arrays, st.data())
@settings(max_examples=25, deadline=None)
def test_distinct_agrees_with_comparing_all_pairs(pixels: np.ndarray, data: st.DataObject) -> None:
    rows = data.draw(st.lists(st.integers(0, len(pixels) - 1), min_size=1, max_size=20))
    repeated = pixels[rows]
    first, group = ImageSet.from_array(repeated).distinct()
    same = (repeated[:, None] == repeated[None]).all(axis=(2, 3, 4))
    np.testing.assert_array_equal(same.argmax(axis=1), first[group])
    np.testing.assert_array_equal(first, np.unique(first))


def test_repr_says_how_many_of_what() -> None:
    images = ImageSet.from_array(random_images(6), labels=[0, 0, 1, 1, 2, 2], source="here")
    assert repr(images) == "ImageSet(6 images of 3x4x5, 3 classes, source='here')"


def test_as_images_takes_sets_tensors_and_texts() -> None:
    images = ImageSet.from_array(random_images(6))
    assert as_images(images) is images
    assert as_images(images.tensor()).fingerprint == images.fingerprint
    assert as_images(torch.from_numpy(random_images(6))).fingerprint == images.fingerprint
    few = as_images("digits?limit=7&class_=3")
    assert len(few) == 7
    assert set(few.labels.tolist()) == {3}


@pytest.mark.parametrize(
    ("make", "message"),
    [
        (lambda: ImageSet.from_array(random_images(3).astype(np.float32)), "type float32"),
        (lambda: ImageSet.from_array(random_images(3)[0]), "shape (3, 4, 5)"),
        (lambda: ImageSet.from_array(torch.zeros(2, 3, 4, 5)), "type torch.float32"),
        (lambda: ImageSet.from_array(random_images(3)[:0]), "no images"),
        (lambda: ImageSet.from_array(random_images(3), labels=[1, 2]), "labels of shape (2,)"),
        (lambda: ImageSet.from_array(random_images(3), labels=[1, 2, 0.5]), "not integers"),
        (lambda: ImageSet.from_array(random_images(3), labels=[1, 2, float("nan")]), "not integers"),
        (lambda: ImageSet.from_array(random_images(3), names=["a"]), "1 names"),
        (lambda: ImageSet.from_array(random_images(3)).subset(4), "Cannot draw 4"),
        (lambda: ImageSet.from_array(random_images(3)).subset(0), "Cannot draw 0"),
        (lambda: ImageSet.from_array(random_images(3)).split(0.01), "Cannot split"),
        (lambda: ImageSet.from_array(random_images(3)).split([2, 2]), "Cannot split"),
        (lambda: to_images(torch.zeros(2, 3)), "shape (2, 3)"),
        (lambda: to_images(torch.zeros(2, 1, 3, 3, dtype=torch.int64)), "torch.int64"),
        (lambda: to_images(torch.full((2, 1, 3, 3), float("nan"))), "NaN or infinite"),
        (lambda: to_images(torch.full((2, 1, 3, 3), float("inf"))), "NaN or infinite"),
        (lambda: to_images(torch.zeros(0, 1, 3, 3)), "no images"),
    ],
)
def test_mistakes_are_told_in_one_sentence(make: object, message: str) -> None:
    with pytest.raises(InputError, match=re.escape(message)) as caught:
        make()  # type: ignore[operator]
    assert "\n" not in str(caught.value)
