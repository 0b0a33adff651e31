r"""*Gaussian score approximation*, section 2.2: the idealized scores of images, and what they leave of a given score.

The fraction of unexplained variance (eq. 28) of a score s by an idealized score a at points of noise level
:math:`\sigma` is :math:`\mathrm E\|s-a\|^2/\mathrm E\|s\|^2`, a ratio of means; the paper does not say whether it
averages before or after dividing.
"""

from collections.abc import Iterable, Mapping

import numpy as np
import torch
from torch import Tensor

from smoothscore import progress
from smoothscore.data import ImageSet
from smoothscore.geometry import Curve
from smoothscore.geometry.far_field import noised, unexplained_share
from smoothscore.report import Figure, Series, curves
from smoothscore.scores import EmpiricalScore, GaussianMixtureScore, GaussianScore, Score

__all__ = ["gaussians", "mixture_of", "mixture_words", "shares", "shares_drawn"]


def gaussians(images: ImageSet, seed: int) -> dict[str, Score]:
    """The Gaussian idealized scores, simplest first; a single center at the mean is the isotropic one."""
    gaussian = GaussianScore.fit(images)
    return {
        "isotropic": EmpiricalScore(gaussian.mean.reshape(1, *images.shape)),
        "Gaussian": gaussian,
        "mixture": mixture_of(images, seed),
    }


def mixture_of(images: ImageSet, seed: int) -> GaussianMixtureScore:
    """One Gaussian a class, or for each of ten clusters where there are no classes."""
    return GaussianMixtureScore.fit(images, components=10, seed=seed, labels=images.labels)


def mixture_words(images: ImageSet) -> str:
    """What :func:`mixture_of` made."""
    return "one Gaussian a class" if images.labels is not None else "10 clusters"


def shares(
    score: Score,
    references: Mapping[str, Score],
    images: Tensor | ImageSet,
    sigmas: Iterable[float],
    seed: int,
    points: int,
) -> dict[str, Curve]:
    """:func:`smoothscore.geometry.unexplained_variance` by several references; the score is evaluated once a level."""
    levels = np.array(list(sigmas))
    clean, noise = noised(images, points, seed)
    parts: dict[str, list[tuple[float, float]]] = {name: [] for name in references}
    with progress.task("unexplained variance", total=len(levels)) as advance, torch.no_grad():
        for sigma in levels.tolist():
            x = clean + sigma * noise
            answer = score.denoise(x, sigma)
            for name, reference in references.items():
                parts[name].append(unexplained_share(answer, reference.denoise(x, sigma), x))
            advance(1)
    return {name: Curve(levels, *np.array(values).T) for name, values in parts.items()}


def shares_drawn(lines: Mapping[str, Curve], caption: str, alt: str) -> Figure:
    """The unexplained shares over noise levels."""
    sigmas = next(iter(lines.values())).sigmas
    series = [Series(name, curve.mean) for name, curve in lines.items()]
    drawing = curves(sigmas, series, x_label="noise level σ", y_label="unexplained share", log_y=True)
    return Figure(drawing, caption, alt)
