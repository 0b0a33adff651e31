r"""*Gaussian score approximation*: a given score against the idealized ones.

The fraction of unexplained variance (eq. 28) of a score s by an idealized score a at points of noise level
:math:`\sigma` is :math:`\mathrm E\|s-a\|^2/\mathrm E\|s\|^2`, a ratio of means; the paper does not say whether it
averages before or after dividing. Points are :math:`N(0,\sigma^2I)` (section 4.2) and noised images (section 5). The
panels (Figure 11) show scores projected on the plane through three images.
"""

from collections.abc import Mapping

import numpy as np
import torch

from smoothscore.data import ImageSet
from smoothscore.geometry import Curve, unexplained_variance
from smoothscore.report import Figure, Series, curves
from smoothscore.reproduce.pictures import Plane, planes
from smoothscore.reproduce.request import Request
from smoothscore.reproduce.result import Findings, Row
from smoothscore.scores import EmpiricalScore, GaussianMixtureScore, GaussianScore, Score

__all__ = ["gmm_panels"]

SIGMAS = (0.1, 0.2, 0.4, 0.7, 1.09, 1.92, 3.5, 6.0, 12.0, 25.0, 50.0)
FAR = 1.08
PANELS = (2.0, 0.1)


def gmm_panels(request: Request) -> Findings:
    """Unexplained variance over noise levels, and score fields on a plane."""
    images = request.images("mnist-5k")
    score = request.given_score(images)
    count, points = (len(images), 256) if request.full else (min(1000, len(images)), 64)
    images = images.subset(count, request.seed)
    idealized = _idealized(images, request.seed)
    pure = torch.zeros(points, *images.shape)
    at_noise = {n: unexplained_variance(score, a, pure, SIGMAS, request.seed, points) for n, a in idealized.items()}
    at_images = {n: unexplained_variance(score, a, images, SIGMAS, request.seed, points) for n, a in idealized.items()}
    far = [i for i, sigma in enumerate(SIGMAS) if sigma > FAR]
    by_gaussian, by_mixture, by_delta = (at_noise[name].mean for name in ("Gaussian", "mixture", "exact delta"))
    gain = by_gaussian - by_mixture
    theirs = f"theirs is EDM's network on CIFAR-10, this is {type(score).__name__}"
    rows = [
        Row(
            f"Gaussian, most unexplained at sigma > {FAR}",
            float(by_gaussian[far].max()),
            "under 0.01",
            (0, 0.01),
            note=theirs,
        ),
        Row(
            f"mixture's gain on it at sigma > {FAR}, most",
            float(gain[far].max()),
            "under 2.5e-3",
            (0, 2.5e-3),
            note=theirs,
        ),
        Row(
            f"unexplained by exact delta less by Gaussian, sigma = {SIGMAS[0]}",
            float(by_delta[0] - by_gaussian[0]),
            "positive",
            (0, np.inf),
            note=theirs,
        ),
    ]
    setting = {
        "score": request.score if isinstance(request.score, str) else type(score).__name__,
        "data": images.source,
        "images": len(images),
        "points": f"{points} a level",
        "mixture": "one Gaussian a class" if images.labels is not None else "10 clusters",
        "average": "ratio of means",
    }
    figures = [
        _drawing(at_noise, "pure noise of the level"),
        _drawing(at_images, "noised images"),
        *(_panels(score, idealized, images, sigma, 41 if request.full else 21) for sigma in PANELS),
    ]
    return Findings(rows, setting, figures)


def _idealized(images: ImageSet, seed: int) -> Mapping[str, Score]:
    """The idealized scores of the images, simplest first; a single center at the mean is the isotropic one."""
    gaussian = GaussianScore.fit(images)
    return {
        "isotropic": EmpiricalScore(gaussian.mean.reshape(1, *images.shape)),
        "Gaussian": gaussian,
        "mixture": GaussianMixtureScore.fit(images, components=10, seed=seed, labels=images.labels),
        "exact delta": EmpiricalScore(images),
    }


def _drawing(lines: Mapping[str, Curve], place: str) -> Figure:
    return Figure(
        curves(
            SIGMAS,
            [Series(name, curve.mean) for name, curve in lines.items()],
            x_label="noise level σ",
            y_label="unexplained fraction",
            log_y=True,
        ),
        caption=f"Unexplained variance of the given score at {place}.",
        alt="At high noise all idealized scores explain almost everything; at low noise they part.",
    )


def _panels(score: Score, idealized: Mapping[str, Score], images: ImageSet, sigma: float, side: int) -> Figure:
    """Projected score fields on the plane through three images of one class, or any three without labels."""
    members = np.arange(len(images)) if images.labels is None else np.flatnonzero(images.labels == images.labels[0])
    corners = images[members[:3]].tensor(torch.float64).flatten(1)
    origin = corners.mean(0)
    axes = torch.linalg.qr((corners[1:] - corners[0]).T).Q
    spots = (corners - origin) @ axes
    half = 1.5 * float(spots.abs().max())
    ticks = torch.linspace(-half, half, side, dtype=torch.float64)
    grid = torch.stack(torch.meshgrid(ticks, ticks, indexing="xy"), -1).reshape(-1, 2)
    x = (origin + grid @ axes.T).reshape(-1, *images.shape).float()
    panels = {}
    with torch.no_grad():
        for name, field in {"given score": score, **dict(list(idealized.items())[1:])}.items():
            vectors = field.score(x, sigma).double().flatten(1) @ axes
            arrows = vectors.reshape(side, side, 2).numpy()
            panels[name] = Plane(np.linalg.norm(arrows, axis=2), arrows, spots.numpy())
    return Figure(
        planes(panels, half),
        caption=f"Scores at sigma = {sigma} on the plane through three images (dots): brightness is the length of the "
        "projected score, each panel to its own maximum.",
        alt="Four square panels of arrows that point to the three images or to the mean.",
    )
