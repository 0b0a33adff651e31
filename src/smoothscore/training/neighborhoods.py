r"""The neighbors of some images written out as floats, and the two sums over them that a softened target needs.

.. math:: n_b\cdot\mu_j\qquad\text{and}\qquad\sum_js_{bj}\mu_j

Rows are multiples of the images, so that pixels need no division: 127.5 times as large.
"""

from dataclasses import dataclass

import torch
from torch import Tensor

__all__ = ["Neighborhoods"]


@dataclass(frozen=True)
class Neighborhoods:
    """The K neighbors of b images: ``rows`` (b, K, d), ``scale`` times the images in [-1, 1]."""

    rows: Tensor
    scale: float = 1.0

    def along(self, noise: Tensor) -> Tensor:
        """Products of ``noise`` (b, d) with the neighbors, in their precision: (b, K) float64."""
        found = [rows @ one for rows, one in zip(self.rows, noise, strict=True)]  # torch.bmm is slower for one column
        return torch.stack(found).double().div_(self.scale)

    def sum(self, shares: Tensor) -> Tensor:
        """The neighbors weighted by ``shares`` (b, K) float64, in their precision: (b, d)."""
        weights = (shares / self.scale).to(self.rows.dtype)
        return torch.stack([own @ rows for own, rows in zip(weights, self.rows, strict=True)])

    def squares(self) -> Tensor:
        """Squared distances from the first of each: (b, K) float64."""
        return (self.rows - self.rows[:, :1]).square().sum(2).double().div_(self.scale**2)
