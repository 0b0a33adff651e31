"""The calibrated test errs as seldom as it says, and finds what it should: on real images, in repeated draws.

200 repetitions each: ten training sets, twenty draws of samples and held-out images for each, both from the same
fresh images; so many that with alpha = 0.05 one sample above all held-out images, or above all of a half of the
training set, is flagged and the nominal share is reached.
"""

from pathlib import Path

import numpy as np
import pytest
import torch
from torch import Tensor

from smoothscore.data import ImageSet, load_images
from smoothscore.memorization.calibration import halves
from smoothscore.memorization.conformal import discoveries, p_values
from smoothscore.memorization.detector import Detector, largest
from smoothscore.memorization.images import at

ALPHA, TRAINS, DRAWS = 0.05, 10, 20
# Repetitions share training sets and fresh images, so four standard errors of independent ones are allowed.
MOST = ALPHA + 4 * np.sqrt(ALPHA * (1 - ALPHA) / (TRAINS * DRAWS))


def check(images: ImageSet | Tensor, train: int) -> None:
    samples = round(ALPHA / 2 * (train // 2 + 1))
    controls = round(samples / ALPHA) - 1
    rng = np.random.default_rng(0)
    by_held_out = by_halves = 0
    for _ in range(TRAINS):
        order = rng.permutation(len(images))
        chosen, fresh = (at(images, np.sort(rows)) for rows in (order[:train], order[train : train + 2 * controls]))
        detector = Detector(chosen, ("pixel",), tolerant=True)
        found = detector.find(fresh)
        new = np.flatnonzero(found["pixel"].distances[:, 0] > 0)
        surprise = largest(detector.surprise(found))
        sides = halves(chosen, detector.first, fresh, ("pixel",), True, ALPHA)
        for _ in range(DRAWS):
            drawn = rng.permutation(new)[: samples + controls]
            mine, theirs = drawn[:samples], drawn[samples:]
            by_held_out += len(discoveries(p_values(surprise[mine], surprise[theirs]), ALPHA)) > 0
            by_halves += any(len(discoveries(side.p_values[mine], side.level)) for side in sides)
    assert by_held_out / (TRAINS * DRAWS) <= MOST
    assert by_halves / (TRAINS * DRAWS) <= MOST


def test_points_in_the_plane() -> None:
    angle = torch.rand(2500) * 2 * torch.pi
    radius = torch.tensor([0.8, 0.4, 0.1])[torch.randint(0, 3, (2500,))] + 0.03 * torch.randn(2500)
    check(torch.stack([radius * angle.cos(), radius * angle.sin()], 1), 798)


def test_digits_of_64_pixels() -> None:
    check(load_images("digits"), 798)


@pytest.mark.slow
def test_mnist() -> None:
    check(load_images("mnist-5k"), 798)


@pytest.mark.slow
def test_fashion_mnist() -> None:
    check(load_images("fashion-mnist", split="train", limit=4500), 798)


@pytest.mark.slow
def test_cifar(cifar_train: Path) -> None:
    check(load_images(cifar_train, limit=4500), 798)


@pytest.mark.slow
def test_changed_copies_of_cifar_images_are_found(cifar_train: Path) -> None:
    """50 of each kind among 450 fresh images; the ratio test finds no mirrored or shifted ones at 1/3."""
    train, held_out, fresh = load_images(cifar_train, limit=4000).split((2000, 1500, 500), seed=0)
    detector = Detector(train, ("pixel",), tolerant=True)
    control, background = (largest(detector.surprise(detector.find(images))) for images in (held_out, fresh))
    copies = train[:50].tensor()
    changed = {
        "noise": copies + 0.2 * torch.randn_like(copies),
        "brightness": (copies + 0.4).clamp(-1, 1),
        "mirrored": copies.flip(-1),
        "shifted": torch.nn.functional.pad(copies, (3, 0, 2, 0), mode="replicate")[..., :32, :32],
        "half": torch.cat([copies[..., :16], fresh[:50].tensor()[..., 16:]], 3),
    }
    for name, samples in changed.items():
        found = detector.find(samples)
        p = p_values(np.concatenate([largest(detector.surprise(found)), background[50:]]), control)
        flagged = discoveries(p, ALPHA)
        assert np.isin(range(50), flagged).mean() > 0.85, name
        assert np.sum(flagged >= 50) <= 6, name
        if name in ("mirrored", "shifted"):
            assert (found["pixel"].ratio < 1 / 3).mean() < 0.1
