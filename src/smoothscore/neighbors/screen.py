"""Lower bounds of all distances from a thin float32 product, and what rounding can do to them.

Let c be a center of the data, R the largest |y - c|, and write x' = (x - c) / R, y' = (y - c) / R. For r orthonormal
directions V, with coordinates a = V^T x', b = V^T y' and the lengths of what they leave out, rho_x = |x' - V a| and
rho_y = |y' - V b|, Cauchy and Schwarz give x' . y' <= a . b + rho_x rho_y. So

    |x - y|^2 / R^2 >= |x'|^2 + 2 (s(x, y) - rho_x rho_y),    s(x, y) = |y'|^2 / 2 - a . b:

one product of rows of r + 1 numbers for all centers. Along principal directions a few leave little out. With V the
whole space, r = d and rho = 0, the bound is the distance.

Rounding: coordinates and lengths are computed in float64, rho from a difference of squares and made larger by what
rounding may have taken, so what counts is float32. A product of rows of n numbers is off by at most gamma_n =
n u / (1 - n u), u = 2^-24, times the sum of the absolute products, in any order of summation; rounding the factors
adds 2 to n. The sum is at most |x'| + 1/2. Where it matters, neither side of the comparison of s - rho_x rho_y with a
limit is above 3 (|x'| + 1/2), and rounding both, with the two lengths, adds 9 u (|x'| + 1/2). So the computed bound is
above the true one by at most e(x) = gamma_(r + 17) (|x'| + 1/2), and (d + 16) 2^-51 |x'|^2 more for what float64 does
to queries far away.
"""

from collections.abc import Iterator
from copy import copy
from dataclasses import dataclass

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor
from torch.nn.functional import pad

from smoothscore.neighbors.rows import Rows

__all__ = ["Frame", "PrefixScreen", "Projection", "Screen", "Screened", "frame", "padded", "principal"]

Floats = NDArray[np.float64]

GROUP = 64  # bounds are padded to whole groups of this many centers
TOGETHER = 16  # and of this many queries

_CHUNK = 768  # centers in one product: 8 MB at d = 3,072
_LEAST = 1e-20  # R, so that float32 holds x' also where all centers are one
_FIT = 4096  # centers that c and the principal directions are found from
_SPARE = 10  # directions found beyond those that are kept, for which the last ones are better


@dataclass(frozen=True)
class Frame:
    """Where x' and y' are measured from: c (d,), R, and |y'|^2 / 2 of all centers (M,), in float64."""

    center: Tensor
    radius: float
    half: Tensor

    def __call__(self, rows: Tensor) -> Tensor:
        """float64 rows (n, d) moved and scaled."""
        moved: Tensor = (rows - self.center) / self.radius
        return moved


def frame(rows: Rows) -> Frame:
    """The frame of some centers, by one pass over them; c is the mean of at most 4,096 of them, for pixels rounded."""
    mean = torch.stack([part.sum(0) for part in _sample(rows)]).sum(0) / min(_FIT, rows.count)
    center = mean.round() if rows.integer else mean
    sizes = torch.from_numpy(rows.sizes(center))
    radius = max(float(sizes.max().sqrt()), _LEAST)
    return Frame(center, radius, sizes / (2 * radius**2))


def principal(rows: Rows, at: Frame, count: int) -> Tensor:
    """Orthonormal (d, count): directions of largest variance of at most 4,096 centers, found by random projections."""
    sample = torch.cat([at(part).float() for part in _sample(rows)])
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(0)
        found = torch.svd_lowrank(sample, min(count + _SPARE, *sample.shape), niter=2)[2][:, :count]
    directions: Tensor = torch.linalg.qr(found.double()).Q
    return directions


def _sample(rows: Rows) -> Iterator[Tensor]:
    """At most 4,096 rows in float64, some at a time."""
    index = np.linspace(0, rows.count - 1, min(_FIT, rows.count)).astype(np.int64)
    for start in range(0, len(index), _CHUNK):
        yield rows.exact(index[start : start + _CHUNK], pixels=rows.integer)


def _exact(rows: Rows) -> Iterator[tuple[slice, Tensor]]:
    for index in rows.chunks():
        yield slice(int(index[0]), int(index[-1]) + 1), rows.exact(index, pixels=rows.integer)


@dataclass(frozen=True)
class Screened:
    """Lower bounds of the distances of B queries to M centers.

    Attributes:
        table: (M padded, B padded) float32, s(x, y); infinite in the padding of the centers.
        error: (B,) e(x).
        size: (B,) |x'|^2.
        rest: (B,) rho_x.
    """

    table: Tensor
    error: Floats
    size: Floats
    rest: Floats


class Screen:
    """s(x, y) of all centers in the whole space.

    Args:
        rows: the centers.
        at: their frame.

    Attributes:
        rest: (M,) rho_y.

    Memory: M (d + 1) float32 for float centers; nothing for uint8 images, which are converted as they are read.
    """

    def __init__(self, rows: Rows, at: Frame) -> None:
        self.rows = rows
        self.frame = at
        self.rest: Floats = np.zeros(rows.count)
        self._half = at.half[:, None].float()
        if not rows.integer:
            self._left = torch.empty(rows.count, rows.dim + 1)
            self._left[:, -1] = at.half
            for part, values in _exact(rows):
                self._left[part, :-1] = -at(values)

    def __call__(self, x: Tensor, out: Tensor) -> Screened:
        """Bounds for float64 queries (B, d) on the scale of the centers, written into ``out``.

        ``out`` (M padded, >= B padded) is a scratch; B is padded to whole groups of 16.
        """
        moved = self.frame(x)
        right, rest = self._right(moved)
        size = moved.square().sum(1)
        terms = (len(right) + 16) * 2.0**-24
        error = terms / (1 - terms) * (size.sqrt() + 0.5) + (x.shape[1] + 16) * 2.0**-51 * size
        width = padded(len(x), TOGETHER)
        table = out.flatten()[: len(out) * width].view(len(out), width)
        table[self.rows.count :] = torch.inf
        self._product(pad(right.float(), (0, width - len(x))), table[: self.rows.count])
        return Screened(table, error.numpy(), size.numpy(), rest.numpy())

    def _right(self, moved: Tensor) -> tuple[Tensor, Tensor]:
        """The right factor of the product and rho_x (B,)."""
        return torch.cat([moved.T, moved.new_ones(1, len(moved))]), moved.new_zeros(len(moved))

    def _product(self, right: Tensor, out: Tensor) -> None:
        if not self.rows.integer:
            torch.mm(self._left, right, out=out)
            return
        center = self.frame.center.float()
        for start in range(0, self.rows.count, _CHUNK):
            part = slice(start, min(start + _CHUNK, self.rows.count))
            pixels = self.rows.raw(np.arange(part.start, part.stop)).float()
            pixels.sub_(center).div_(self.frame.radius)
            torch.addmm(self._half[part], pixels, right[:-1], alpha=-1, out=out[part])


class Projection:
    """Coordinates of the centers along orthonormal directions, and the length of what they leave out.

    Attributes:
        directions: (d, r) float64.
        coordinates: (M, r) float32.
        rest: (M,) float64, not below the true length.
    """

    def __init__(self, rows: Rows, at: Frame, directions: Tensor) -> None:
        self.directions = directions
        self.coordinates = torch.empty(rows.count, directions.shape[1])
        self.rest = torch.empty(rows.count, dtype=torch.float64)
        for part, values in _exact(rows):
            self.coordinates[part], self.rest[part] = _along(at(values), directions)

    def first(self, count: int) -> "Projection":
        """The projection along the first ``count`` directions."""
        short = copy(self)
        short.directions = self.directions[:, :count].contiguous()
        short.coordinates = self.coordinates[:, :count]
        short.rest = (self.rest.square() + self.coordinates[:, count:].square().sum(1, dtype=torch.float64)).sqrt()
        return short


class PrefixScreen(Screen):
    """s(x, y) of all centers along the directions of a projection.

    Args:
        plain: the screen in the whole space.
        projection: of its centers.

    Memory: M (r + 3) float32, r the number of directions.
    """

    def __init__(self, plain: Screen, projection: Projection) -> None:
        self.rows = plain.rows
        self.frame = plain.frame
        self.rest = projection.rest.numpy()
        self._directions = projection.directions
        self._left = torch.cat([-projection.coordinates, self.frame.half[:, None].float()], 1)

    def _right(self, moved: Tensor) -> tuple[Tensor, Tensor]:
        along, rest = _along(moved, self._directions)
        return torch.cat([along.T, torch.ones_like(rest)[None]]), rest

    def _product(self, right: Tensor, out: Tensor) -> None:
        torch.mm(self._left, right, out=out)


def _along(moved: Tensor, directions: Tensor) -> tuple[Tensor, Tensor]:
    """Of rows (n, d): coordinates (n, r) and the length of what they leave out (n,), rounded up, in float64."""
    along = moved @ directions
    size = moved.square().sum(1)
    slack = 4 * sum(directions.shape) * 2.0**-53 * size
    return along, ((size - along.square().sum(1)).clamp_min(0) + slack).sqrt()


def padded(count: int, group: int) -> int:
    """The next multiple of ``group``."""
    return -(-count // group) * group
