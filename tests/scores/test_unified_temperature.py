"""Temperatures of the unified score: rules of the level, and perplexity."""

import math

import numpy as np
import pytest
import torch
from direct_sums import direct, draw, near

from smoothscore.schedules import log_uniform
from smoothscore.scores import temperature as temperature_rules
from smoothscore.scores.unified import UnifiedScore


def test_level_is_the_nearest_shell():
    centers = draw(6, 100) * 5
    score = UnifiedScore(centers, [0.01, 0.1, 50.0], "5/sigma")
    x = near(centers, 6, 0.3)
    expected = (x - centers).square().sum(1).div(98).sqrt()
    torch.testing.assert_close(score.level(x), expected)
    torch.testing.assert_close(score.temperature_at(x), 5 / expected)
    assert score.level(centers).tolist() == [0.01] * 6


@pytest.mark.parametrize(
    ("rule", "value"),
    [
        ("5/sigma", lambda s: (5 / s).clamp(min=1)),
        ("2.5 / sigma^2", lambda s: (2.5 / s**2).clamp(min=1)),
        ("sqrt(d)", lambda s: 0 * s + math.sqrt(30)),
        ("collapse:0.8", lambda s: (0.8 / s).clamp(min=1)),
        (lambda s: 3 * s, lambda s: 3 * s),
        (
            torch.tensor([9.0, 4.0, 2.0]),
            lambda s: torch.where(s < math.sqrt(0.5), 9.0, torch.where(s < math.sqrt(5), 4.0, 2.0)),
        ),
    ],
)
def test_rules_set_one_temperature_a_query(rule, value):
    centers, sigmas = draw(8, 30), torch.tensor([0.5, 1.0, 5.0], dtype=torch.float64)
    score = UnifiedScore(centers, sigmas, rule)
    x = torch.cat([near(centers, 4, 0.6), near(centers, 4, 2.0), near(centers, 4, 4.9)])
    temperature = value(score.level(x)).double()
    torch.testing.assert_close(score.temperature_at(x), temperature)
    _, expected, _ = direct(x, centers, sigmas, temperature)
    torch.testing.assert_close(score.score(x), expected, rtol=1e-8, atol=1e-9)


def test_a_vector_follows_the_order_of_the_levels():
    centers = draw(8, 30)
    x = torch.cat([near(centers, 4, 0.5), near(centers, 4, 1.0), near(centers, 4, 5.0)])
    up = UnifiedScore(centers, [0.5, 1.0, 5.0], torch.tensor([9.0, 4.0, 2.0]))
    down = UnifiedScore(centers, [5.0, 1.0, 0.5], torch.tensor([2.0, 4.0, 9.0]))
    listed = UnifiedScore(centers, [5.0, 1.0, 0.5], [2.0, 4.0, 9.0])
    array = UnifiedScore(centers, [5.0, 1.0, 0.5], np.array([2.0, 4.0, 9.0]))
    assert len(up.temperature_at(x).unique()) > 1
    for other in (down, listed, array):
        torch.testing.assert_close(up.score(x), other.score(x))
        torch.testing.assert_close(up.temperature_at(x), other.temperature_at(x))


@pytest.mark.parametrize("number", [7, np.float32(7), np.int64(7), torch.tensor(7.0)])
def test_any_single_number_is_a_constant_temperature(number):
    centers, x = draw(8, 30), near(draw(8, 30), 8, 1.0)
    score, expected = (UnifiedScore(centers, [0.5, 1.0, 5.0], heat) for heat in (number, 7.0))
    torch.testing.assert_close(score.log_density(x), expected.log_density(x))


def test_collapse_is_where_the_own_center_may_not_be_the_nearest():
    """Below the level of the rule the generating center is the nearest in at least 99 % of the draws."""
    centers = draw(200, 50)
    score = UnifiedScore(centers, log_uniform(30, 0.05, 20), "collapse")
    x = near(centers, 200, 0.05)
    level = float((score.temperature_at(x) * score.level(x)).mean())
    noisy = centers.repeat(20, 1) + level * draw(4000, 50, seed=8)
    own = torch.cdist(noisy, centers).argmin(1) == torch.arange(200).repeat(20)
    assert own.double().mean() > 0.99


@pytest.mark.parametrize("perplexity", [1.0, 2.0, 7.5, 39.0])
@pytest.mark.parametrize("neighbors", [None, 40])
def test_perplexity_is_the_effective_number_of_centers(perplexity, neighbors):
    centers = draw(40, 20)
    score = UnifiedScore(centers, log_uniform(20, 0.05, 20), f"perplexity:{perplexity}", neighbors)
    x = near(centers, 30, 0.2)
    posterior = score.posterior(x)
    plain = UnifiedScore(centers, log_uniform(20, 0.05, 20), 1.0, neighbors).posterior(x)
    sharp = plain.effective_number < perplexity
    assert sharp.any() or perplexity == 1
    wanted = torch.full_like(posterior.effective_number, perplexity)[sharp]
    torch.testing.assert_close(posterior.effective_number[sharp], wanted, rtol=1e-6, atol=0)
    assert (score.temperature_at(x)[~sharp] == 1).all()


def test_more_centers_than_there_are_means_all_of_them():
    score = UnifiedScore(draw(4, 6), [0.1, 1.0], "perplexity:50")
    torch.testing.assert_close(score.weights(draw(3, 6)), torch.full((3, 4), 0.25).double())


def test_a_row_that_has_its_perplexity_keeps_it_while_others_are_searched(monkeypatch):
    """Newton's last steps leave the bracket by rounding; were they then halved, the search would begin again."""
    generator = torch.Generator().manual_seed(0)
    r2 = 200 + 300 * torch.rand(128, 31, generator=generator, dtype=torch.float64)
    r2[:, 0] = 0
    sigma = (1.2 * torch.randn(128, 1, generator=generator, dtype=torch.float64) - 1.2).exp()
    rounds, entropy = [], temperature_rules._entropy
    monkeypatch.setattr(temperature_rules, "_entropy", lambda *given: rounds.append(1) or entropy(*given))
    logits = -r2 / (2 * sigma**2)
    heat = temperature_rules.perplexity_temperature(logits, 4.0)
    found = torch.special.entr(torch.softmax(logits / heat[:, None], 1)).sum(1).exp()
    torch.testing.assert_close(found[heat > 1], torch.full_like(found[heat > 1], 4.0))
    assert len(rounds) < 25
