r"""A second table for float32: half the time of the first, and half its digits.

With :math:`\rho=r^2+s`, the cell of the table is read from the bits of :math:`\rho` as a float32: its exponent and
the leading digits of its mantissa, the rest being the position in the cell. The residual :math:`R=F+a\log\rho` and
the precision :math:`\kappa` are cubic in each, and

.. math:: F(\rho+\delta)-F(\rho)=R(\rho+\delta)-R(\rho)-a\log(1+\delta/\rho) .
"""

from collections.abc import Callable

import torch
from torch import Tensor, nn

__all__ = ["Narrow"]

ACCURACY = 1e-6  # nats, and relative error of kappa, in the middle between two rows
MANTISSA = 23  # binary digits of a float32
FEWEST_DIGITS, MOST_DIGITS = 4, 14  # of them used for cells


class Narrow(nn.Module):
    """R and kappa in float32.

    Args:
        curves: R, kappa and their derivatives by rho, of rho (n,) float64.
        first: rho at distance zero.
        last: rho from which on F is linear.

    The digits used for cells are increased until R and kappa are right to 1e-6 between rows (10 of them, 1.4 MB, for
    116 shell-touch levels at d = 3,072).
    """

    value: Tensor
    kappa: Tensor
    bend: Tensor

    def __init__(
        self, curves: Callable[[Tensor], tuple[Tensor, Tensor, Tensor, Tensor]], first: float, last: float
    ) -> None:
        super().__init__()
        halves = 0.5 ** torch.arange(4, dtype=torch.float64)
        for digits in range(FEWEST_DIGITS, MOST_DIGITS + 1):
            self.drop = MANTISSA - digits
            self.first, end = _cell(first, self.drop), _cell(last, self.drop) + 1
            bits = torch.arange(self.first, end + 1, dtype=torch.int32) << self.drop
            nodes = bits.view(torch.float32).double()
            width = nodes.diff()
            values, kappas, slopes, bends = curves(nodes)
            self.middle = float(values.median())
            value = _cubic(values - self.middle, slopes, width)
            kappa = _cubic(kappas, bends, width)
            exact, precise, _, _ = curves(nodes[:-1] + width / 2)
            off = (halves @ value + self.middle - exact).abs().max()
            if off < ACCURACY and ((halves @ kappa / precise - 1).abs() < ACCURACY).all():
                break
        self.register_buffer("value", value.float())
        self.register_buffer("kappa", kappa.float())
        self.register_buffer("bend", (kappa[1:] * torch.tensor([[1.0], [2.0], [3.0]]) / width).float())

    def residual(self, rho: Tensor) -> Tensor:
        """R less ``middle``."""
        return self._horner(self.value, rho)

    def precision(self, rho: Tensor) -> Tensor:
        """Kappa."""
        return self._horner(self.kappa, rho)

    def softening(self, rho: Tensor) -> Tensor:
        """Minus twice the derivative of kappa."""
        return self._horner(self.bend, rho).mul_(-2).clamp_(min=0)

    def _horner(self, columns: Tensor, rho: Tensor) -> Tensor:
        if rho.ndim == 2 and not rho.is_contiguous():
            return self._horner(columns, rho.mT.contiguous()).mT  # as the products with all centers come
        bits = rho.contiguous().view(torch.int32)
        cell = (bits >> self.drop).sub_(self.first).clamp_(0, columns.shape[1] - 1).flatten()
        t = (bits & (2**self.drop - 1)).float().mul_(0.5**self.drop)
        value = torch.zeros_like(t)
        for row in reversed(columns.unbind(0)):
            value.mul_(t).add_(row.index_select(0, cell).view_as(t))
        return value


def _cell(rho: float, drop: int) -> int:
    return int(torch.tensor(rho, dtype=torch.float32).view(torch.int32)) >> drop


def _cubic(values: Tensor, slopes: Tensor, width: Tensor) -> Tensor:
    """Coefficients (4, n) on [0, 1] from values and first derivatives (n + 1) at the ends of n cells."""
    p, q, dp, dq = values[:-1], values[1:], slopes[:-1] * width, slopes[1:] * width
    return torch.stack([p, dp, 3 * (q - p) - 2 * dp - dq, 2 * (p - q) + dp + dq])
