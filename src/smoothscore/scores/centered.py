"""What all scores that are sums over centers share: the weights of the centers, and those that weigh most."""

from abc import abstractmethod
from dataclasses import dataclass

import numpy as np
import torch
from torch import Tensor

from smoothscore.errors import InputError
from smoothscore.mixture import Centers
from smoothscore.scores.base import Score, Sigma

__all__ = ["CenterScore", "Posterior"]


@dataclass(frozen=True)
class Posterior:
    """The training images that a noisy image may have come from; B queries, the k heaviest centers of each.

    Attributes:
        indices: (B, k) int64 indices of the centers, heaviest first.
        weights: (B, k) float64 posterior weights; they sum to 1 over all centers, not over these k.
        centers: (B, k, *shape) the centers themselves, in the dtype of x.
        entropy: (B,) float64 entropy of all weights, in nats.
        effective_number: (B,) float64, exp(entropy), from 1 to M.
    """

    indices: Tensor
    weights: Tensor
    centers: Tensor
    entropy: Tensor
    effective_number: Tensor


class CenterScore(Score):
    """A score that is a weighted sum over centers.

    Attributes:
        centers: M of them.
    """

    def __init__(self, centers: Centers) -> None:
        super().__init__(centers.shape)
        self.centers = centers

    def check(self, x: Tensor, sigma: Sigma | None) -> tuple[Tensor, Tensor]:
        """As every score does; half precision is refused, in which distances say nothing."""
        x, level = super().check(x, sigma)
        if x.dtype not in (torch.float32, torch.float64):
            raise InputError(f"x has dtype {x.dtype}; sums over centers need float32 or float64.")
        return x, level

    def weights(self, x: Tensor, sigma: Sigma | None = None) -> Tensor:
        """Weights of all centers, (batch, M) in the dtype of x; takes a float64 product with all of them."""
        return self._weights(x, sigma).to(x.dtype)

    def posterior(self, x: Tensor, sigma: Sigma | None = None, k: int = 5) -> Posterior:
        """The ``k`` centers of largest weight for each image of ``x`` (batch, *shape); see :class:`Posterior`.

        Raises:
            InputError: ``k`` is not between 1 and the number of centers.
        """
        if not isinstance(k, int | np.integer) or not 1 <= k <= self.centers.count:
            raise InputError(f"k is {k!r}; ask for 1 to {self.centers.count} centers.")
        weights = self._weights(x, sigma)
        top = weights.topk(k, dim=1)
        images = self.centers.rows(top.indices.flatten(), x.dtype).reshape(*top.indices.shape, *self.shape)
        entropy = -torch.special.xlogy(weights, weights).sum(1)
        return Posterior(top.indices, top.values, images, entropy, entropy.exp())

    @abstractmethod
    def _weights(self, x: Tensor, sigma: Sigma | None) -> Tensor:
        """(batch, M) float64."""
