r"""*Smoothing the score function*, appendix B.4.3 and Figure 18: few and many steps at the true noise level.

From the same noise, :math:`x_{n+1}=x_n+\alpha\sigma_{n*}^2s(x_n)` with :math:`\alpha` = 0.6, 0.16 and 0.09 for 10, 50
and 100 evaluations, and a last step to the denoised image. :math:`\sigma_{n*}` is the distance to the nearest training
image over :math:`\sqrt d`, as in the paper, or what the score itself says. The paper calls the images "basically
consistent" and prints no number; two are taken here: how far an image is from that of 100 evaluations, over the
distance between images of different noises, and how often that image is the nearest of all those of 100 evaluations.
"""

import numpy as np
import torch
from torch import Tensor

from smoothscore.report import Cell, Figure, Table
from smoothscore.reproduce.pictures import rows_of_images
from smoothscore.reproduce.request import Request
from smoothscore.reproduce.result import Findings, Row
from smoothscore.sampling import TrueLevel, draw, nearest_level
from smoothscore.scores import Score

__all__ = ["true_level_steps"]

STEPS = {10: 0.6, 50: 0.16, 100: 0.09}
START = 80.0
SHOWN = 12


def true_level_steps(request: Request) -> Findings:
    """Images of 10, 50 and 100 evaluations from the same noise, by the two rules for the noise level."""
    images = request.images("mnist-5k")
    score = request.given_score(images)
    count = 200 if request.full else 24
    rules = {"nearest image": TrueLevel(nearest_level(images)), "its own estimate": TrueLevel()}
    rows: list[Row] = []
    cells: list[list[Cell]] = []
    figures: list[Figure] = []
    for rule, sampler in rules.items():
        drawn = {steps: _drawn(score, sampler, steps, count, request.seed) for steps in STEPS}
        most = drawn[max(STEPS)]
        apart = torch.cdist(most.flatten(1), most.flatten(1))
        others = apart.sum() / (count * (count - 1))
        for steps in (10, 50):
            between = torch.cdist(drawn[steps].flatten(1), most.flatten(1))
            own, found = between.diagonal(), (between.argmin(1) == torch.arange(count)).double()
            name = f"{steps} evaluations, level by {rule}"
            rows.append(
                Row(
                    f"{name}: distance to the image of 100, over that of other noises",
                    float(own.mean() / others),
                    "consistent",
                    (0, 0.5),
                    note="consistent is taken as less than half",
                )
            )
            rows.append(Row(f"{name}: nearest to the image of the same noise", float(found.mean()), "all", (0.95, 1)))
            cells.append([rule, steps, float(own.mean()), float(own.median()), float(own.max()), float(others)])
        figures.append(_figure(drawn, rule))
    table = Table(
        ["noise level by", "evaluations", "mean", "median", "largest", "between different noises"],
        cells,
        caption="Euclidean distance of images from the same noise to those of 100 evaluations, pixels in [-1, 1], "
        f"d = {images.dim}.",
    )
    setting = {
        "score": request.score_name,
        "data": images.source,
        "images": len(images),
        "noises": count,
        "alpha": ", ".join(f"{alpha} for {steps}" for steps, alpha in STEPS.items()),
        "start": f"{START:g} N(0, I)",
        "last step": "to the denoised image",
    }
    return Findings(rows, setting, [*figures, table])


def _drawn(score: Score, sampler: TrueLevel, steps: int, count: int, seed: int) -> Tensor:
    """Images (count, *shape) after so many evaluations, each step shortening the noise by the paper's factor."""
    levels = START * (1 - STEPS[steps]) ** np.arange(steps)
    return draw(score, count, sampler, sigmas=levels.tolist(), seed=seed).images


def _figure(drawn: dict[int, Tensor], rule: str) -> Figure:
    return Figure(
        rows_of_images({f"{steps}": images[:SHOWN] for steps, images in drawn.items()}),
        caption="Figure 18 made again: images of 10, 50 and 100 evaluations, one noise a column; noise level by "
        f"{rule}.",
        alt="Three rows of images; the images of a column resemble each other.",
    )
