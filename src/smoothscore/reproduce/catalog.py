"""Every table and figure by name, and the function that makes one again."""

import time
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from pathlib import Path

from torch import Tensor

from smoothscore.data import ImageSet
from smoothscore.errors import InputError
from smoothscore.reproduce import (
    far_field,
    gaussian,
    gaussian_learning,
    gaussian_paths,
    gaussian_teleport,
    geometry_curves,
    geometry_denoisers,
    geometry_thresholds,
    kernel,
    kernel_sample_size,
    level_mismatch,
    score_noise,
    shell_mass,
    smoothing,
    smoothing_paths,
    smoothing_steps,
)
from smoothscore.reproduce.request import Request, Scale
from smoothscore.reproduce.result import Findings, Reproduction
from smoothscore.scores import Score

__all__ = ["ENTRIES", "Entry", "names", "reproduce"]


@dataclass(frozen=True)
class Entry:
    """One table or figure.

    Attributes:
        paper: title of the paper, and the place in it.
        what: what is measured, in one sentence.
        make: measures it.
    """

    paper: str
    what: str
    make: Callable[[Request], Findings]


ENTRIES: Mapping[str, Entry] = {
    "table-3": Entry(
        "Smoothing the score function, Table 3",
        "How far the best noise level outweighs the next one, against the limit of high dimension.",
        smoothing.table_3,
    ),
    "table-4-5": Entry(
        "Smoothing the score function, Tables 4 and 5",
        "How expansive the score is between training images: spectra of its Jacobian at several temperatures.",
        smoothing.tables_4_and_5,
    ),
    "figure-4": Entry(
        "Smoothing the score function, Figure 4",
        "How far one sampling step drives two near points apart, over noise levels, for the closed-form scores.",
        smoothing_paths.figure_4,
    ),
    "collapse-time": Entry(
        "Smoothing the score function, appendix B.4.1",
        "The sampling step at which one training image takes over.",
        smoothing_paths.collapse,
    ),
    "led-kde": Entry(
        "Kernel-smoothed scores, Figures 1 and 2",
        "What the log-exp double kernel makes of two points, a spiral and a line.",
        kernel.led_kde,
    ),
    "swiss-roll": Entry(
        "Kernel-smoothed scores, Figures 6 and 7",
        "Copies, accuracy and coverage of samples of a spiral, over the bandwidth of the smoothing.",
        kernel.swiss_roll,
    ),
    "effective-sample-size": Entry(
        "Kernel-smoothed scores, Table 1 and Figures 4 and 9 to 11",
        "The best bandwidth at each noise level, and how many times more images it is worth.",
        kernel_sample_size.effective_sample_size,
    ),
    "gmm-panels": Entry(
        "Gaussian score approximation, Figures 6 and 9 to 11",
        "How much of a given score a Gaussian, a Gaussian mixture and the exact delta score explain.",
        gaussian.gmm_panels,
    ),
    "shell-mass": Entry(
        "Smoothing the score function, Figures 8 to 10",
        "How much noise lies in the shell of three standard deviations, and how normal its radius is.",
        shell_mass.shell_mass,
    ),
    "true-level-steps": Entry(
        "Smoothing the score function, appendix B.4.3 and Figure 18",
        "Whether few and many steps at the true noise level lead from the same noise to the same image.",
        smoothing_steps.true_level_steps,
    ),
    "level-mismatch": Entry(
        "Smoothing the score function, appendix A.7",
        "What a scheduled sampler does with a score that does not know the noise level: one center, in closed form.",
        level_mismatch.mismatch,
    ),
    "score-noise": Entry(
        "Kernel-smoothed scores, Theorem 2 and Figures 3 and 8",
        "Size and directions of the sampling noise of the empirical score, on a spiral, a line and digits.",
        score_noise.score_noise,
    ),
    "far-field": Entry(
        "Gaussian score approximation, section 4.2 and Figure 6",
        "How much of the exact score of the training images Gaussians explain, level by level.",
        far_field.far_field,
    ),
    "gaussian-paths": Entry(
        "Gaussian score approximation, Figures 7 and 15",
        "Where sampling paths leave the Gaussian's closed form.",
        gaussian_paths.paths,
    ),
    "teleportation": Entry(
        "Gaussian score approximation, Tables 4 to 6",
        "The evaluations that starting on the Gaussian's path saves, and what that does to the samples.",
        gaussian_teleport.teleportation,
    ),
    "learning-dynamics": Entry(
        "Gaussian score approximation, Figure 12",
        "Which of the idealized scores a network is like, checkpoint by checkpoint of its training.",
        gaussian_learning.learning,
    ),
    "rotation": Entry(
        "Gaussian score approximation, section 3.3 and appendix D.4",
        "What the rotation of the noise into the image leaves out, against the printed bounds.",
        gaussian_paths.rotation,
    ),
    "danger-zone": Entry(
        "Two calm ends and the wild middle, Figures 3 and 7",
        "Posterior weight and shell coverage of 1,000 images over noise levels, and where both are high.",
        geometry_curves.danger,
    ),
    "coverage-bounds": Entry(
        "Two calm ends and the wild middle, Figure 6",
        "Shell coverage between its lower and its upper bound.",
        geometry_curves.coverage_bounds,
    ),
    "danger-zone-automobiles": Entry(
        "Two calm ends and the wild middle, Figure 8",
        "Posterior weight and shell coverage of 2,000 automobiles.",
        geometry_curves.automobiles,
    ),
    "weight-thresholds": Entry(
        "Two calm ends and the wild middle, Remark 4.3",
        "The noise levels below and above which an image's own weight is surely high or low.",
        geometry_thresholds.thresholds,
    ),
    "denoising-error": Entry(
        "Two calm ends and the wild middle, Figures 1 and 2",
        "Denoising error and one-step copies of the empirical optimum, on training and on held-out images.",
        geometry_denoisers.denoisers,
    ),
}


def names() -> tuple[str, ...]:
    """The names that :func:`reproduce` takes."""
    return tuple(ENTRIES)


def reproduce(
    name: str,
    scale: Scale = "full",
    seed: int = 0,
    data: str | Path | ImageSet | Tensor | None = None,
    score: Score | str | None = None,
    held_out: str | Path | ImageSet | Tensor | None = None,
) -> Reproduction:
    """Make one table or figure of a paper again.

    Args:
        name: one of :func:`names`.
        scale: ``"full"`` takes the paper's own counts, and minutes; ``"quick"`` smaller ones, under 20 seconds on
            two cores once the data are cached. The counts stand in the result.
        seed: of every random choice.
        data: the images, in any form that :func:`smoothscore.load_images` reads or an ImageSet or a tensor in
            [-1, 1]; entries on CIFAR-10 need it, others have a built-in set or none.
        score: the score to measure, for entries that compare one: an object, or a text as in
            :func:`smoothscore.load_score`.
        held_out: images that were not trained on, in any form of ``data``, for entries that need some; without them
            those entries hold out some of the data.

    Raises:
        InputError: an unknown name or scale, or data or a score that the entry needs and that was not given.
    """
    if name not in ENTRIES:
        raise InputError(f"There is no entry {name!r}; take one of {', '.join(ENTRIES)}.")
    if scale not in ("quick", "full"):
        raise InputError(f"scale is {scale!r}; take 'quick' or 'full'.")
    entry = ENTRIES[name]
    start = time.perf_counter()
    findings = entry.make(Request(name, scale, seed, data, score, held_out))
    return Reproduction(
        name=name,
        paper=entry.paper,
        what=entry.what,
        rows=findings.rows,
        conditions={"scale": scale, "seed": seed, **findings.setting},
        seconds=time.perf_counter() - start,
        blocks=findings.blocks,
    )
