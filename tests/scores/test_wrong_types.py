"""What is of another type than asked for is refused in one sentence, not by an error from within."""

from collections.abc import Callable

import pytest
import torch

import smoothscore as ss
from smoothscore.neighbors import Search

POINTS = torch.tensor([[0.0, 0.1], [0.5, -0.2], [-0.3, 0.4]])
SCORE = ss.EmpiricalScore(POINTS)

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
    "asked for": (lambda: Search(POINTS)(POINTS, "all"), "k is 'all'"),  # type: ignore[arg-type]
}


@pytest.mark.parametrize("name", MISTAKES)
def test_a_wrong_type_is_one_sentence(name: str) -> None:
    make, message = MISTAKES[name]
    with pytest.raises(ss.InputError, match=message) as caught:
        make()
    assert "\n" not in str(caught.value)
