"""The centers that weights are taken relative to, so that none of their exponentials overflows."""

from dataclasses import dataclass

import torch
from torch import Tensor

from smoothscore.mixture.kernels import Kernel

__all__ = ["Reference"]


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
    def of(cls, size: Tensor, s: Tensor, prior: Tensor, kernel: Kernel) -> "Reference":
        """From the squared norms of the queries, S and the log prior weights, (B,) each."""
        base = (size - 2 * s.double()).clamp_min(0)[:, None]
        return cls(s, base, prior, kernel.log_weight(base)[:, 0] + prior)

    def where(self, chosen: Tensor, other: "Reference") -> "Reference":
        """This one where ``chosen`` (B,), elsewhere the other."""
        pairs = [(getattr(self, name), getattr(other, name)) for name in vars(self)]
        return Reference(*(torch.where(chosen[:, None] if a.ndim == 2 else chosen, a, b) for a, b in pairs))
