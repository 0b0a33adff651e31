r"""Which centers can carry weight for a query.

A center whose weight is below :math:`\epsilon/M` times the largest changes no sum by more than
:math:`\epsilon` together with all its like. So a query's candidates are the centers within the kernel's *reach* of
its nearest one. They are found from bounds of the distances that are proofs, whatever is computed in float32:
first those of the index (a prefix of coordinates), then, where these leave too many, those of the
full products. The distances of those found are taken exactly, and what then proves to be beyond reach is left out, so
that whatever bounds were used, the same centers remain.
"""

import math
from dataclasses import dataclass

import torch
from torch import Tensor

from smoothscore.mixture.centers import Centers
from smoothscore.mixture.index import Index
from smoothscore.mixture.kernels import Kernel
from smoothscore.mixture.pairs import differences
from smoothscore.mixture.products import direct, products
from smoothscore.mixture.stored import few
from smoothscore.mixture.table import Table

__all__ = ["Screened", "broad", "candidates", "far"]

Pairs = tuple[Tensor, Tensor, Tensor]  # query, center (P,), squared distance

FEW = 64  # centers up to which all are candidates
FAR = 1e15  # norm from which float32 products may overflow

# Cost of one (query, center) pair as a multiple of its share of a large float32 product: about what images of 3,072
# values take with one thread and with two. Half as much or twice as much changes little: evaluations a tenth.
READ = 20  # reading a center for a product, whatever the number of queries
WIDEN = 8  # the same for pixels that are widened in the cache
BYTES = 6  # summing a center from its bytes, for each of few queries
EXACT = 30  # a float64 difference and the share of the sum, in compiled loops
GATHERED = 100  # the same by tensors

# Reach past the nearest center, as a share of the spread of all, up to which bounds from a prefix are tried.
HOPE = 1 / 5


@dataclass(frozen=True)
class Screened:
    """Candidate pairs, and the queries that have too many of them.

    Attributes:
        query, center: (P,) pairs, sorted by query, of the queries that are not crowded.
        r2: (P,) float64, their squared distances.
        crowded: (C,) queries whose weight lies on too many centers to list.
        table: S in float32 for the crowded queries, where it has been taken.
    """

    query: Tensor
    center: Tensor
    r2: Tensor
    crowded: Tensor
    table: Table | None = None


def candidates(x: Tensor, centers: Centers, kernel: Kernel, tolerance: float, listed: bool = False) -> Screened:
    """Centers that hold all but ``tolerance`` of each query's weight, for queries x (B, d) in float64.

    With ``listed`` no query counts as crowded, however many candidates it has.
    """
    everyone = torch.arange(len(x), device=x.device)
    if centers.count <= FEW or (listed and far(x, centers).any()):
        every = torch.arange(centers.count, device=x.device)
        query, center = everyone.repeat_interleave(len(every)), every.repeat(len(x))
        return Screened(query, center, differences(x, centers, query, center), everyone[:0])
    width = _width(x, centers, kernel, tolerance)
    crowded = ((width > centers.spread) | far(x, centers)) & (not listed)
    wide, rest = everyone[crowded], everyone[~crowded]
    found, table = [(everyone[:0], everyone[:0], x[:0, 0])], None
    hopeful = len(rest) > 0 and bool(width[rest].median() < HOPE * centers.spread)
    index = centers.bounds(_pass(centers, len(rest))) if hopeful else None
    if index is not None:
        (query, center, r2), missed = _by_index(x[rest], centers, index, kernel.select(rest), tolerance)
        found.append((rest[query], center, r2))
        rest = rest[missed]
    if len(rest):
        (query, center, r2), missed, table = _by_products(x[rest], centers, kernel.select(rest), tolerance, listed)
        found.append((rest[query], center, r2))
        rest = rest[missed]
    query, center, r2 = (torch.cat(part) for part in zip(*found, strict=True))
    order = query.argsort(stable=True)
    crowded = torch.cat([wide, rest]).sort().values
    return Screened(query[order], center[order], r2[order], crowded, None if len(wide) else table)


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
    reach = kernel.reach(r2, nats + prior[centers.first] - prior[anchor])
    slack = 2.0**-22 * (size - reach).abs() + centers.dim * 2.0**-51 * (size + r2)
    return ((size - reach) / 2 - slack).clamp_min(torch.finfo(torch.float32).min)


def _by_index(x: Tensor, centers: Centers, index: Index, kernel: Kernel, tolerance: float) -> tuple[Pairs, Tensor]:
    """Pairs of those of the queries x that the bounds serve, and which they do not."""
    nats = _nats(x, centers, tolerance)
    table, anchor, coordinates = index.bound(x, centers)
    threshold = _threshold(x, centers, kernel, nats, anchor)
    exact = _exact(centers)
    if table.reaching(threshold).sum() * exact > _pass(centers, len(x)) * index.extra:
        index.tighten(table, x, coordinates)
    many = _costly(table.reaching(threshold) * exact, centers)
    pairs = table.above(threshold.masked_fill(many, torch.inf))
    return _within_reach(x, centers, kernel, nats, *pairs), many.nonzero()[:, 0]


def _by_products(
    x: Tensor, centers: Centers, kernel: Kernel, tolerance: float, listed: bool
) -> tuple[Pairs, Tensor, Table]:
    """Pairs of the queries x that are not crowded; which are, and their products."""
    nats = _nats(x, centers, tolerance)
    table = products(x, centers, torch.float32)
    threshold = _threshold(x, centers, kernel, nats, table.best()) - table.error
    many = _costly(table.reaching(threshold) * _exact(centers), centers) & (not listed)
    pairs = table.above(threshold.masked_fill(many, torch.inf))
    return _within_reach(x, centers, kernel, nats, *pairs), many.nonzero()[:, 0], table.keep(many)


def _within_reach(x: Tensor, centers: Centers, kernel: Kernel, nats: Tensor, query: Tensor, center: Tensor) -> Pairs:
    """Of the pairs (query sorted) those whose weights are no more than ``nats`` (B,) below their query's largest."""
    r2 = differences(x, centers, query, center)
    logits = kernel.select(query).log_weight(r2[:, None])[:, 0] + centers.log_weights[center]
    top = logits.new_full((len(x),), -torch.inf).scatter_reduce_(0, query, logits, "amax")
    near = logits >= (top - nats)[query]
    return query[near], center[near], r2[near]


def _pass(centers: Centers, queries: int) -> int:
    """Cost of a product with all centers."""
    if not direct(queries, centers):
        return centers.count * (READ + queries)
    return centers.count * (BYTES * queries if few(queries) else WIDEN + queries)


def _exact(centers: Centers) -> int:
    return GATHERED if centers.stored is None else EXACT


def _costly(costs: Tensor, centers: Centers) -> Tensor:
    """The queries (B,) that a product with all centers serves at less than these costs."""
    many = costs > centers.count
    return many & (costs[many].sum() > _pass(centers, int(many.sum())))
