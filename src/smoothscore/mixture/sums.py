r"""All sums over the centers for a batch of queries."""

from collections.abc import Iterator
from dataclasses import dataclass, fields

import torch
from torch import Tensor

from smoothscore.mixture.centers import Centers
from smoothscore.mixture.kernels import Kernel
from smoothscore.mixture.pairs import Active, Pairs, weigh
from smoothscore.mixture.screen import candidates, expanded

__all__ = ["Sums", "active", "log_weights", "spread", "sums"]

QUERIES = 128  # queries handled together

# Weight of all left-out centers of a query together, at most. Derivatives multiply weights by squared distances
# over squared variances, so that much smaller ones matter.
TOLERANCE = {torch.float32: 1e-9, torch.float64: 1e-20}
DERIVATIVE_TOLERANCE = 1e-20


@dataclass(frozen=True)
class Sums:
    """What :func:`sums` returns for B queries of d values.

    Attributes:
        mean: (B, d) mean of the centers under the weights :math:`w_j\\kappa_j`.
        pull: (B, d) :math:`\\sum_jw_j\\kappa_j(\\mu_j-x)`, the field.
        precision: (B,) float64 :math:`\\sum_jw_j\\kappa_j`.
        log_mass: (B,) float64 :math:`\\operatorname{lse}_j(\\log\\pi_j+\\ell_j)`.
        r2: (B,) float64 :math:`\\sum_jw_jr_j^2`.
        entropy: (B,) float64 entropy of the weights, in nats.
        trace: (B,) float64 trace of what :func:`spread` applies; the field's divergence is this less
            d times ``precision``.
    """

    mean: Tensor
    pull: Tensor
    precision: Tensor
    log_mass: Tensor
    r2: Tensor
    entropy: Tensor
    trace: Tensor


def sums(x: Tensor, centers: Centers, kernel: Kernel) -> Sums:
    """Every sum over the centers for queries ``x`` (B, *shape) in float32 or float64.

    Args:
        x: the queries, at least one; ``mean`` and ``pull`` come in its dtype.
        centers: the centers, on the same device.
        kernel: weights and precisions, for the same B queries.
    """
    parts = [_sums(*block) for block in _blocks(x, centers, kernel)]
    return Sums(**{f.name: torch.cat([getattr(part, f.name) for part in parts]) for f in fields(Sums)})


def active(x: Tensor, centers: Centers, kernel: Kernel, keep: int = 1) -> Active:
    """The centers that carry weight for each query, at least ``keep`` of them (if there are as many)."""
    parts = [_pairs(*block, keep).heaviest() for block in _blocks(x, centers, kernel)]
    width = max(part.indices.shape[1] for part in parts)

    def joined(name: str, fill: float | None = None) -> Tensor:
        values = [getattr(part, name) for part in parts]
        pads = [v[:, :1] if fill is None else torch.full_like(v[:, :1], fill) for v in values]
        return torch.cat(
            [torch.cat([v, p.expand(-1, width - v.shape[1])], 1) for v, p in zip(values, pads, strict=True)]
        )

    return Active(joined("indices"), joined("log_weights", -torch.inf), joined("r2"))


def log_weights(x: Tensor, centers: Centers, kernel: Kernel) -> Tensor:
    """Normalized log weights of all centers, (B, M) float64, candidates exactly; a float64 product with all."""
    parts = []
    for part, _, some in _blocks(x, centers, kernel):
        pairs = _pairs(part, centers, some)
        r2, _ = expanded(part, centers)
        logits = some.log_weight(r2.clamp_min(0)) + centers.log_weights - pairs.log_mass[:, None]
        logits[pairs.query, pairs.center] = pairs.log_weights
        parts.append(logits)
    return torch.cat(parts)


def spread(x: Tensor, centers: Centers, kernel: Kernel, vectors: Tensor) -> Tensor:
    r"""The Jacobian of the field but for its diagonal, applied to one vector a query: (B, d), symmetric.

    That is :math:`\sum_jw_jq_j\delta_j(\delta_j\cdot v)-s(s\cdot v)/T`, in the form that cannot cancel: the
    covariance of :math:`\kappa_j\delta_j` over T, plus the softening term.
    """
    chosen = vectors.reshape(len(x), -1).split(QUERIES)
    parts = [_spread(*block, v) for block, v in zip(_blocks(x, centers, kernel), chosen, strict=True)]
    return torch.cat(parts)


def _blocks(x: Tensor, centers: Centers, kernel: Kernel) -> Iterator[tuple[Tensor, Centers, Kernel]]:
    flat = x.detach().reshape(len(x), -1)
    for start in range(0, len(flat), QUERIES):
        block = slice(start, start + QUERIES)
        yield flat[block], centers, kernel.select(block)


def _pairs(
    x: Tensor, centers: Centers, kernel: Kernel, keep: int = 1, tolerance: float = DERIVATIVE_TOLERANCE
) -> Pairs:
    return weigh(x, centers, kernel, *candidates(x, centers, kernel, keep, tolerance))


def _sums(x: Tensor, centers: Centers, kernel: Kernel) -> Sums:
    pairs = _pairs(x, centers, kernel, tolerance=TOLERANCE[x.dtype])
    weights = pairs.log_weights.exp()
    some = kernel.select(pairs.query)
    kappa = some.precision(pairs.r2[:, None])[:, 0]
    precision = pairs.total(weights * kappa)
    mean = pairs.accumulate(centers, lambda rows, part: rows * (weights * kappa)[part, None])
    mean /= precision[:, None]
    pull = precision[:, None] * (mean - x.double())
    cold = some.inverse_temperature(pairs.r2[:, None])[:, 0]
    softening = some.softening(pairs.r2[:, None])
    curvature = cold * kappa**2 + (0 if softening is None else softening[:, 0])
    loss = kernel.inverse_temperature(pull)[:, 0] * pull.square().sum(1)
    return Sums(
        mean=mean.to(x.dtype),
        pull=pull.to(x.dtype),
        precision=precision,
        log_mass=pairs.log_mass,
        r2=pairs.total(weights * pairs.r2),
        entropy=-pairs.total(torch.special.xlogy(weights, weights)),
        trace=(pairs.total(weights * curvature * pairs.r2) - loss).clamp_min(0),
    )


def _spread(x: Tensor, centers: Centers, kernel: Kernel, vectors: Tensor) -> Tensor:
    pairs = _pairs(x, centers, kernel)
    weights = pairs.log_weights.exp()
    some = kernel.select(pairs.query)
    kappa = some.precision(pairs.r2[:, None])
    softening = some.softening(pairs.r2[:, None])
    wide, v = x.double(), vectors.double()
    pull = pairs.accumulate(
        centers,
        lambda rows, part: (weights[part, None] * kappa[part]) * (rows - wide[pairs.query[part]]),
    )

    tempered = weights[:, None] * some.inverse_temperature(kappa)

    def term(rows: Tensor, part: slice) -> Tensor:
        query = pairs.query[part]
        delta = rows - wide[query]
        force = kappa[part] * delta - pull[query]
        out = tempered[part] * (force * v[query]).sum(1, keepdim=True) * force
        if softening is not None:
            out += weights[part, None] * softening[part] * (delta * v[query]).sum(1, keepdim=True) * delta
        return out

    return pairs.accumulate(centers, term).to(x.dtype)
