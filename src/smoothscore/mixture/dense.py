r"""Sums over all centers, for queries whose weight lies on many of them.

One pass reads each chunk of centers once: a product for :math:`S_j=x\cdot\mu_j-\tfrac12\|\mu_j\|^2`, weights relative
to a center of much weight seen so far, and a product for the mean, of those rows only whose weight is not negligible
for every query. Nothing is kept of a chunk but its sums.

What float32 leaves of rounding depends on the order of the additions, and the bounds that hold for every order are
a hundred times too wide. So it is measured: centers are drawn from the posterior itself, all over the set, and
their S compared with exact ones. Errors e of S move the mean D, to first order and whatever their dependence, by

.. math::
    \|\delta D\|=\kappa\,\Big\|\sum_jw_je_j(\mu_j-D)\Big\|
    \le\kappa\sqrt{\textstyle\sum_jw_je_j^2}\;\sqrt{\operatorname{tr Cov}_w(\mu)}

(Cauchy and Schwarz; an error common to all centers moves nothing and is left out), and the draws estimate the first
root. Queries where this is too large are named.
"""

import torch
from torch import Tensor

from smoothscore.mixture.centers import Centers
from smoothscore.mixture.kernels import Kernel
from smoothscore.mixture.pairs import Moments, differences
from smoothscore.mixture.products import over, rows_for
from smoothscore.mixture.running import Drawn, Reference, Running
from smoothscore.mixture.table import Table

__all__ = ["dense"]

LINEAR = 2.0**-6  # errors of the logits up to which the first order is trusted
LOGARITHM = 1 / 30  # of the target is what the log mass may be off, relative to itself or to 1


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
    return found, ~_passes(centers, found, running.mean()[1], _noise(x, centers, running.drawn), target, dtype)


def _noise(x: Tensor, centers: Centers, drawn: list[Drawn]) -> tuple[Tensor, Tensor]:
    """Standard deviation and root mean square (B,) of the errors of S under the weights, from the draws."""
    center, s = torch.stack([one.center for one in drawn]), torch.stack([one.s for one in drawn])
    share = torch.softmax(torch.stack([one.mass for one in drawn]), 0)
    query = torch.arange(len(x), device=x.device).repeat(len(drawn))
    r2 = differences(x, centers, query, center.flatten()).view_as(s)
    error = (x.square().sum(1) - r2) / 2 - s.double()
    common = (share * error).sum(0)
    return (share * (error - common).square()).sum(0).sqrt(), (share * error.square()).sum(0).sqrt()


def _passes(
    centers: Centers, found: Moments, scatter: Tensor, noise: tuple[Tensor, Tensor], target: float, dtype: torch.dtype
) -> Tensor:
    """Which queries (B,) have a mean and a log mass whose estimated errors are below the target."""
    spread, size = noise
    rounding = torch.finfo(dtype).eps * centers.usual
    length: Tensor = torch.linalg.vector_norm(found.mean, dim=1).clamp_min(1e-9 * centers.usual)
    moved = found.precision * spread * scatter.sqrt() + rounding
    logarithm = LOGARITHM * target * found.log_mass.abs().clamp_min(1)
    return (found.precision * size < logarithm.clamp_max(LINEAR)) & (moved <= target * length)
