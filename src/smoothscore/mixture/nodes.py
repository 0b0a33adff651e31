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

QUERIES = 32  # queries handled together
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
    Memory: 3 S M float64 values, and ``QUERIES`` times M. Not differentiable.
    """
    flat = x.detach().reshape(len(x), -1).double()
    wide = nodes.double()
    inner = torch.cat([wide @ rows.T for _, rows in centers.chunks(CHUNK)], dim=1)
    size = wide.square().sum(1)
    means, masses = [], []
    for start in range(0, len(flat), QUERIES):
        block = slice(start, start + QUERIES)
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
    r2 = x.square().sum(1)[:, None] - 2 * products(x, centers).values[: centers.count].T
    base = centers.log_weights - r2.where(r2.isfinite(), 0) / (2 * variance[:, None])
    weights = base.new_zeros(groups, *base.shape)
    masses = []
    for query, factor in enumerate(shift / variance):
        nearest = base[query].argmax()
        gain = factor * (inner - inner[:, nearest, None]).amax(0)
        chosen = (base[query] + gain >= base[query, nearest] + NEGLIGIBLE).nonzero()[:, 0]
        logits = base[query, chosen]
        if len(chosen) <= EXACT:
            exact = differences(x[query, None], centers, torch.zeros_like(chosen), chosen)
            logits = centers.log_weights[chosen] - exact / (2 * variance[query])
        logits = torch.addcmul(logits, inner[:, chosen], factor)
        mass = torch.logsumexp(logits, 1, keepdim=True)
        share = logits.sub_(mass).clamp_min_(UNDERFLOW).exp_()
        weights[:, query, chosen] = share.reshape(groups, -1, len(chosen)).mean(1)
        masses.append(mass[:, 0])
    return weights, torch.stack(masses)


def _mean(weights: Tensor, centers: Centers) -> Tensor:
    """``weights`` (G, B, M) times the centers: (G, B, d)."""
    out = weights.new_zeros(*weights.shape[:2], centers.dim)
    for start, rows in centers.chunks(CHUNK):
        out += weights[:, :, start : start + len(rows)] @ rows
    return out
