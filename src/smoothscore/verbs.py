"""The verbs: each is one function here and one command of the same name."""

from collections.abc import Sequence
from pathlib import Path
from typing import Any, Literal, cast, overload

import torch
from numpy.typing import NDArray
from torch import Tensor

from smoothscore import geometry, memorization, sampling, training
from smoothscore.allocator import reuse_freed_memory
from smoothscore.config import TrainConfig
from smoothscore.data import ImageSet, as_given, to_images
from smoothscore.errors import InputError
from smoothscore.reproduce import reproduce
from smoothscore.scores import GaussianScore, Score, load_score

__all__ = ["Images", "audit", "dedup", "diagnose", "reproduce", "sample", "train"]

Images = str | Path | ImageSet | Tensor | NDArray[Any]


def diagnose(
    train: Images,
    held_out: Images | None = None,
    score: Score | str | None = None,
    sigmas: Tensor | Sequence[float] | None = None,
    seed: int = 0,
    noises: int = 100,
    images: int | None = None,
    weight_level: float = 0.9,
    coverage_level: float = 0.9,
    sizes: bool = False,
    near: bool = False,
    encoder: str = "pixel",
    stable: bool = False,
) -> geometry.Diagnosis:
    """Where on the noise axis this training set will be memorized, and where a given score has done so.

    Args:
        train: the training images: an ImageSet, a (N, *shape) tensor or array in [-1, 1], one of uint8 (N, C, H, W), or
            a source that :func:`smoothscore.load_images` reads.
        held_out: other images of the same kind, in any of these forms.
        score: a score to examine level by level, or the text that names one; it needs ``held_out``.
        sigmas: noise levels, in [-1, 1] units; a default range when absent.
        seed: of the noise and of the base images.

    The other arguments are those of :func:`smoothscore.geometry.diagnose`.
    """
    return geometry.diagnose(
        as_given(train),
        _optional(held_out),
        score=None if score is None else _score(score),
        sigmas=sigmas,
        seed=seed,
        noises=noises,
        images=images,
        weight_level=weight_level,
        coverage_level=coverage_level,
        sizes=sizes,
        near=near,
        encoder=encoder,
        stable=stable,
        data=str(train) if isinstance(train, str | Path) else "DATA",
    )


def dedup(
    data: Images,
    out: str | Path | None = None,
    near: bool = False,
    encoder: str = "pixel",
    alpha: float = 0.05,
    mirror: bool = True,
    shift: int | None = None,
) -> geometry.Deduplication:
    """Find the images that repeat others, and write the set without them.

    Args:
        data: the images, as for :func:`diagnose`.
        out: a new folder, or a .zip, for the images that stay, with their names and labels; None writes nothing.

    The other arguments are those of :func:`smoothscore.geometry.deduplicate`.

    Raises:
        InputError: ``out`` exists already, or as there.
    """
    if out is not None and Path(out).exists():
        raise InputError(f"{out} exists already; remove it or choose another name.")
    images = as_given(data)
    found = geometry.deduplicate(
        images if isinstance(images, ImageSet) else to_images(images), near, encoder, alpha, mirror, shift
    )
    if out is not None:
        found.save_images(out)
    return found


def train(
    train: Images,
    config: TrainConfig | None,
    out: str | Path,
    held_out: Images | None = None,
    resume: bool = False,
    tensorboard: bool = False,
) -> training.Run:
    """Train a score network on images, or go on with a run; sets of images are given as in :func:`diagnose`.

    The arguments are those of :func:`smoothscore.training.train`.
    """
    return training.train(as_given(train), config, out, _optional(held_out), resume=resume, tensorboard=tensorboard)


@overload
def sample(
    score: Score | str,
    n: int,
    sampler: str | sampling.Sampler = ...,
    steps: int | None = ...,
    sigmas: Tensor | Sequence[float] | None = ...,
    teleport: float | str | sampling.Teleport | None = ...,
    seed: int = ...,
    trajectory: bool = ...,
    projection: sampling.Projection | None = ...,
    schedule: str | None = ...,
    moments: Images | GaussianScore | None = ...,
    batch_size: int | None = ...,
    out: None = ...,
) -> sampling.Samples: ...
@overload
def sample(
    score: Score | str,
    n: int,
    sampler: str | sampling.Sampler = ...,
    steps: int | None = ...,
    sigmas: Tensor | Sequence[float] | None = ...,
    teleport: float | str | sampling.Teleport | None = ...,
    seed: int = ...,
    trajectory: bool = ...,
    projection: sampling.Projection | None = ...,
    schedule: str | None = ...,
    moments: Images | GaussianScore | None = ...,
    batch_size: int | None = ...,
    *,
    out: str | Path,
) -> sampling.SampleSet: ...
def sample(
    score: Score | str,
    n: int,
    sampler: str | sampling.Sampler = "heun",
    steps: int | None = None,
    sigmas: Tensor | Sequence[float] | None = None,
    teleport: float | str | sampling.Teleport | None = None,
    seed: int = 0,
    trajectory: bool = False,
    projection: sampling.Projection | None = None,
    schedule: str | None = None,
    moments: Images | GaussianScore | None = None,
    batch_size: int | None = None,
    out: str | Path | None = None,
) -> sampling.Samples | sampling.SampleSet:
    """Draw ``n`` images from a score, or from the score that a text names (:func:`smoothscore.load_score`).

    Args:
        score: any score. One that a text names is put on the GPU where there is one.
        n: number of images, at least 1.
        sampler: the name of one of ``smoothscore.sampling.SAMPLERS``, or one of its classes with other options.
        steps: number of noise levels; the sampler's own when absent.
        sigmas: descending positive noise levels, instead of steps and schedule.
        teleport: begin at this noise level, reached along the flow of a Gaussian; ``"auto"``: the lowest level of the
            schedule before its denoiser and the score's differ by 1 % of the data's variance more than at larger noise,
            on the Gaussian's own images (64 evaluations a level, not counted in the result).
        seed: image i is a function of ``(seed, i)``, whatever the batch size.
        trajectory: keep the image after every step.
        projection: a constraint on clean images; see :mod:`smoothscore.sampling.projections`.
        schedule: ``"karras"``, ``"log-uniform"``, ``"shell-touch"`` or ``"vp"``, also as ``"NAME:LOWEST:HIGHEST"``.
        moments: the images whose mean and covariance teleportation uses, shrunk when they are fewer than their
            values, or a Gaussian score; when absent those of the score's own data, which a training run keeps.
        batch_size: images that walk together; chosen by the size of an image and the free memory when absent.
        out: write a folder of PNG files, or a ``.zip``, batch by batch, instead of keeping the images in memory. The
            same call goes on where an interrupted one stopped.

    Returns:
        :class:`Samples`, or with ``out`` a :class:`SampleSet`.

    Raises:
        InputError: an argument that cannot be used; its sentence says which.

    Source: Gaussian score approximation, algorithm 1; Smoothing the score function, appendices A.7 and B.4.3.
    """
    title = score if isinstance(score, str) else None
    if isinstance(score, str):
        score = load_score(score).to("cuda" if torch.cuda.is_available() else "cpu")
    made = sampling.plan(score, sampler, steps, sigmas, seed, projection, schedule, title=title)
    if teleport is not None:
        made = made.teleported(_teleport(score, teleport, moments, made.levels, seed))
    with reuse_freed_memory():
        if out is None:
            return sampling.draw_plan(made, n, trajectory=trajectory, batch_size=batch_size)
        return sampling.write_samples(made, n, out, trajectory=trajectory, batch_size=batch_size)


def audit(
    samples: Images | sampling.Samples,
    train: Images,
    held_out: Images | None = None,
    encoder: str | Sequence[str] = "pixel",
    threshold: float = 2 / 3,
    alpha: float = 0.05,
    tolerant: bool = True,
    leaks: Literal["identical", "near"] = "identical",
) -> memorization.Audit:
    """Which samples are copies of training images, beside the rate among held-out real images.

    The arguments are those of :func:`smoothscore.memorization.audit`; sets of images are given as in
    :func:`diagnose`, samples also as the result of :func:`sample`.
    """
    generated = samples.images if isinstance(samples, sampling.Samples) else as_given(samples)
    return memorization.audit(
        generated,
        as_given(train),
        _optional(held_out),
        encoder=encoder,
        threshold=threshold,
        alpha=alpha,
        tolerant=tolerant,
        leaks=leaks,
    )


def _teleport(
    score: Score,
    teleport: float | str | sampling.Teleport,
    moments: Images | GaussianScore | None,
    levels: Sequence[float],
    seed: int,
) -> sampling.Teleport | None:
    """The jump that is asked for; an automatic one goes as far as the Gaussian is good."""
    if isinstance(teleport, sampling.Teleport):
        return teleport
    if isinstance(moments, str) and moments.startswith("gaussian:"):
        moments = cast(GaussianScore, load_score(moments))
    if moments is None:
        gaussian = sampling.gaussian_of(score)
    else:
        gaussian = moments if isinstance(moments, GaussianScore) else sampling.fit_gaussian(as_given(moments))
    if teleport != "auto":
        return sampling.Teleport(gaussian, _level(teleport))
    return sampling.Teleport.auto(score, gaussian, levels, seed)


def _level(teleport: float | str) -> float:
    try:
        return float(teleport)
    except ValueError:
        raise InputError(f"teleport is {teleport!r}; give a noise level, or 'auto'.") from None


def _score(score: Score | str) -> Score:
    return load_score(score) if isinstance(score, str) else score


def _optional(source: Images | None) -> ImageSet | Tensor | None:
    return None if source is None else as_given(source)
