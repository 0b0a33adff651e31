r"""Sums over all centers, for queries whose weight lies on many of them.

One pass reads each chunk of centers once: a product for S (see :mod:`smoothscore.mixture.products`), weights
relative to the largest so far, and a product for the mean; a chunk whose weights are all negligible takes no second
product. Then the heaviest weights are taken again from exact distances.

What float32 leaves of rounding is measured, not assumed: a few centers' S are compared with exact ones. Errors
e of S that are independent from center to center, of root mean square :math:`\tau`, move the mean D by

.. math:: \mathrm E\|\delta D\|^2=\kappa^2\tau^2\sum_jw_j^2\|\mu_j-D\|^2\le\kappa^2\tau^2\,w_{max}\operatorname{tr Cov}_w(\mu),

the sum running over the weights that were not taken again. Queries where this is too large are named.
"""

import torch
from torch import Tensor

from smoothscore.mixture.centers import CHUNK, Centers
from smoothscore.mixture.kernels import Kernel
from smoothscore.mixture.pairs import ROWS, Moments, differences
from smoothscore.mixture.products import PIECE, Table, chunk_products

__all__ = ["dense"]

HEAVY = 1 / 64  # weights from which on exact distances are taken
SAMPLES = 16  # centers whose exact distances tell the rounding error
SLAB = 64 * CHUNK  # entries of the table weighed at a time, per query
TARGET = {torch.float32: 3e-6, torch.float64: 3e-11}  # relative error of the mean that passes
LEAST = {torch.float32: -80.0, torch.float64: -700.0}  # below, exp is slow and its value nothing


def dense(
    x: Tensor, centers: Centers, kernel: Kernel, dtype: torch.dtype, target: float, table: Table | None = None
) -> tuple[Moments, Tensor]:
    """Moments for queries x (B, d) in float64, computed in ``dtype``; and which queries miss the target (B,).

    Memory: one value of ``dtype`` a center and query, and one chunk.
    """
    size = x.square().sum(1)
    table, total = _accumulate(x, size, centers, kernel, dtype, table)
    base = (size - 2 * table.peaks.amax(0).double()).clamp_min(0)[:, None]
    sums, heavy = _weigh(table, base, centers, kernel)
    return _finish(...)
