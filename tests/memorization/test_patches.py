"""Parts of images: distances as defined, copies of a part found, and equal backgrounds not."""

import numpy as np
import pytest
import torch
from sklearn.decomposition import PCA

from smoothscore.data import ImageSet
from smoothscore.memorization import audit
from smoothscore.memorization.conformal import discoveries, p_values
from smoothscore.memorization.detector import Detector, largest
from smoothscore.memorization.patches import DIRECTIONS, GRAIN, PARTS, PatchTest, can_cut
from smoothscore.memorization.protocol import PART_WEIGHT


def waves(seed: int, count: int, side: int = 24) -> torch.Tensor:
    """Smooth random images (n, 1, side, side) with texture everywhere."""
    rng = torch.Generator().manual_seed(seed)
    coarse = torch.randn(count, 1, side // 4, side // 4, generator=rng)
    return torch.nn.functional.interpolate(coarse, (side, side), mode="bicubic").clamp(-2.5, 2.5) / 2.5


def test_distances_are_those_of_principal_components_of_the_part() -> None:
    train, images = waves(0, 300), waves(1, 20)
    found = PatchTest("lower left part", train, np.arange(300), 0)(images, 6)
    part = (slice(None), 0, slice(12, 24), slice(0, 12))
    fit = PCA(DIRECTIONS, svd_solver="full").fit(train[part].flatten(1).double().numpy())
    a, b = (fit.transform(x[part].flatten(1).double().numpy()) for x in (images, train))
    squares = np.square(a[:, None] - b).sum(2) + 144 * GRAIN**2
    np.testing.assert_array_equal(found.indices, np.argsort(squares, 1)[:, :6])
    np.testing.assert_allclose(found.distances, np.sqrt(np.sort(squares, 1)[:, :6]), rtol=2e-3)
    assert found.spacing is None


def test_an_image_left_out_is_not_its_own_neighbor() -> None:
    train = waves(0, 60)
    chosen = np.array([3, 40])
    found = PatchTest("middle part", train, np.arange(60), 0).leave_one_out(chosen, 5)
    assert not (found.indices == chosen[:, None]).any()
    rest = np.setdiff1d(np.arange(60), [3])
    alone = PatchTest("middle part", train, rest, 0)(train[3:4], 5)
    np.testing.assert_array_equal(found.indices[0], alone.indices[0])


@pytest.mark.parametrize("name", list(PARTS))
def test_a_copied_part_is_found_among_new_images(name: str) -> None:
    train, held_out, samples = waves(0, 600), waves(1, 400), waves(2, 60)
    top, left = (24 * quarter // 4 for quarter in PARTS[name])
    place = (slice(0, 15), slice(None), slice(top, top + 12), slice(left, left + 12))
    samples[place] = train[place]
    detector = Detector(train, ("pixel",), tolerant=True)
    control, found = detector.find(held_out), detector.find(samples)
    by_space = detector.surprise(found)
    flagged = discoveries(p_values(largest(by_space), largest(detector.surprise(control))), 0.05)
    assert np.isin(range(15), flagged).all()
    assert (flagged >= 15).sum() <= 3
    assert (found[name].indices[:15, 0] == np.arange(15)).all()
    others = {space: values for space, values in by_space.items() if space not in PARTS}
    usual = {space: v for space, v in detector.surprise(control).items() if space not in PARTS}
    blind = discoveries(p_values(largest(others), largest(usual)), 0.05)
    assert np.isin(range(15), blind).mean() < 0.3


def test_equal_backgrounds_are_no_copies() -> None:
    """A part that is plain in a third of all images is equal in many of them: no surprise there."""
    train, fresh = waves(0, 400), waves(1, 60)
    train[::3, :, :12, :12] = -1
    fresh[::2, :, :12, :12] = -1
    name = "upper left part"
    found = PatchTest(name, train, np.arange(400), 0)(fresh, 10)
    np.testing.assert_allclose(found.distances[::2], 12 * GRAIN, rtol=1e-4)
    surprise = Detector(train, ("pixel",), tolerant=True).surprise({name: found})[name]
    assert surprise[::2].max() < 3
    assert PART_WEIGHT < 1


def test_small_images_and_points_are_not_cut() -> None:
    assert can_cut((3, 16, 16))
    assert not can_cut((1, 8, 8))
    assert not can_cut((64,))
    pixels = np.random.default_rng(0).integers(0, 256, (60, 3, 40, 36), dtype=np.uint8)
    images = ImageSet.from_array(pixels)
    found = PatchTest("upper right part", images, np.arange(60), 0)(images[:5], 3)
    assert (found.indices[:, 0] == np.arange(5)).all()
    assert "upper left part" in audit(images[:3], images[3:40], images[40:]).spaces
    assert "upper left part" not in audit(images[:3], images[3:40], images[40:], tolerant=False).spaces
