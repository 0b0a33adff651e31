r"""Averages over Gaussian shifts of the query.

.. math:: \mathrm E_z f(x+hz)\approx\frac1S\sum_sf(x+hz_s),\qquad z_1=-z_2,\;z_3=-z_4,\;\dots

Shifts in pairs (z, -z) leave a function that is linear in x as it is, without error.
"""

from collections.abc import Callable, Iterator

import torch
from torch import Tensor
from torch.quasirandom import SobolEngine

from smoothscore.errors import InputError

__all__ = ["Evaluate", "averaged", "normal_pairs", "shifted"]

Evaluate = Callable[[Tensor, Tensor], Tensor]
"""Of images (n, *shape) and their noise levels (n,)."""

BATCH = 256
"""Largest number of shifted images evaluated at a time (one image's shifts may be split)."""


def normal_pairs(nodes: str, samples: int, dim: int, seed: int) -> Tensor:
    """Standard normal points z, -z in turn: (samples, dim), float64.

    Raises:
        InputError: ``seed`` is no whole number from 0, or ``nodes`` neither "gaussian" nor "sobol".
    """
    if not isinstance(seed, int) or not 0 <= seed < 2**63:
        raise InputError(f"seed is {seed!r}; take a whole number from 0.")
    if nodes == "gaussian":
        generator = torch.Generator().manual_seed(seed)
        half = torch.randn(samples // 2, dim, generator=generator, dtype=torch.float64)
    elif nodes == "sobol" and dim <= SobolEngine.MAXDIM:
        engine = SobolEngine(dim, scramble=True, seed=seed)  # type: ignore[no-untyped-call]
        points = engine.draw(samples // 2, dtype=torch.float64)
        half = torch.special.ndtri(points.clamp(1e-12, 1 - 1e-12))
    else:
        raise InputError(
            f"nodes is {nodes!r} in dimension {dim}; take 'gaussian', or 'sobol' up to {SobolEngine.MAXDIM}."
        )
    return torch.stack([half, -half], 1).reshape(samples, dim)


def shifted(evaluate: Evaluate, x: Tensor, level: Tensor, shifts: Tensor, width: Tensor) -> Iterator[Tensor]:
    """``evaluate`` at every shift of ``x``: (n, batch, ...) with whole pairs of shifts in each chunk.

    Args:
        evaluate: what is evaluated.
        x: (batch, *shape).
        level: (batch,) noise levels.
        shifts: (samples, *shape), in pairs.
        width: (batch,) factor of the shifts for each image.
    """
    scale = width.reshape(-1, *(1,) * (x.ndim - 1))
    for some in torch.split(shifts.to(x.dtype), 2 * max(1, BATCH // (2 * len(x)))):
        moved = x + scale * some.unsqueeze(1)
        values = evaluate(moved.flatten(0, 1), level.repeat(len(some)))
        yield values.reshape(*moved.shape[:2], *values.shape[1:])


def averaged(evaluate: Evaluate, x: Tensor, level: Tensor, shifts: Tensor, width: Tensor) -> Tensor:
    """The mean of :func:`shifted` over the shifts: (batch, ...)."""
    total = x.new_zeros(())
    for values in shifted(evaluate, x, level, shifts, width):
        total = total + values.sum(0)
    return total / len(shifts)
