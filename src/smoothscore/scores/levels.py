r"""The exact mixture over N noise levels, tabulated.

With :math:`\rho=r^2+s`, :math:`s=\max(1,d-2)/64\,\kappa(0)`, the cell of the table is read from the bits of
:math:`\rho` as a float64: its exponent and the leading digits of its mantissa, so that cells widen with the distance.
:math:`F,\;F'=-\tfrac12\kappa,\;F''=\tfrac14\eta` are exact at the rows, the polynomial between two rows is the quintic
through them, and :math:`\kappa,\eta` come from its derivatives, so that they belong to the same F. Beyond the last row
the last level alone is left and F is linear in :math:`r^2`.
"""

import math
from functools import partial
from typing import Any

import torch
from torch import Tensor

from smoothscore.mixture.kernels import Loop
from smoothscore.scores.shells import Profile

__all__ = ["Levels"]

NEGLIGIBLE = 40.0  # nats below the largest at which a level is left out of the sum: 4e-18
PRECISION = 1e-10  # relative error of kappa in the middle between two rows
MANTISSA = 52  # binary digits of a float64
FEWEST_DIGITS, MOST_DIGITS = 4, 15  # of them used for cells
CHUNK = 512  # rows whose levels are found together
DEGREE = 5
LOOPED = 4096  # distances from which on one loop looks them up


class Levels(Profile):
    """F of N levels by one table look-up.

    Args:
        sigmas: (N,) ascending, distinct.
        log_weights: (N,) logarithms of the weights of the levels.
        dim: number d of values in one image.

    Digits are added until, in the middle between any two rows, F is right to its rounding error (3e-11 nats at
    d = 3,072) and the precision to 1e-10 or, where that is more, its own rounding error.

    Attributes:
        table: (rows, 8) float64, the six coefficients of each cell's polynomial on [0, 1], where the cell starts, and
            one over its width: 4 MB for 116 shell-touch levels at d = 3,072.
    """

    table: Tensor
    ends: Tensor
    masses: Tensor

    def __init__(self, sigmas: Tensor, log_weights: Tensor, dim: int) -> None:
        super().__init__()
        self.intercepts, self.precisions = log_weights - dim * sigmas.log(), sigmas**-2
        nearest = torch.softmax(self.intercepts, 0) @ self.precisions
        self.shift = max(1, dim - 2) / float(nearest) / 64
        self.last, self.tail = self._alone(), float(self.precisions[-1]) / 2
        self.register_buffer("table", self._tabulated())
        self.register_buffer("ends", (self.table[:, DEGREE + 1] - self.shift).clamp(0, self.last))
        self.register_buffer("masses", self.log_mass(self.ends))

    def log_mass(self, r2: Tensor) -> Tensor:
        """F: the log of the sum over the levels."""
        near = r2.double().clamp(max=self.last)
        return (self._polynomial(near, 0) - self.tail * (r2 - near)).to(r2.dtype)

    def precision(self, r2: Tensor) -> Tensor:
        """The mean of 1 / sigma^2 over the levels seen from this distance."""
        return (-2 * self._polynomial(r2.double().clamp(max=self.last), 1)).to(r2.dtype)

    def softening(self, r2: Tensor) -> Tensor:
        """The variance of 1 / sigma^2 over the levels seen from this distance."""
        return (4 * self._polynomial(r2.double().clamp(max=self.last), 2)).clamp(min=0).to(r2.dtype)

    def relative(self, base: Tensor, offset: Tensor, cold: Tensor) -> tuple[Tensor, Tensor]:
        """As promised by :class:`Profile`; on a CPU in one compiled loop."""
        if offset.device.type != "cpu" or offset.numel() < LOOPED:
            return super().relative(base, offset, cold)
        from smoothscore.scores.levels_loop import relative

        steps = offset.T.contiguous()
        ratio, precision = torch.empty_like(steps), torch.empty_like(steps)
        relative(*self._cells(base, cold), *(part.numpy() for part in (steps, ratio, precision)))
        return ratio.T, precision.T

    def loop(self, base: Tensor, cold: Tensor, s: Tensor) -> Loop:
        """Look-up and weights in one."""
        from smoothscore.scores.levels_loop import weigh

        given: tuple[Any, ...] = (*self._cells(base, cold), s.numpy())
        return partial(weigh, *given)

    def _cells(self, base: Tensor, cold: Tensor) -> tuple[Any, ...]:
        """The first arguments of the loops."""
        parts = [part[:, 0].contiguous().numpy() for part in (base, cold)]
        return self.table.numpy(), self.first, self.drop, self.shift, self.last, self.tail, *parts

    def inverse(self, log_mass: Tensor) -> Tensor:
        """The first row at which F is not above; exact beyond the table."""
        row = torch.bucketize(-log_mass, -self.masses).clamp(max=len(self.ends) - 1)
        return self.ends[row] + (self.masses[-1] - log_mass).clamp(min=0) / self.tail

    def _polynomial(self, r2: Tensor, order: int) -> Tensor:
        """The derivative of this order by r2, of distances up to the last."""
        rho = r2 + self.shift
        bits = rho.detach().contiguous().view(torch.int64)
        cell = ((bits >> self.drop) - self.first).clamp_(0, len(self.table) - 1).flatten()
        start, steep = (self.table[:, column].index_select(0, cell).view_as(rho) for column in (DEGREE + 1, DEGREE + 2))
        t = (rho - start) * steep
        value = torch.zeros_like(rho)
        for degree in range(DEGREE, order - 1, -1):
            factor = math.perm(degree, order) * self.table[:, degree].index_select(0, cell).view_as(rho)
            value = torch.addcmul(factor, value, t)
        return value * steep**order

    def _tabulated(self) -> Tensor:
        """The table, of rows close enough for the quintic."""
        halves = 0.5 ** torch.arange(DEGREE + 1, dtype=torch.float64)
        slopes = torch.arange(1, DEGREE + 1) * halves[:-1]
        for digits in range(FEWEST_DIGITS, MOST_DIGITS + 1):
            self.drop = MANTISSA - digits
            self.first, end = self._cell(self.shift), self._cell(self.shift + self.last) + 1
            nodes = (torch.arange(self.first, end + 1) << self.drop).view(torch.float64)
            width = nodes.diff()
            ends = self._exact(nodes - self.shift)
            quintic = _quintic(ends, width)
            middle = self._exact(nodes[:-1] + width / 2 - self.shift)
            off, steep = (halves @ quintic - middle[0]).abs(), (slopes @ quintic[1:] / width - middle[1]).abs()
            farthest = float(abs(self.intercepts).max() + abs(ends[0]).max()) + NEGLIGIBLE
            rounding = 4 * torch.finfo(torch.float64).eps * farthest
            if off.max() < rounding and (steep < (PRECISION * middle[1].abs()).clamp(min=rounding / width)).all():
                break
        return torch.cat([quintic.T, nodes[:-1, None], 1 / width[:, None]], 1).contiguous()

    def _cell(self, rho: float) -> int:
        return int(torch.tensor(rho, dtype=torch.float64).view(torch.int64)) >> self.drop

    def _alone(self) -> float:
        """The squared distance beyond which the last level leaves all others negligible."""
        nats = NEGLIGIBLE + math.log(len(self.intercepts)) + self.intercepts[:-1] - self.intercepts[-1]
        crossings: list[float] = (2 * nats / (self.precisions[:-1] - self.precisions[-1])).tolist()
        return max(0.0, *crossings, 0.0)

    def _exact(self, r2: Tensor) -> Tensor:
        """F and its first two derivatives at ascending squared distances: (3, n).

        As the distance grows the weight moves to larger levels, so a chunk needs those between the first that
        counts at its first row and the last that counts at its last.
        """
        parts = []
        for chunk in torch.split(r2, CHUNK):
            first, last = (
                torch.nonzero(w > w.max() - NEGLIGIBLE - math.log(len(w))) for w in self._logits(chunk[[0, -1]])
            )
            some = slice(int(first[0]), int(last[-1]) + 1)
            logits, precisions = self._logits(chunk, some), self.precisions[some]
            total = torch.logsumexp(logits, 1)
            weights = (logits - total[:, None]).exp()
            mean = weights @ precisions
            variance = (weights * (precisions - mean[:, None]) ** 2).sum(1)
            parts.append(torch.stack([total, -mean / 2, variance / 4]))
        return torch.cat(parts, 1)

    def _logits(self, r2: Tensor, some: slice = slice(None)) -> Tensor:
        return self.intercepts[some] - r2[:, None] * self.precisions[some] / 2


def _quintic(ends: Tensor, cell: Tensor) -> Tensor:
    """Coefficients (6, n) on [0, 1] from values and two derivatives (3, n + 1) at the ends of cells (n,) wide."""
    (p, q), (dp, dq), (ddp, ddq) = [(row[:-1], row[1:]) for row in ends]
    dp, dq, ddp, ddq = dp * cell, dq * cell, ddp * cell**2, ddq * cell**2
    rise = q - p
    return torch.stack(
        [
            p,
            dp,
            ddp / 2,
            10 * rise - 6 * dp - 4 * dq - 1.5 * ddp + 0.5 * ddq,
            -15 * rise + 8 * dp + 7 * dq + 1.5 * ddp - ddq,
            6 * rise - 3 * dp - 3 * dq - 0.5 * ddp + 0.5 * ddq,
        ]
    )
