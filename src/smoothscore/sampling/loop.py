"""The one loop that drives every sampler."""

import os
import warnings
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass

import torch
from torch import Tensor

from smoothscore import progress
from smoothscore.errors import DataWarning, InputError
from smoothscore.sampling.evaluator import Evaluator, Projection, device_of
from smoothscore.sampling.plan import Plan, plan
from smoothscore.sampling.sampler import Sampler
from smoothscore.sampling.samples import Samples
from smoothscore.sampling.teleport import Teleport
from smoothscore.scores import Score

__all__ = ["Batch", "batch_size_for", "draw", "draw_plan"]

LARGEST_BATCH = 256
COPIES = 512  # of an image, that evaluating a network at it may need
STATES = 64  # the same for scores in closed form, which bound their own working space


@dataclass(frozen=True, eq=False)
class Batch:
    """Images that walked together.

    Attributes:
        start: number of the first image.
        images: (batch, *shape) on the CPU; NaN where a walk failed.
        evaluations: of the score, summed over the images.
        failed: image number -> what happened, for the walks that left the finite numbers.
        trajectory: (levels, batch, *shape), or ``None``.
    """

    start: int
    images: Tensor
    evaluations: int
    failed: dict[int, str]
    trajectory: Tensor | None


def draw(
    score: Score,
    n: int,
    sampler: str | Sampler = "heun",
    steps: int | None = None,
    sigmas: Tensor | Sequence[float] | None = None,
    teleport: Teleport | None = None,
    seed: int = 0,
    trajectory: bool = False,
    projection: Projection | None = None,
    schedule: str | None = None,
    batch_size: int | None = None,
    dtype: torch.dtype = torch.float32,
    start: Tensor | None = None,
) -> Samples:
    """Draw ``n`` images by walking from pure noise down to level 0.

    Args:
        score: any score; it is called on the device where its parameters or buffers are.
        n: number of images, at least 1.
        sampler: the name of one of ``SAMPLERS``, or an object of one of their classes with other options.
        steps: number of noise levels of the sampler's own schedule (18 for ``"heun"``); not together with ``sigmas``.
        sigmas: descending positive noise levels; a last step to level 0 is always added.
        teleport: a jump along a Gaussian's flow in front of the sampler.
        seed: image i is a function of ``(seed, i)``, whatever the batch size.
        trajectory: keep the image after every step, in memory: (steps + 1) times the samples.
        projection: a constraint, from clean images (batch, *shape) to clean images; see ``projections``.
        schedule: the name of a schedule; see :mod:`smoothscore.sampling.levels`.
        batch_size: images that walk together; chosen by the size of an image and the free memory when absent.
        dtype: ``torch.float32`` or ``torch.float64``.
        start: (n, *shape), states at the first level, instead of pure noise.

    Returns:
        The samples, in [-1, 1] units and not clipped.

    Raises:
        InputError: a count below 1, an unknown sampler, levels that are not descending and positive, or a score that
            the sampler cannot use.
    """
    made = plan(score, sampler, steps, sigmas, seed=seed, projection=projection, schedule=schedule, dtype=dtype)
    return draw_plan(made.teleported(teleport), n, trajectory, batch_size, start)


def draw_plan(
    made: Plan, n: int, trajectory: bool = False, batch_size: int | None = None, start: Tensor | None = None
) -> Samples:
    """:func:`draw` of what has been planned."""
    check_count(n, batch_size)
    if start is not None and start.shape != (n, *made.score.shape):
        raise InputError(f"start has shape {tuple(start.shape)}; give {n} states of shape {tuple(made.score.shape)}.")
    size = batch_size or batch_size_for(made.score)
    done: list[Batch] = []
    with progress.task("sampling", total=n * len(made.walked)) as advance:
        for first in range(0, n, size):
            done += batches(made, range(first, min(first + size, n)), trajectory, advance, start)
    failed = {i: what for batch in done for i, what in batch.failed.items()}
    report_failed(failed, n)
    paths = [batch.trajectory for batch in done if batch.trajectory is not None]
    return Samples(
        images=torch.cat([batch.images for batch in done]),
        evaluations=per_image(sum(batch.evaluations for batch in done), n),
        trajectory=torch.cat(paths, dim=1) if paths else None,
        options=made.setting(),
        failed=failed,
    )


def batches(
    made: Plan,
    images: range,
    trajectory: bool,
    advance: Callable[[int], None],
    start: Tensor | None = None,
) -> Iterator[Batch]:
    """These images, together; in halves and halves of halves where the device's memory does not hold them all."""
    pending = [images]
    while pending:
        part = pending.pop()
        try:
            batch = _walk(made, part, trajectory, advance, start)
        except torch.cuda.OutOfMemoryError:
            if len(part) == 1:
                raise
            torch.cuda.empty_cache()
            middle = part.start + len(part) // 2
            pending += [range(middle, part.stop), range(part.start, middle)]
            continue
        yield batch


def _walk(
    made: Plan, images: range, trajectory: bool, advance: Callable[[int], None], start: Tensor | None = None
) -> Batch:
    """The one loop: these images from the first level down to 0."""
    model = Evaluator(made.guide, images, made.seed, made.projection)
    shape = torch.Size((len(images), *made.score.shape))
    first = made.levels[0]
    state = first * model.noise(torch.empty(shape, dtype=torch.float64)) if start is None else start[images]
    x = state.to(device_of(made.score), made.dtype)
    levels, failed, ahead = made.walked, dict[int, str](), len(made.walked)
    with torch.no_grad():
        if made.teleport:
            x = made.teleport.jump(x, first)
        path = [x.cpu()] if trajectory else []
        for step, reached in enumerate(made.sampler.walk(model, x, levels), 1):
            x = reached
            if not torch.isfinite(x.sum()):
                bad = (~torch.isfinite(x).flatten(1).all(1)).nonzero().squeeze(1).tolist()
                levels_of = f"sigma {levels[step - 1]:.4g} to {levels[step]:.4g}"
                failed = {images[i]: f"step {step} ({levels_of})" for i in bad} | failed
            if trajectory:
                path.append(x.cpu())
            advance(len(images))
            ahead -= 1
    advance(ahead * len(images))
    path += [path[-1]] * (len(levels) - len(path)) if trajectory else []
    return Batch(images.start, x.cpu(), model.evaluations, failed, torch.stack(path) if trajectory else None)


def check_count(n: int, batch_size: int | None) -> None:
    """Refuse counts that cannot be drawn."""
    if n < 1:
        raise InputError(f"Cannot draw {n} samples; ask for at least 1.")
    if batch_size is not None and batch_size < 1:
        raise InputError(f"batch_size is {batch_size}; it must be at least 1.")


def batch_size_for(score: Score) -> int:
    """Images that may walk together: at most 256, and no more than a quarter of the free memory holds.

    A network is taken to need 512 float32 copies of each image, a closed form 64. What does not fit all the same is
    halved by the loop, on a device that says so.
    """
    parameters = next(score.parameters(), None)
    device = parameters.device if parameters is not None else torch.device("cpu")
    free = torch.cuda.mem_get_info(device)[0] if device.type == "cuda" else _free_memory()
    copies = STATES if parameters is None else COPIES
    return max(1, min(LARGEST_BATCH, free // 4 // (score.shape.numel() * 4 * copies)))


def _free_memory() -> int:
    """Bytes of free memory; all of it where the system does not say how much is free, and 4 GiB where neither."""
    known = getattr(os, "sysconf_names", {})
    for pages in ("SC_AVPHYS_PAGES", "SC_PHYS_PAGES"):
        if pages in known:
            return os.sysconf(pages) * os.sysconf("SC_PAGE_SIZE")
    return 2**32


def report_failed(failed: dict[int, str], n: int) -> None:
    """Warn of walks that left the finite numbers."""
    if failed:
        image, what = next(iter(failed.items()))
        warnings.warn(
            f"{len(failed)} of {n} images became NaN or infinite and are left out; the first is image {image}, at "
            f"{what}.",
            DataWarning,
            stacklevel=3,
        )


def per_image(total: int, n: int) -> int | float:
    """Evaluations for each image: a whole number where all took the same, as far as the mean shows."""
    return total // n if total % n == 0 else total / n
