r"""*Two calm ends and the wild middle*, Figures 1 and 2: what denoisers know of their images.

At every noise level the empirical optimum of 1,000 CIFAR-10 images (EMP-1K in the paper) is measured on noised training
images and on noised held-out ones: the mean squared error per value (Figure 1), and the share of held-out images that
one denoising step turns into a training image, nearest less than a third as far as second nearest (Figure 2). A score
that is given is drawn beside it, both for all the images, which must then be those that it was trained on. The levels
and most numbers of the figures are lost in the document at hand; what it says of the empirical optimum is compared.
"""

import numpy as np

from smoothscore import schedules
from smoothscore.geometry.curve import Array, Curve
from smoothscore.geometry.model import ModelLevels, examine
from smoothscore.report import Figure, Series, Table, curves
from smoothscore.reproduce.request import Request
from smoothscore.reproduce.result import Findings, Row
from smoothscore.scores import EmpiricalScore, Score

__all__ = ["denoisers"]

MIDDLE, NEAR = 2.0, 0.5


def denoisers(request: Request) -> Findings:
    """Denoising error on training and held-out images, and one-step copies, over noise levels."""
    train, held_out = request.split(1000 if request.score is None else None, 1000)
    points = 256 if request.full else 32
    sigmas = schedules.karras(40 if request.full else 14)
    sigmas = sigmas[sigmas > 0.02]
    scores: dict[str, Score] = {"empirical": EmpiricalScore(train)}
    if request.score is not None:
        scores["given"] = request.given_score(train)
    found = {name: examine(s, train, held_out, sigmas, request.seed, points) for name, s in scores.items()}
    empirical = found["empirical"]
    far = float(sigmas[0])
    spread = float(held_out.tensor().var(0, correction=0).mean())
    rows = [
        Row(
            f"sigma = {far:.3g}: held-out less training error, in standard errors",
            float(empirical.gap.mean[0] / empirical.gap.stderr[0]),
            "similar",
            (-3, 3),
        ),
        Row(
            f"sigma = {MIDDLE:g}: training error over the variance of a pixel",
            _at(empirical.train_error, MIDDLE) / spread,
            "near zero",
            (0, 0.05),
        ),
        Row(
            f"sigma = {MIDDLE:g}: held-out error over training error",
            _at(empirical.held_out_error, MIDDLE) / _at(empirical.train_error, MIDDLE),
            "large",
            (10, np.inf),
        ),
        Row(
            f"sigma up to {NEAR:g}: copies among one-step outputs, fewest",
            float(empirical.memorized.mean[empirical.memorized.sigmas <= NEAR].min()),
            "nearly 100%",
            (0.95, 1),
        ),
        Row("largest noise: copies among one-step outputs", float(empirical.memorized.mean[0]), "0", (0, 0.02)),
        Row("half of the one-step outputs are copies at sigma =", _last(empirical.memorized, 0.5)),
        *(_given(found["given"]) if "given" in found else ()),
    ]
    setting = {
        **({} if request.score is None else {"score": request.score_name}),
        "data": train.source,
        "images": len(train),
        "held out": f"{len(held_out)} of {held_out.source}",
        "levels": f"{len(sigmas)} of EDM's",
        "points": f"{points} a level and side",
        "copy": "d1 < d2 / 3",
        "error": "per value, pixels in [-1, 1]",
    }
    return Findings(rows, setting, [*_figures(found), _table(found)])


def _given(levels: ModelLevels) -> list[Row]:
    """Where the given score knows its training images, and where it copies them."""
    gap, copies = levels.gap, levels.memorized
    widest, most = int(np.argmax(gap.mean)), int(np.argmax(copies.mean))
    over = gap.mean[widest] / levels.train_error.mean[widest]
    return [
        Row(
            "given score: largest gap, held-out less training error",
            float(gap.mean[widest]),
            note=f"{gap.mean[widest] / gap.stderr[widest]:.1f} standard errors, {over:.2g} of the training error, at "
            f"sigma = {gap.sigmas[widest]:.3g}",
        ),
        Row(
            "given score: copies among one-step outputs, most",
            float(copies.mean[most]),
            note=f"at sigma = {copies.sigmas[most]:.3g}",
        ),
    ]


def _figures(found: dict[str, ModelLevels]) -> list[Figure]:
    sigmas = found["empirical"].memorized.sigmas
    errors = []
    for name, levels in found.items():
        errors += [Series(f"{name}, training", levels.train_error.mean)]
        errors += [Series(f"{name}, held out", levels.held_out_error.mean)]
    copies = [Series(n, f.memorized.mean, f.memorized.lower, f.memorized.upper) for n, f in found.items()]
    label = "noise level σ (pixels in [−1, 1])"
    return [
        Figure(
            curves(sigmas, errors, x_label=label, y_label="mean squared error"),
            caption="Figure 1 made again: the empirical denoiser knows its training images.",
            alt="The empirical training error is near zero below sigma 2 while its held-out error stays high.",
        ),
        Figure(
            curves(sigmas, copies, x_label=label, y_label="share of copies", y_range=(-0.02, 1.05)),
            caption="Figure 2 made again: one-step outputs that land on a training image.",
            alt="The empirical denoiser's share of copies rises from 0 at large noise to 1 at small noise.",
        ),
    ]


def _table(found: dict[str, ModelLevels]) -> Table:
    sigmas: Array = found["empirical"].memorized.sigmas
    columns = [(f.train_error.mean, f.held_out_error.mean, f.memorized.mean) for f in found.values()]
    names = [f"{name}, {what}" for name in found for what in ("training error", "held-out error", "copies")]
    return Table(
        ["noise level", *names],
        [
            [f"{sigma:.3g}", *(f"{float(curve[i]):.4f}" for parts in columns for curve in parts)]
            for i, sigma in enumerate(sigmas)
        ],
        caption="The curves.",
    )


def _at(curve: Curve, sigma: float) -> float:
    return float(curve.at(sigma))


def _last(curve: Curve, level: float) -> float:
    return max(curve.crossings(level), default=float("nan"))
