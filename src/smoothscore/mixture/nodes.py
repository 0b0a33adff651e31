r"""Averages of the Gaussian weights over shifted queries, with one distance pass for all shifts.

For nodes :math:`z_s` shared by all queries and a bandwidth h,

.. math::
    \|x+hz-\mu\|^2=\|x-\mu\|^2+2h\,z\cdot(x-\mu)+h^2\|z\|^2,

so the products :math:`z_s\cdot\mu_j` are taken once, and the averaged denoiser
:math:`\tfrac1S\sum_s D(x+hz_s)=\sum_j\bar w_j\mu_j` needs one sum over the
centers however many nodes there are.
"""

from dataclasses import dataclass

import torch
from torch import Tensor

from smoothscore.mixture.centers import CHUNK, Centers
from smoothscore.mixture.pairs import differences
from smoothscore.mixture.products import products

__all__ = ["NodeAverages", "node_averages"]

BLOCK = 2**21  # logits handled together: few large steps, since small ones cost threads their wake-up
UNDERFLOW = -700.0  # exponents below this are slow, and nothing beside 1
NEGLIGIBLE = -60.0  # centers this many nats below the nearest one's for all nodes are left out
EXACT = 512  # centers up to which distances are taken by differences


@dataclass(frozen=True)
class NodeAverages:
    """What :func:`node_averages` returns for B queries, S nodes in G groups.

    Attributes:
        mean: (G, B, d) average of the denoiser over each group's nodes, in the dtype of x.
        log_mass: (B, S) float64 :math:`\\operatorname{lse}_j(\\log\\pi_j-\\|x+hz_s-\\mu_j\\|^2/2\\sigma^2)`.
    """

    mean: Tensor
    log_mass: Tensor


def node_averages(
    x: Tensor, centers: Centers, sigma: Tensor, nodes: Tensor, bandwidth: Tensor, groups: int = 1
) -> NodeAverages:
    """The empirical denoiser averaged over ``x + bandwidth * nodes``.

    Args:
        x: (B, *shape) queries.
        centers: the centers.
        sigma: (B,) noise level of each query.
        nodes: (S, d) shifts, the same for all queries.
        bandwidth: (B,) factor of the shifts for each query.
        groups: the nodes are averaged in this many consecutive groups of equal size (for standard errors).

    Cost: a float64 product with all centers for the queries and one for the nodes, B S M subtractions,
    exponentials for the centers that carry weight, and one product of the averaged weights with the centers.
    Memory: a few times S M float64 values, or ``BLOCK`` where that is more. Not differentiable.
    """
    flat = x.detach().reshape(len(x), -1).double()
    wide = nodes.double()
    inner = wide.new_empty(len(wide), centers.count)
    for start, rows in centers.chunks(CHUNK):
        inner[:, start : start + len(rows)] = wide @ rows.T
    size = wide.square().sum(1)
    means, masses = [], []
    step = max(1, BLOCK // inner.numel())
    for start in range(0, len(flat), step):
        block = slice(start, start + step)
        variance, shift = sigma[block].double() ** 2, bandwidth[block].double()
        weights, mass = _weights(flat[block], centers, variance, shift, inner, groups)
        constant = 2 * shift[:, None] * (flat[block] @ wide.T) + shift[:, None] ** 2 * size
        masses.append(mass - constant / (2 * variance[:, None]))
        means.append(_mean(weights, centers))
    return NodeAverages(torch.cat(means, dim=1).to(x.dtype), torch.cat(masses))


def _weights(
    x: Tensor, centers: Centers, variance: Tensor, shift: Tensor, inner: Tensor, groups: int
) -> tuple[Tensor, Tensor]:
    """Weights averaged over groups of nodes (G, B, M), and each node's log mass less its constant (B, S)."""
    r2 = x.square().sum(1)[:, None] - 2 * products(x, centers, x.dtype).values[: centers.count].T
    base = centers.log_weights - r2.where(r2.isfinite(), 0) / (2 * variance[:, None])
    factor = (shift / variance)[:, None]
    best, nearest = base.max(1, keepdim=True)
    gain = factor * (inner - inner.T[nearest[:, 0]][:, :, None]).amax(1)
    carries = base + gain >= best + NEGLIGIBLE
    query, center = (carries & (carries.sum(1, keepdim=True) <= EXACT)).nonzero(as_tuple=True)
    exact = differences(x, centers, query, center)
    base[query, center] = centers.log_weights[center] - exact / (2 * variance[query])
    chosen = carries.any(0).nonzero()[:, 0]
    logits = base[:, None, chosen] + inner[:, chosen] * factor[:, :, None]
    mass = torch.logsumexp(logits, 2, keepdim=True)
    share = logits.sub_(mass).clamp_min_(UNDERFLOW).exp_()
    weights = base.new_zeros(groups, *base.shape)
    weights[:, :, chosen] = share.reshape(len(x), groups, -1, len(chosen)).mean(2).transpose(0, 1)
    return weights, mass[:, :, 0]


def _mean(weights: Tensor, centers: Centers) -> Tensor:
    """``weights`` (G, B, M) times the centers: (G, B, d)."""
    out = weights.new_zeros(*weights.shape[:2], centers.dim)
    for start, rows in centers.chunks(CHUNK):
        out += weights[:, :, start : start + len(rows)] @ rows
    return out
