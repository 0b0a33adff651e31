"""The panels' shares of variance where they are known."""

import pytest

import smoothscore as ss
from smoothscore.reproduce import reproduce


def test_a_gaussian_score_is_explained_by_its_gaussian():
    images = ss.load_images("digits").subset(120, 0)
    result = reproduce("gmm-panels", scale="quick", data=images, score=ss.GaussianScore.fit(images))
    rows = {row.quantity: row for row in result.rows}
    assert rows["Gaussian, most unexplained at sigma > 1.08"].ours < 1e-10
    assert rows["Gaussian, most unexplained at sigma > 1.08"].verdict == "hit"


@pytest.mark.slow
def test_the_empirical_score_is_not():
    images = ss.load_images("digits").subset(120, 0)
    result = reproduce("gmm-panels", scale="quick", data=images, score=ss.EmpiricalScore(images))
    rows = {row.quantity: row for row in result.rows}
    assert rows["unexplained by exact delta less by Gaussian, sigma = 0.1"].ours < -0.5
    assert rows["unexplained by exact delta less by Gaussian, sigma = 0.1"].verdict == "missed"
    assert rows["Gaussian, most unexplained at sigma > 1.08"].ours > 0.01
