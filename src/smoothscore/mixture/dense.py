r"""Sums over all centers, for queries whose weight lies on many of them.

One pass reads each chunk of centers once: a product for :math:`S_j=x\cdot\mu_j-\tfrac12\|\mu_j\|^2`, weights relative
to a center of much weight seen so far, and a product for the mean, of those rows only whose weight is not negligible
for every query. Nothing is kept of a chunk but its sums.

What float32 leaves of rounding depends on the order of the additions, and the bounds that hold for every order are
a hundred times too wide. So it is measured: centers are drawn from the posterior itself, all over the set, and
their S compared with exact ones. Errors e of S move the mean D, to first order and whatever their dependence, by

.. math::
    \|\delta D\|=\kappa\,\Big\|\sum_jw_je_j(\mu_j-D)\Big\|
    \le\kappa\sqrt{\textstyle\sum_jw_je_j^2}\;\sqrt{\operatorname{tr Cov}_w(\mu)}

(Cauchy and Schwarz; an error common to all centers moves nothing and is left out), and the draws estimate the first
root. Queries where this is too large are named.
"""

import math
from dataclasses import dataclass

import torch
from torch import Tensor

from smoothscore.mixture.centers import Centers
from smoothscore.mixture.kernels import Kernel
from smoothscore.mixture.pairs import Moments, differences
from smoothscore.mixture.products import Bytes, Rows, Table, rows_for

__all__ = ["dense"]

DRAWS = 24  # about how many centers are drawn to measure the rounding error
LINEAR = 2.0**-6  # errors of the logits up to which the first order is trusted
LOGARITHM = 1 / 30  # of the target is what the log mass may be off, relative to itself or to 1
ROOM = 8.0  # nats by which a weight may exceed its reference before another one is taken
LEAST = {torch.float32: -80.0, torch.float64: -700.0}  # logits below are slow to exponentiate, and nothing


@dataclass
class Reference:
    """For each of B queries, a center that weights are taken relative to.

    Attributes:
        s: (B,) its S, as it stands among those that it is compared with.
        base: (B, 1) float64, the squared distance that belongs to it.
        prior, level: (B,) float64, its log prior weight and its log weight, prior included.
    """

    s: Tensor
    base: Tensor
    prior: Tensor
    level: Tensor

    @classmethod
    def of(cls, x: Tensor, s: Tensor, prior: Tensor, kernel: Kernel) -> "Reference":
        """From S and the log prior weights (B,)."""
        base = (x.square().sum(1) - 2 * s.double()).clamp_min(0)[:, None]
        return cls(s, base, prior, kernel.log_weight(base)[:, 0] + prior)


@dataclass
class Drawn:
    """A center drawn from the posterior in one chunk, for each query: (B,) rows, their S, log mass of the chunk."""

    center: Tensor
    s: Tensor
    mass: Tensor


def dense(
    x: Tensor,
    centers: Centers,
    kernel: Kernel,
    dtype: torch.dtype,
    target: float,
    negligible: float,
    curved: bool,
    table: Table | None = None,
) -> tuple[Moments, Tensor]:
    """Moments for queries x (B, d) in float64, computed in ``dtype``.

    Args:
        target: relative error of the mean that passes.
        negligible: weight of all left-out centers together, at most.
        curved: whether the curvature is wanted.
        table: S in ``dtype``, where it has been taken already.

    Returns the moments, and which queries (B,) miss the target.

    Memory: a chunk of centers, and its products with the queries.
    """
    rows = rows_for(x, centers, dtype)
    running = Running(x, centers, kernel, dtype, rows, curved)
    buffer = torch.empty(rows.size, len(x), dtype=rows.values, device=x.device)
    floor = math.log(negligible / centers.count)
    stride = -(-centers.count // (rows.size * DRAWS)) * rows.size  # a draw every so many centers,
    several = -(-DRAWS * rows.size // max(centers.count, rows.size))  # and in few chunks several
    drawn: list[Drawn] = []
    for start in range(0, centers.count, rows.size):
        stop = min(start + rows.size, centers.count)
        s = rows.products(start, stop, buffer[: stop - start]) if table is None else table.values[start:stop]
        logits, offset, precision, peaks = running.relative(start, s)
        carries = peaks > floor
        number = int(carries.sum())
        if number == 0:
            continue
        some = carries.nonzero()[:, 0] if 2 * number <= len(s) else None
        if some is not None:
            logits, offset, precision = logits[:, some], offset[:, some], precision[:, some]
        draws = several if start % stride == 0 or not drawn else 0
        weights, mass, places = running.add(logits, offset, precision, draws)
        rows.add(weights, start, stop, some)
        for place in places:
            row = place if some is None else some[place]
            drawn.append(Drawn(row + start, s.gather(0, row[None])[0], mass))
    found = running.moments()
    if not drawn:  # NaN or infinite products
        return found, torch.ones_like(found.r2, dtype=torch.bool)
    return found, ~_passes(centers, found, running.mean()[1], _noise(x, centers, drawn), target, dtype)


class Running:
    """Sums over the centers so far, relative to a reference for each query.

    Attributes:
        sums: (4, B) float64 of p, p kappa, p r2 and p q r2; the last two where ``curved``. The sums that ``rows``
            hold are of p kappa. A constant precision is left out of both.
    """

    def __init__(
        self, x: Tensor, centers: Centers, kernel: Kernel, dtype: torch.dtype, rows: Rows | Bytes, curved: bool
    ) -> None:
        self.x, self.centers, self.kernel, self.dtype = x, centers, kernel, dtype
        self.rows, self.curved = rows, curved
        first = centers.first
        s = (x @ centers.rows(torch.tensor([first], device=x.device))[0] - centers.half_norms[first]).to(rows.values)
        self.reference = Reference.of(x, s, centers.log_weights[first].expand(len(x)), kernel)
        self.sums = torch.zeros(4, len(x), dtype=torch.float64, device=x.device)
        self.generator = torch.Generator(x.device).manual_seed(0)

    def relative(self, start: int, s: Tensor) -> tuple[Tensor, Tensor, Tensor, Tensor]:
        """From S (n, B): log weights (B, n) relative to the reference's, squared distances (B, n) less the reference's,
        precisions (B, n), and the largest log weight of each center (n,).
        """
        logits, offset, precision, peaks = self._relative(start, s)
        while peaks.amax() > ROOM:
            best, row = logits.max(1)
            more, old = best > 0, self.reference
            prior = torch.where(more, self.centers.log_weights[start + row], old.prior)
            new = Reference.of(self.x, torch.where(more, s.gather(0, row[None])[0], old.s), prior, self.kernel)
            shrink = (old.level - new.level).exp()
            self.sums *= shrink
            self.rows.shrink(shrink)
            self.reference = new
            logits, offset, precision, peaks = self._relative(start, s)
        return logits, offset, precision, peaks

    def _relative(self, start: int, s: Tensor) -> tuple[Tensor, Tensor, Tensor, Tensor]:
        offset = torch.sub(2 * self.reference.s, s, alpha=2).to(self.dtype).T
        if self.centers.uniform:
            logits, precision = self.kernel.relative(self.reference.base, offset)
            return logits, offset, precision, logits.amax(0)
        prior = self.centers.log_weights[start : start + len(s)]
        offset.masked_fill_(prior.isneginf(), 0)
        more = (prior - self.reference.prior[:, None]).to(offset.dtype)
        logits, precision = self.kernel.relative(self.reference.base, offset)
        logits += more
        return logits, offset, precision, logits.amax(0)

    def add(self, logits: Tensor, offset: Tensor, precision: Tensor, draws: int) -> tuple[Tensor, Tensor, Tensor]:
        """Add to ``sums``; returns p kappa (B, n), in the memory of ``logits``, the log of the mass (B,), and so many
        places (draws, B) drawn with probabilities proportional to p.
        """
        kernel, base, level = self.kernel, self.reference.base, self.reference.level
        weights = logits.clamp_min_(LEAST[self.dtype]).exp_()
        mass = weights.sum(1).double()
        places = self._draw(weights, draws)
        self.sums[0] += mass
        if self.curved:
            r2 = base.to(offset.dtype) + offset
            self.sums[2] += (weights * offset).sum(1).double() + base[:, 0] * mass
            self.sums[3] += (weights * kernel.curvature(r2) * r2).sum(1).double()
        if not kernel.constant_precision:
            weights *= precision
            self.sums[1] += weights.sum(1).double()
        return weights, mass.log() + level, places

    def _draw(self, weights: Tensor, draws: int) -> Tensor:
        if draws == 0:
            return torch.empty(0, len(weights), dtype=torch.int64, device=weights.device)
        cumulated = weights.cumsum(1)
        uniform = torch.rand(len(weights), draws, generator=self.generator, device=weights.device, dtype=weights.dtype)
        places = torch.searchsorted(cumulated, uniform * cumulated[:, -1:], right=True)
        return places.clamp_max(weights.shape[1] - 1).T

    def moments(self) -> Moments:
        """Of all that has been added; ``r2`` under the weights p kappa, not p, unless ``curved``."""
        weight, steep, r2, curvature = self.sums
        mean, scatter = self.mean()
        if self.kernel.constant_precision:
            steep = weight * self.kernel.precision(self.reference.base)[:, 0]
        if not self.curved:
            r2 = weight * (scatter + (mean - self.x).square().sum(1))
        return Moments(
            mean=mean,
            precision=steep / weight,
            log_mass=weight.log() + self.reference.level,
            r2=r2 / weight,
            curvature=curvature / weight if self.curved else None,
        )

    def mean(self) -> tuple[Tensor, Tensor]:
        """The mean of the centers (B, d) under the weights p kappa, and their mean squared distance from it (B,)."""
        mean, half = self.rows.means(self.sums[0 if self.kernel.constant_precision else 1])
        return mean, (2 * half - mean.square().sum(1)).clamp_min(0)


def _noise(x: Tensor, centers: Centers, drawn: list[Drawn]) -> tuple[Tensor, Tensor]:
    """Standard deviation and root mean square (B,) of the errors of S under the weights, from the draws."""
    center, s = torch.stack([one.center for one in drawn]), torch.stack([one.s for one in drawn])
    share = torch.softmax(torch.stack([one.mass for one in drawn]), 0)
    query = torch.arange(len(x), device=x.device).repeat(len(drawn))
    r2 = differences(x, centers, query, center.flatten()).view_as(s)
    error = (x.square().sum(1) - r2) / 2 - s.double()
    common = (share * error).sum(0)
    return (share * (error - common).square()).sum(0).sqrt(), (share * error.square()).sum(0).sqrt()


def _passes(
    centers: Centers, found: Moments, scatter: Tensor, noise: tuple[Tensor, Tensor], target: float, dtype: torch.dtype
) -> Tensor:
    """Which queries (B,) have a mean and a log mass whose estimated errors are below the target."""
    spread, size = noise
    rounding = torch.finfo(dtype).eps * centers.usual
    length: Tensor = torch.linalg.vector_norm(found.mean, dim=1).clamp_min(1e-9 * centers.usual)
    moved = found.precision * spread * scatter.sqrt() + rounding
    logarithm = LOGARITHM * target * found.log_mass.abs().clamp_min(1)
    return (found.precision * size < logarithm.clamp_max(LINEAR)) & (moved <= target * length)
