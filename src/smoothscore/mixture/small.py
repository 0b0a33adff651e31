r"""Sets of some thousand images, for which what larger ones are spared by costs more than it saves.

A dozen operations on short tensors, or a second thread, take as long as all products with a thousand images. So one
table holds every distance, and where stored pixels are read by compiled loops, one thread does it.

- Where there are few pairs of a query and a center, all distances are taken by float64 differences.
- Else S in float32 is off by no more than a known bound, and with it

  .. math:: \|x-\mu_j\|^2\ge\|x\|^2-2(S_j+\text{bound}) .

  Centers whose log weight there is too small beside that of the nearest one, whose distance is taken exactly, carry
  none. If few are left, their distances are taken exactly; else all are summed as they are, and the rounding
  errors measured (:mod:`smoothscore.mixture.rounding`).
"""

import math
from collections.abc import Iterator

import torch
from torch import Tensor

from smoothscore.mixture.centers import Centers
from smoothscore.mixture.kernels import Kernel
from smoothscore.mixture.pairs import Moments, differences, moments, weigh
from smoothscore.mixture.rounding import DRAWS, Drawn, passes
from smoothscore.mixture.rows import Rows
from smoothscore.mixture.running import LEAST
from smoothscore.mixture.screen import FAR, far
from smoothscore.mixture.stored import Bytes

__all__ = ["small", "suits"]

MOST = 8192  # centers: from here on bounds and threads pay
TABLE = 2**19  # entries of the table, at most
PAIRS = 2048  # distances that are taken exactly sooner than needless ones are found,
VALUES = 2**18  # of no more values together where tensors are gathered
WORK = 2**28  # products of two values up to which one thread is as fast as several
REST = 4  # queries handled together when all centers are differenced
PART = 8  # exact distances of this part of all centers take no longer than the sum over all,
GATHERED = 40  # of this part where tensors are gathered
LOWEST = -(FAR**2)  # S of any center with weight is above


def suits(centers: Centers) -> bool:
    """Whether these are so few."""
    return centers.count < MOST


def small(
    x: Tensor, centers: Centers, kernel: Kernel, dtype: torch.dtype, target: float, negligible: float, curved: bool
) -> Moments:
    """Moments for queries x (B, d) in float64.

    Args:
        dtype: in which all centers are summed at first.
        target: relative error of the mean that passes.
        negligible: weight of all left-out centers of a query together, at most.
        curved: whether the curvature is wanted.
    """
    nats = math.log(centers.count / negligible)
    pairs = len(x) * centers.count
    if pairs <= PAIRS and (centers.stored is not None or pairs * centers.dim <= VALUES):
        return _by_differences(x, centers, kernel, dtype, nats, curved)
    parts, step = [], TABLE // centers.count
    for start in range(0, len(x), step):
        part = slice(start, start + step)
        found = _by_products(x[part], centers, kernel.select(part), dtype, target, nats, curved)
        parts += [(queries + start, some) for queries, some in found]
    return Moments.ordered(parts)


def _by_differences(
    x: Tensor, centers: Centers, kernel: Kernel, dtype: torch.dtype, nats: float, curved: bool
) -> Moments:
    every = torch.arange(centers.count, device=x.device)
    query = torch.arange(len(x), device=x.device).repeat_interleave(len(every))
    r2 = differences(x, centers, query, every.repeat(len(x))).view(len(x), -1)
    logits = kernel.log_weight(r2) + centers.log_weights
    query, center = (logits >= logits.amax(1, keepdim=True) - nats).nonzero(as_tuple=True)
    exact = x if dtype is torch.float64 else None
    pairs = weigh(centers, kernel, query, center, r2[query, center], len(x), exact)
    return moments(pairs, centers, kernel, curved)


def _by_products(
    x: Tensor, centers: Centers, kernel: Kernel, dtype: torch.dtype, target: float, nats: float, curved: bool
) -> list[tuple[Tensor, Moments]]:
    """Moments in parts: which queries, and theirs."""
    rows = _rows_for(x, centers, torch.float32)
    s, size, beyond = _products(rows, centers, len(x)), x.square().sum(1), far(x, centers)
    query, center, many = _near(x, centers, kernel, s, size, rows.error, nats)
    many |= beyond
    parts, light, crowded = [], (~many).nonzero()[:, 0], (many & ~beyond).nonzero()[:, 0]
    if len(light):
        listed = ~many[query]
        query, center = query[listed], center[listed]
        r2, place = differences(x, centers, query, center), torch.searchsorted(light, query)
        weights = kernel.select(light)
        exact = x[light] if dtype is torch.float64 else None
        pairs = weigh(centers, weights, place, center, r2, len(light), exact)
        parts.append((light, moments(pairs, centers, weights, curved)))
    for precise in (torch.float32, torch.float64) if dtype is torch.float32 else (torch.float64,):
        if len(crowded):
            every = len(crowded) == len(x)
            some = slice(None) if every else crowded  # a view where there is nothing to choose
            if not every or precise is torch.float64:
                rows = _rows_for(x[some], centers, precise)
            known = s[some] if precise is torch.float32 else _products(rows, centers, len(crowded))
            found, right = _over_all(x[some], centers, kernel.select(some), rows, known, target, curved)
            parts.append((crowded[right], found.of(right)))
            crowded = crowded[~right]
    rest = torch.cat([crowded, beyond.nonzero()[:, 0]])
    for some in torch.split(rest, REST) if len(rest) else ():
        parts += [(some, _by_differences(x[some], centers, kernel.select(some), dtype, nats, curved))]
    return parts


def _near(
    x: Tensor, centers: Centers, kernel: Kernel, s: Tensor, size: Tensor, error: Tensor, nats: float
) -> tuple[Tensor, Tensor, Tensor]:
    """Pairs (query, center) that may carry weight, sorted by query, and which queries (B,) have many of them."""
    anchor = s.argmax(1)
    nearest = differences(x, centers, torch.arange(len(x), device=x.device), anchor)
    slack = 2 * error + centers.dim * 2.0**-50 * (size + nearest)
    least = _squares(s, size - slack)
    floor = kernel.log_weight(nearest[:, None])[:, 0] + centers.log_weights[anchor] - nats
    near = kernel.log_weight(least) + centers.log_weights >= floor[:, None]
    query, center = near.nonzero(as_tuple=True)
    part = PART if centers.stored is not None else GATHERED
    return query, center, near.sum(1) > DRAWS + centers.count // part


def _over_all(
    x: Tensor, centers: Centers, kernel: Kernel, rows: Bytes | Rows, s: Tensor, target: float, curved: bool
) -> tuple[Moments, Tensor]:
    """Moments from all S (B, M), and which queries (B,) meet the target."""
    r2 = _squares(s, x.square().sum(1))
    logits = kernel.log_weight(r2) + centers.log_weights
    log_mass = torch.logsumexp(logits, 1)
    weights = (logits - log_mass[:, None]).clamp_min_(LEAST[logits.dtype]).exp_()
    steep = weights * kernel.precision(r2)
    precision = steep.sum(1)
    heavy = (steep / precision[:, None]).to(rows.values)
    for start, stop in _chunks(rows, centers):
        rows.add(heavy[:, start:stop], start, stop, None)
    mean, half = rows.means(torch.ones_like(precision))
    found = Moments(
        mean=mean,
        precision=precision,
        log_mass=log_mass,
        r2=(weights * r2).sum(1),
        curvature=(weights * kernel.curvature(r2) * r2).sum(1) if curved else None,
    )
    center = torch.multinomial(weights, DRAWS, True, generator=torch.Generator(x.device).manual_seed(0))
    drawn = Drawn(center.T, s.gather(1, center).T, log_mass)
    scatter = (2 * half - mean.square().sum(1)).clamp_min(0)
    return found, passes(x, centers, found, scatter, [drawn], target, s.dtype)


def _squares(s: Tensor, size: Tensor) -> Tensor:
    """Squared distances (B, M) from S, float64; of centers without weight, whose S is infinite, a large number."""
    return (size[:, None] - 2 * s.double().clamp_min(LOWEST)).clamp_min_(0)


def _products(rows: Bytes | Rows, centers: Centers, queries: int) -> Tensor:
    """S (B, M) in the precision of the products."""
    out = torch.empty(centers.count, queries, dtype=rows.values, device=centers.device)
    for start, stop in _chunks(rows, centers):
        rows.products(start, stop, out[start:stop])
    return out.T.contiguous()


def _chunks(rows: Bytes | Rows, centers: Centers) -> Iterator[tuple[int, int]]:
    for start in range(0, centers.count, rows.size):
        yield start, min(start + rows.size, centers.count)


def _rows_for(x: Tensor, centers: Centers, dtype: torch.dtype) -> Bytes | Rows:
    """Who reads the centers: loops of one thread, or matrix products where there is work for several."""
    alone = centers.pixels and centers.stored is not None and centers.count * x.numel() <= WORK
    return (Bytes if alone else Rows)(x, centers, dtype)
