import numpy as np
import pytest
import torch
from PIL import Image

from smoothscore.data import ImageSet, load_images, write_images
from smoothscore.memorization.checks import fine_detail, mistakes, suspicions

BICUBIC = Image.Resampling.BICUBIC


@pytest.fixture(scope="module")
def images() -> ImageSet:
    return load_images("mnist-5k").subset(2000, seed=0)


def resized(images: ImageSet, side: int, filter_: Image.Resampling) -> ImageSet:
    pictures = (Image.fromarray(pixels[0]).resize((side, side), filter_) for pixels in images.take(range(len(images))))
    return ImageSet.from_array(np.stack([np.asarray(picture)[None] for picture in pictures]))


def test_two_halves_of_one_set_raise_no_suspicion(images: ImageSet) -> None:
    a, b = images.split((1000, 1000), seed=0)
    assert mistakes(a, b) == []
    assert suspicions(a, b) == []


def test_the_wrong_range_is_named(images: ImageSet) -> None:
    a, b = images.split((1000, 1000), seed=0)
    assert "[0, 1] read as [-1, 1]" in mistakes((a.tensor() + 1) / 2, b)[0]
    assert len(mistakes(127.5 * (a.tensor() + 1), b)) == 1
    assert "beyond [-2, 2]" in mistakes(127.5 * (a.tensor() + 1), b)[0]
    assert mistakes(1.2 * a.tensor(), b) == []
    assert "clip them" in suspicions(1.2 * a.tensor(), b)[0]
    assert "the training set itself" in mistakes(b, b)[0]
    assert "the held-out set itself" in mistakes(a.tensor(), b, a.tensor())[0]
    points = torch.rand(100, 2)
    assert mistakes(points, points * 0.9) == []


@pytest.mark.parametrize("level", [0.1, 0.2])
def test_noise_that_was_left_is_named_with_its_level(images: ImageSet, level: float) -> None:
    a, b = images.split((1000, 1000), seed=0)
    pixels = resized(a, 14, Image.Resampling.BOX), resized(b, 14, Image.Resampling.BOX)
    smooth = [resized(part, 28, BICUBIC) for part in pixels]
    noisy = smooth[0].tensor() + level * torch.randn(1000, 1, 28, 28)
    finding = suspicions(noisy, smooth[1])[-1]
    assert f"a level of about {level:.2f}" in finding


def test_another_filter_is_named(images: ImageSet) -> None:
    a, b = images.split((1000, 1000), seed=0)
    usual = resized(b, 14, Image.Resampling.LANCZOS)
    assert suspicions(resized(a, 14, Image.Resampling.LANCZOS), usual) == []
    for other in (Image.Resampling.NEAREST, Image.Resampling.BILINEAR):
        assert "another filter" in suspicions(resized(a, 14, other), usual)[0]


def test_repeated_and_constant_samples_are_named(images: ImageSet) -> None:
    a, b = images.split((1000, 1000), seed=0)
    assert "950 of 1000 samples repeat another one" in suspicions(a[np.arange(1000) % 50], b)[0]
    assert suspicions(a[np.minimum(np.arange(1000), 980)], b) == []
    constant = torch.zeros(60, 1, 28, 28)
    assert mistakes(constant, b) == []
    assert "59 of 60 samples repeat" in suspicions(constant, b)[0]


def test_one_set_resized_on_reading_is_named(tmp_path) -> None:
    a, b = load_images("digits").split((100, 100), seed=0)
    large, small = (
        write_images(images, tmp_path / name) for images, name in ((resized(a, 12, BICUBIC), "a"), (b, "b"))
    )
    read = load_images(large, resolution=8)
    for sets in ((read, load_images(small)), (load_images(small), read)):
        assert "were resized when they were read (100 images resized to 8x8" in suspicions(*sets)[0]
    assert not any("when they were read" in text for text in suspicions(read, read))


def test_fine_detail_of_white_noise_is_its_variance() -> None:
    noise = 0.3 * torch.randn(200, 3, 16, 16)
    assert fine_detail(noise).mean() == pytest.approx(0.09, rel=0.03)
    slope = torch.linspace(-1, 1, 16).expand(2, 1, 16, 16)
    assert fine_detail(slope).max() < 1e-12
