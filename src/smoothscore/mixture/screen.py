r"""Which centers can carry weight for a query.

A center whose weight is below :math:`\epsilon/M` times the largest changes no sum by more than
:math:`\epsilon` together with all its like. So a query's candidates are the centers within the kernel's *reach* of
its nearest one. They are found from bounds of the distances that are proofs, whatever is computed in float32:
first those of the index (a prefix of coordinates), then, where these leave too many, those of the
full products.
"""

import math
from dataclasses import dataclass

import torch
from torch import Tensor

from smoothscore.mixture.centers import Centers
from smoothscore.mixture.index import Index
from smoothscore.mixture.kernels import Kernel
from smoothscore.mixture.pairs import differences, segments
from smoothscore.mixture.products import Table, products, rounding

__all__ = ["Screened", "broad", "candidates", "far"]

FEW = 64  # centers up to which all are candidates
FAR = 1e15  # norm from which float32 products may overflow

# Cost of one (query, center) pair as a multiple of its share of a large float32 product.
READ = 15  # reading a center for a product, whatever the number of queries
FLOAT = 25  # gathering a center and a float32 product with one query
EXACT = 100  # gathering it, a float64 difference, and its share of the sum
CALM = 4  # candidates a query that are differenced in float64 without more ado


@dataclass(frozen=True)
class Screened:
    """Candidate pairs, and the queries that have too many of them.

    Attributes:
        query, center: (P,) pairs, sorted by query, of the queries that are not crowded.
        crowded: (C,) queries whose weight lies on too many centers to list.
        table: S in float32 for the crowded queries, where it has been taken.
    """

    query: Tensor
    center: Tensor
    crowded: Tensor
    table: Table | None = None


def candidates(x: Tensor, centers: Centers, kernel: Kernel, tolerance: float, listed: bool = False) -> Screened:
    """Centers that hold all but ``tolerance`` of each query's weight, for queries x (B, d) in float64.

    With ``listed`` no query counts as crowded, however many candidates it has.
    """
    everyone = torch.arange(len(x), device=x.device)
    if centers.count <= FEW or (listed and far(x, centers).any()):
        every = torch.arange(centers.count, device=x.device)
        return Screened(everyone.repeat_interleave(len(every)), every.repeat(len(x)), everyone[:0])
    nats = _nats(x, centers, tolerance)
    crowded = broad(x, centers, kernel, tolerance) & (not listed)
    wide, rest = everyone[crowded], everyone[~crowded]
    found, table = [(everyone[:0], everyone[:0])], None
    index = centers.bounds(centers.count * (READ + len(rest))) if len(rest) else None
    if index is not None:
        pairs, rest = _by_index(x, centers, index, kernel, nats, rest)
        found.append(pairs)
    if len(rest):
        pairs, rest, table = _by_products(x, centers, kernel, nats, rest, listed)
        found.append(pairs)
    query, center = torch.cat([q for q, _ in found]), torch.cat([c for _, c in found])
    order = query.argsort(stable=True)
    crowded = torch.cat([wide, rest]).sort().values
    return Screened(query[order], center[order], crowded, None if len(wide) else table)


def far(x: Tensor, centers: Centers) -> Tensor:
    """Which queries (B,) are too far away, or have centers too large, for products in float32."""
    length: Tensor = torch.linalg.vector_norm(x, dim=1)
    return length + centers.largest > FAR


def broad(x: Tensor, centers: Centers, kernel: Kernel, tolerance: float) -> Tensor:
    """Which queries (B,) have a reach that no screen is worth its while for: more than the spread of the centers."""
    first = torch.zeros(len(x), dtype=torch.int64, device=x.device)
    r2 = differences(x, centers, torch.arange(len(x), device=x.device), first)
    return (kernel.reach(r2, _nats(x, centers, tolerance)) - r2 > centers.spread) | far(x, centers)


def _nats(x: Tensor, centers: Centers, tolerance: float) -> Tensor:
    return torch.full((len(x),), math.log(centers.count / tolerance), dtype=torch.float64, device=x.device)


def _threshold(x: Tensor, centers: Centers, kernel: Kernel, nats: Tensor, anchor: Tensor) -> Tensor:
    """The S (B,) that every candidate reaches, given a center (B,) whose distance is taken exactly."""
    size = x.square().sum(1)
    r2 = differences(x, centers, torch.arange(len(x), device=x.device), anchor)
    prior = centers.log_weights
    reach = kernel.reach(r2, nats + prior.max() - prior[anchor])
    slack = 2.0**-22 * (size - reach).abs() + centers.dim * 2.0**-51 * (size + r2)
    return ((size - reach) / 2 - slack).clamp_min(torch.finfo(torch.float32).min)


def _by_index(
    x: Tensor, centers: Centers, index: Index, kernel: Kernel, nats: Tensor, rest: Tensor
) -> tuple[tuple[Tensor, Tensor], Tensor]:
    """Pairs of those of the queries ``rest`` that the bounds serve, and the others."""
    x, kernel, nats = x[rest], kernel.select(rest), nats[rest]
    table, anchor, coordinates = index.bound(x, centers)
    threshold = _threshold(x, centers, kernel, nats, anchor)
    if table.reaching(threshold).sum() * FLOAT > centers.count * (READ + len(x)) * index.extra:
        index.tighten(table, x, coordinates)
    many = _costly(table.reaching(threshold) * FLOAT, centers)
    query, center = table.above(threshold.masked_fill(many, torch.inf))
    del table
    if len(query) > CALM * len(x):
        values = segments(x, centers, query, center)
        best = values.new_full((len(x),), -torch.inf).scatter_reduce_(0, query, values, "amax")
        leader = anchor.clone()
        leading = values == best[query]
        leader[query[leading]] = center[leading]
        limit = torch.maximum(threshold, _threshold(x, centers, kernel, nats, leader)) - rounding(x, centers)
        near = values >= limit.float()[query]
        query, center = query[near], center[near]
    return (rest[query], center), rest[many]


def _costly(costs: Tensor, centers: Centers) -> Tensor:
    """The queries (B,) that a product with all centers serves at less than these costs."""
    many = costs > centers.count
    return many & (costs[many].sum() > centers.count * (READ + many.sum()))


def _by_products(
    x: Tensor, centers: Centers, kernel: Kernel, nats: Tensor, rest: Tensor, listed: bool
) -> tuple[tuple[Tensor, Tensor], Tensor, Table]:
    """Pairs of the queries ``rest`` that are not crowded; the crowded ones, and their products."""
    x, kernel, nats = x[rest], kernel.select(rest), nats[rest]
    table = products(x.float(), centers)
    threshold = _threshold(x, centers, kernel, nats, table.best()) - rounding(x, centers)
    many = _costly(table.reaching(threshold) * EXACT, centers) & (not listed)
    query, center = table.above(threshold.masked_fill(many, torch.inf))
    return (rest[query], center), rest[many], table.keep(many)
