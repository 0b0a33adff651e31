r"""What float32 leaves of rounding in sums over all centers, measured.

It depends on the order of the additions, and the bounds that hold for every order are a hundred times too wide. So
centers are drawn from the posterior itself, and their S compared with exact ones. Errors e of S move the mean D, to
first order and whatever their dependence, by

.. math::
    \|\delta D\|=\kappa\,\Big\|\sum_jw_je_j(\mu_j-D)\Big\|
    \le\kappa\sqrt{\textstyle\sum_jw_je_j^2}\;\sqrt{\operatorname{tr Cov}_w(\mu)}

(Cauchy and Schwarz; an error common to all centers moves nothing and is left out), and the draws estimate the first
root.
"""

from dataclasses import dataclass

import torch
from torch import Tensor

from smoothscore.mixture.centers import Centers
from smoothscore.mixture.pairs import Moments, differences

__all__ = ["DRAWS", "Drawn", "passes"]

DRAWS = 24  # at least so many centers are drawn for each query
LINEAR = 2.0**-6  # errors of the logits up to which the first order is trusted
LOGARITHM = 1 / 30  # of the target is what the log mass may be off, relative to itself or to 1


@dataclass
class Drawn:
    """Centers drawn from the posterior among some centers, for each of B queries.

    Attributes:
        center, s: (draws, B) the centers, and their S as they were summed.
        mass: (B,) log mass of the centers that these were drawn from.
    """

    center: Tensor
    s: Tensor
    mass: Tensor


def passes(
    x: Tensor, centers: Centers, found: Moments, scatter: Tensor, drawn: list[Drawn], target: float, dtype: torch.dtype
) -> Tensor:
    """Which queries (B,) have a mean and a log mass whose estimated errors are below the target.

    Args:
        x: (B, d) float64 queries.
        found: what has been summed for them in ``dtype``.
        scatter: (B,) mean squared distance of the centers from their mean.
        drawn: at least one.
        target: relative error of the mean that passes.
    """
    spread, size = _noise(x, centers, drawn)
    rounding = torch.finfo(dtype).eps * centers.usual
    length: Tensor = torch.linalg.vector_norm(found.mean, dim=1).clamp_min(1e-9 * centers.usual)
    moved = found.precision * spread * scatter.sqrt() + rounding
    logarithm = LOGARITHM * target * found.log_mass.abs().clamp_min(1)
    return (found.precision * size < logarithm.clamp_max(LINEAR)) & (moved <= target * length)


def _noise(x: Tensor, centers: Centers, drawn: list[Drawn]) -> tuple[Tensor, Tensor]:
    """Standard deviation and root mean square (B,) of the errors of S under the weights, from the draws."""
    center, s = torch.cat([one.center for one in drawn]), torch.cat([one.s for one in drawn])
    share = torch.softmax(torch.cat([one.mass.expand_as(one.center) for one in drawn]), 0)
    query = torch.arange(len(x), device=x.device).repeat(len(center))
    r2 = differences(x, centers, query, center.flatten()).view_as(s)
    error = (x.square().sum(1) - r2) / 2 - s.double()
    common = (share * error).sum(0)
    return (share * (error - common).square()).sum(0).sqrt(), (share * error.square()).sum(0).sqrt()
