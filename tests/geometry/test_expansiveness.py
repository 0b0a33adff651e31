"""The construction of the points, and the closed forms against a step of the scores themselves."""

import math

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from torch import Tensor

from smoothscore import EmpiricalScore, GaussianScore, InputError, Score, UnifiedScore, schedules
from smoothscore.geometry.expansiveness import (
    conditional_expansion,
    expansion_pairs,
    expansion_ratio,
    unconditional_expansion,
)


def normal(*shape: int, seed: int = 0) -> Tensor:
    return torch.from_numpy(np.random.default_rng(seed).standard_normal(shape))


def two_images(dim: int, distance: float, seed: int) -> tuple[Tensor, Tensor]:
    first, direction = normal(1, dim, seed=seed), normal(1, dim, seed=seed + 1)
    return first, first + distance * direction / direction.norm()


class Tempered(Score):
    """The two-center score at temperature T, which is the denoiser at sqrt(T) sigma."""

    def __init__(self, centers: Tensor, temperature: float) -> None:
        super().__init__(centers.shape[1:])
        self.plain, self.root = EmpiricalScore(centers), math.sqrt(temperature)

    def denoise(self, x, sigma):
        return self.plain.denoise(x, self.root * sigma)


@given(
    dim=st.integers(3, 60),
    distance=st.floats(0.5, 10),
    sigma=st.floats(0.3, 5),
    gap=st.floats(0.01, 0.5),
    seed=st.integers(0, 999),
)
@settings(max_examples=25, deadline=None)
def test_points_lie_on_the_two_shells(dim, distance, sigma, gap, seed):
    first, second = two_images(dim, distance, seed)
    pairs = expansion_pairs(first, second, sigma, gap, seed)
    epsilon = gap * sigma
    if sigma * math.sqrt(dim) < abs(distance - epsilon) / 2:
        assert len(pairs.index) == 0
        return
    near, far = sigma * math.sqrt(dim), math.sqrt(sigma**2 * dim + epsilon * distance)
    for point, close, other in ((pairs.x, second, first), (pairs.y, first, second)):
        assert float((point - close).norm()) == pytest.approx(near, rel=1e-9)
        assert float((point - other).norm()) == pytest.approx(far, rel=1e-9)
    assert torch.allclose(pairs.y - pairs.x, epsilon * (first - second) / distance, atol=1e-9)


@pytest.mark.parametrize("sigma", [0.5, 1.0, 3.0])
@pytest.mark.parametrize("temperature", [1.0, 10.0, 300.0])
def test_closed_forms_are_what_a_step_of_the_scores_does(sigma, temperature):
    dim, distance = 300, 9.0
    first, second = two_images(dim, distance, seed=5)
    pairs = expansion_pairs(first, second, sigma, seed=1)
    centers = torch.cat([first, second])
    conditional = expansion_ratio(Tempered(centers, temperature), pairs.x, pairs.y, sigma)
    assert float(conditional) == pytest.approx(conditional_expansion(distance, sigma, temperature), rel=1e-8)
    levels = schedules.log_uniform(10, 1e-3, 1e3)
    score = UnifiedScore(centers, levels, temperature=temperature, optimal_shell="continuous")
    unconditional = expansion_ratio(score, pairs.x, pairs.y, sigma)
    assert float(unconditional) == pytest.approx(unconditional_expansion(distance, sigma, dim, temperature), rel=1e-8)


@pytest.mark.parametrize(
    ("sigma", "conditional", "unconditional"),
    [(0.21, 54.435, (54.401, 27.094, 3.926, 1.370)), (1.0, 9.996, (9.986, 2.164, 1.034, 0.921))],
)
def test_worked_example(sigma, conditional, unconditional):
    """Values worked out beforehand for d = 3,072 and images at distance 22.486, which is itself rounded."""
    assert conditional_expansion(22.486, sigma) == pytest.approx(conditional, abs=1e-3)
    for temperature, value in zip((1, 10, 100, 1000), unconditional, strict=True):
        assert unconditional_expansion(22.486, sigma, 3072, temperature) == pytest.approx(value, abs=1e-3)


def test_hot_limit_is_pure_contraction():
    assert conditional_expansion(5.0, 0.3, temperature=1e12, step=0.25) == pytest.approx(0.75)


@given(scale=st.floats(0.1, 10), distance=st.floats(0.1, 30), sigma=st.floats(0.1, 10), temperature=st.floats(1, 1e4))
@settings(max_examples=25, deadline=None)
def test_ratios_do_not_depend_on_the_unit(scale, distance, sigma, temperature):
    for law, extra in ((conditional_expansion, ()), (unconditional_expansion, (3072,))):
        plain, scaled = (law(s * distance, s * sigma, *extra, temperature) for s in (1, scale))
        assert scaled == pytest.approx(plain, rel=1e-9)


def test_linear_score_has_the_ratio_of_its_slope():
    """For N(0, v I) every direction contracts by 1 - step sigma^2 / (v + sigma^2)."""
    variance, sigma, step = 0.7, 0.4, 0.3
    score = GaussianScore(torch.zeros(6, dtype=torch.float64), variance * torch.eye(6, dtype=torch.float64))
    ratio = expansion_ratio(score, normal(5, 6), normal(5, 6, seed=1), sigma, step)
    assert torch.allclose(ratio, torch.full_like(ratio, 1 - step * sigma**2 / (variance + sigma**2)), rtol=1e-8)


def test_images_keep_their_shape_and_pairs_their_index():
    first = normal(4, 1, 5, 5)
    second = first + torch.tensor([0.1, 9.0, 0.2, 9.0], dtype=torch.float64)[:, None, None, None]
    pairs = expansion_pairs(first, second, sigma=1.0)
    assert pairs.index.tolist() == [0, 2]
    assert pairs.x.shape == pairs.y.shape == (2, 1, 5, 5)


@pytest.mark.parametrize(
    ("second", "sigma", "message"),
    [(normal(3, 4), 1.0, "same image"), (normal(2, 4), 1.0, "pair them"), (normal(3, 4, seed=1), 0.0, "positive")],
)
def test_mistakes_are_named(second, sigma, message):
    with pytest.raises(InputError, match=message):
        expansion_pairs(normal(3, 4), second, sigma)
