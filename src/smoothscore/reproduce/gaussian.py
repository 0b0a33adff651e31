r"""*Gaussian score approximation*: a given score against the idealized ones.

Unexplained shares (:mod:`smoothscore.reproduce.idealized`) at points :math:`N(0,\sigma^2I)` (section 4.2, Figure 6) and
at noised images (section 5); by mixtures of several ranks and numbers of components (Figures 9 and 10), each a Gaussian
a cluster; and fields projected on the plane through three images (Figure 11).
"""

from collections.abc import Mapping

import numpy as np
import torch

from smoothscore.data import ImageSet
from smoothscore.report import Block, Figure, Table
from smoothscore.reproduce.idealized import gaussians, mixture_words, shares, shares_drawn
from smoothscore.reproduce.pictures import Plane, planes
from smoothscore.reproduce.request import Request
from smoothscore.reproduce.result import Findings, Row
from smoothscore.scores import EmpiricalScore, GaussianMixtureScore, Score

__all__ = ["gmm_panels"]

SIGMAS = (0.1, 0.2, 0.4, 0.7, 1.09, 1.92, 3.5, 6.0, 12.0, 25.0, 50.0)
FAR = 1.08
PANELS = (2.0, 0.1)
MODES = (1, 5, 20, 100)
RANKS = (16, 64, 256, None)
MIXED = (0.1, 0.4, 1.09, 3.5)


def gmm_panels(request: Request) -> Findings:
    """Unexplained variance over noise levels, and score fields on a plane."""
    images = request.images("mnist-5k", quick=1000)
    score = request.given_score(images)
    points = 256 if request.full else 64
    idealized = {**gaussians(images, request.seed), "exact delta": EmpiricalScore(images)}
    at_noise = shares(score, idealized, torch.zeros(points, *images.shape), SIGMAS, request.seed, points)
    at_images = shares(score, idealized, images, SIGMAS, request.seed, points)
    far = np.array(SIGMAS) > FAR
    by_gaussian, by_mixture, by_delta = (at_noise[name].mean for name in ("Gaussian", "mixture", "exact delta"))
    least = f"sigma = {SIGMAS[0]}"
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
            float((by_gaussian - by_mixture)[far].max()),
            "under 2.5e-3",
            (0, 2.5e-3),
            note=theirs,
        ),
        Row(
            f"unexplained by exact delta less by Gaussian, {least}",
            float(by_delta[0] - by_gaussian[0]),
            "positive",
            (0, np.inf),
            note=theirs,
        ),
        Row(
            f"the same at noised images, {least}",
            float(at_images["exact delta"].mean[0] - at_images["Gaussian"].mean[0]),
        ),
        *(
            Row(f"Gaussian leaves at noised images, sigma = {sigma:g}", float(at_images["Gaussian"].at(sigma)))
            for sigma in MIXED
        ),
    ]
    setting = {
        "score": request.score_name,
        "data": images.source,
        "images": len(images),
        "points": f"{points} a level",
        "mixture": mixture_words(images),
        "average": "ratio of means",
    }
    alt = "At high noise all idealized scores explain almost everything; at low noise they part."
    blocks: list[Block] = [
        shares_drawn(at_noise, "Unexplained variance of the given score at pure noise of the level.", alt),
        shares_drawn(at_images, "Unexplained variance of the given score at noised images.", alt),
        _modes_and_ranks(score, images, request, points),
        *(_panels(score, idealized, images, sigma, 41 if request.full else 21) for sigma in PANELS),
    ]
    return Findings(rows, setting, blocks)


def _modes_and_ranks(score: Score, images: ImageSet, request: Request, points: int) -> Table:
    """What mixtures of several numbers of components and ranks leave of the score at noised images."""
    modes, ranks = (MODES, RANKS) if request.full else (MODES[:3], RANKS[1::2])
    mixtures: dict[str, Score] = {}
    for count in modes:
        for rank in ranks:
            name = f"{count}, rank {'full' if rank is None else rank}"
            mixtures[name] = GaussianMixtureScore.fit(images, components=count, rank=rank, seed=request.seed)
    left = shares(score, mixtures, images, MIXED, request.seed, points)
    return Table(
        ["Gaussians", *(f"sigma = {sigma:g}" for sigma in MIXED)],
        [[name, *(f"{value:.3g}" for value in curve.mean)] for name, curve in left.items()],
        caption="Figures 9 and 10 made again: unexplained variance of the given score at noised images, by mixtures of "
        "one Gaussian a cluster, of several ranks.",
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
