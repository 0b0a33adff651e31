r"""Products with the Jacobian of the field.

But for its diagonal, :math:`-\sum_jw_j\kappa_j`, the Jacobian is
:math:`C=\sum_jw_jq_j\delta_j\delta_j^\top-\tfrac1Tss^\top`. That difference cancels where one weight is nearly 1, so it
is summed as

.. math:: C=\frac1T\sum_jw_jf_jf_j^\top+\sum_jw_j\eta_j\delta_j\delta_j^\top,\qquad f_j=\kappa_j\delta_j-s,

:math:`\delta_j=\mu_j-x`, :math:`\eta=-2\kappa'`: symmetric, and no eigenvalue is negative.
"""

import torch
from torch import Tensor

from smoothscore.mixture.centers import CHUNK, Centers
from smoothscore.mixture.kernels import Kernel
from smoothscore.mixture.pairs import Pairs, moments, weigh
from smoothscore.mixture.products import products
from smoothscore.mixture.screen import candidates
from smoothscore.mixture.sums import DERIVATIVE_TOLERANCE, blocks

__all__ = ["spread"]


def spread(x: Tensor, centers: Centers, kernel: Kernel, vectors: Tensor) -> Tensor:
    """:math:`Cv` for one vector a query, (B, d) like ``vectors`` (B, *shape), in their dtype.

    Computed in float64. Cost: that of :func:`smoothscore.mixture.sums`, twice, where few centers carry weight; three
    float64 products with all centers where many do.
    """
    flat, parts = vectors.reshape(len(x), -1).double(), []
    for block, some in blocks(x, kernel):
        v, flat = flat[: len(block)], flat[len(block) :]
        found = candidates(block, centers, some, DERIVATIVE_TOLERANCE)
        out = torch.empty_like(v)
        light = torch.ones(len(v), dtype=torch.bool, device=v.device).index_fill_(0, found.crowded, False)
        light_ = light.nonzero()[:, 0]
        if len(light_):
            place = torch.searchsorted(light_, found.query)
            pairs = weigh(centers, some.select(light_), place, found.center, found.r2, len(light_))
            out[light_] = _listed(block[light_], centers, some.select(light_), v[light_], pairs)
        if len(found.crowded):
            rest = found.crowded
            out[rest] = _dense(block[rest], centers, some.select(rest), v[rest])
        parts.append(out)
    return torch.cat(parts).to(vectors.dtype)


def _listed(x: Tensor, centers: Centers, kernel: Kernel, v: Tensor, pairs: Pairs) -> Tensor:
    """Over the candidates, from differences."""
    query, found = pairs.query, moments(pairs, centers, kernel)
    pull = found.precision[:, None] * (found.mean - x)
    some, weights, r2 = kernel.select(query), pairs.log_weights.exp()[:, None], pairs.r2[:, None]
    kappa, softening = some.precision(r2), some.softening(r2)
    tempered = weights * some.inverse_temperature(kappa)

    def term(rows: Tensor, part: slice) -> Tensor:
        q = query[part]
        delta = rows - x[q]
        force = kappa[part] * delta - pull[q]
        out = tempered[part] * (force * v[q]).sum(1, keepdim=True) * force
        if softening is not None:
            out += (weights * softening)[part] * (delta * v[q]).sum(1, keepdim=True) * delta
        return out

    return pairs.accumulate(centers, term)


def _dense(x: Tensor, centers: Centers, kernel: Kernel, v: Tensor) -> Tensor:
    """Over all centers, from products."""
    s = products(x, centers, x.dtype).values[: centers.count].T
    r2 = (x.square().sum(1, keepdim=True) - 2 * s.where(s.isfinite(), 0)).clamp_min(0)
    weights = torch.softmax(kernel.log_weight(r2) + centers.log_weights, 1)
    kappa, softening = kernel.precision(r2), kernel.softening(r2)
    steep = weights * kappa
    pull, inner = -steep.sum(1, keepdim=True) * x, torch.empty_like(r2)
    for start, rows in centers.chunks(CHUNK):
        part = slice(start, start + len(rows))
        pull.addmm_(steep[:, part], rows)
        inner[:, part] = v @ rows.T
    inner -= (x * v).sum(1, keepdim=True)  # v . delta
    forced = weights * kernel.inverse_temperature(r2) * (kappa * inner - (pull * v).sum(1, keepdim=True))
    factors = forced * kappa if softening is None else forced * kappa + weights * softening * inner
    out = -factors.sum(1, keepdim=True) * x - forced.sum(1, keepdim=True) * pull
    for start, rows in centers.chunks(CHUNK):
        out.addmm_(factors[:, start : start + len(rows)], rows)
    return out
