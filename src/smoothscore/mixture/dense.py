r"""Sums over all centers, for queries whose weight lies on many of them.

One pass reads each chunk of centers once: a product for S (see :mod:`smoothscore.mixture.products`), weights
relative to the largest so far, and a product for the mean; a chunk whose weights are all negligible takes no second
product. Then the heaviest weights are taken again from exact distances.

What float32 leaves of rounding is measured, not assumed: a few centers' S are compared with exact ones. Errors
e of S that are independent from center to center, of root mean square :math:`\tau`, move the mean D by

.. math::
    \mathrm E\|\delta D\|^2=\kappa^2\tau^2\sum_jw_j^2\|\mu_j-D\|^2
    \le\kappa^2\tau^2\,w_{max}\operatorname{tr Cov}_w(\mu),

the sum running over the weights that were not taken again. Queries where this is too large are named.
"""

import math

import torch
from torch import Tensor

from smoothscore.mixture.centers import CHUNK, Centers
from smoothscore.mixture.kernels import Kernel
from smoothscore.mixture.pairs import Moments, accumulate, differences
from smoothscore.mixture.products import PIECE, Table, chunk_products

__all__ = ["dense"]

HEAVY = 1 / 64  # weights from which on exact distances are taken
SAMPLES = 16  # centers whose exact distances tell the rounding error
SLAB = 8 * CHUNK  # rows of the table weighed at a time
LINEAR = 2.0**-6  # errors of the logits up to which the estimate of the mean's error is trusted
LEAST = {torch.float32: -80.0, torch.float64: -700.0}  # logits below are slow to exponentiate, and nothing


def dense(
    x: Tensor, centers: Centers, kernel: Kernel, dtype: torch.dtype, target: float, table: Table | None = None
) -> tuple[Moments, Tensor]:
    """Moments for queries x (B, d) in float64, computed in ``dtype``.

    Args:
        target: relative error of the mean that passes.
        table: S in ``dtype``, where it has been taken already; overwritten.

    Returns the moments, and which queries (B,) miss the target.

    Memory: one value of ``dtype`` a center and query, and a chunk of centers.
    """
    table, pulled = _accumulate(x, centers, kernel, dtype, table)
    noise = _noise(x, centers, table)
    base = _level(x, table.peaks.amax(0))
    sums = _weigh(table, base, centers, kernel)
    heaviest = _take_again(x, centers, kernel, table, base, sums, pulled)
    weight, steep, offset, curvature, surprise = sums
    mean = pulled / steep[:, None]
    found = Moments(
        mean=mean,
        precision=steep / weight,
        log_mass=weight.log() + centers.log_weights.max() + kernel.log_weight(base)[:, 0],
        r2=base[:, 0] + offset / weight,
        curvature=curvature / weight,
        entropy=(weight.log() - surprise / weight).clamp_min(0),
    )
    return found, ~_passes(x, centers, found, noise, heaviest, target, dtype)


def _passes(
    x: Tensor, centers: Centers, found: Moments, noise: Tensor, heaviest: Tensor, target: float, dtype: torch.dtype
) -> Tensor:
    """Which queries (B,) have a mean whose estimated relative error is below the target."""
    blur = found.precision * noise  # of the logits; the estimate is its first order
    scatter = (found.r2 - (found.mean - x).square().sum(1)).clamp_min(0)
    usual = (2 * centers.half_norms[centers.half_norms.isfinite()].mean()).sqrt()
    rounding = torch.finfo(dtype).eps * usual
    length: Tensor = torch.linalg.vector_norm(found.mean, dim=1).clamp_min(1e-9 * usual)
    return (blur < LINEAR) & (blur * (heaviest * scatter).sqrt() + rounding <= target * length)


def _level(x: Tensor, values: Tensor) -> Tensor:
    """Squared distances (B, 1) from S (B,)."""
    return (x.square().sum(1) - 2 * values.double()).clamp_min(0)[:, None]


def _logits(
    table: Table, rows: slice, best: Tensor, base: Tensor, centers: Centers, kernel: Kernel
) -> tuple[Tensor, Tensor]:
    """Log weights (B, n) of some rows, relative to a center at ``base`` of the largest prior; r2 less the base."""
    offset = (best - table.values[rows]).mul_(2).T
    if centers.uniform:
        return kernel.log_ratio(base, offset).clamp_min_(LEAST[offset.dtype]), offset
    prior = centers.log_weights[rows] - centers.log_weights.max()
    offset.masked_fill_(prior.isneginf(), 0)
    return (kernel.log_ratio(base, offset) + prior.to(offset.dtype)).clamp_min_(LEAST[offset.dtype]), offset


def _accumulate(
    x: Tensor, centers: Centers, kernel: Kernel, dtype: torch.dtype, table: Table | None
) -> tuple[Table, Tensor]:
    """The table, and the sum of the centers under weights times precisions, (B, d) float64."""
    taken = table is not None
    table = table or Table.empty(centers, len(x), dtype)
    columns = (x / centers.scale).T.to(dtype, memory_format=torch.contiguous_format)
    buffer = torch.empty(CHUNK, centers.dim, dtype=dtype, device=x.device)
    out = torch.zeros(len(x), centers.dim, dtype=dtype, device=x.device)
    best = out.new_full((len(x),), -torch.inf)
    base = best[:, None].double()
    for start in range(0, centers.count, CHUNK):
        rows = slice(start, min(start + CHUNK, centers.count))
        block = None if taken else centers.scaled(rows.start, rows.stop, buffer)
        if block is not None:
            chunk_products(centers, columns, start, block, table.values[rows])
            table.settle(rows.start, rows.stop)
        top = table.peaks[start // PIECE : -(-rows.stop // PIECE)].amax(0)
        if (top > best).any():
            top, past = torch.maximum(top, best), base
            best, base = top, _level(x, top)
            if past.isfinite().all():
                out *= (kernel.log_weight(past) - kernel.log_weight(base)).exp().nan_to_num_().to(dtype)
        if best.isneginf().any():
            continue  # no center of weight so far
        logits, offset = _logits(table, rows, best, base, centers, kernel)
        if logits.amax() <= LEAST[torch.float32]:
            continue
        weights = logits.exp_()
        if not kernel.constant_precision:
            weights *= kernel.precision(base.to(dtype) + offset)
        out.addmm_(weights, centers.scaled(rows.start, rows.stop, buffer) if block is None else block)
    constant = kernel.precision(base) if kernel.constant_precision else 1
    return table, out.double() * constant / centers.scale


def _noise(x: Tensor, centers: Centers, table: Table) -> Tensor:
    """Root mean square error (B,) of S in the table, from a few centers."""
    chosen = centers.log_weights.isfinite().nonzero()[:, 0]
    chosen = chosen[:: -(-len(chosen) // SAMPLES)]
    exact = torch.stack([(x - row).square().sum(1) for row in centers.rows(chosen)])
    error = (x.square().sum(1) - exact) / 2 - table.values[chosen].double()
    return error.square().mean(0).sqrt()


def _weigh(table: Table, base: Tensor, centers: Centers, kernel: Kernel) -> Tensor:
    """Replace S by logits; sums (5, B) of p, p kappa, p (r2 - base), p q r2 and p logit."""
    best, dtype = table.peaks.amax(0), table.values.dtype
    sums = torch.zeros(5, len(base), dtype=torch.float64, device=base.device)
    for start in range(0, centers.count, SLAB):
        rows = slice(start, min(start + SLAB, centers.count))
        logits, offset = _logits(table, rows, best, base, centers, kernel)
        table.values[rows] = logits.T
        weights, r2 = logits.exp(), base.to(dtype) + offset
        terms = (weights.new_ones(()), kernel.precision(r2), offset, kernel.curvature(r2) * r2, logits)
        sums += torch.stack([(weights * term).sum(1) for term in terms]).double()
        table.settle(rows.start, rows.stop)
    return sums


def _take_again(
    x: Tensor,
    centers: Centers,
    kernel: Kernel,
    table: Table,
    base: Tensor,
    sums: Tensor,
    pulled: Tensor,
) -> Tensor:
    """Correct the sums by the exact distances of the heaviest centers; returns the largest weight left (B,)."""
    largest = sums[0].log() + math.log(HEAVY)
    query, center = table.above(torch.minimum(largest, table.peaks.amax(0).double()))
    r2 = differences(x, centers, query, center)[:, None]
    some = kernel.select(query)
    old = table.values[center, query].double()
    new = (some.log_weight(r2) - some.log_weight(base[query]))[:, 0]
    new += centers.log_weights[center] - centers.log_weights.max()
    gain = new.exp() - old.exp()
    kappa = some.precision(r2)[:, 0]
    terms = (gain, gain * kappa, gain * (r2 - base[query])[:, 0], gain * (some.curvature(r2) * r2)[:, 0])
    for row, term in enumerate((*terms, new.exp() * new - old.exp() * old)):
        sums[row] = sums[row].index_add(0, query, term)
    accumulate(pulled, query, center, centers, gain * kappa)
    return (table.peaks.amax(0).double().exp() / sums[0]).clamp_max(HEAVY)
