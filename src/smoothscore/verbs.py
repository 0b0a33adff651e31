"""The verbs: each is one function here and one command of the same name."""

from collections.abc import Sequence
from pathlib import Path

import torch
from torch import Tensor

from smoothscore import geometry, memorization, sampling
from smoothscore.data import ImageSet, as_images
from smoothscore.reproduce import reproduce
from smoothscore.scores import Score, load_score

__all__ = ["Images", "audit", "diagnose", "reproduce", "sample"]

Images = str | Path | ImageSet | Tensor


def diagnose(
    train: Images,
    held_out: Images | None = None,
    score: Score | str | None = None,
    sigmas: Tensor | Sequence[float] | None = None,
    seed: int = 0,
) -> geometry.Diagnosis:
    """Where on the noise axis this training set will be memorized, and where a given score has done so.

    Args:
        train: the training images: an ImageSet, a (N, *shape) tensor in [-1, 1], or a source that
            :func:`smoothscore.load_images` reads.
        held_out: other images of the same kind, in any of these forms.
        score: a score to examine level by level, or the text that names one; it needs ``held_out``.
        sigmas: noise levels, in [-1, 1] units; a default range when absent.
        seed: of the noise and of the base images.
    """
    return geometry.diagnose(
        _images(train), _optional(held_out), score=None if score is None else _score(score), sigmas=sigmas, seed=seed
    )


def sample(
    score: Score | str,
    n: int,
    sampler: str | sampling.Sampler = "heun",
    steps: int | None = None,
    sigmas: Tensor | Sequence[float] | None = None,
    seed: int = 0,
    trajectory: bool = False,
    batch_size: int = 256,
) -> sampling.Samples:
    """Draw ``n`` images from a score, or from the score that a text names (:func:`smoothscore.load_score`).

    The other arguments are those of :func:`smoothscore.sampling.draw`.
    """
    return sampling.draw(
        _score(score),
        n,
        sampler=sampler,
        steps=steps,
        sigmas=sigmas,
        seed=seed,
        trajectory=trajectory,
        batch_size=batch_size,
    )


def audit(
    samples: Images | sampling.Samples,
    train: Images,
    held_out: Images | None = None,
    encoder: str = "pixel",
    threshold: float = 2 / 3,
    alpha: float = 0.05,
) -> memorization.Audit:
    """Which samples are copies of training images, beside the rate among held-out real images.

    The arguments are those of :func:`smoothscore.memorization.audit`; sets of images are given as in
    :func:`diagnose`, samples also as the result of :func:`sample`.
    """
    generated = samples.images if isinstance(samples, sampling.Samples) else _images(samples)
    return memorization.audit(
        generated, _images(train), _optional(held_out), encoder=encoder, threshold=threshold, alpha=alpha
    )


def _score(score: Score | str) -> Score:
    return load_score(score) if isinstance(score, str) else score


def _images(source: Images) -> ImageSet | Tensor:
    return source if isinstance(source, torch.Tensor | ImageSet) else as_images(source)


def _optional(source: Images | None) -> ImageSet | Tensor | None:
    return None if source is None else _images(source)
