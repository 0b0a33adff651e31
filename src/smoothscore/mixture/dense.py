r"""Sums over all centers, for queries whose weight lies on many of them.

One pass reads each chunk of centers once: a product for :math:`S_j=x\cdot\mu_j-\tfrac12\|\mu_j\|^2`, weights relative
to a center of much weight seen so far, and a product for the mean, of those rows only whose weight is not negligible
for every query. Nothing is kept of a chunk but its sums.

Queries whose rounding errors prove too large (:mod:`smoothscore.mixture.rounding`) are named.
"""

import torch
from torch import Tensor

from smoothscore.mixture.centers import Centers
from smoothscore.mixture.kernels import Kernel
from smoothscore.mixture.pairs import Moments
from smoothscore.mixture.products import over, rows_for
from smoothscore.mixture.reference import Reference
from smoothscore.mixture.rounding import passes
from smoothscore.mixture.running import Running
from smoothscore.mixture.table import Table

__all__ = ["dense"]


def dense(
    x: Tensor,
    centers: Centers,
    kernel: Kernel,
    dtype: torch.dtype,
    target: float,
    negligible: float,
    curved: bool,
    table: Table | None = None,
) -> tuple[Moments, Tensor]:
    """Moments for queries x (B, d) in float64, computed in ``dtype``.

    Args:
        target: relative error of the mean that passes.
        negligible: weight of all left-out centers together, at most.
        curved: whether the curvature is wanted.
        table: S in ``dtype``, where it has been taken already.

    Returns the moments, and which queries (B,) miss the target.

    Memory: a chunk of centers, and its products with the queries.
    """
    rows = rows_for(x, centers, dtype)
    size, first = x.square().sum(1), torch.tensor([centers.first], device=x.device)
    s = (x @ centers.rows(first)[0] - centers.half_norms[first]).to(rows.values)
    reference = Reference.of(size, s, centers.log_weights[first].expand(len(x)), kernel)
    parts: dict[int, Running] = {}

    def some(first: int, last: int) -> None:
        parts[first] = Running(size, reference, centers, kernel, dtype, rows.apart(), first, curved)
        parts[first].take(first, last, negligible, table)

    over(rows, centers.count, some)
    running, *others = (parts[first] for first in sorted(parts))
    for other in others:
        running.absorb(other)
    found = running.moments(x)
    if not running.drawn:  # NaN or infinite products
        return found, torch.ones_like(found.r2, dtype=torch.bool)
    return found, ~passes(x, centers, found, running.mean[1], running.drawn, target, dtype)
