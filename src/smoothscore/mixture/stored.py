r"""Centers summed straight from the stored pixels, in compiled loops.

The interface is that of :class:`smoothscore.mixture.rows.Rows`. For up to ``FEW`` queries each row is widened as it is
read (:mod:`smoothscore.mixture.compiled_sums`), for more of them some rows at a time, for all queries
(:mod:`smoothscore.mixture.tiles`). Both hold one thread each, so that several share the centers, not the loops:
to wake another thread takes a good part of a millisecond.
"""

import copy

import numpy as np
import torch
from torch import Tensor

from smoothscore.mixture.centers import PIXEL_SCALE, Centers
from smoothscore.mixture.rows import gamma
from smoothscore.mixture.table import PIECE

__all__ = ["Bytes", "few"]

ALONE = 2**15 - 1  # values up to which PyTorch uses one thread
FEW = 4  # queries up to which each row is widened as it is read; 5 take as long either way, 8 half as long again


def few(queries: int) -> bool:
    """Whether each row is widened for so few queries as it is read."""
    return queries <= FEW


class Bytes:
    """Pixels as they are stored, for queries x (B, d) in float64, products and sums in ``dtype``.

    Attributes:
        size: centers taken at a time: as many as PyTorch handles in one thread. Its others, which wait busily for more
            to do, would be in the way of those of the loops.
        values: the dtype of S: float64 for few queries.
        error: (B,) float64, a bound of the error of S in float32, with the rounding of x.
    """

    def __init__(self, x: Tensor, centers: Centers, dtype: torch.dtype) -> None:
        from smoothscore.mixture import compiled_sums, tiles

        assert centers.stored is not None
        self.centers, self.loops, self.tiles = centers, compiled_sums, tiles
        self.stored, self.rows = centers.stored
        self.shape = x.shape
        self.few, self.size = few(len(x)), max(ALONE // len(x) // PIECE, 1) * PIECE
        self.values = torch.float64 if self.few else dtype
        queries = (x / centers.scale).to(dtype).numpy()
        self.x = queries if self.few else tiles.packed(queries)
        self.pulled = np.zeros(x.shape) if self.few else tiles.strips(len(x), centers.dim, queries.dtype)
        self.half = torch.zeros(self.pulled.shape[0 if self.few else 1], dtype=torch.float64)
        self.finite = centers.half_norms.nan_to_num(posinf=0.0)
        length: Tensor = torch.linalg.vector_norm(x, dim=1)
        terms, last = (compiled_sums.BLOCK, 2.0**-40) if self.few else (tiles.BLOCK, 2.0**-23)
        self.error = (gamma(terms + 1) * length + last * (length + centers.largest)) * centers.largest

    def products(self, start: int, stop: int, out: Tensor) -> Tensor:
        """S of centers ``start`` to ``stop`` (n, B), written into ``out``."""
        rows, half = self.rows[start:stop], self.centers.half_norms[start:stop]
        if self.few:
            self.loops.products(self.stored, rows, PIXEL_SCALE, self.x, out.numpy())
            return out.sub_(half[:, None])
        self.tiles.products(self.stored, rows, PIXEL_SCALE, self.x, half.numpy(), out.numpy())
        return out

    def add(self, weights: Tensor, start: int, stop: int, some: Tensor | None) -> None:
        """Add to the sums these centers, or ``some`` of them (indices from ``start``), by ``weights`` (B, n)."""
        rows, half = self.rows[start:stop], self.finite[start:stop]
        if some is not None:
            rows, half = rows[some.numpy()], half[some]
        if self.few:
            self.half += (weights * half).sum(1)
            self.loops.total(self.stored, rows, PIXEL_SCALE, weights.T.contiguous().numpy(), self.pulled)
            return
        heavy = self._whole(weights.T).contiguous().numpy()
        self.tiles.total(self.stored, rows, PIXEL_SCALE, heavy, half.numpy(), self.pulled, self.half.numpy())

    def _whole(self, weights: Tensor) -> Tensor:
        """With zeros for the queries that fill the last tile."""
        return torch.nn.functional.pad(weights, (0, len(self.half) - weights.shape[-1]))

    def shrink(self, factors: Tensor) -> None:
        """Multiply the sums (B,)."""
        whole = self._whole(factors)
        self.pulled *= whole.numpy()[:, None]
        self.half *= whole

    def apart(self) -> "Bytes":
        """The same without sums, for another thread."""
        other = copy.copy(self)
        other.pulled, other.half = np.zeros_like(self.pulled), torch.zeros_like(self.half)
        return other

    def absorb(self, other: "Bytes") -> None:
        """Add the sums of the other."""
        self.pulled += other.pulled
        self.half += other.half

    def means(self, weight: Tensor) -> tuple[Tensor, Tensor]:
        """The mean center (B, d) and half its squared norm on the average (B,), by the sum of the weights (B,)."""
        pulled = self.pulled if self.few else self.tiles.joined(self.pulled, *self.shape)
        return torch.from_numpy(pulled) / (weight[:, None] * self.centers.scale), self.half[: len(weight)] / weight
