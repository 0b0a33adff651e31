"""The nearest images over shifts, mirrors and brightness: spectra, planted copies, brute force."""

import numpy as np
import pytest
import torch

from smoothscore.data import ImageSet
from smoothscore.geometry import transformed
from smoothscore.geometry.transformed import nearest_transformed
from smoothscore.neighbors import nearest


def digits() -> np.ndarray:
    from sklearn.datasets import load_digits

    return np.unique((load_digits().images * (255 / 16)).astype(np.uint8), axis=0)[:, None]


@pytest.mark.parametrize("shape", [(3, 7, 6), (1, 8, 9), (2, 5, 5)])
def test_spectra_forget_shifts_and_mirrors(shape: tuple[int, int, int]) -> None:
    images = torch.rand(6, *shape, dtype=torch.float64)
    copies = [images.roll((1, -2), (2, 3)), images.flip(-1), images.flip(-1).roll(3, 2) + 0.2]
    spectra = transformed._spectra(images)
    for copy in copies:
        torch.testing.assert_close(transformed._spectra(copy), spectra, rtol=1e-5, atol=1e-6)
    centered = images - images.mean((1, 2, 3), keepdim=True)
    torch.testing.assert_close(spectra.double().norm(dim=1), centered.flatten(1).norm(dim=1), rtol=1e-5, atol=0)
    near = torch.cdist(spectra.double(), spectra.double())
    assert (near <= torch.cdist(centered.flatten(1), centered.flatten(1)) + 1e-5).all()
    assert near[~torch.eye(6, dtype=torch.bool)].min() > 0.1  # and tell images apart


def test_shifted_copies_are_found_far_beyond_the_nearest_images() -> None:
    pixels, k = digits(), 20
    sources = np.random.default_rng(0).choice(len(pixels), 30, replace=False)
    images = ImageSet.from_array(np.concatenate([pixels, np.roll(pixels[sources], 1, axis=3)]))
    copies = np.arange(len(pixels), len(images))
    plain = nearest(images, images, k + 1).indices.numpy()[copies]
    assert (plain == sources[:, None]).any(1).mean() < 0.5
    distances, partners = nearest_transformed(images, k, mirror=True, shift=1)
    assert (partners[copies, 0] == sources).all()
    assert distances[copies, 0].max() < 1e-2
    assert (np.diff(distances, axis=1) >= 0).all()


def test_distances_are_the_least_over_all_versions() -> None:
    """Of every pair named; and the nearest of all pairs is among them for nearly every image."""
    pixels = digits()[:120]
    distances, partners = nearest_transformed(ImageSet.from_array(pixels), 10, mirror=True, shift=1)
    values = pixels[:, 0] / 127.5 - 1
    inner = values[:, 1:-1, 1:-1].reshape(120, -1)
    versions = np.stack(
        [
            v[:, r : r + 6, c : c + 6].reshape(120, -1)
            for v in (values, values[..., ::-1])
            for r in range(3)
            for c in range(3)
        ]
    )
    inner, versions = (part - part.mean(-1, keepdims=True) for part in (inner, versions))
    brute = np.sqrt(((versions[:, :, None] - inner) ** 2).sum(-1)).min(0)
    np.testing.assert_allclose(distances, np.take_along_axis(brute, partners, 1), atol=2e-3)
    np.fill_diagonal(brute, np.inf)
    assert (np.abs(distances[:, 0] - brute.min(1)) < 2e-3).mean() > 0.9
