import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from numpy.typing import NDArray
from scipy.linalg import sqrtm

from smoothscore.errors import InputError
from smoothscore.memorization import frechet, frechet_distance, moments


def features(seed: int, n: int, f: int) -> NDArray[np.float64]:
    rng = np.random.default_rng(seed)
    return rng.normal(size=(n, f)) @ rng.normal(size=(f, f)) + rng.normal(size=f)


def by_definition(a: NDArray[np.float64], b: NDArray[np.float64]) -> float:
    first, second = np.atleast_2d(np.cov(a.T)), np.atleast_2d(np.cov(b.T))
    root = sqrtm(first @ second).real
    return float(np.square(a.mean(0) - b.mean(0)).sum() + np.trace(first) + np.trace(second) - 2 * np.trace(root))


@settings(max_examples=20, deadline=None)
@given(seed=st.integers(0, 10**6), f=st.integers(1, 30), more=st.integers(2, 100))
def test_agrees_with_the_definition_at_full_rank(seed: int, f: int, more: int) -> None:
    a, b = features(seed, f + more, f), features(seed + 1, 2 * f + more, f)
    assert frechet_distance(moments(a), moments(b)) == pytest.approx(by_definition(a, b), rel=1e-6)


def test_closed_form_of_diagonal_covariances() -> None:
    """Sets made to have exactly these moments: whitened noise, scaled and moved."""
    raw = np.random.default_rng(0).normal(size=(500, 4))
    raw -= raw.mean(0)
    white = raw @ np.linalg.inv(np.linalg.cholesky(np.cov(raw.T)).T)
    first, second, shift = np.array([1.0, 2.0, 0.5, 3.0]), np.array([2.0, 0.1, 0.5, 1.0]), np.arange(4.0)
    found = frechet_distance(moments(white * first), moments(white * second + shift))
    assert found == pytest.approx(np.square(first - second).sum() + np.square(shift).sum(), rel=1e-10)


def test_fewer_images_than_dimensions() -> None:
    """Adding dimensions without variance, in a turned frame, changes nothing; nor does rank deficiency make noise."""
    a, b = features(1, 30, 12), features(2, 40, 12)
    turn = np.linalg.qr(np.random.default_rng(3).normal(size=(200, 200)))[0][:12]
    plain = frechet_distance(moments(a), moments(b))
    assert frechet_distance(moments(a @ turn), moments(b @ turn)) == pytest.approx(plain, rel=1e-9)
    few = a[:8]
    assert frechet_distance(moments(few @ turn), moments(few @ turn)) < 1e-9 * np.square(few).sum()


@settings(max_examples=15, deadline=None)
@given(seed=st.integers(0, 10**6), n=st.integers(2, 30), m=st.integers(2, 30))
def test_symmetric_and_moved_by_the_square_of_a_shift(seed: int, n: int, m: int) -> None:
    a, b = features(seed, n, 10), features(seed + 1, m, 10)
    forth, back = frechet_distance(moments(a), moments(b)), frechet_distance(moments(b), moments(a))
    assert forth == pytest.approx(back, rel=1e-9, abs=1e-9)
    assert frechet_distance(moments(a), moments(a + 3)) == pytest.approx(90, rel=1e-9)


def test_one_image_has_no_covariance() -> None:
    with pytest.raises(InputError, match="at least two"):
        moments(np.zeros((1, 3)))


def test_moments_in_parts_are_those_of_the_whole(monkeypatch: pytest.MonkeyPatch) -> None:
    a = features(5, 103, 7)
    whole = moments(a)
    monkeypatch.setattr(frechet, "ROWS", 10)
    parts = moments(a)
    np.testing.assert_allclose(parts.factor.T @ parts.factor, np.cov(a.T), rtol=1e-10, atol=1e-10)
    np.testing.assert_allclose(whole.factor.T @ whole.factor, np.cov(a.T), rtol=1e-10, atol=1e-10)
    assert parts.factor.shape == (7, 7)
