r"""Queries with their candidates: ragged lists, and exact sums over them.

The expanded square :math:`|x|^2+|\mu|^2-2x\cdot\mu` loses at small noise levels all the digits that matter, even from
float64 centers rounded to float32. So the distances of the candidates are taken in float64, by direct
differences from the stored pixels.
"""

from collections.abc import Callable
from dataclasses import dataclass

import torch
from torch import Tensor

from smoothscore.mixture.centers import Centers
from smoothscore.mixture.kernels import Kernel

__all__ = ["Active", "Moments", "Pairs", "accumulate", "differences", "gaps", "moments", "weigh"]

CLOSE = 8  # pairs of a query, on the average, up to which differences of distances are taken
ROWS = 512  # pairs whose centers are written out in float64 at a time


@dataclass(frozen=True)
class Active:
    """The centers that carry weight for each query, heaviest first.

    Attributes:
        indices: (B, K) int64; where a query has fewer than K, the last entries repeat the first.
        log_weights: (B, K) float64, normalized over all centers; ``-inf`` where an entry is padding.
        r2: (B, K) float64 squared distances.
    """

    indices: Tensor
    log_weights: Tensor
    r2: Tensor


@dataclass(frozen=True)
class Pairs:
    """P candidate pairs of B queries, sorted by query.

    Attributes:
        query, center: (P,) int64 indices.
        r2: (P,) float64 squared distances, exact.
        log_weights: (P,) float64, normalized over each query's candidates.
        log_mass: (B,) float64 logarithm of each query's unnormalized total.
    """

    query: Tensor
    center: Tensor
    r2: Tensor
    log_weights: Tensor
    log_mass: Tensor

    def total(self, values: Tensor) -> Tensor:
        """Sum of (P,) or (P, d) values over each query's candidates."""
        return _total(values, self.query, len(self.log_mass))

    def accumulate(self, centers: Centers, term: Callable[[Tensor, slice], Tensor]) -> Tensor:
        """Sum over each query's candidates of ``term(rows (n, d) float64, slice of the pairs)``: (B, d)."""
        out = torch.zeros(len(self.log_mass), centers.dim, dtype=torch.float64, device=self.r2.device)
        for start in range(0, len(self.query), ROWS):
            part = slice(start, start + ROWS)
            out.index_add_(0, self.query[part], term(centers.rows(self.center[part]), part))
        return out

    def heaviest(self) -> Active:
        """All candidates as rectangles, heaviest first."""
        queries = len(self.log_mass)
        counts = torch.bincount(self.query, minlength=queries)
        column = torch.arange(len(self.query), device=self.query.device) - (counts.cumsum(0) - counts)[self.query]
        shape = (queries, int(counts.max()))
        log_weights = self.log_weights.new_full(shape, -torch.inf)
        log_weights[self.query, column] = self.log_weights
        log_weights, order = log_weights.sort(dim=1, descending=True, stable=True)
        indices, r2 = self.center.new_zeros(shape), self.r2.new_zeros(shape)
        indices[self.query, column] = self.center
        r2[self.query, column] = self.r2
        order = torch.where(log_weights.isneginf(), order[:, :1], order)
        return Active(indices.gather(1, order), log_weights, r2.gather(1, order))


@dataclass(frozen=True)
class Moments:
    """Sums over the centers under normalized weights w, for B queries; all float64.

    Attributes:
        mean: (B, d) mean of the centers under the weights :math:`w_j\\kappa_j`.
        precision: (B,) :math:`\\sum_jw_j\\kappa_j`.
        log_mass: (B,) logarithm of the unnormalized total.
        r2, curvature: (B,) :math:`\\sum_jw_jr_j^2` and :math:`\\sum_jw_jq_jr_j^2`.
    """

    mean: Tensor
    precision: Tensor
    log_mass: Tensor
    r2: Tensor
    curvature: Tensor | None = None

    def of(self, queries: Tensor) -> "Moments":
        """The moments of some queries (indices or a mask)."""
        if queries.dtype is torch.bool and queries.all():
            return self
        return Moments(**{name: value[queries] for name, value in vars(self).items() if value is not None})

    @staticmethod
    def joined(parts: "list[Moments]") -> "Moments":
        """One after the other."""
        if len(parts) == 1:
            return parts[0]
        names = [name for name, value in vars(parts[0]).items() if value is not None]
        return Moments(**{name: torch.cat([getattr(part, name) for part in parts]) for name in names})

    @staticmethod
    def ordered(parts: "list[tuple[Tensor, Moments]]") -> "Moments":
        """In the order of the queries, of which each part has some."""
        if len(parts) == 1:
            return parts[0][1]
        order = torch.cat([queries for queries, _ in parts]).argsort()
        return Moments.joined([part for _, part in parts]).of(order)


def moments(pairs: Pairs, centers: Centers, kernel: Kernel, curved: bool = False) -> Moments:
    """The sums over listed candidates, exact; with the curvature where ``curved``."""
    weights, some, r2 = pairs.log_weights.exp(), kernel.select(pairs.query), pairs.r2[:, None]
    steep = weights * some.precision(r2)[:, 0]
    precision = pairs.total(steep)
    return Moments(
        mean=accumulate(
            pairs.log_mass.new_zeros(len(pairs.log_mass), centers.dim), pairs.query, pairs.center, centers, steep
        )
        / precision[:, None],
        precision=precision,
        log_mass=pairs.log_mass,
        r2=pairs.total(weights * pairs.r2),
        curvature=pairs.total(weights * pairs.r2 * some.curvature(r2)[:, 0]) if curved else None,
    )


def weigh(
    centers: Centers,
    kernel: Kernel,
    query: Tensor,
    center: Tensor,
    r2: Tensor,
    queries: int,
    x: Tensor | None = None,
) -> Pairs:
    """Weights of the pairs (query sorted) of so many queries, from exact squared distances (P,).

    Where two centers are equally near but for rounding, squared distances are not exact enough; with the queries
    x (B, d), and where pairs are few, the differences of these distances are taken.
    """
    some, level = kernel.select(query), r2.new_zeros(queries)
    if x is not None and len(query) <= CLOSE * queries:
        nearest = _nearest(query, r2, queries)
        base, further = r2[nearest], gaps(x, centers, query, center[nearest][query], center)
        level = kernel.log_weight(base[:, None])[:, 0]
        logits = some.relative(base[query, None], further[:, None])[0][:, 0] + centers.log_weights[center]
    else:
        logits = some.log_weight(r2[:, None])[:, 0] + centers.log_weights[center]
    top = logits.new_full((queries,), -torch.inf).scatter_reduce_(0, query, logits, "amax")
    log_mass = top + _total((logits - top[query]).exp(), query, queries).log()
    return Pairs(query, center, r2, logits - log_mass[query], log_mass + level)


def gaps(x: Tensor, centers: Centers, query: Tensor, near: Tensor, center: Tensor) -> Tensor:
    """How much farther centers ``center`` (P,) are than ``near`` (P,), as squared distances from the queries.

    For centers a and b as they are in float64, :math:`|x-b|^2-|x-a|^2=\\sum_i(a_i-b_i)(2x_i-a_i-b_i)`, with the
    rounding of a + b carried along, so that no digit is lost, however near the two distances are.
    """
    out = torch.empty(len(query), dtype=torch.float64, device=x.device)
    for start in range(0, len(query), ROWS):
        part = slice(start, start + ROWS)
        a, b = centers.rows(near[part]), centers.rows(center[part])
        total = a + b
        rest = total - a
        lost = (a - (total - rest)) + (b - rest)
        out[part] = ((a - b) * ((2 * x[query[part]] - total) - lost)).sum(1)
    return out


def _nearest(query: Tensor, r2: Tensor, queries: int) -> Tensor:
    """Which pair is each query's nearest: (B,)."""
    least = r2.new_full((queries,), torch.inf).scatter_reduce_(0, query, r2, "amin")
    equal, place = r2 == least[query], torch.arange(len(r2), device=r2.device)
    return place.new_empty(queries).scatter_(0, query[equal], place[equal])


def accumulate(out: Tensor, query: Tensor, center: Tensor, centers: Centers, factors: Tensor) -> Tensor:
    """Add to ``out`` (B, d) float64, in place, the pairs' centers times ``factors`` (P,)."""
    if centers.stored is None:
        for start in range(0, len(query), ROWS):
            part = slice(start, start + ROWS)
            out.index_add_(0, query[part], centers.rows(center[part]).mul_(factors[part, None]))
        return out
    from smoothscore.mixture import compiled_sums

    stored, rows = centers.stored
    factors = factors / centers.scale
    compiled_sums.totals(stored, centers.shift, query.numpy(), rows[center.numpy()], factors.numpy(), out.numpy())
    return out


def differences(x: Tensor, centers: Centers, query: Tensor, center: Tensor) -> Tensor:
    """Squared distances (P,) of the pairs for queries ``x`` (B, d), by float64 differences."""
    scaled = x.double() * centers.scale
    r2 = torch.empty(len(query), dtype=torch.float64, device=x.device)
    if centers.stored is not None:
        from smoothscore.mixture import compiled_sums

        stored, rows = centers.stored
        compiled_sums.squares(stored, centers.shift, scaled.numpy(), query.numpy(), rows[center.numpy()], r2.numpy())
        return r2.div_(centers.scale**2)
    buffer = torch.empty(min(ROWS, len(query)), centers.dim, dtype=torch.float64, device=x.device)
    for start in range(0, len(query), ROWS):
        part = slice(start, start + ROWS)
        delta = centers.scaled_rows(center[part], buffer).sub_(scaled[query[part]])
        r2[part] = torch.linalg.vector_norm(delta, dim=1).div_(centers.scale).square_()
    return r2


def _total(values: Tensor, query: Tensor, queries: int) -> Tensor:
    return values.new_zeros(queries, *values.shape[1:]).index_add_(0, query, values)
