r"""Sums over the centers, chunk by chunk, relative to a center of much weight seen so far.

Of a chunk, only those rows enter the sums whose weight is not negligible for every query; nothing is kept of it but
its sums, and a center or two drawn from the posterior.
"""

import math
from functools import cached_property
from typing import Any

import numpy as np
import torch
from torch import Tensor

from smoothscore.mixture.centers import Centers
from smoothscore.mixture.kernels import Kernel, Loop
from smoothscore.mixture.pairs import Moments
from smoothscore.mixture.reference import Reference
from smoothscore.mixture.rounding import DRAWS, Drawn
from smoothscore.mixture.rows import Rows
from smoothscore.mixture.stored import Bytes
from smoothscore.mixture.table import Table

__all__ = ["LEAST", "Running"]

ROOM = 8.0  # nats by which a weight may exceed its reference before another one is taken
LEAST = {torch.float32: -80.0, torch.float64: -700.0}  # logits below are slow to exponentiate, and nothing
LIMITS = np.float32(ROOM), np.float32(LEAST[torch.float32])

Array = np.ndarray[Any, np.dtype[Any]]

# Indices of the rows that count, or None for all; their weights p kappa (B, n); the log of the sums of these (B,);
# places (draws, B) of rows that are drawn with probabilities proportional to them, which may be none.
Weighed = tuple[Tensor | None, Tensor, Tensor, Tensor]


class Running:
    """Sums over the centers so far, relative to a reference for each query.

    Args:
        size: (B,) squared norms of the queries, in float64 as all that is not said otherwise.
        reference: for the beginning.
        rows: who reads the centers, without sums.
        seed: of the draws.
        curved: whether the curvature is wanted.

    Attributes:
        sums: (4, B) of p, p kappa, p r2 and p q r2; the last two where ``curved``. The sums that ``rows``
            hold are of p kappa. A constant precision is left out of both.
        drawn: the centers drawn so far.
    """

    def __init__(
        self,
        size: Tensor,
        reference: Reference,
        centers: Centers,
        kernel: Kernel,
        dtype: torch.dtype,
        rows: Rows | Bytes,
        seed: int,
        curved: bool,
    ) -> None:
        self.size, self.reference, self.centers, self.kernel = size, reference, centers, kernel
        self.dtype, self.rows, self.curved = dtype, rows, curved
        self.sums = torch.zeros(4, len(size), dtype=torch.float64, device=size.device)
        self.generator = torch.Generator(size.device).manual_seed(seed)
        self.drawn: list[Drawn] = []

    def take(self, first: int, last: int, negligible: float, table: Table | None) -> None:
        """Add centers ``first`` to ``last``, whose S are in the table where there is one.

        Args:
            negligible: weight of all left-out centers together, at most.
        """
        count, rows = self.centers.count, self.rows
        length, floor = min(rows.size, last - first), math.log(negligible / count)
        buffer = torch.empty(length, len(self.size), dtype=rows.values, device=self.size.device)
        stride = max(count // (length * DRAWS), 1) * length  # a draw every so many centers,
        several = -(-DRAWS * length // max(count, length))  # and in few chunks several
        for start in range(first, last, length):
            stop = min(start + length, last)
            s = rows.products(start, stop, buffer[: stop - start]) if table is None else table.values[start:stop]
            draws = several if (start - first) % stride == 0 or not self.drawn else 0
            some, weights, mass, places = (self.at_once if self._plain(s) else self.in_steps)(start, s, floor, draws)
            if not weights.shape[1]:
                continue
            rows.add(weights, start, stop, some)
            if len(places):
                row = places if some is None else some[places]
                self.drawn.append(Drawn(row + start, s.gather(0, row), mass))

    def in_steps(self, start: int, s: Tensor, floor: float, draws: int) -> Weighed:
        """Weigh a chunk from its S (n, B), for any kernel, and add it to ``sums``."""
        logits, offset, precision, peaks = self.relative(start, s)
        carries, some = peaks > floor, None
        if 2 * int(carries.sum()) <= len(s):
            some = carries.nonzero()[:, 0]
            logits, offset, precision = logits[:, some], offset[:, some], precision[:, some]
            if not len(some):
                return some, logits, self.sums[0], some[:0]
        return some, *self.add(logits, offset, precision, draws)

    def at_once(self, start: int, s: Tensor, floor: float, draws: int) -> Weighed:
        """The same by one loop and few operations on tensors, each of which takes as long as the loop."""
        weights, carries, sums = np.empty(s.shape, np.float32), np.empty(len(s), np.bool_), np.empty((2, s.shape[1]))
        for _ in range(2):
            assert self.loop is not None
            number = self.loop(s.numpy(), np.float32(floor), *LIMITS, weights, sums, carries)
            if number >= 0:
                break
            self.relative(start, s)
        self.sums[:2] += torch.from_numpy(sums)
        mass = torch.from_numpy(sums[0 if self.kernel.constant_precision else 1])
        heavy, some = torch.from_numpy(weights).T, None
        if 0 <= 2 * number <= len(s):
            some = torch.from_numpy(carries).nonzero()[:, 0]
            heavy = heavy[:, some]
        if not draws or not heavy.shape[1]:
            return some, heavy, self.sums[0], torch.empty(0, len(heavy), dtype=torch.int64)
        return some, heavy, mass.log() + self.reference.level, self._draw(heavy, draws)

    def _plain(self, s: Tensor) -> bool:
        """Whether a loop can weigh these centers, and nothing is wanted that it does not give."""
        plain = self.centers.uniform and not self.curved and isinstance(self.rows, Bytes) and s.is_contiguous()
        return plain and self.dtype is torch.float32 and s.dtype is torch.float32 and self.loop is not None

    def absorb(self, other: "Running") -> None:
        """Add the sums over other centers, relative to whichever reference of the two is the heavier."""
        assert isinstance(self.rows, Bytes)
        assert isinstance(other.rows, Bytes)
        reference = self.reference.where(self.reference.level >= other.reference.level, other.reference)
        self._relate(reference)
        other._relate(reference)
        self.sums += other.sums
        self.rows.absorb(other.rows)
        self.drawn += other.drawn

    def _relate(self, reference: Reference) -> None:
        shrink = (self.reference.level - reference.level).exp()
        self.sums *= shrink
        self.rows.shrink(shrink)
        self.reference = reference
        self.__dict__.pop("loop", None)

    @cached_property
    def loop(self) -> Loop | None:
        """That of the kernel, for the present reference."""
        return self.kernel.loop(self.reference.base, self.reference.s)

    def relative(self, start: int, s: Tensor) -> tuple[Tensor, Tensor, Tensor, Tensor]:
        """From S (n, B): log weights (B, n) relative to the reference's, squared distances (B, n) less the reference's,
        precisions (B, n), and the largest log weight of each center (n,).
        """
        logits, offset, precision, peaks = self._relative(start, s)
        while peaks.amax() > ROOM:
            best, row = logits.max(1)
            more, old = best > 0, self.reference
            prior = torch.where(more, self.centers.log_weights[start + row], old.prior)
            found = torch.where(more, s.gather(0, row[None])[0], old.s)
            self._relate(Reference.of(self.size, found, prior, self.kernel))
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
        """Add to ``sums``; returns p kappa (B, n), in the memory of ``logits``, the log of its sums (B,), and so many
        places (draws, B) drawn with probabilities proportional to it.
        """
        kernel, base, level = self.kernel, self.reference.base, self.reference.level
        weights = logits.clamp_min_(LEAST[self.dtype]).exp_()
        mass = weights.sum(1).double()
        self.sums[0] += mass
        if self.curved:
            r2 = base.to(offset.dtype) + offset
            self.sums[2] += (weights * offset).sum(1).double() + base[:, 0] * mass
            self.sums[3] += (weights * kernel.curvature(r2) * r2).sum(1).double()
        if not kernel.constant_precision:
            weights *= precision
            mass = weights.sum(1).double()
            self.sums[1] += mass
        return weights, mass.log() + level, self._draw(weights, draws)

    def _draw(self, weights: Tensor, draws: int) -> Tensor:
        if draws == 0:
            return torch.empty(0, len(weights), dtype=torch.int64, device=weights.device)
        cumulated = weights.cumsum(1)
        uniform = torch.rand(len(weights), draws, generator=self.generator, device=weights.device, dtype=weights.dtype)
        places = torch.searchsorted(cumulated, uniform * cumulated[:, -1:], right=True)
        return places.clamp_max(weights.shape[1] - 1).T

    def moments(self, x: Tensor) -> Moments:
        """Of all that has been added; ``r2`` under the weights p kappa, not p, unless ``curved``."""
        weight, steep, r2, curvature = self.sums
        mean, scatter = self.mean
        if self.kernel.constant_precision:
            steep = weight * self.kernel.precision(self.reference.base)[:, 0]
        if not self.curved:
            r2 = weight * (scatter + (mean - x).square().sum(1))
        return Moments(
            mean=mean,
            precision=steep / weight,
            log_mass=weight.log() + self.reference.level,
            r2=r2 / weight,
            curvature=curvature / weight if self.curved else None,
        )

    @cached_property
    def mean(self) -> tuple[Tensor, Tensor]:
        """The mean of the centers (B, d) under the weights p kappa, and their mean squared distance from it (B,)."""
        mean, half = self.rows.means(self.sums[0 if self.kernel.constant_precision else 1])
        return mean, (2 * half - mean.square().sum(1)).clamp_min(0)
