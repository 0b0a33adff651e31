r"""The exact mixture over N noise levels, tabulated.

With :math:`v=\log(r^2+s)`, :math:`s=\sigma_1^2\max(1,d-2)` and :math:`a=\tfrac{d-2}2`, the table holds the residual

.. math:: R(v)=F+a\,v,\qquad R'=a-\tfrac12\kappa e^v,\qquad R''=\tfrac14\eta e^{2v}-\tfrac12\kappa e^v,

and begins at distance zero. The three are exact at its rows, the polynomial between two rows is the quintic through
them, and :math:`\kappa,\eta` come from its derivatives, so that they belong to the same F. Beyond the last row the
last level alone is left and F is linear in :math:`r^2`.
"""

import math

import torch
from torch import Tensor

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

    Rows are doubled until, in the middle between any two, F is right to its own rounding error (2e-11 nats at
    d = 3,072) and the precision to 1e-10: 65,536 rows, 3 MB, for 116 shell-touch levels at d = 3,072; fewer for
    smaller images and for denser levels.
    """

    columns: Tensor

    def __init__(self, sigmas: Tensor, log_weights: Tensor, dim: int) -> None:
        super().__init__()
        self.power = (dim - 2) / 2
        self.intercepts, self.precisions = log_weights - dim * sigmas.log(), sigmas**-2
        self.shift = max(1, dim - 2) / float(self.precisions[0])
        self.last, self.tail = self._alone(), float(self.precisions[-1]) / 2
        self.start = math.log(self.shift)
        span = max(math.log(self.shift + self.last) - self.start, 1.0)
        rounding = 4 * torch.finfo(torch.float64).eps
        rounding *= max(float(self.intercepts.abs().max()), self.power * (abs(self.start) + span), 1.0)
        self.cell = span / FEWEST_ROWS
        ends = self._exact(self.start + self.cell * torch.arange(FEWEST_ROWS + 1, dtype=torch.float64))
        while True:
            self.register_buffer("columns", _quintic(ends, self.cell))
            cells = torch.arange(ends.shape[1] - 1)
            middle = self._exact(self.start + self.cell * (cells.double() + 0.5))
            half = torch.tensor(0.5, dtype=torch.float64)
            value, slope = self._horner(cells, half, 0), self._horner(cells, half, 1) / self.cell
            precise = ((slope - middle[1]) / (self.power - middle[1])).abs().max() < PRECISION
            if ((value - middle[0]).abs().max() < rounding and precise) or len(cells) >= MOST_ROWS:
                break
            ends = torch.cat([torch.stack([ends[:, :-1], middle], 2).flatten(1), ends[:, -1:]], 1)
            self.cell /= 2
        v = self.start + self.cell * torch.arange(ends.shape[1], dtype=torch.float64)
        self.register_buffer("ends", (v.exp() - self.shift).clamp(0, self.last))
        self.register_buffer("masses", self.log_mass(self.ends))

    def log_mass(self, r2: Tensor) -> Tensor:
        """F: the log of the sum over the levels."""
        near = r2.double().clamp(max=self.last)
        v, cell, t = self._place(near)
        return (self._horner(cell, t, 0) - self.power * v - self.tail * (r2 - near)).to(r2.dtype)

    def precision(self, r2: Tensor) -> Tensor:
        """The mean of 1 / sigma^2 over the levels seen from this distance."""
        v, cell, t = self._place(r2.double().clamp(max=self.last))
        slope = self._horner(cell, t, 1) / self.cell
        return (2 * (self.power - slope) * (-v).exp()).to(r2.dtype)

    def softening(self, r2: Tensor) -> Tensor:
        """The variance of 1 / sigma^2 over the levels seen from this distance."""
        v, cell, t = self._place(r2.double().clamp(max=self.last))
        slope, bend = self._horner(cell, t, 1) / self.cell, self._horner(cell, t, 2) / self.cell**2
        return (4 * (bend + self.power - slope) * (-2 * v).exp()).clamp(min=0).to(r2.dtype)

    def inverse(self, log_mass: Tensor) -> Tensor:
        """The first row at which F is not above; exact beyond the table."""
        row = torch.bucketize(-log_mass, -self.masses).clamp(max=len(self.ends) - 1)
        return self.ends[row] + (self.masses[-1] - log_mass).clamp(min=0) / self.tail

    def _place(self, r2: Tensor) -> tuple[Tensor, Tensor, Tensor]:
        """v, its cell of the table and the position in the cell, in [0, 1]."""
        v = (r2 + self.shift).log()
        position = (v - self.start) / self.cell
        cell = position.detach().long().clamp(0, self.columns.shape[1] - 1)
        return v, cell, position - cell

    def _horner(self, cell: Tensor, t: Tensor, order: int) -> Tensor:
        """A derivative of the polynomial with respect to the position in the cell."""
        value = torch.zeros_like(t)
        for degree in range(5, order - 1, -1):
            value = value * t + math.perm(degree, order) * self.columns[degree].take(cell)
        return value

    def _alone(self) -> float:
        """The squared distance beyond which the last level leaves all others negligible."""
        nats = NEGLIGIBLE + math.log(len(self.intercepts)) + self.intercepts[:-1] - self.intercepts[-1]
        return max([0.0, *(2 * nats / (self.precisions[:-1] - self.precisions[-1])).tolist()])

    def _exact(self, v: Tensor) -> Tensor:
        """R and its first two derivatives at ascending v: (3, n).

        As the distance grows the weight moves to larger levels, so a chunk needs those between the first that
        counts at its first row and the last that counts at its last.
        """
        parts = []
        for chunk in torch.split(v, CHUNK):
            first, last = (torch.nonzero(w > w.max() - NEGLIGIBLE - math.log(len(w))) for w in self._logits(chunk[[0, -1]]))
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
