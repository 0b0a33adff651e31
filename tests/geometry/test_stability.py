"""Expansiveness and gain over levels against dense matrices and the closed form of two images."""

import numpy as np
import pytest
import torch
from torch import Tensor

from smoothscore.geometry import conditional_expansion, stability
from smoothscore.geometry.expansiveness import expansion_pairs, expansion_ratio, local_expansion
from smoothscore.geometry.far_field import noised
from smoothscore.scores import EmpiricalScore, Score


def test_gain_is_the_largest_eigenvalue_of_the_weighted_covariance() -> None:
    train = torch.randn(12, 5, generator=torch.Generator().manual_seed(0))
    found = stability(train, [0.3, 1.0, 4.0], seed=2, points=3, pairs=4)
    assert found is not None
    clean, noise = noised(train, 3, 2)
    for level, sigma in enumerate((0.3, 1.0, 4.0)):
        values = []
        for x in clean.double() + sigma * noise.double():
            y = train.double()
            w = torch.softmax(-(x - y).square().sum(1) / (2 * sigma**2), 0)
            apart = y - w @ y
            values.append(float(torch.linalg.eigvalsh((w[:, None] * apart).T @ apart / sigma**2)[-1]))
        assert found.gain.mean[level] == pytest.approx(np.mean(values), rel=1e-6, abs=1e-9)


def test_two_images_expand_as_in_closed_form() -> None:
    train = torch.zeros(2, 64)
    train[1] = 0.5
    found = stability(train, [0.4, 1.0, 3.0], points=2, pairs=3)
    assert found is not None
    expected = [float(conditional_expansion(4.0, sigma)) for sigma in (0.4, 1.0, 3.0)]
    np.testing.assert_allclose(found.expansion.mean, expected, rtol=1e-6)


def test_levels_at_which_shells_do_not_meet_are_left_open() -> None:
    train = torch.tensor([[0.0, 0.0], [1.0, 0.0]])
    found = stability(train, [0.01, 1.0], pairs=2)
    assert found is not None
    assert np.isnan(found.expansion.mean[0])
    assert np.isfinite(found.expansion.mean[1])


def test_one_image_has_no_pairs() -> None:
    assert stability(torch.zeros(3, 4), [1.0]) is None


class Plain(Score):
    """The empirical score without its closed-form Jacobian: products with it are differentiated forward."""

    def __init__(self, train: Tensor) -> None:
        super().__init__(train.shape[1:])
        self.empirical = EmpiricalScore(train)

    def score(self, x: Tensor, sigma: float | Tensor | None = None) -> Tensor:
        return self.empirical.score(x, sigma)


@pytest.mark.parametrize("kind", [EmpiricalScore, Plain])
def test_a_score_under_examination_reproduces_the_closed_form_curves(kind: type[Score]) -> None:
    train = torch.randn(12, 5, generator=torch.Generator().manual_seed(0))
    levels = [0.3, 1.0, 4.0]
    expected, found = stability(train, levels), stability(train, levels, score=kind(train))
    assert expected is not None
    assert found is not None
    for name in ("expansion", "local", "gain"):
        mean = getattr(expected, name).mean
        assert np.isfinite(mean).all()
        np.testing.assert_allclose(getattr(found, name).mean, mean, rtol=2e-4, err_msg=name)


def test_points_ever_closer_expand_by_the_jacobian() -> None:
    train = torch.randn(6, 8, generator=torch.Generator().manual_seed(1)).double()
    score = EmpiricalScore(train)
    pairs = expansion_pairs(train[:3], train[3:], 1.5, gap=1e-4)
    near = expansion_ratio(score, pairs.x, pairs.y, 1.5)
    torch.testing.assert_close(local_expansion(score, pairs.x, pairs.y, 1.5), near, rtol=1e-5, atol=0)
    two = torch.zeros(2, 64).double()
    two[1] = 0.5
    found = stability(two, [1.0, 3.0], pairs=2)
    assert found is not None
    np.testing.assert_allclose(found.local.mean, [0.9 + 0.1 * 4, 0.9 + 0.1 * 4 / 9], rtol=1e-6)
