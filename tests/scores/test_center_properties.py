"""What every score over centers must satisfy: order, units, duplicates, and its limits."""

from collections.abc import Callable

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from torch import Tensor

from smoothscore.schedules import log_uniform
from smoothscore.scores.base import Score
from smoothscore.scores.empirical import EmpiricalScore
from smoothscore.scores.gaussian_mixture import GaussianMixtureScore
from smoothscore.scores.mollified import MollifiedScore
from smoothscore.scores.unified import UnifiedScore

SIGMA = 0.4
Make = Callable[[Tensor, float, int], Score]


def unified(centers: Tensor, scale: float, **options: object) -> UnifiedScore:
    return UnifiedScore(centers, log_uniform(8, 0.1, 10) * scale, **options)  # type: ignore[arg-type]


MAKERS: dict[str, Make] = {
    "empirical": lambda c, scale, copies: EmpiricalScore(c),
    "unified": lambda c, scale, copies: unified(c, scale),
    "temperature": lambda c, scale, copies: unified(c, scale, temperature=5.0),
    "nearest level": lambda c, scale, copies: unified(c, scale, temperature=5.0, optimal_shell=True),
    "continuous": lambda c, scale, copies: unified(c, scale, temperature=5.0, optimal_shell="continuous"),
    "rule": lambda c, scale, copies: unified(c, scale, temperature=f"{4 * scale}/sigma"),
    "collapse": lambda c, scale, copies: unified(c, scale, temperature=f"collapse:{2 * scale}"),
    "perplexity": lambda c, scale, copies: unified(c, scale, temperature=f"perplexity:{3 * copies}"),
    "neighbors": lambda c, scale, copies: unified(c, scale, temperature=5.0, neighbors=4 * copies),
    "mollified": lambda c, scale, copies: MollifiedScore(EmpiricalScore(c), 0.3 * scale, samples=8),
    "larger time": lambda c, scale, copies: MollifiedScore(EmpiricalScore(c), 0.3 * scale, approximation="larger-time"),
    "points without spread": lambda c, scale, copies: GaussianMixtureScore(
        torch.ones(len(c)), c, [torch.zeros(c.shape[1], 0)] * len(c)
    ),
}


def points(seed: int, count: int, dim: int) -> tuple[Tensor, Tensor]:
    """Centers, and queries near the first of them."""
    generator = torch.Generator().manual_seed(seed)
    centers = torch.randn(count, dim, generator=generator, dtype=torch.float64)
    return centers, centers[:4] + SIGMA * torch.randn(4, dim, generator=generator, dtype=torch.float64)


def agree(one: Tensor, other: Tensor) -> None:
    """To 1e-6 of the largest entry, which is what tables over levels promise."""
    torch.testing.assert_close(one, other, rtol=1e-6, atol=1e-6 * float(other.abs().max()))


@pytest.mark.parametrize("name", MAKERS)
@given(seed=st.integers(0, 1000), count=st.integers(5, 30), dim=st.sampled_from([1, 3, 12]))
@settings(max_examples=5, deadline=None)
def test_order_of_centers_does_not_matter(name: str, seed: int, count: int, dim: int) -> None:
    centers, x = points(seed, count, dim)
    order = torch.randperm(count, generator=torch.Generator().manual_seed(seed))
    agree(MAKERS[name](centers[order], 1.0, 1).score(x, SIGMA), MAKERS[name](centers, 1.0, 1).score(x, SIGMA))


@pytest.mark.parametrize("name", MAKERS)
@given(seed=st.integers(0, 1000), scale=st.floats(0.05, 50), shift=st.floats(-5, 5))
@settings(max_examples=5, deadline=None)
def test_moved_and_scaled_data_have_a_moved_and_scaled_score(name: str, seed: int, scale: float, shift: float) -> None:
    centers, x = points(seed, 12, 5)
    here = MAKERS[name](centers, 1.0, 1).score(x, SIGMA)
    there = MAKERS[name](scale * (centers + shift), scale, 1).score(scale * (x + shift), scale * SIGMA)
    agree(scale * there, here)


@pytest.mark.parametrize("name", MAKERS)
@given(seed=st.integers(0, 1000), copies=st.integers(2, 4))
@settings(max_examples=4, deadline=None)
def test_copies_of_all_centers_change_nothing(name: str, seed: int, copies: int) -> None:
    centers, x = points(seed, 10, 6)
    agree(
        MAKERS[name](centers.repeat(copies, 1), 1.0, copies).score(x, SIGMA),
        MAKERS[name](centers, 1.0, 1).score(x, SIGMA),
    )


@given(counts=st.lists(st.integers(1, 5), min_size=5, max_size=12), seed=st.integers(0, 1000))
@settings(max_examples=8, deadline=None)
def test_duplicates_are_weights(counts: list[int], seed: int) -> None:
    centers, x = points(seed, len(counts), 4)
    repeated = EmpiricalScore(centers.repeat_interleave(torch.tensor(counts), 0))
    weighted = EmpiricalScore(centers, weights=torch.tensor(counts, dtype=torch.float64))
    for smooth in (lambda s: s, lambda s: MollifiedScore(s, 0.3, samples=8)):
        agree(smooth(repeated).score(x, SIGMA), smooth(weighted).score(x, SIGMA))
        agree(smooth(repeated).log_density(x, SIGMA), smooth(weighted).log_density(x, SIGMA))
    mixture = GaussianMixtureScore(torch.tensor(counts), centers, [torch.zeros(4, 0)] * len(counts))
    agree(mixture.score(x, SIGMA), weighted.score(x, SIGMA))


@pytest.mark.parametrize("name", ["empirical", "mollified", "larger time", "points without spread"])
def test_at_very_high_noise_the_denoiser_is_the_mean(name: str) -> None:
    centers, x = points(0, 20, 6)
    found = MAKERS[name](centers, 1.0, 1).denoise(x, 1e6)
    torch.testing.assert_close(found, centers.mean(0).expand(4, -1), rtol=0, atol=1e-9)


@pytest.mark.parametrize("options", [{}, {"temperature": 7.0}, {"temperature": "perplexity:3"}, {"neighbors": 20}])
def test_at_very_high_levels_the_unified_denoiser_is_the_mean(options: dict[str, object]) -> None:
    centers, x = points(0, 20, 6)
    found = UnifiedScore(centers, [1e6], **options).denoise(x, 1e6)  # type: ignore[arg-type]
    torch.testing.assert_close(found, centers.mean(0).expand(4, -1), rtol=0, atol=1e-6)


@pytest.mark.parametrize(
    "temperature", [torch.ones(8), "perplexity:1", "0.001/sigma", lambda sigma: torch.ones_like(sigma)]
)
def test_temperature_1_is_exact_however_it_is_said(temperature: object) -> None:
    centers, x = points(3, 20, 6)
    exact = unified(centers, 1.0)
    found = unified(centers, 1.0, temperature=temperature)
    agree(found.score(x), exact.score(x))
    agree(found.weights(x), exact.weights(x))


@given(seed=st.integers(0, 1000), count=st.integers(4, 20), temperature=st.sampled_from([1.0, 5.0, "perplexity:3"]))
@settings(max_examples=8, deadline=None)
def test_all_centers_as_neighbors_are_no_restriction(seed: int, count: int, temperature: float | str) -> None:
    centers, x = points(seed, count, 5)
    restricted = unified(centers, 1.0, temperature=temperature, neighbors=count)
    agree(restricted.score(x), unified(centers, 1.0, temperature=temperature).score(x))


@given(seed=st.integers(0, 1000), sigma=st.floats(0.05, 5))
@settings(max_examples=8, deadline=None)
def test_one_level_and_no_bandwidth_are_the_empirical_score(seed: int, sigma: float) -> None:
    centers, x = points(seed, 12, 5)
    exact = EmpiricalScore(centers).score(x, sigma)
    agree(UnifiedScore(centers, [sigma]).score(x), exact)
    agree(MollifiedScore(EmpiricalScore(centers), 0.0, samples=2).score(x, sigma), exact)
    agree(MollifiedScore(EmpiricalScore(centers), 0.0, approximation="larger-time").score(x, sigma), exact)
    warmer = UnifiedScore(centers, [sigma], temperature=4.0).score(x)
    agree(warmer, 4 * EmpiricalScore(centers).score(x, 2 * sigma))
