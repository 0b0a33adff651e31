r"""*Gaussian score approximation*, section 4.2, Figure 6: the far field of a training set, in closed form.

The paper measures a network's score against idealized ones; this is the part of it that needs no network: how much of
the score of the training images themselves (the exact delta score) the isotropic, the Gaussian and the one Gaussian per
class leave unexplained over noise levels, :math:`\mathrm E\|s-a\|^2/\mathrm E\|s\|^2`, at points
:math:`N(0,\sigma^2I)` as there and at noised images. The expansion in :math:`1/\sigma` (eq. 24 to 27; *Two calm
ends and the wild middle*, Thm. 4.11) says that on :math:`\|x\|\le R\sigma` the denoiser is the Gaussian one up to
:math:`O(\sigma^{-2})`.
"""

import math

import numpy as np
import torch
from numpy.typing import NDArray

from smoothscore import progress
from smoothscore.geometry import Curve
from smoothscore.report import Table
from smoothscore.reproduce.idealized import gaussians, mixture_words, shares, shares_drawn
from smoothscore.reproduce.request import Request
from smoothscore.reproduce.result import Findings, Row
from smoothscore.sampling import noise
from smoothscore.scores import EmpiricalScore, GaussianScore, Score

__all__ = ["far_field", "linear_error"]

Array = NDArray[np.float64]

SIGMAS = (0.2, 0.5, 1.08, 1.92, 3.0, 4.0, 5.5, 8.0, 12.0, 18.0, 27.0, 40.0, 60.0, 80.0)
FAR = (100.0, 200.0, 400.0)
NETWORK = 1.08


def far_field(request: Request) -> Findings:
    """What Gaussians leave of the exact score of the training images, level by level."""
    images = request.images(quick=1000)
    points = 128 if request.full else 32
    empirical, ideal = EmpiricalScore(images), gaussians(images, request.seed)
    gaussian = ideal["Gaussian"]
    assert isinstance(gaussian, GaussianScore)
    left = shares(empirical, ideal, torch.zeros(points, *images.shape), SIGMAS, request.seed, points)
    noised = shares(empirical, {"Gaussian": gaussian}, images, SIGMAS, request.seed, points)["Gaussian"]
    error = linear_error(empirical, gaussian, FAR, points, request.seed)
    slope = float(np.polyfit(np.log(FAR), np.log(error), 1)[0])
    top = math.sqrt(float(gaussian.variances[0]))
    start = _start(left["Gaussian"])
    gain = left["Gaussian"].mean - left["mixture"].mean
    above = left["Gaussian"].sigmas > NETWORK
    lower = float(np.mean((left["Gaussian"].mean < left["isotropic"].mean)[above]))
    network = "of a network's score in the paper, of the exact score here"
    rows = [
        Row(
            f"levels above {NETWORK} at which the Gaussian leaves less than the isotropic",
            lower,
            "all",
            (1, 1),
            note="of a network's score in the paper; pure noise of a low level lies far from all images, where the "
            "exact score follows the nearest one",
        ),
        Row("Gaussian leaves under 1 % from sigma =", start, note=f"1.08 {network}"),
        Row(
            "the same over the root of the largest variance", start / top, "below 1", (0, 1), note="as for the network"
        ),
        Row("isotropic leaves under 1 % from sigma =", _start(left["isotropic"])),
        Row("mixture leaves under 1 % from sigma =", _start(left["mixture"])),
        Row("at noised images the Gaussian leaves under 1 % from sigma =", _start(noised)),
        Row(f"mixture's gain at sigma > {NETWORK}, most", float(gain[above].max()), note=f"under 2.5e-3 {network}"),
        Row(
            f"slope of the linear denoiser's error, sigma {FAR[0]:g} to {FAR[-1]:g}",
            slope,
            "-2",
            (-2.2, -1.8),
            note="at distances proportional to sigma",
        ),
    ]
    setting = {
        "data": images.source,
        "images": len(images),
        "points": f"{points} a level, N(0, sigma^2)",
        "mixture": mixture_words(images),
        "average": "ratio of means",
    }
    drawing = shares_drawn(
        {**left, "Gaussian, noised images": noised},
        "Figure 6 made again for the exact score: what the simpler scores leave of it.",
        "All lines fall with the noise; the Gaussian's far below the isotropic one's.",
    )
    return Findings(rows, setting, [drawing, _table(left, noised)])


def linear_error(score: Score, linear: GaussianScore, sigmas: tuple[float, ...], points: int, seed: int) -> Array:
    """Root mean square distance of two denoisers at ``points`` draws of N(mean, sigma^2 I): (levels,) float64."""
    unit = noise(seed, 0, points, score.shape)
    errors = []
    with progress.task("far field", total=len(sigmas)) as advance:
        for sigma in sigmas:
            x = linear.mean.reshape(1, *score.shape) + sigma * unit
            difference = score.denoise(x, sigma) - linear.denoise(x, sigma)
            errors.append(float(difference.flatten(1).square().sum(1).mean().sqrt()))
            advance(1)
    return np.array(errors)


def _start(curve: Curve) -> float:
    """The level from which the unexplained share stays under one percent."""
    return max(curve.crossings(0.01), default=math.nan)


def _table(left: dict[str, Curve], noised: Curve) -> Table:
    columns = {**{f"{name}, pure noise": curve for name, curve in left.items()}, "Gaussian, noised images": noised}
    return Table(
        ["noise level", *columns],
        [[f"{sigma:g}", *(f"{curve.mean[i]:.3g}" for curve in columns.values())] for i, sigma in enumerate(SIGMAS)],
        caption="The unexplained shares.",
    )
