r"""Curves over noise levels, and the standard errors of Monte Carlo with shared noises.

A value :math:`v_{ik}` belongs to image i and noise k, and every image meets the same noises. Then rows and
columns both carry variance, :math:`v_{ik}=m+r_i+c_k+e_{ik}`, and the mean over I images and K noises has

.. math:: \mathrm{Var}=\frac{\sigma_r^2}{I}\Big(1-\frac IN\Big)+\frac{\sigma_c^2}{K}+\frac{\sigma_e^2}{IK},

where the factor in brackets is there when the I images are drawn without replacement from the N whose mean is
wanted. The three components are estimated by the usual mean squares of a two-way table.
"""

from collections.abc import Sequence
from dataclasses import dataclass
from functools import cached_property

import numpy as np
from numpy.typing import NDArray
from torch import Tensor

from smoothscore.errors import InputError

__all__ = ["Curve", "Levels", "Replicates", "as_levels"]

Array = NDArray[np.float64]
Levels = Sequence[float] | Array | Tensor


def as_levels(sigmas: Levels) -> Array:
    """Noise levels as a float64 array, in the order given.

    Raises:
        InputError: there are none, or one is not a positive finite number.
    """
    levels = np.atleast_1d(np.asarray(sigmas, dtype=np.float64))
    if levels.ndim != 1 or levels.size == 0:
        raise InputError(f"sigmas has shape {levels.shape}; pass a list of one or more noise levels.")
    if not (np.isfinite(levels).all() and (levels > 0).all()):
        raise InputError("sigmas has a level that is zero, negative or not finite; every noise level must be above 0.")
    return levels


@dataclass(frozen=True, eq=False)
class Curve:
    """A mean and its standard error at every noise level.

    Attributes:
        sigmas: (L,) noise levels in the order given, in the units of the data ([-1, 1] for images).
        mean: (L,) estimates.
        stderr: (L,) standard errors of ``mean``; 0 where the value is exact.
        lower: (L,) a bound from below that needs no sampling, or ``None``.
        upper: (L,) a bound from above that needs no sampling, or ``None``.
    """

    sigmas: Array
    mean: Array
    stderr: Array
    lower: Array | None = None
    upper: Array | None = None

    def __len__(self) -> int:
        return len(self.sigmas)

    def crossings(self, level: float) -> list[float]:
        """Noise levels, ascending, where the curve, linear in log sigma between its own, passes ``level``."""
        order = np.argsort(self.sigmas)
        x, y = np.log(self.sigmas[order]), self.mean[order] - level
        above = y >= 0
        left = np.flatnonzero(above[:-1] != above[1:])
        share = y[left] / (y[left] - y[left + 1])
        return [float(s) for s in np.exp(x[left] + share * (x[left + 1] - x[left]))]

    def at(self, sigma: float | Array) -> Array:
        """The curve at ``sigma``, linear in log sigma between levels and constant beyond the last ones."""
        order = np.argsort(self.sigmas)
        return np.asarray(np.interp(np.log(sigma), np.log(self.sigmas[order]), self.mean[order]))

    def to_dict(self) -> dict[str, list[float]]:
        """The arrays as lists of numbers."""
        named = vars(self).items()
        return {name: value.tolist() for name, value in named if value is not None}


@dataclass(frozen=True, eq=False)
class Replicates:
    """The values behind a curve: one for every level, image and noise.

    Attributes:
        sigmas: (L,) noise levels.
        values: (L, I, K), every image with the same K noises.
        population: number of images whose mean is wanted and from which the I were drawn without replacement;
            ``None`` when they stand for an unlimited distribution.
    """

    sigmas: Array
    values: Array
    population: int | None = None

    def curve(self) -> Curve:
        """Means over images and noises with their standard errors."""
        return self._curve

    def bootstrap(self, draws: int, rng: np.random.Generator) -> Array:
        """(draws, L) means of bootstrap draws of images and of noises.

        Both margins are resampled and added, which leaves out what images and noises do only together.
        """
        by_image, by_noise = self._margins
        rows, columns = (_resampled(part.shape[1], draws, rng) for part in (by_image, by_noise))
        return np.asarray(rows @ by_image.T + columns @ by_noise.T - by_image.mean(1))

    @cached_property
    def _margins(self) -> tuple[Array, Array]:
        """(L, I) means over noises and (L, K) means over images."""
        return self.values.mean(2), self.values.mean(1)

    @cached_property
    def _curve(self) -> Curve:
        _, images, noises = self.values.shape
        by_image, by_noise = self._margins
        mean = by_image.mean(1)
        row_squares = noises * ((by_image - mean[:, None]) ** 2).sum(1)
        column_squares = images * ((by_noise - mean[:, None]) ** 2).sum(1)
        squares = np.array([((values - m) ** 2).sum() for values, m in zip(self.values, mean, strict=True)])
        error = np.maximum(squares - row_squares - column_squares, 0) / max((images - 1) * (noises - 1), 1)
        row_squares, column_squares = row_squares / max(images - 1, 1), column_squares / max(noises - 1, 1)
        row = np.maximum(row_squares - error, 0) / (noises * images)
        column = np.maximum(column_squares - error, 0) / (images * noises)
        unseen = 1.0 if self.population is None else 1 - images / self.population
        return Curve(self.sigmas, mean, np.sqrt(row * unseen + column + error / (images * noises)))


def _resampled(count: int, draws: int, rng: np.random.Generator) -> Array:
    """(draws, count) how often each of ``count`` is drawn in ``count`` draws with replacement, as shares."""
    drawn = rng.integers(count, size=(draws, count)) + count * np.arange(draws)[:, None]
    return np.bincount(drawn.ravel(), minlength=draws * count).reshape(draws, count) / count
