r"""All sums over the centers for a batch of queries.

Some thousand centers are summed from one table (:mod:`smoothscore.mixture.small`). Of more of them, queries whose
weight lies on few get those listed (:mod:`smoothscore.mixture.screen`) and summed from exact
distances; the others are summed over all centers in their own precision, in float64 where float32 proves not
to be enough, and from exact distances where even that is not.
"""

from collections.abc import Iterator
from dataclasses import dataclass

import torch
from torch import Tensor

from smoothscore.mixture.centers import Centers
from smoothscore.mixture.dense import dense
from smoothscore.mixture.kernels import Kernel
from smoothscore.mixture.pairs import Active, Moments, Pairs, differences, moments, weigh
from smoothscore.mixture.products import products
from smoothscore.mixture.screen import broad, candidates, far
from smoothscore.mixture.small import small, suits

__all__ = ["DERIVATIVE_TOLERANCE", "Sums", "active", "blocks", "log_weights", "sums", "totals"]

QUERIES = 128  # queries handled together
SCREENED = 64  # queries screened together: one float32 is held for each of them and each center
LISTED = 4  # queries handled together when all centers are differenced

# Weight of all left-out centers of a query together, at most. Derivatives multiply weights by squared distances
# over squared variances, so that much smaller ones matter.
TOLERANCE = {torch.float32: 1e-9, torch.float64: 1e-20}
DERIVATIVE_TOLERANCE = 1e-20
TARGET = {torch.float32: 5e-6, torch.float64: 5e-11}  # estimated relative error of the mean that passes


@dataclass(frozen=True)
class Sums:
    """What :func:`sums` returns for B queries of d values.

    Attributes:
        mean: (B, d) mean of the centers under the weights :math:`w_j\\kappa_j`.
        pull: (B, d) :math:`\\sum_jw_j\\kappa_j(\\mu_j-x)`, the field.
        precision: (B,) float64 :math:`\\sum_jw_j\\kappa_j`.
        log_mass: (B,) float64 :math:`\\operatorname{lse}_j(\\log\\pi_j+\\ell_j)`.
        r2: (B,) float64 :math:`\\sum_jw_jr_j^2`.
        trace: (B,) float64 trace of what :func:`spread` applies; the field's divergence is this less
            d times ``precision``.
    """

    mean: Tensor
    pull: Tensor
    precision: Tensor
    log_mass: Tensor
    r2: Tensor
    trace: Tensor


def sums(x: Tensor, centers: Centers, kernel: Kernel) -> Sums:
    """Every sum over the centers for queries ``x`` (B, *shape) in float32 or float64.

    Args:
        x: the queries, at least one; ``mean`` and ``pull`` come in its dtype.
        centers: the centers, on the same device.
        kernel: weights and precisions, for the same B queries.
    """
    found = totals(x, centers, kernel, curved=True)
    assert found.curvature is not None
    pull = found.precision[:, None] * (found.mean - x.reshape(len(x), -1))
    cold = kernel.inverse_temperature(pull)[:, 0]
    return Sums(
        mean=found.mean.to(x.dtype),
        pull=pull.to(x.dtype),
        precision=found.precision,
        log_mass=found.log_mass,
        r2=found.r2,
        trace=(found.curvature - cold * pull.square().sum(1)).clamp_min(0),
    )


def totals(x: Tensor, centers: Centers, kernel: Kernel, curved: bool = False) -> Moments:
    """The sums in float64, as accurate as the dtype of ``x`` asks for; with the curvature where ``curved``."""
    x = x.detach()
    return Moments.joined([_moments(block, centers, some, x.dtype, curved) for block, some in blocks(x, kernel)])


def active(x: Tensor, centers: Centers, kernel: Kernel) -> Active:
    """All centers that carry weight for each query, however many: the exact distance of each is taken."""
    parts = [listed(block, centers, some).heaviest() for block, some in blocks(x, kernel)]
    width = max(part.indices.shape[1] for part in parts)

    def joined(name: str, fill: float | None = None) -> Tensor:
        values = [getattr(part, name) for part in parts]
        pads = [v[:, :1] if fill is None else torch.full_like(v[:, :1], fill) for v in values]
        wide = [torch.cat([v, p.expand(-1, width - v.shape[1])], 1) for v, p in zip(values, pads, strict=True)]
        return torch.cat(wide)

    return Active(joined("indices"), joined("log_weights", -torch.inf), joined("r2"))


def log_weights(x: Tensor, centers: Centers, kernel: Kernel) -> Tensor:
    """Normalized log weights of all centers, (B, M) float64: a float64 product, the heaviest ones exactly."""
    parts = []
    for wide, some in blocks(x, kernel):
        r2 = wide.square().sum(1)[:, None] - 2 * products(wide, centers, wide.dtype).values[: centers.count].T
        logits = some.log_weight(r2.where(r2.isfinite(), 0).clamp_min(0)) + centers.log_weights
        found = candidates(wide, centers, some, DERIVATIVE_TOLERANCE)
        exact = some.select(found.query).log_weight(found.r2[:, None])
        logits[found.query, found.center] = exact[:, 0] + centers.log_weights[found.center]
        parts.append(logits - torch.logsumexp(logits, 1, keepdim=True))
    return torch.cat(parts)


def blocks(x: Tensor, kernel: Kernel) -> Iterator[tuple[Tensor, Kernel]]:
    """Queries (n, d) in float64 that are handled together, with their kernel."""
    flat = x.detach().reshape(len(x), -1)
    for start in range(0, len(flat), QUERIES):
        block = slice(start, start + QUERIES)
        yield flat[block].double(), kernel.select(block)


def listed(x: Tensor, centers: Centers, kernel: Kernel) -> Pairs:
    """All candidates of queries x (B, d) in float64, as derivatives need them."""
    found = candidates(x, centers, kernel, DERIVATIVE_TOLERANCE, listed=True)
    return weigh(centers, kernel, found.query, found.center, found.r2, len(x))


def _moments(x: Tensor, centers: Centers, kernel: Kernel, dtype: torch.dtype, curved: bool) -> Moments:
    if suits(centers):
        return small(x, centers, kernel, dtype, TARGET[dtype], TOLERANCE[dtype], curved)
    wide = broad(x, centers, kernel, TOLERANCE[dtype])
    parts = []
    for queries in (wide.nonzero()[:, 0], *torch.split((~wide).nonzero()[:, 0], SCREENED)):
        if len(queries):
            found = _some(x[queries], centers, kernel.select(queries), dtype, curved)
            parts += [(queries[place], part) for place, part in found]
    return Moments.ordered(parts)


def _some(
    x: Tensor, centers: Centers, kernel: Kernel, dtype: torch.dtype, curved: bool
) -> list[tuple[Tensor, Moments]]:
    """Moments of the queries, in parts: which queries, and theirs."""
    found = candidates(x, centers, kernel, TOLERANCE[dtype])
    light = torch.ones(len(x), dtype=torch.bool, device=x.device).index_fill_(0, found.crowded, False).nonzero()[:, 0]
    parts = []
    if len(light):
        place = torch.searchsorted(light, found.query)
        some, exact = kernel.select(light), x[light] if dtype is torch.float64 else None
        pairs = weigh(centers, some, place, found.center, found.r2, len(light), exact)
        parts.append((light, moments(pairs, centers, some, curved)))
    beyond = far(x[found.crowded], centers)
    crowded = found.crowded[~beyond]
    for precise in (torch.float32, torch.float64) if dtype is torch.float32 else (torch.float64,):
        if len(crowded):
            known = found.table if precise is torch.float32 else None
            some = kernel.select(crowded)
            result, missed = dense(x[crowded], centers, some, precise, TARGET[dtype], TOLERANCE[dtype], curved, known)
            parts.append((crowded[~missed], result.of(~missed)))
            crowded = crowded[missed]
    every = torch.arange(centers.count, device=x.device)
    for rest in torch.split(torch.cat([crowded, found.crowded[beyond]]), LISTED):
        if len(rest):
            query, center = (
                torch.arange(len(rest), device=x.device).repeat_interleave(len(every)),
                every.repeat(len(rest)),
            )
            r2 = differences(x[rest], centers, query, center)
            some = kernel.select(rest)
            pairs = weigh(centers, some, query, center, r2, len(rest))
            parts.append((rest, moments(pairs, centers, some, curved)))
    return parts
