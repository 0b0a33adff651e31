"""The calibrated test errs as seldom as it says, and finds what it should: on real images, in repeated draws.

200 repetitions each: four training sets, fifty draws of 20 samples and 399 held-out images for each, both from the same
fresh images. With alpha = 0.05, one sample below all held-out images is flagged, so the nominal share is reached.
"""

from pathlib import Path

import numpy as np
import pytest
import torch
from torch import Tensor

from smoothscore.data import ImageSet, load_images
from smoothscore.memorization.conformal import discoveries, p_values
from smoothscore.memorization.detector import Detector, largest

ALPHA, SAMPLES, CONTROLS, TRAINS, DRAWS = 0.05, 20, 399, 4, 50
# Repetitions share training sets and fresh images, so four standard errors of independent ones are allowed.
MOST = ALPHA + 4 * np.sqrt(ALPHA * (1 - ALPHA) / (TRAINS * DRAWS))


def shares(images: ImageSet | Tensor, train: int) -> tuple[float, float]:
    """The share of repetitions with any discovery, calibrated by held-out images and by training images left out."""
    any_held_out = any_left_out = 0
    rng = np.random.default_rng(0)
    for _ in range(TRAINS):
        order = rng.permutation(len(images))
        chosen, fresh = (
            images[rows] if isinstance(images, ImageSet) else images[torch.from_numpy(rows)]
            for rows in (np.sort(order[:train]), np.sort(order[train:]))
        )
        detector = Detector(chosen, ("pixel",), tolerant=True, calibrate=True)
        found = detector.find(fresh)
        new = found["pixel"].distances[:, 0] > 0
        surprise, usual = largest(detector.surprise(found))[new], largest(detector.surprise(detector.reference))
        nearest = np.array([matches.indices[:, 0] for matches in found.values()])
        beside = np.isin(nearest, detector.first[detector.left_out]).any(0)[new]
        for _ in range(DRAWS):
            drawn = rng.permutation(len(surprise))
            mine, theirs = drawn[:SAMPLES], drawn[SAMPLES : SAMPLES + CONTROLS]
            any_held_out += len(discoveries(p_values(surprise[mine], surprise[theirs]), ALPHA)) > 0
            any_left_out += len(discoveries(p_values(surprise[mine], usual, beside[mine]), ALPHA)) > 0
    return any_held_out / (TRAINS * DRAWS), any_left_out / (TRAINS * DRAWS)


def check(images: ImageSet | Tensor, train: int) -> None:
    held_out, left_out = shares(images, train)
    assert held_out <= MOST
    assert left_out <= MOST


def test_points_in_the_plane() -> None:
    angle = torch.rand(2500) * 2 * torch.pi
    radius = torch.tensor([0.8, 0.4, 0.1])[torch.randint(0, 3, (2500,))] + 0.03 * torch.randn(2500)
    check(torch.stack([radius * angle.cos(), radius * angle.sin()], 1), 1000)


def test_digits_of_64_pixels() -> None:
    check(load_images("digits"), 800)


@pytest.mark.slow
def test_mnist() -> None:
    check(load_images("mnist-5k"), 2500)


@pytest.mark.slow
def test_fashion_mnist() -> None:
    check(load_images("fashion-mnist", split="train", limit=4500), 2000)


@pytest.mark.slow
def test_cifar(cifar_train: Path) -> None:
    check(load_images(cifar_train, limit=4500), 2000)


@pytest.mark.slow
def test_changed_copies_of_cifar_images_are_found(cifar_train: Path) -> None:
    """50 of each kind among 450 fresh images; the ratio test finds no mirrored or shifted ones at 1/3."""
    train, held_out, fresh = load_images(cifar_train, limit=7500).split((5000, 2000, 500), seed=0)
    detector = Detector(train, ("pixel",), tolerant=True)
    control, background = (largest(detector.surprise(detector.find(images))) for images in (held_out, fresh))
    copies = train[:50].tensor()
    changed = {
        "noise": copies + 0.2 * torch.randn_like(copies),
        "brightness": (copies + 0.4).clamp(-1, 1),
        "mirrored": copies.flip(-1),
        "shifted": torch.nn.functional.pad(copies, (3, 0, 2, 0), mode="replicate")[..., :32, :32],
    }
    for name, samples in changed.items():
        found = detector.find(samples)
        p = p_values(np.concatenate([largest(detector.surprise(found)), background[50:]]), control)
        flagged = discoveries(p, ALPHA)
        assert np.isin(range(50), flagged).mean() > 0.85, name
        assert np.sum(flagged >= 50) <= 6, name
        if name in ("mirrored", "shifted"):
            assert (found["pixel"].ratio < 1 / 3).mean() < 0.1
