"""The panels' shares of variance where they are known."""

import numpy as np
import pytest

import smoothscore as ss
from smoothscore.geometry import unexplained_variance
from smoothscore.reproduce import reproduce
from smoothscore.reproduce.idealized import gaussians, shares


def test_shares_are_the_unexplained_variances_of_each_reference():
    images = ss.load_images("digits").subset(120, 0)
    score, references = ss.EmpiricalScore(images), gaussians(images, 0)
    found = shares(score, references, images, (0.3, 4.0), 3, 20)
    assert list(found) == ["isotropic", "Gaussian", "mixture"]
    for name, reference in references.items():
        curve = unexplained_variance(score, reference, images, (0.3, 4.0), 3, 20)
        assert np.array_equal(found[name].mean, curve.mean)
        assert np.array_equal(found[name].stderr, curve.stderr)


def test_a_gaussian_score_is_explained_by_its_gaussian():
    images = ss.load_images("digits").subset(120, 0)
    result = reproduce("gmm-panels", scale="quick", data=images, score=ss.GaussianScore.fit(images))
    rows = {row.quantity: row for row in result.rows}
    assert rows["Gaussian, most unexplained at sigma > 1.08"].ours < 1e-10
    assert rows["Gaussian, most unexplained at sigma > 1.08"].verdict == "hit"
    mixed = {row[0]: [float(value) for value in row[1:]] for row in result.blocks[2].rows}
    assert max(mixed["1, rank full"]) < 1e-10
    assert mixed["1, rank 64"] == pytest.approx(mixed["1, rank full"], abs=1e-10)  # no more than 64 values
    assert min(mixed["20, rank full"]) > 1e-6


@pytest.mark.slow
def test_the_empirical_score_is_not():
    images = ss.load_images("digits").subset(120, 0)
    result = reproduce("gmm-panels", scale="quick", data=images, score=ss.EmpiricalScore(images))
    rows = {row.quantity: row for row in result.rows}
    assert rows["unexplained by exact delta less by Gaussian, sigma = 0.1"].ours < -0.5
    assert rows["unexplained by exact delta less by Gaussian, sigma = 0.1"].verdict == "missed"
    assert rows["Gaussian, most unexplained at sigma > 1.08"].ours > 0.01
