"""The one loop that drives every sampler."""

from collections.abc import Sequence

import numpy as np
import torch
from torch import Tensor

from smoothscore import progress, schedules
from smoothscore.errors import InputError
from smoothscore.sampling.samplers import Sampler, sampler_named
from smoothscore.sampling.samples import Samples
from smoothscore.scores import Score

__all__ = ["draw", "noise"]

DEFAULT_STEPS = 18


def noise(seed: int, start: int, stop: int, shape: torch.Size) -> Tensor:
    """Standard normal noise for images ``start`` to ``stop - 1``: (stop - start, *shape), float64.

    The noise of image i depends on ``(seed, i)`` only, so neither the batch size nor the number of images
    changes a sample.
    """
    draws = [np.random.default_rng([seed, i]).standard_normal(shape.numel()) for i in range(start, stop)]
    return torch.from_numpy(np.stack(draws)).reshape(-1, *shape)


def draw(
    score: Score,
    n: int,
    sampler: str | Sampler = "heun",
    steps: int | None = None,
    sigmas: Tensor | Sequence[float] | None = None,
    seed: int = 0,
    trajectory: bool = False,
    batch_size: int = 256,
    dtype: torch.dtype = torch.float32,
) -> Samples:
    """Draw ``n`` images by integrating the probability-flow ODE from pure noise down to level 0.

    Args:
        score: any score; it is called on the device where its parameters or buffers are.
        n: number of images, at least 1.
        sampler: ``"heun"`` or ``"euler"``, or an object with their ``step``.
        steps: number of noise levels of the EDM schedule (default 18); not together with ``sigmas``.
        sigmas: descending positive noise levels; a last step to level 0 is always added.
        seed: image i is a function of ``(seed, i)``, whatever the batch size.
        trajectory: keep the image after every step, in memory: (steps + 1) times the samples.
        batch_size: images that walk down together.
        dtype: ``torch.float32`` or ``torch.float64``.

    Returns:
        The samples, in [-1, 1] units and not clipped.

    Raises:
        InputError: a count below 1, an unknown sampler, or levels that are not descending and positive.
    """
    if n < 1:
        raise InputError(f"Cannot draw {n} samples; ask for at least 1.")
    if batch_size < 1:
        raise InputError(f"batch_size is {batch_size}; it must be at least 1.")
    if seed < 0:
        raise InputError(f"seed is {seed}; take a whole number from 0.")
    chosen = sampler_named(sampler) if isinstance(sampler, str) else sampler
    levels = _levels(steps, sigmas)
    device = next((t.device for t in (*score.parameters(), *score.buffers())), torch.device("cpu"))

    evaluations = 0

    def denoise(x: Tensor, sigma: float) -> Tensor:
        nonlocal evaluations
        evaluations += len(x)
        return score.denoise(x, sigma)

    images, paths = [], []
    with torch.no_grad(), progress.task("sampling", total=n * len(levels)) as advance:
        for start in range(0, n, batch_size):
            stop = min(start + batch_size, n)
            x = (levels[0] * noise(seed, start, stop, score.shape)).to(device, dtype)
            path = [x]
            for sigma, sigma_next in zip(levels, [*levels[1:], 0.0], strict=True):
                x = chosen.step(denoise, x, sigma, sigma_next)
                if trajectory:
                    path.append(x)
                advance(stop - start)
            images.append(x.cpu())
            if trajectory:
                paths.append(torch.stack(path).cpu())
    return Samples(
        images=torch.cat(images),
        evaluations=evaluations // n,
        trajectory=torch.cat(paths, dim=1) if trajectory else None,
        options={
            "score": type(score).__name__,
            "sampler": chosen.name,
            "sigmas": levels,
            "seed": seed,
            "dtype": str(dtype).removeprefix("torch."),
        },
    )


def _levels(steps: int | None, sigmas: Tensor | Sequence[float] | None) -> list[float]:
    if sigmas is None:
        return [float(s) for s in schedules.karras(DEFAULT_STEPS if steps is None else steps)]
    if steps is not None:
        raise InputError("Give either steps or sigmas, not both: the levels fix the number of steps.")
    levels = torch.as_tensor(sigmas, dtype=torch.float64)
    descending = levels.ndim == 1 and len(levels) > 0 and bool((levels[1:] < levels[:-1]).all())
    if not (descending and torch.isfinite(levels).all() and levels[-1] > 0):
        raise InputError("sigmas must be a list of positive, finite, strictly descending noise levels.")
    return [float(s) for s in levels]
