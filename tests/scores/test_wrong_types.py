"""What is of another type than asked for is refused in one sentence, not by an error from within."""

from collections.abc import Callable

import pytest
import torch

import smoothscore as ss
from smoothscore.neighbors import Search

POINTS = torch.tensor([[0.0, 0.1], [0.5, -0.2], [-0.3, 0.4]])
SCORE = ss.EmpiricalScore(POINTS)
GAUSSIAN = ss.GaussianScore(torch.zeros(2), torch.eye(2))

MISTAKES: dict[str, tuple[Callable[[], object], str]] = {
    "centers": (lambda: ss.EmpiricalScore(POINTS.tolist()), "The centers are a list"),  # type: ignore[arg-type]
    "centers of a class": (lambda: ss.EmpiricalScore(POINTS.tolist(), class_=1), "ImageSet"),  # type: ignore[arg-type]
    "weights": (lambda: ss.EmpiricalScore(POINTS, weights=[1, 1, 1]), "weights must be 3"),  # type: ignore[arg-type]
    "posterior": (lambda: SCORE.posterior(POINTS, 0.1, k=1.5), "k is 1.5"),  # type: ignore[arg-type]
    "sigma": (lambda: SCORE.denoise(POINTS, "a lot"), "sigma is 'a lot'"),  # type: ignore[arg-type]
    "sigmas of a list": (lambda: SCORE.denoise(POINTS, ["a", "b", "c"]), "sigma is"),  # type: ignore[arg-type]
    "levels": (lambda: ss.UnifiedScore(POINTS, "karras"), "sigmas is 'karras'"),  # type: ignore[arg-type]
    "unified centers": (lambda: ss.UnifiedScore(POINTS.tolist(), [1.0]), "The centers are"),  # type: ignore[arg-type]
    "temperature": (lambda: ss.UnifiedScore(POINTS, [1.0], {1: 2}), "temperature is"),  # type: ignore[arg-type]
    "true temperature": (lambda: ss.UnifiedScore(POINTS, [1.0], True), "temperature is True"),
    "no temperature": (lambda: ss.UnifiedScore(POINTS, [1.0], "0/sigma"), "'0/sigma' has a number that is not"),
    "no collapse": (lambda: ss.UnifiedScore(POINTS, [1.0], "collapse: 0"), "'collapse:0' has a number that is not"),
    "infinite temperature": (lambda: ss.UnifiedScore(POINTS, [1.0], "1e999/sigma^2"), "not positive and finite"),
    "all centers": (lambda: ss.UnifiedScore(POINTS, [1.0], "perplexity:1e999"), "a perplexity is a number"),
    "true neighbors": (lambda: ss.UnifiedScore(POINTS, [1.0], neighbors=True), "neighbors is True"),
    "true radius": (lambda: ss.UnifiedScore(POINTS, [1.0], neighbors=3, radius=True), "radius is True"),
    "neighbors": (lambda: ss.UnifiedScore(POINTS, [1.0], neighbors=2.0), "neighbors is 2.0"),  # type: ignore[arg-type]
    "radius": (
        lambda: ss.UnifiedScore(POINTS, [1.0], neighbors=3, radius="2"),  # type: ignore[arg-type]
        "radius is '2'",
    ),
    "mean": (lambda: ss.GaussianScore([0.0, 0.0], torch.eye(2)), "mean is a list"),  # type: ignore[arg-type]
    "covariance": (lambda: ss.GaussianScore(torch.zeros(2), 1.0), "covariance is a float"),  # type: ignore[arg-type]
    "fitted images": (lambda: ss.GaussianScore.fit([[0.0]]), "The centers are a list"),  # type: ignore[arg-type]
    "mixture weights": (lambda: ss.GaussianMixtureScore([1.0], POINTS[:1], [torch.eye(2)]), "weights is a list"),  # type: ignore[arg-type]
    "mixture means": (lambda: ss.GaussianMixtureScore(torch.ones(1), [[0.0]], [torch.eye(2)]), "means is a list"),  # type: ignore[arg-type]
    "mixture covariances": (lambda: ss.GaussianMixtureScore(torch.ones(1), POINTS[:1], 1.0), "covariances is a float"),  # type: ignore[arg-type]
    "one covariance": (lambda: ss.GaussianMixtureScore(torch.ones(1), POINTS[:1], ["I"]), "covariance is a str"),  # type: ignore[list-item]
    "components": (lambda: ss.GaussianMixtureScore.fit(POINTS, components="two"), "components is 'two'"),  # type: ignore[arg-type]
    "rank": (lambda: ss.GaussianMixtureScore.fit(POINTS, components=1, rank="low"), "rank is 'low'"),  # type: ignore[arg-type]
    "regions": (lambda: ss.PiecewiseScore(SCORE), "regions is a EmpiricalScore"),  # type: ignore[arg-type]
    "inner score": (lambda: ss.MollifiedScore("empirical", 0.1), "score is a str"),  # type: ignore[arg-type]
    "bandwidth": (lambda: ss.MollifiedScore(SCORE, "wide"), "bandwidth is 'wide'"),  # type: ignore[arg-type]
    "samples": (lambda: ss.MollifiedScore(SCORE, 0.1, samples=8.0), "samples is 8.0"),  # type: ignore[arg-type]
    "graph's images": (lambda: ss.NeighborGraph.build(POINTS.tolist(), 1), "The images are a"),  # type: ignore[arg-type]
    "graph's k": (lambda: ss.NeighborGraph.build(POINTS, 1.0), "k is 1.0"),  # type: ignore[arg-type]
    "graph's space": (lambda: ss.NeighborGraph.build(POINTS, 1, space=2), "space is 2"),  # type: ignore[arg-type]
    "searched": (lambda: Search([[0.0]]), "centers are a list"),  # type: ignore[arg-type]
    "no queries": (lambda: SCORE.score(POINTS[:0], 0.1), "holds no images"),
    "half precision": (lambda: SCORE.weights(POINTS.half(), 0.1), "need float32 or float64"),
    "half precision smoothed": (lambda: ss.MollifiedScore(SCORE, 0.1).score(POINTS.bfloat16(), 0.1), "need float32"),
    "points of a jacobian": (lambda: GAUSSIAN.jacobian(POINTS.numpy(), 1.0), "x is a ndarray"),  # type: ignore[arg-type]
    "points of any jacobian": (lambda: ss.MollifiedScore(GAUSSIAN, 0.1).jacobian(POINTS), "needs sigma"),
    "vectors": (lambda: GAUSSIAN.jacobian(POINTS, 1.0).matvec(POINTS[:2]), "The vectors have shape"),
    "vectors of any jacobian": (
        lambda: ss.MollifiedScore(GAUSSIAN, 0.1).jacobian(POINTS, 1.0).matvec(POINTS[:2]),
        "The vectors have shape",
    ),
    "level weights": (lambda: ss.UnifiedScore(POINTS, [1.0], level_weights="flat"), "level_weights is 'flat'"),  # type: ignore[arg-type]
    "end of a path": (lambda: GAUSSIAN.solve(POINTS, 1.0, "zero"), "sigma_to must be"),  # type: ignore[arg-type]
    "endless path": (lambda: GAUSSIAN.solve(POINTS, 1.0, float("inf")), "sigma_to must be 0 or more and finite"),
    "frames": (lambda: GAUSSIAN.denoiser_trajectory(POINTS, 1.0, 0.5), "sigmas has shape"),  # type: ignore[arg-type]
    "scales": (
        lambda: GAUSSIAN.denoiser_trajectory(POINTS, 1.0, torch.ones(2), alphas=torch.ones(3)),
        "alphas has shape",
    ),
    "shrinkage": (lambda: ss.GaussianScore.fit(POINTS, shrinkage="some"), "shrinkage is 'some'"),  # type: ignore[arg-type]
    "seed of clusters": (lambda: ss.GaussianMixtureScore.fit(POINTS, 2, seed=-1), "seed is -1"),
    "seed of shifts": (lambda: ss.MollifiedScore(SCORE, 0.1, seed=1.5), "seed is 1.5"),  # type: ignore[arg-type]
    "a region": (lambda: ss.PiecewiseScore([0, SCORE]), "A region is no pair"),  # type: ignore[list-item]
    "a region's score": (lambda: ss.PiecewiseScore([(0, "empirical")]), "region is a str"),  # type: ignore[list-item]
    "a region's edge": (lambda: ss.PiecewiseScore([(0, SCORE), ("high", SCORE)]), "A region is no"),  # type: ignore[list-item]
    "encoder": (lambda: ss.encoders.encoder(None), "The encoder is None"),  # type: ignore[arg-type]
    "graph of numbers": (lambda: ss.NeighborGraph.build(torch.zeros(5), 1), "have shape"),
    "graph of integers": (lambda: ss.NeighborGraph.build(torch.zeros(5, 2).long(), 1), "dtype torch.int64"),
    "asked for": (lambda: Search(POINTS)(POINTS, "all"), "k is 'all'"),  # type: ignore[arg-type]
}


@pytest.mark.parametrize("name", MISTAKES)
def test_a_wrong_type_is_one_sentence(name: str) -> None:
    make, message = MISTAKES[name]
    with pytest.raises(ss.InputError, match=message) as caught:
        make()
    assert "\n" not in str(caught.value)
