r"""Which centers can carry weight for a query.

A center whose weight is below :math:`\epsilon/M` times the largest changes no sum by more than
:math:`\epsilon` together with all its like. So a query's candidates are the centers within the kernel's *reach* of
its nearest one. They are found from bounds of the distances that are proofs, whatever is computed in float32:
first those of the index (a prefix of coordinates), then, where these leave too many, those of the
full products. Of those found, the lightest are left out that hold less than :math:`\epsilon/2` together, which by
the bounds of their weights is a proof as well.
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
LIST = 16  # listing it and bounding its weight
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
    width = _width(x, centers, kernel, tolerance)
    crowded = ((width > centers.spread) | far(x, centers)) & (not listed)
    wide, rest = everyone[crowded], everyone[~crowded]
    found, table = [(everyone[:0], everyone[:0])], None
    index = centers.bounds(centers.count * (READ + len(rest))) if len(rest) else None
    if index is not None and index.promises(level := float(width[rest].median())):
        pairs, left = _by_index(x[rest], centers, index, kernel.select(rest), tolerance / 2)
        found.append((rest[pairs[0]], pairs[1]))
        index.learn(level, 2 * len(left) < len(rest))
        rest = rest[left]
    if len(rest):
        pairs, left, table = _by_products(x[rest], centers, kernel.select(rest), tolerance / 2, listed)
        found.append((rest[pairs[0]], pairs[1]))
        rest = rest[left]
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
    return (_width(x, centers, kernel, tolerance) > centers.spread) | far(x, centers)


def _width(x: Tensor, centers: Centers, kernel: Kernel, tolerance: float) -> Tensor:
    """How much larger than that of the first center a squared distance can be and count, (B,) float64."""
    first = torch.zeros(len(x), dtype=torch.int64, device=x.device)
    r2 = differences(x, centers, torch.arange(len(x), device=x.device), first)
    return kernel.reach(r2, _nats(x, centers, tolerance)) - r2


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
    x: Tensor, centers: Centers, index: Index, kernel: Kernel, tolerance: float
) -> tuple[tuple[Tensor, Tensor], Tensor]:
    """Pairs of those of the queries x that the bounds serve, and which they do not."""
    nats = _nats(x, centers, tolerance)
    table, anchor, coordinates = index.bound(x, centers)
    threshold = _threshold(x, centers, kernel, nats, anchor)
    if table.reaching(threshold).sum() * FLOAT > centers.count * (READ + len(x)) * index.extra:
        index.tighten(table, x, coordinates)
    many = _costly(table.reaching(threshold) * FLOAT, centers)
    query, center = table.above(threshold.masked_fill(many, torch.inf))
    del table
    if len(query) > CALM * len(x):
        values, error = segments(x, centers, query, center), rounding(x, centers)
        best = values.new_full((len(x),), -torch.inf).scatter_reduce_(0, query, values, "amax")
        leader = anchor.clone()
        leading = values == best[query]
        leader[query[leading]] = center[leading]
        limit = torch.maximum(threshold, _threshold(x, centers, kernel, nats, leader)) - error
        near = values >= limit.float()[query]
        query, center = _heaviest(x, centers, kernel, tolerance, query[near], center[near], values[near], error)
    return (query, center), many.nonzero()[:, 0]


def _costly(costs: Tensor, centers: Centers) -> Tensor:
    """The queries (B,) that a product with all centers serves at less than these costs."""
    many = costs > centers.count
    return many & (costs[many].sum() > centers.count * (READ + many.sum()))


def _by_products(
    x: Tensor, centers: Centers, kernel: Kernel, tolerance: float, listed: bool
) -> tuple[tuple[Tensor, Tensor], Tensor, Table]:
    """Pairs of the queries x that are not crowded; which are, and their products."""
    table, error = products(x.float(), centers), rounding(x, centers)
    threshold = _threshold(x, centers, kernel, _nats(x, centers, tolerance), table.best()) - error
    many = _costly(table.reaching(threshold) * LIST, centers) & (not listed)
    query, center = table.above(threshold.masked_fill(many, torch.inf))
    if len(query) > CALM * len(x) and not listed:
        values = table.values[center, query]
        query, center = _heaviest(x, centers, kernel, tolerance, query, center, values, error)
        more = _costly(torch.bincount(query, minlength=len(x)) * EXACT, centers)
        query, center, many = query[~more[query]], center[~more[query]], many | more
    return (query, center), many.nonzero()[:, 0], table.keep(many)


def _heaviest(
    x: Tensor,
    centers: Centers,
    kernel: Kernel,
    tolerance: float,
    query: Tensor,
    center: Tensor,
    values: Tensor,
    error: Tensor,
) -> tuple[Tensor, Tensor]:
    """Of the pairs (query sorted) those that hold all but ``tolerance`` of each query's weight.

    ``values`` (P,) are their S, each within ``error`` (B,). A weight is at most that of the shortest distance this
    allows, and all together weigh at least as much as the heaviest one at the longest.
    """
    size, some, prior = x.square().sum(1), kernel.select(query), centers.log_weights[center]
    slack = (2 * error + 2.0**-40 * size)[query]
    r2 = size[query] - 2 * values
    most, least = (some.log_weight((r2 + s).clamp_min(0)[:, None])[:, 0] + prior for s in (-slack, slack))
    total = most.new_full((len(x),), -torch.inf).scatter_reduce_(0, query, least, "amax")
    share = (most - total[query]).exp()
    counts = torch.bincount(query, minlength=len(x))
    rows = share.new_zeros(len(x), int(counts.max()))
    rows[query, torch.arange(len(query), device=x.device) - (counts.cumsum(0) - counts)[query]] = share
    rows = rows.sort(1).values
    light = (rows.cumsum(1) <= 0.999 * tolerance).sum(1).clamp_max(rows.shape[1] - 1)
    heavy = share >= rows.gather(1, light[:, None])[query, 0]
    return query[heavy], center[heavy]
