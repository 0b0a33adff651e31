r"""Bounds of all distances from a short prefix of coordinates.

Images vary mostly along few directions. With orthonormal directions V, coordinates :math:`a=V^\top x`,
:math:`b_j=V^\top\mu_j`, any split of the coordinates past a prefix into blocks, and what lies outside the
span of V as one more block,

.. math::
    x\cdot\mu_j\;\le\;a_{<k}\cdot b_{j,<k}+\sum_{\text{blocks}}\|a_{block}\|\,\|b_{j,block}\|,\qquad
    \|x-\mu_j\|^2=\|x\|^2-2S_j,\quad S_j=x\cdot\mu_j-\tfrac12\|\mu_j\|^2 ,

by the inequality of Cauchy and Schwarz in each block: a lower bound of every distance for one thin product. Many
blocks make it tight, because a noisy query has its noise spread evenly and the centers do not.

The coordinates are stored as int16 (the first) and int8 (the next), and everything is computed in float32. All
that this changes is bounded, and the bounds are added to the result:

- V is orthonormal to :math:`\epsilon=\|V^\top V-I\|_F` only, measured in float64, so that
  :math:`x^\top P\mu\le a\cdot b+\epsilon'|a||b|` for the projection P onto its span,
  :math:`\epsilon'=\epsilon/(1-\epsilon)`;
- a sum of n products in float32 errs by at most :math:`\gamma_n\sum|\text{terms}|`, :math:`\gamma_n=nu/(1-nu)`,
  :math:`u=2^{-24}`, in whatever order it is taken, hence K coordinates by :math:`g|x|`,
  :math:`g=(\gamma_n\sqrt K+2u)(1+\epsilon)`, with the rounding of x itself (no underflow: norms above 1e-15);
- what the integers lose of a center's coordinates is one more block, whose norm is stored.
"""

import math
from collections.abc import Iterator
from itertools import pairwise

import torch
from torch import Tensor

from smoothscore.allocator import return_freed_memory
from smoothscore.mixture.centers import Centers
from smoothscore.mixture.rows import gamma, multiply
from smoothscore.mixture.stored import few
from smoothscore.mixture.table import PIECE, Table

__all__ = ["Index"]

SAMPLE = 4096  # centers that the directions are fitted to
ITERATIONS = 3  # of their subspace; the directions need not be exact, only orthonormal
EDGES = (128, 192, 256, 320, 384, 512, 640, 768)  # the prefix, then the ends of the blocks
COARSE = 384  # the coordinates past the prefix that are stored too, as int8
ROWS = 1024  # centers handled at a time
STEP = 256  # of them while it is made, when a row has all its values
SPLIT = 256  # products summed at a time in a projection
UP = 1 + 2.0**-20  # covers the rounding of a norm that is computed in float64 and stored in float32


class Index:
    """Coordinates of M centers and the norms of their blocks.

    Args:
        centers: the centers; ``Index.suits(centers)`` says whether an index pays.

    Cost: eight products of 4,096 centers with 768 directions, and one of all centers.
    Memory: 560 bytes a center and 768 d float32 values.
    """

    def __init__(self, centers: Centers) -> None:
        count, device = centers.count, centers.device
        chosen = torch.randperm(count, generator=torch.Generator().manual_seed(0), device="cpu")[:SAMPLE].sort().values
        chosen = chosen.to(device)
        self.basis = _directions(centers, chosen, EDGES[-1])
        overlap = torch.eye(EDGES[-1], dtype=torch.float64, device=device)
        for start in range(0, centers.dim, SPLIT):
            piece = self.basis[start : start + SPLIT].double()
            overlap -= piece.T @ piece
        self.skew = overlap.square().sum().sqrt().item()
        terms = SPLIT + math.ceil(centers.dim / SPLIT)
        self.blur = (gamma(terms) * math.sqrt(EDGES[-1]) + 2.0**-23) * (1 + self.skew)
        sample = torch.cat([self._project(rows)[:, EDGES[0] : COARSE] for rows in _pieces(centers, chosen)])
        spread = sample.std(0).clamp_min(1e-30)
        del sample
        self.step = 6 * spread / 127
        self.norms = torch.empty(count, len(EDGES) + 3, device=device)
        self.fine = torch.empty(count, EDGES[0], dtype=torch.int16, device=device)
        self.coarse = torch.empty(count, COARSE - EDGES[0], dtype=torch.int8, device=device)
        self.largest = centers.largest * UP
        self.grid = max(2 * self.largest, 1e-30) / 32767
        for start, rows in centers.chunks(STEP, torch.float32):
            part = slice(start, start + len(rows))
            self._store(part, rows, (2 * centers.half_norms[part]).nan_to_num_(posinf=0.0))
        self.half = centers.half_norms.float()
        return_freed_memory()

    @staticmethod
    def suits(centers: Centers) -> bool:
        """Whether there are centers and dimensions enough."""
        return centers.count >= 2 * SAMPLE and centers.dim >= EDGES[-1]

    @property
    def extra(self) -> float:
        """Cost of :meth:`tighten` as a fraction of that of the full products."""
        return (COARSE - EDGES[0]) / len(self.basis)

    def _project(self, x: Tensor) -> Tensor:
        """Coordinates (n, K) of x (n, d), float32, each off by no more than ``blur`` |x| together."""
        total = x.new_zeros(len(x), EDGES[-1])
        for start in range(0, x.shape[1], SPLIT):
            part = slice(start, start + SPLIT)
            total += x[:, part] @ self.basis[part]
        return total

    def _outside(self, size: Tensor, b: Tensor) -> Tensor:
        """An upper bound of the norm outside the span, from |x|^2 (float64) and the coordinates."""
        inside = (_norm(b) - self.blur * size.sqrt()).clamp_min(0)
        return (size - (1 - self.skew) * inside**2).clamp_min(0).sqrt()

    def _store(self, part: slice, rows: Tensor, size: Tensor) -> None:
        b = self._project(rows)
        self.fine[part] = (b[:, : EDGES[0]] / self.grid).round_().to(torch.int16)
        stored = (b[:, EDGES[0] : COARSE] / self.step).round_().clamp_(-127, 127)
        self.coarse[part] = stored.to(torch.int8)
        fine = _norm(b[:, : EDGES[0]].double() - self.fine[part].double() * self.grid)
        coarse = _norm(b[:, EDGES[0] : COARSE].double() - stored.double() * self.step.double())
        columns = [*_block_norms(b), self._outside(size, b), fine, coarse, size.sqrt()]
        self.norms[part] = (torch.stack(columns, 1) * UP).float()

    def bound(self, x: Tensor, centers: Centers) -> tuple[Table, Tensor, Tensor]:
        """Upper bounds of S from the prefix, for queries x (B, d) in float64.

        Returns the table of bounds; (B,) rows of centers near the nearest ones; the (B, K) coordinates of x.
        """
        a = self._project(x.float())
        factors = self._factors(x, a, EDGES[0])
        table = Table.empty(centers, len(x))
        table.values[: centers.count] = -self.half[:, None]
        estimate = self._add(self.fine, a[:, : EDGES[0]] * self.grid, factors, table)
        # The best piece by the estimate, which is the bound less the share of the norms; then the best row in it.
        near = (estimate.peaks.argmax(0) * PIECE + torch.arange(PIECE, device=x.device)[:, None]).clamp_max(
            centers.count - 1
        )
        share = torch.einsum("pbn,nb->pb", self.norms[near], factors)
        best = (table.values.gather(0, near) - share).argmax(0, keepdim=True)
        return table, near.gather(0, best)[0], a

    def tighten(self, table: Table, x: Tensor, a: Tensor) -> None:
        """Add the int8 coordinates to the bounds, in place."""
        factors = (self._factors(x, a, COARSE).double() - self._factors(x, a, EDGES[0]).double()).float()
        self._add(self.coarse, a[:, EDGES[0] : COARSE] * self.step, factors, table)

    def _add(self, stored: Tensor, query: Tensor, factors: Tensor, table: Table) -> Table:
        """Add to the bounds the products with stored coordinates and the norms' share; returns the table with the peaks
        that it had between the two.
        """
        estimate = Table(table.values, torch.empty_like(table.peaks), table.error)
        if few(len(query)) and stored.device.type == "cpu":
            from smoothscore.mixture import index_loop

            outputs = (table.values.numpy(), table.peaks.numpy(), estimate.peaks.numpy())
            asked = (query.contiguous().numpy(), self.norms.numpy(), factors.T.contiguous().numpy())
            index_loop.add(stored.numpy(), *asked, *outputs)
            return estimate
        columns = query.T.contiguous()
        buffer = torch.empty(ROWS, stored.shape[1], device=stored.device)
        more = torch.empty(ROWS, len(query), device=stored.device)
        for start in range(0, len(stored), ROWS):
            stop = min(start + ROWS, len(stored))
            block = table.values[start:stop]
            block += multiply(buffer[: stop - start].copy_(stored[start:stop]), columns, more[: stop - start])
            estimate.settle(start, stop)
            block.addmm_(self.norms[start:stop], factors)
            table.settle(start, stop)
        return estimate

    def _factors(self, x: Tensor, a: Tensor, known: int) -> Tensor:
        """What the stored norms are multiplied with, (norms, B), when the first ``known`` coordinates are summed."""
        size = x.square().sum(1)
        length = size.sqrt()
        norms = zip(EDGES[:-1], _block_norms(a), strict=True)
        blocks = [norm if low >= known else torch.zeros_like(norm) for low, norm in norms]
        lost = _norm(a[:, EDGES[0] : COARSE]) if known == COARSE else torch.zeros_like(length)
        skew = self.skew / (1 - self.skew)
        rounding = gamma(COARSE + 4 * len(EDGES)) * (4 * length + self.largest)
        slack = (2.1 * self.blur + 1.1 * skew + 2.0**-22) * length + rounding
        prefix = _norm(a[:, : EDGES[0]])
        return (torch.stack([*blocks, self._outside(size, a), prefix, lost, slack]) * UP).float()


def _directions(centers: Centers, chosen: Tensor, count: int) -> Tensor:
    """About the leading right singular vectors of some centers, orthonormal (d, count), by subspace iteration.

    Memory: three to four times the result, and one piece of rows.
    """
    generator = torch.Generator(centers.device).manual_seed(0)
    guess = torch.randn(centers.dim, count, generator=generator, device=centers.device)
    for _ in range(ITERATIONS):
        image = torch.zeros_like(guess)
        for rows in _pieces(centers, chosen):
            image.addmm_(rows.T, rows @ guess)
        del guess
        guess = torch.linalg.qr(image)[0]
    gram = guess.new_zeros(count, count)
    for rows in _pieces(centers, chosen):
        part = rows @ guess
        gram.addmm_(part.T, part)
    basis: Tensor = guess @ torch.linalg.eigh(gram)[1].flip(1)
    return basis.contiguous()


def _pieces(centers: Centers, chosen: Tensor) -> Iterator[Tensor]:
    """Some centers (n,) as float32 rows, read again each time."""
    for part in torch.split(chosen, STEP):
        yield centers.rows(part, torch.float32)
        centers.release(0, centers.count)


def _block_norms(coordinates: Tensor) -> list[Tensor]:
    """Norms (n,) of the blocks of (n, K) coordinates past the prefix, float64."""
    return [_norm(coordinates[:, low:high]) for low, high in pairwise(EDGES)]


def _norm(coordinates: Tensor) -> Tensor:
    norm: Tensor = torch.linalg.vector_norm(coordinates, dim=1, dtype=torch.float64)
    return norm
