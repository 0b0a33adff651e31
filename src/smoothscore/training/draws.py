"""The random numbers of a training step.

Everything random that one image meets in one step is a function of (seed, step, position in the global batch), by a
counter-based generator. So neither the number of processes nor an interruption changes a run.
"""

from dataclasses import dataclass
from functools import lru_cache

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

__all__ = ["Draws", "batch_indices", "draw", "fresh"]

EXTRAS = 16  # uniform numbers for flips and augmentation


@dataclass(frozen=True)
class Draws:
    """Of a batch of B images.

    Attributes:
        level: (B,) float64 in [0, 1), which the law of the noise turns into levels.
        noise: (B, *shape) standard normal.
        extras: (B, 16) float64 in [0, 1), for flips and augmentation.
    """

    level: Tensor
    noise: Tensor
    extras: Tensor

    def to(self, device: torch.device) -> "Draws":
        """The same numbers on another device."""
        return Draws(self.level.to(device), self.noise.to(device), self.extras.to(device))


def draw(seed: int, step: int, positions: range, shape: torch.Size) -> Draws:
    """The numbers of the images at ``positions`` of the global batch of ``step``; noise in float32."""
    uniform = np.empty((len(positions), 1 + EXTRAS))
    noise = np.empty((len(positions), shape.numel()), dtype=np.float32)
    for row, position in enumerate(positions):
        stream = np.random.Generator(np.random.Philox(key=seed, counter=[0, 0, position, step]))
        stream.random(out=uniform[row])
        stream.standard_normal(out=noise[row], dtype=np.float32)
    table = torch.from_numpy(uniform)
    return Draws(table[:, 0], torch.from_numpy(noise).reshape(-1, *shape), table[:, 1:])


def fresh(images: Tensor) -> Draws:
    """Numbers for a batch ``images`` from PyTorch's own generator."""
    count, device = len(images), images.device
    return Draws(
        torch.rand(count, dtype=torch.float64, device=device),
        torch.randn_like(images),
        torch.rand(count, EXTRAS, dtype=torch.float64, device=device),
    )


def batch_indices(seed: int, step: int, positions: range, batch_size: int, count: int) -> NDArray[np.int64]:
    """Which of ``count`` training images stand at ``positions`` of the global batch of ``step`` (from 0).

    Images come in a new random order in every epoch, and each once an epoch.
    """
    places = step * batch_size + np.asarray(positions)
    epochs = places // count
    chosen = np.empty(len(places), dtype=np.int64)
    for epoch in np.unique(epochs):
        here = epochs == epoch
        chosen[here] = _order(seed, int(epoch), count)[places[here] % count]
    return chosen


@lru_cache(maxsize=2)
def _order(seed: int, epoch: int, count: int) -> NDArray[np.int64]:
    return np.random.default_rng([seed, epoch]).permutation(count)
