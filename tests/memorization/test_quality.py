import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from sklearn.metrics.pairwise import polynomial_kernel

from smoothscore.data import ImageSet
from smoothscore.encoders import PIXEL
from smoothscore.memorization import frechet_distance, kernel_distance, moments, prdc
from smoothscore.memorization.quality import features_of, quality


@settings(max_examples=15, deadline=None)
@given(
    seed=st.integers(0, 10**6), n=st.integers(8, 80), m=st.integers(8, 80), f=st.integers(1, 12), k=st.integers(1, 6)
)
def test_prdc_is_that_of_its_authors(seed: int, n: int, m: int, f: int, k: int) -> None:
    peer = pytest.importorskip("prdc")
    rng = np.random.default_rng(seed)
    real, fake = rng.normal(size=(n, f)).astype(np.float32), (rng.normal(size=(m, f)) + 0.3).astype(np.float32)
    assert prdc(real, fake, k) == pytest.approx(peer.compute_prdc(real, fake, k), abs=2 / min(n, m))


def test_prdc_over_several_blocks() -> None:
    peer = pytest.importorskip("prdc")
    rng = np.random.default_rng(0)
    real, fake = rng.normal(size=(2500, 6)), rng.normal(size=(1100, 6)) * 0.8
    assert prdc(real, fake) == pytest.approx(peer.compute_prdc(real, fake, 5), abs=2e-3)


def test_kid_is_the_unbiased_mmd_of_scikit_learns_kernel() -> None:
    rng = np.random.default_rng(0)
    a, b = rng.normal(size=(1300, 10)), rng.normal(size=(900, 10)) + 0.1
    within = [polynomial_kernel(x, degree=3, gamma=1 / 10, coef0=1) for x in (a, b)]
    means = [(k.sum() - np.trace(k)) / (len(k) * (len(k) - 1)) for k in within]
    expected = sum(means) - 2 * polynomial_kernel(a, b, degree=3, gamma=1 / 10, coef0=1).mean()
    assert kernel_distance(a, b) == pytest.approx(expected, rel=1e-9)
    same = [kernel_distance(*rng.normal(size=(2, 200, 5))) for _ in range(200)]
    assert abs(np.mean(same)) < 4 * np.std(same) / np.sqrt(200)
    assert kernel_distance(a, b + 0.4) > 5 * np.std(same)


def test_every_comparison_uses_equal_numbers_and_states_its_bias() -> None:
    sets = {name: torch.randn(n, 8) for name, n in (("samples", 400), ("train", 900), ("held_out", 500))}
    found = quality(sets, "points")
    assert [found[name]["n"] for name in ("to_train", "to_held_out", "reference")] == [400, 400, 400]
    fresh = [
        frechet_distance(moments(torch.randn(400, 8).numpy()), moments(torch.randn(400, 8).numpy())) for _ in range(60)
    ]
    bias = [
        quality({"samples": torch.randn(400, 8), "train": torch.randn(400, 8)}, "")["to_train"]["frechet_bias"]
        for _ in range(60)
    ]
    assert np.mean(bias) == pytest.approx(np.mean(fresh), rel=0.25)  # the true distance is 0: all of it is bias
    assert quality({"samples": torch.randn(1, 8), "train": torch.randn(9, 8)}, "") == {}


def test_large_images_are_averaged_and_the_name_says_so() -> None:
    pixels = np.random.default_rng(0).integers(0, 256, (5, 3, 32, 32), dtype=np.uint8)
    features, name = features_of(ImageSet.from_array(pixels), PIXEL)
    assert name == "pixel averaged to 18 x 18"
    assert features.shape == (5, 3 * 18 * 18)
    assert features.mean() == pytest.approx(float(pixels.mean()) / 127.5 - 1, abs=5e-3)
    features, name = features_of(ImageSet.from_array(pixels[:, :1]), PIXEL)
    assert (name, features.shape) == ("pixel", (5, 1024))
