"""Shell coverage against noisy points and direct distances, and against its two bounds."""

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from torch import Tensor

from smoothscore.data import ImageSet
from smoothscore.errors import InputError
from smoothscore.geometry import coverage as module
from smoothscore.geometry.coverage import coverage, shell_coverage
from smoothscore.geometry.pairs import draw_noises
from smoothscore.geometry.shells import Shell

SIGMAS = [0.002, 0.05, 0.2, 0.5, 1.0, 2.0, 5.0, 40.0]


def brute(train: Tensor, points: Tensor, noises: Tensor, t: float, others: bool = False) -> np.ndarray:
    shell = Shell.laurent_massart(train[0].numel(), t)
    y, x, z = (images.double().flatten(1).numpy() for images in (train, points, noises))
    result = np.zeros((len(SIGMAS), len(x), len(z)))
    for level, sigma in enumerate(SIGMAS):
        for i in range(len(x)):
            distances = np.linalg.norm((x[i] + sigma * z)[:, None] - y[None], axis=2)
            inside = shell.contains(distances, sigma)
            if others:
                inside[:, i] = False
            result[level, i] = inside.any(1)
    return result


@pytest.mark.parametrize("t", [0.1, 5.0])
@pytest.mark.parametrize("dim", [2, 40, 300])
def test_agrees_with_brute_force(dim: int, t: float) -> None:
    """Thin shells in few dimensions need the check beyond the nearest center."""
    generator = torch.Generator().manual_seed(dim)
    train, held_out = (torch.randn(count, dim, generator=generator) * 0.3 for count in (50, 20))
    found = coverage(train, held_out, SIGMAS, seed=1, noises=12, t=t)
    expected = brute(train, held_out, draw_noises(12, dim, 1), t)
    assert 0.02 < expected.mean() < 0.98
    np.testing.assert_array_equal(found.covered.values, expected)


def test_cross_fit_leaves_the_own_shell_out() -> None:
    train = torch.randn(30, 40, generator=torch.Generator().manual_seed(0)) * 0.3
    found = coverage(train, None, SIGMAS, seed=1, noises=12)
    np.testing.assert_array_equal(found.covered.values, brute(train, train, draw_noises(12, 40, 1), 5.0, others=True))
    repeated = shell_coverage(torch.cat([train, train]), None, [0.002], noises=4)
    assert repeated.mean[0] > 0.9  # a duplicate covers its twin at every level


def test_images_and_tensors_agree() -> None:
    pixels = np.random.default_rng(0).integers(0, 256, (30, 1, 6, 6), dtype=np.uint8)
    train, held_out = ImageSet.from_array(pixels[:20]), ImageSet.from_array(pixels[20:])
    expected = coverage(train.tensor(torch.float64), held_out.tensor(torch.float64), SIGMAS, noises=10)
    for pair in (
        (train, held_out),
        (train.tensor(torch.float64), held_out),
        (train, held_out.tensor(torch.float64)),
    ):
        found = coverage(*pair, SIGMAS, noises=10)
        np.testing.assert_array_equal(found.covered.values, expected.covered.values)
        np.testing.assert_allclose(found.upper, expected.upper, atol=1e-9)


@settings(max_examples=12, deadline=None)
@given(st.integers(2, 60), st.integers(1, 30), st.integers(0, 1000))
def test_bounds_enclose_the_coverage(dim: int, count: int, seed: int) -> None:
    generator = torch.Generator().manual_seed(seed)
    train, held_out = (torch.randn(n, dim, generator=generator) for n in (count, 30))
    curve = shell_coverage(train, held_out, np.geomspace(0.02, 30, 12), seed=seed, noises=100)
    assert curve.lower is not None
    assert curve.upper is not None
    # the bounds are those of the same images, so only the noises are left to chance
    slack = 5 * np.sqrt(np.maximum(curve.mean * (1 - curve.mean), 0.01) / 100) + 0.02
    assert (curve.lower <= curve.mean + slack).all()
    assert (curve.mean <= curve.upper + slack).all()
    assert (curve.lower <= curve.upper + 1e-6).all()


def test_one_center_is_the_overlap() -> None:
    """With a single training image coverage is a probability known exactly."""
    train, held_out = torch.zeros(1, 50), torch.zeros(1, 50)
    held_out[0, 0] = 6.0
    curve = shell_coverage(train, held_out, [0.5, 0.8, 1.0, 2.0], noises=20_000)
    assert curve.upper is not None
    np.testing.assert_allclose(curve.mean, curve.upper, atol=4 * 0.5 / np.sqrt(20_000))
    np.testing.assert_allclose(curve.lower, curve.upper, atol=0.02)


def test_bounds_are_means_of_overlaps() -> None:
    train = torch.randn(40, 30, generator=torch.Generator().manual_seed(0))
    held_out = torch.randn(6, 30, generator=torch.Generator().manual_seed(1))
    sigmas = np.array([0.5, 1.0, 1.6, 4.0])
    distances = torch.cdist(held_out.double(), train.double()).numpy()
    shell = Shell.laurent_massart(30)
    curve = shell_coverage(train, held_out, sigmas, noises=2)
    overlaps = [shell.overlap(distances / sigma, own_shell=False).sum(1) for sigma in sigmas]
    np.testing.assert_allclose(curve.upper, [np.minimum(overlap, 1).mean() for overlap in overlaps], atol=1e-5)
    nearest = [shell.overlap(distances.min(1) / sigma).mean() for sigma in sigmas]
    np.testing.assert_allclose(curve.lower, nearest, atol=1e-5)


def test_both_evaluations_agree(monkeypatch: pytest.MonkeyPatch) -> None:
    generator = torch.Generator().manual_seed(0)
    train, held_out = (torch.randn(count, 60, generator=generator) for count in (80, 30))
    results = []
    for cost in (0, 10**9):  # always one by one, always by products
        monkeypatch.setattr(module, "COST", cost)
        results.append(coverage(train, held_out, SIGMAS, noises=20).covered.values)
    np.testing.assert_array_equal(*results)


@pytest.mark.parametrize(
    ("train", "held_out", "words"),
    [
        (torch.zeros(1, 4), None, "needs held-out images"),
        (torch.zeros(3, 4), torch.zeros(3, 5), "shape"),
        (torch.zeros(3, 4), torch.zeros(0, 4), "at least one"),
        (torch.zeros(3, 1), torch.zeros(3, 1), "at least 2"),
    ],
)
def test_mistakes_are_named(train: Tensor, held_out: Tensor | None, words: str) -> None:
    with pytest.raises(InputError, match=words):
        shell_coverage(train, held_out, [1.0])
