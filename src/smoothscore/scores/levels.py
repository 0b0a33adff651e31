r"""The exact mixture over N noise levels, tabulated.

With :math:`v=\log(r^2+s)`, :math:`s=\max(1,d-2)/64\,\kappa(0)` and :math:`a=\tfrac{d-2}2`, the table holds the residual

.. math:: R(v)=F+a\,v,\qquad R'=a-\tfrac12\kappa e^v,\qquad R''=\tfrac14\eta e^{2v}-\tfrac12\kappa e^v,

and begins at distance zero. The three are exact at its rows, the polynomial between two rows is the quintic through
them, and :math:`\kappa,\eta` come from its derivatives, so that they belong to the same F. Beyond the last row the
last level alone is left and F is linear in :math:`r^2`.
"""

import math

import torch
from torch import Tensor

from smoothscore.scores.narrow import Narrow
from smoothscore.scores.shells import Profile

__all__ = ["Levels"]

NEGLIGIBLE = 40.0  # nats below the largest at which a level is left out of the sum: 4e-18
PRECISION = 1e-10  # relative error of kappa in the middle between two rows
FEWEST_ROWS, MOST_ROWS = 2**8, 2**20
CHUNK = 512  # rows whose levels are found together


class Levels(Profile):
    """F of N levels by one table look-up.

    Args:
        sigmas: (N,) ascending, distinct.
        log_weights: (N,) logarithms of the weights of the levels.
        dim: number d of values in one image.

    Rows are doubled until, in the middle between any two, F is right to its rounding error (3e-11 nats at d = 3,072)
    and the precision to 1e-10 or, where that is more, its own rounding error: 32,768 rows for 116
    shell-touch levels at d = 3,072, fewer for denser levels. float32 distances have a table of their own. 5 MB.
    """

    value: Tensor
    slope: Tensor
    bend: Tensor
    ends: Tensor
    masses: Tensor

    def __init__(self, sigmas: Tensor, log_weights: Tensor, dim: int) -> None:
        super().__init__()
        self.power = (dim - 2) / 2
        self.intercepts, self.precisions = log_weights - dim * sigmas.log(), sigmas**-2
        nearest = torch.softmax(self.intercepts, 0) @ self.precisions
        self.shift = max(1, dim - 2) / float(nearest) / 64
        self.last, self.tail = self._alone(), float(self.precisions[-1]) / 2
        self.start = math.log(self.shift)
        span = max(math.log(self.shift + self.last) - self.start, 1.0)
        ends = self._rows(span)
        self.cell = span / (ends.shape[1] - 1)
        quintic = _quintic(ends, self.cell)
        for order, name in enumerate(("value", "slope", "bend")):
            factors = torch.tensor([float(math.perm(degree, order)) for degree in range(order, 6)])
            self.register_buffer(name, quintic[order:] * factors[:, None] / self.cell**order)
        v = self.start + self.cell * torch.arange(ends.shape[1], dtype=torch.float64)
        self.register_buffer("ends", (v.exp() - self.shift).clamp(0, self.last))
        self.register_buffer("masses", self.log_mass(self.ends))
        self.narrow = Narrow(self._curves, self.shift, self.shift + self.last)

    def log_mass(self, r2: Tensor) -> Tensor:
        """F: the log of the sum over the levels."""
        near = r2.double().clamp(max=self.last)
        v, cell, t = self._place(near)
        return (_horner(self.value, cell, t) - self.power * v - self.tail * (r2 - near)).to(r2.dtype)

    def log_ratio(self, base: Tensor, offset: Tensor) -> Tensor:
        """``F(base + offset) - F(base)`` for ``base`` (B, 1) float64, in the dtype of ``offset`` (B, n)."""
        start = self.log_mass(base)
        if offset.dtype == torch.float64 or (base > self.last).any():
            return (self.log_mass(base + offset) - start).to(offset.dtype)
        rho, room = base + self.shift, (self.last - base).float()
        near = torch.minimum(offset, room)
        step = self.narrow.residual(rho.float() + near).sub_(
            (start + self.power * rho.log() - self.narrow.middle).float()
        )
        step.sub_(torch.log1p(near / rho.float()), alpha=self.power)
        return step.sub_(offset - near, alpha=self.tail)

    def precision(self, r2: Tensor) -> Tensor:
        """The mean of 1 / sigma^2 over the levels seen from this distance."""
        if r2.dtype == torch.float32:
            return self.narrow.precision(r2.clamp(max=self.last) + self.shift)
        near = r2.double().clamp(max=self.last)
        _, cell, t = self._place(near)
        slope = _horner(self.slope, cell, t)
        return 2 * (self.power - slope) / (near + self.shift)

    def softening(self, r2: Tensor) -> Tensor:
        """The variance of 1 / sigma^2 over the levels seen from this distance."""
        if r2.dtype == torch.float32:
            return self.narrow.softening(r2.clamp(max=self.last) + self.shift)
        near = r2.double().clamp(max=self.last)
        _, cell, t = self._place(near)
        rise = _horner(self.bend, cell, t) + self.power - _horner(self.slope, cell, t)
        return (4 * rise / (near + self.shift) ** 2).clamp(min=0)

    def inverse(self, log_mass: Tensor) -> Tensor:
        """The first row at which F is not above; exact beyond the table."""
        row = torch.bucketize(-log_mass, -self.masses).clamp(max=len(self.ends) - 1)
        return self.ends[row] + (self.masses[-1] - log_mass).clamp(min=0) / self.tail

    def _curves(self, rho: Tensor) -> tuple[Tensor, Tensor, Tensor, Tensor]:
        """R, kappa and their derivatives by rho; F goes on linearly at both ends."""
        r2 = rho - self.shift
        near = r2.clamp(0, self.last)
        kappa, bend = self.precision(near), -self.softening(near) / 2
        mass = self.log_mass(near) - kappa / 2 * (r2 - near)
        return mass + self.power * rho.log(), kappa, self.power / rho - kappa / 2, bend.where(near == r2, 0)

    def _place(self, r2: Tensor) -> tuple[Tensor, Tensor, Tensor]:
        """v, its cell of the table and the position in the cell, in [0, 1]."""
        v = (r2 + self.shift).log()
        position = (v - self.start) * (1 / self.cell)
        cell = position.detach().int().clamp(0, self.value.shape[1] - 1)
        return v, cell, position - cell

    def _rows(self, span: float) -> Tensor:
        """R and its first two derivatives at rows close enough for the quintic: (3, n + 1)."""
        cell = span / FEWEST_ROWS
        ends = self._exact(self.start + cell * torch.arange(FEWEST_ROWS + 1, dtype=torch.float64))
        farthest = abs(self.start) + span
        terms = self.intercepts.abs().max() + abs(self.power) * farthest + ends[0].abs().max() + NEGLIGIBLE
        rounding = 4 * torch.finfo(torch.float64).eps * float(terms + farthest * ends[1].abs().max())
        halves = 0.5 ** torch.arange(6, dtype=torch.float64)
        slopes = torch.arange(1, 6) * halves[:-1]
        while True:
            quintic = _quintic(ends, cell)
            middle = self._exact(self.start + cell * (torch.arange(ends.shape[1] - 1).double() + 0.5))
            off, steep = (halves @ quintic - middle[0]).abs(), (slopes @ quintic[1:] / cell - middle[1]).abs()
            allowed = (PRECISION * (self.power - middle[1])).clamp(min=rounding / cell)
            if (off.max() < rounding and (steep < allowed).all()) or len(off) >= MOST_ROWS:
                return ends
            ends = torch.cat([torch.stack([ends[:, :-1], middle], 2).flatten(1), ends[:, -1:]], 1)
            cell /= 2

    def _alone(self) -> float:
        """The squared distance beyond which the last level leaves all others negligible."""
        nats = NEGLIGIBLE + math.log(len(self.intercepts)) + self.intercepts[:-1] - self.intercepts[-1]
        crossings: list[float] = (2 * nats / (self.precisions[:-1] - self.precisions[-1])).tolist()
        return max(0.0, *crossings, 0.0)

    def _exact(self, v: Tensor) -> Tensor:
        """R and its first two derivatives at ascending v: (3, n).

        As the distance grows the weight moves to larger levels, so a chunk needs those between the first that
        counts at its first row and the last that counts at its last.
        """
        parts = []
        for chunk in torch.split(v, CHUNK):
            first, last = (
                torch.nonzero(w > w.max() - NEGLIGIBLE - math.log(len(w))) for w in self._logits(chunk[[0, -1]])
            )
            some = slice(int(first[0]), int(last[-1]) + 1)
            logits, precisions, rho = self._logits(chunk, some), self.precisions[some], chunk.exp()
            total = torch.logsumexp(logits, 1)
            weights = (logits - total[:, None]).exp()
            mean = weights @ precisions
            variance = (weights * (precisions - mean[:, None]) ** 2).sum(1)
            slope = mean * rho / 2
            parts.append(torch.stack([total, self.power - slope, variance * rho**2 / 4 - slope]))
        return torch.cat(parts, 1)

    def _logits(self, v: Tensor, some: slice = slice(None)) -> Tensor:
        r2 = (v.exp() - self.shift).clamp(min=0)
        return self.intercepts[some] + self.power * v[:, None] - r2[:, None] * self.precisions[some] / 2


def _quintic(ends: Tensor, cell: float) -> Tensor:
    """Coefficients (6, n) on [0, 1] from values and two derivatives (3, n + 1) at the ends of n cells."""
    (p, q), (dp, dq), (ddp, ddq) = [(row[:-1], row[1:]) for row in (ends[0], ends[1] * cell, ends[2] * cell**2)]
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


def _horner(coefficients: Tensor, cell: Tensor, t: Tensor) -> Tensor:
    """The polynomials of each cell at t, from coefficients (degree + 1, rows)."""
    flat = cell.flatten()
    value = torch.zeros_like(t)
    for row in reversed(coefficients.unbind(0)):
        value = torch.addcmul(row.index_select(0, flat).view_as(t), value, t)
    return value
