"""Shell masses and overlaps against printed values, scipy's distributions and simulation."""

import math

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from scipy.integrate import dblquad
from scipy.stats import chi2, ncx2

from smoothscore.errors import InputError
from smoothscore.geometry.shells import OverlapTable, Shell, shell_overlap

DIMS = (2, 3, 16, 100, 3072, 100_000)


@pytest.mark.parametrize(
    ("dim", "mass"),
    [
        (50, 0.9974405),
        (100, 0.9973713),
        (500, 0.9973146),
        (1000, 0.9973074),
        (3072, 0.9973025),
        (12288, 0.9973008),
    ],
)
def test_three_sigma_mass(dim: int, mass: float) -> None:
    assert Shell.three_sigma(dim).mass == pytest.approx(mass, abs=6e-8)


@pytest.mark.parametrize(("dim", "mass"), [(1024, 0.998938), (3072, 0.998746), (12288, 0.998598)])
def test_laurent_massart_mass(dim: int, mass: float) -> None:
    shell = Shell.laurent_massart(dim)
    assert shell.mass == pytest.approx(mass, abs=6e-7)
    assert shell.mass >= 1 - 2 * math.exp(-5)
    assert shell.overlap(0.0) == pytest.approx(shell.mass, abs=1e-12)


def test_radii_at_cifar_size() -> None:
    shell = Shell.laurent_massart(3072)
    assert (shell.inner, shell.outer) == (pytest.approx(53.143, abs=6e-4), pytest.approx(57.705, abs=6e-4))
    np.testing.assert_array_equal(shell.contains([53.0, 55.0, 58.0], 1.0), [False, True, False])
    np.testing.assert_array_equal(shell.contains(110.0, [1.0, 2.0]), [False, True])


@pytest.mark.parametrize(
    ("separation", "both", "other"),
    [
        (2, 0.998596, 0.998710),
        (5, 0.997449, 0.997850),
        (10, 0.972517, 0.973104),
        (15, 0.654391, 0.654983),
        (20, 0.051061, 0.051651),
        (22.5, 0.002128, 0.002516),
    ],
)
def test_overlaps_at_cifar_size(separation: float, both: float, other: float) -> None:
    assert shell_overlap(3 * separation, 3.0, 3072) == pytest.approx(both, abs=6e-7)
    assert shell_overlap(separation / 2, 0.5, 3072, own_shell=False) == pytest.approx(other, abs=6e-7)


def test_far_tail() -> None:
    assert shell_overlap(40.0, 1.0, 3072) == pytest.approx(1.26816e-51, rel=1e-5)


@pytest.mark.parametrize("dim", DIMS)
def test_other_shell_is_the_noncentral_chi_square(dim: int) -> None:
    shell, separations = Shell.laurent_massart(dim), np.linspace(0.01, 60, 60)
    expected = ncx2.cdf(shell.outer**2, dim, separations**2) - ncx2.cdf(shell.inner**2, dim, separations**2)
    np.testing.assert_allclose(shell_overlap(separations, 1.0, dim, own_shell=False), expected, atol=1e-11)


@pytest.mark.parametrize(("dim", "t"), [(2, 5.0), (3, 0.2), (20, 0.2)])
def test_both_shells_by_two_dimensional_integration(dim: int, t: float) -> None:
    """Over the noise along the line and the radius across it; in thin shells the integrand has edges."""
    shell, separation = Shell.laurent_massart(dim, t), 1.7
    a, b = shell.inner**2, shell.outer**2

    def low(z: float) -> float:
        return max(a - z**2, a - (z + separation) ** 2, 0.0)

    def high(z: float) -> float:
        return max(low(z), b - max(z**2, (z + separation) ** 2))

    ends = -shell.outer - separation, shell.outer
    # squared radius s across the line, by its root so that the density has no pole for dim = 2
    value, _ = dblquad(
        lambda r, z: chi2.pdf(r * r, dim - 1) * 2 * r * math.exp(-z * z / 2) / math.sqrt(2 * math.pi),
        *ends,
        lambda z: math.sqrt(low(z)),
        lambda z: math.sqrt(high(z)),
        epsabs=1e-7,
    )
    assert shell_overlap(separation, 1.0, dim, t) == pytest.approx(value, abs=3e-6)


def test_both_shells_by_simulation() -> None:
    dim, draws = 64, 100_000
    z = np.random.default_rng(0).standard_normal((draws, dim))
    shell = Shell.laurent_massart(dim, 2.0)
    own = shell.contains(np.linalg.norm(z, axis=1), 1.0)
    for separation in (3.0, 6.0, 9.0):
        moved = z.copy()
        moved[:, 0] += separation
        share = (own & shell.contains(np.linalg.norm(moved, axis=1), 1.0)).mean()
        error = math.sqrt(share * (1 - share) / draws)
        assert abs(shell_overlap(separation, 1.0, dim, 2.0) - share) < 4 * error


@pytest.mark.parametrize(("dim", "half"), [(1024, 12.401), (3072, 16.077), (12288, 22.498)])
def test_where_half_is_shared(dim: int, half: float) -> None:
    assert shell_overlap(half, 1.0, dim) == pytest.approx(0.5, abs=1e-4)


@settings(max_examples=25, deadline=None)
@given(st.integers(2, 20_000), st.floats(0.05, 8), st.floats(0, 60), st.floats(0, 60))
def test_overlap_falls_with_distance_and_own_shell_only_removes(dim: int, t: float, x: float, y: float) -> None:
    near, far = sorted((x, y))
    shell = Shell.laurent_massart(dim, t)
    both = shell.overlap([near, far])
    assert both[0] >= both[1] - 1e-9
    assert (both <= shell.overlap([near, far], own_shell=False) + 1e-9).all()


@pytest.mark.parametrize("own_shell", [True, False])
@pytest.mark.parametrize("dim", DIMS)
def test_table_is_the_overlap(dim: int, own_shell: bool) -> None:
    shell = Shell.laurent_massart(dim)
    separations = np.random.default_rng(0).uniform(0, 90, 300)
    exact = shell.overlap(separations, own_shell)
    np.testing.assert_allclose(OverlapTable.of(shell, own_shell)(separations), exact, atol=1e-6)


def test_shapes() -> None:
    assert isinstance(shell_overlap(1.0, 2.0, 10), float)
    distances, levels = np.ones((3, 1)), np.ones(4)
    assert np.shape(shell_overlap(distances, levels, 10)) == (3, 4)
    assert np.shape(shell_overlap(np.ones(0), 1.0, 10)) == (0,)


@pytest.mark.parametrize(
    ("arguments", "words"),
    [
        ((1.0, 1.0, 1), "at least 2"),
        ((-1.0, 1.0, 10), "negative"),
        ((math.nan, 1.0, 10), "not finite"),
        ((1.0, 0.0, 10), "above 0"),
        ((1.0, 1.0, 10, 0.0), "t is 0.0"),
    ],
)
def test_mistakes_are_named(arguments: tuple[float, float, int], words: str) -> None:
    with pytest.raises(InputError, match=words):
        shell_overlap(*arguments)
