"""The curves' entries on small data, against the definitions written out; numbers on CIFAR-10 when it is at hand."""

import math

import numpy as np
import pytest
import torch
from scipy.stats import ncx2

import smoothscore as ss
from smoothscore import InputError
from smoothscore.geometry.shells import Shell
from smoothscore.reproduce import reproduce
from smoothscore.reproduce.geometry_curves import pair_bound
from smoothscore.reproduce.geometry_thresholds import printed_thresholds


def rows_of(result):
    return {row.quantity: row for row in result.rows}


@pytest.fixture(scope="module")
def digits():
    return ss.load_images("digits")


def test_thresholds_are_the_roots_of_their_quadratics():
    least, most = printed_thresholds(np.array([1.0]), np.array([1.0]), 1000, 0.95, 0.05)
    assert least[0] == pytest.approx(0.102117, rel=1e-5)
    assert most[0] == pytest.approx(0.497029, rel=1e-5)


def test_promises_of_the_theorem_hold_and_are_tried(digits):
    result = reproduce("weight-thresholds", "quick", data=digits)
    tried = [row for row in result.rows if "share of the noises" in row.quantity]
    assert len(tried) == 2 + 2 * 3
    assert all(row.verdict == "hit" for row in tried)
    rows = rows_of(result)
    assert (
        rows["above 0.95 with probability 0.99: sigma up to"].ours
        < rows["above 0.95 with probability 0.95: sigma up to"].ours
    )
    for p in (0.05, 0.1, 0.5):
        sharp = rows[f"the same from the best number of nearest images, p = {p}"].ours
        assert sharp < rows[f"below {p} with probability 0.95: sigma from"].ours


def test_pair_bound_is_the_mean_overlap_of_random_pairs(digits):
    """Two images only: every pair has their distance, and the overlap is drawn from its definition."""
    two = digits[[0, 5]]
    distance = float((two.tensor()[0] - two.tensor()[1]).norm())
    sigmas = distance / np.array([2.0, 5.0, 9.0])
    bound = pair_bound(two, 1, sigmas, 50, 0)
    shell = Shell.laurent_massart(64, 5.0)
    rng = np.random.default_rng(1)
    z = rng.standard_normal((40_000, 64))
    for value, delta in zip(bound, distance / sigmas, strict=True):
        moved = z.copy()
        moved[:, 0] += delta
        inside = shell.contains(np.linalg.norm(z, axis=1), 1) & shell.contains(np.linalg.norm(moved, axis=1), 1)
        assert value == pytest.approx(min(inside.mean() + 2 * math.exp(-5), 1), abs=1e-2)
        single = ncx2.cdf(shell.outer**2, 64, delta**2) - ncx2.cdf(shell.inner**2, 64, delta**2)
        assert value <= min(single + 2 * math.exp(-5), 1) + 1e-6


def test_bounds_enclose_the_coverage(digits):
    rows = rows_of(reproduce("coverage-bounds", "quick", data=digits))
    assert rows["levels where the lower bound holds"].verdict == "hit"
    assert rows["levels where the upper bound holds"].verdict == "hit"
    order = [rows[f"noise level of half for the {name}"].ours for name in ("upper bound", "coverage", "lower bound")]
    assert order == sorted(order)


def test_curves_of_digits_have_two_calm_ends(digits):
    first, second = digits.split((800, 200))
    result = reproduce("danger-zone", "quick", data=first, held_out=second)
    rows = rows_of(result)
    for end in ("least noise: weight", "least noise: coverage", "most noise: weight", "most noise: coverage"):
        assert rows[end].verdict == "hit"
    assert rows["own weight, where the largest is 0.1"].ours < 0.1
    assert result.setting()["images"] == 800
    assert result.setting()["held out"].startswith("200 of")
    assert len(result.blocks) == 3


@pytest.mark.parametrize(
    "name",
    [
        "coverage-bounds",
        "danger-zone",
        "danger-zone-automobiles",
        "denoising-error",
        "far-field",
        "gaussian-paths",
        "weight-thresholds",
    ],
)
def test_entries_without_built_in_data_ask_for_them(name):
    with pytest.raises(InputError, match="data="):
        reproduce(name, "quick")


def test_a_class_needs_labels(digits):
    with pytest.raises(InputError, match="class 1"):
        reproduce("danger-zone-automobiles", "quick", data=torch.zeros(8, 3, 4, 4))
    result = reproduce("danger-zone-automobiles", "quick", data=digits)
    assert result.setting()["images"] <= int((digits.labels == 1).sum())


def test_the_empirical_optimum_copies_at_low_noise_and_a_gaussian_does_not(digits):
    few = digits.subset(160, 0)
    result = reproduce("denoising-error", "quick", data=few, score=ss.GaussianScore.fit(few))
    assert rows_of(result)["largest noise: copies among one-step outputs"].verdict == "hit"
    table = result.blocks[-1]
    lines = {name: [float(row[i]) for row in table.rows] for i, name in enumerate(table.columns)}
    assert lines["empirical, copies"][-1] > 0.9
    assert max(lines["given, copies"]) < 0.2
    assert lines["empirical, training error"][-1] < 1e-4 < lines["empirical, held-out error"][-1]
    with pytest.raises(InputError, match="shape"):
        reproduce("denoising-error", "quick", data=few, score=ss.EmpiricalScore(torch.zeros(2, 1, 5, 5)))


@pytest.mark.slow
def test_numbers_on_cifar(cifar_train, cifar_test):
    rows = rows_of(reproduce("danger-zone", data=cifar_train, held_out=cifar_test))
    assert rows["danger zone, low end"].ours == pytest.approx(1.89, abs=0.15)
    assert rows["danger zone, high end"].ours == pytest.approx(4.24, abs=0.3)
    rows = rows_of(reproduce("weight-thresholds", "quick", data=cifar_train))
    assert rows["above 0.95 with probability 0.95: sigma up to"].ours == pytest.approx(2.27, abs=0.1)
