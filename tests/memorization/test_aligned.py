"""Aligned matching against a search over all windows, written out."""

import numpy as np
import pytest
import torch
from numpy.typing import NDArray
from torch import Tensor
from torch.nn.functional import interpolate

from smoothscore.data import ImageSet, load_images
from smoothscore.memorization.aligned import AlignedTest, can_align


@pytest.fixture(scope="module")
def train() -> ImageSet:
    return load_images("mnist-5k").subset(400, seed=1)


@pytest.fixture(scope="module")
def matcher(train: ImageSet) -> AlignedTest:
    return AlignedTest(train, np.arange(len(train)))


def unit(values: NDArray[np.float64]) -> NDArray[np.float64]:
    values = values - values.mean()
    return values / max(np.linalg.norm(values), 1e-6)


def written_out(x: Tensor, y: Tensor, margin: int) -> float:
    """The smallest distance of one image to another over mirror images and all windows."""
    side = x.shape[-1]
    inner = side - 2 * margin
    best = -1.0
    for image in (x, x.flip(-1)):
        smaller = {
            size: interpolate(image[None], (size, size), mode="bilinear", antialias=True)[0] for size in (24, 23, 21)
        }
        center = image[:, margin : margin + inner, margin : margin + inner]
        for template in (center, *smaller.values()):
            size = template.shape[-1]
            one = unit(template.double().numpy())
            for i in range(side - size + 1):
                for j in range(side - size + 1):
                    best = max(best, float((one * unit(y[:, i : i + size, j : j + size].double().numpy())).sum()))
    return float(np.sqrt(2 - 2 * min(best, 1)))


def test_distances_are_those_of_the_best_window(train: ImageSet, matcher: AlignedTest) -> None:
    """Half the resolution may miss the best window, so a found distance is never smaller, and mostly the same."""
    x = train[:12].tensor().roll((1, 2), (2, 3))
    found = matcher(x)
    y = train.tensor()
    expected = np.array([[written_out(x[i], y[j], 3) for j in found.indices[i]] for i in range(len(x))])
    assert (found.distances >= expected - 1e-3).all()
    assert np.mean(found.distances <= expected + 1e-3) > 0.7
    assert np.median(found.distances[:, 0] - expected[:, 0]) < 1e-3


@pytest.mark.parametrize(
    ("change", "distance", "share"),
    [
        (lambda y: y, 1e-6, 1.0),
        (lambda y: y.flip(-1), 1e-6, 1.0),
        (lambda y: y.roll((2, -2), (2, 3)), 1e-6, 1.0),
        (lambda y: y.roll((3, -3), (2, 3)), 1e-6, 0.8),
        (lambda y: y.roll((-1, 2), (2, 3)), 1e-6, 0.7),
        (lambda y: 0.5 * y + 0.2, 1e-5, 1.0),
        (lambda y: 0.5 * y.flip(-1).roll(2, 3) - 0.1, 1e-5, 0.7),
        (lambda y: interpolate(y[..., 2:27, 2:27], (28, 28), mode="bilinear"), 0.5, 0.7),
    ],
)
def test_changed_copies_are_matched(
    train: ImageSet, matcher: AlignedTest, change, distance: float, share: float
) -> None:
    """Between the windows of the first look, thin strokes are found less often."""
    found = matcher(change(train[:60].tensor()))
    assert np.mean(found.indices[:, 0] == np.arange(60)) >= share
    assert np.median(found.distances[:, 0]) < distance
    assert (np.diff(found.distances, axis=1) >= 0).all()


def test_leaving_out_finds_the_others(train: ImageSet, matcher: AlignedTest) -> None:
    chosen = np.array([5, 17])
    found = matcher.leave_one_out(chosen)
    assert not (found.indices == chosen[:, None]).any()
    whole = matcher(train[chosen])
    assert (whole.indices[:, 0] == chosen).all()
    assert np.median(np.abs(found.distances[:, 0] - whole.distances[:, 1])) < 0.05


def test_forms_and_sizes(train: ImageSet) -> None:
    images = train[:80]
    as_set, as_tensor = (AlignedTest(form, np.arange(80))(images[:9]) for form in (images, images.tensor()))
    np.testing.assert_array_equal(as_set.indices, as_tensor.indices)
    np.testing.assert_allclose(as_set.distances, as_tensor.distances, atol=1e-3)
    for shape in ((3, 8, 8), (1, 9, 12), (3, 50, 70)):
        many = interpolate(torch.rand(20, shape[0], 5, 5), shape[1:], mode="bilinear") * 2 - 1
        found = AlignedTest(many, np.arange(20))(many.flip(-1))
        assert (found.indices[:, 0] == np.arange(20)).all()
    flat = torch.zeros(12, 1, 16, 16)
    assert np.isfinite(AlignedTest(flat, np.arange(12))(flat).distances).all()
    assert not can_align((2,))
    assert not can_align((3, 7, 32))
