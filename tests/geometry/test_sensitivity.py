"""The decay of a denoiser's dependence: the bound, a truly circulant covariance, and explicit matrices."""

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from scipy.linalg import circulant

from smoothscore.errors import InputError
from smoothscore.geometry import circulant_bound, sensitivity
from smoothscore.geometry.sensitivity import circulant_sensitivity
from smoothscore.scores import GaussianScore


@settings(max_examples=50, deadline=None)
@given(st.integers(4, 40), st.integers(0, 10_000), st.floats(-2, 2))
def test_the_bound_holds_and_the_sensitivity_is_the_matrix(n: int, seed: int, log_sigma: float) -> None:
    half = np.random.default_rng(seed).exponential(size=n // 2 + 1) ** 3
    spectrum = np.array([half[min(k, n - k)] for k in range(n)])
    sigma = 10**log_sigma
    covariance = circulant(np.fft.ifft(spectrum).real)
    jacobian = covariance @ np.linalg.inv(covariance + sigma**2 * np.eye(n))
    exact = circulant_sensitivity(spectrum, sigma)
    np.testing.assert_allclose(exact, np.abs(jacobian[0, 1 : n // 2 + 1]), atol=1e-9)
    bound = circulant_bound(spectrum, sigma)
    assert (exact <= bound + 1e-12).all()
    assert (bound <= bound[0] * np.sin(np.pi / n) * n / 2 / np.arange(1, n // 2 + 1) + 1e-12).all()


def test_measured_decay_is_that_of_the_jacobian() -> None:
    generator = torch.Generator().manual_seed(0)
    train = torch.randn(40, 2, 3, 6, generator=generator).cumsum(3).clamp(-1, 1)
    found = sensitivity(train, [0.5, 2.0])
    gaussian = GaussianScore.fit(train)
    jacobian = (
        torch.func.jacrev(lambda v: gaussian.denoise(v[None], 0.5)[0])(gaussian.mean.reshape(2, 3, 6))
        .abs()
        .reshape(6, 6, 6, 6)
    )
    same_row = jacobian[range(6), :, range(6), :].numpy()
    apart = np.abs(np.subtract.outer(range(6), range(6)))
    expected = [same_row[:, apart == m].mean() for m in (1, 2, 3)]
    np.testing.assert_allclose(found.measured[0], expected, rtol=1e-6)
    assert (found.circulant <= found.bound + 1e-12).all()
    np.testing.assert_array_equal(found.distances, [1, 2, 3])


def test_points_are_refused() -> None:
    with pytest.raises(InputError, match="at least 2 pixels wide"):
        sensitivity(torch.zeros(5, 2), [1.0])
