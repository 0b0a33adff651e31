r"""The noise-unconditional score: all noise levels at once.

A network without a noise input learns the score of the mixture over centers *and* levels,

.. math::
    p(x)\propto\sum_{ij}\lambda_i\,N(x;\mu_j,\sigma_i^2I),\qquad
    s(x)=\sum_jw_j\kappa_j(\mu_j-x),\qquad w_j=\operatorname{softmax}_j\frac{F(r_j^2)}T ,

where :math:`F` is the log-density of a center seen through all levels and :math:`\kappa_j` the mean of
:math:`1/\sigma^2` over the levels that a center at distance :math:`r_j` is seen through (``shells``). At T = 1 this is
the gradient of :math:`\log p`. A temperature above 1 lets more centers share the weight, and restricting the sum to
the neighbors of one center keeps what they share similar.
"""

import math
from collections.abc import Sequence
from typing import Literal

import torch
from torch import Tensor

from smoothscore.data import ImageSet
from smoothscore.errors import InputError
from smoothscore.mixture import Centers, GaussianKernel, active, field, log_mass, log_weights
from smoothscore.neighbors import NeighborGraph
from smoothscore.scores.base import Sigma
from smoothscore.scores.centered import CenterScore
from smoothscore.scores.jacobian import CenterJacobian, Jacobian, JvpJacobian
from smoothscore.scores.levels import Levels
from smoothscore.scores.listed import listed
from smoothscore.scores.neighborhood import Neighborhood
from smoothscore.scores.shells import ContinuousShell, NearestLevel, Profile, ShellKernel
from smoothscore.scores.temperature import (
    Rule,
    collapse_of,
    perplexity_of,
    perplexity_temperature,
    temperature_rule,
)

__all__ = ["UnifiedScore"]

VALUES = 2**22  # of the neighbors held at a time
QUERIES = 16  # whose weights over all centers are held at a time


class UnifiedScore(CenterScore):
    """The score of all centers at all noise levels; ``score(x)`` needs no ``sigma``, and one given is not used.

    Args:
        centers: (M, *shape) floats or uint8 pixels, or an ImageSet, which may stay on disk.
        sigmas: noise levels in any order, distinct; e.g. from :mod:`smoothscore.schedules`.
        temperature: a positive number; (N,) one for each of ``sigmas``; a rule such as ``"5/sigma"`` or
            ``"perplexity:20"`` (see :mod:`smoothscore.scores.temperature`); or a function of sigma (batch,). Rules
            are given the level at which a query stands, see :meth:`level`.
        neighbors: sum over these many nearest centers of the query's nearest center only, itself included; or over
            its neighbors in a :class:`NeighborGraph`.
        optimal_shell: True keeps, for each center, the most likely of the levels only; ``"continuous"`` the most
            likely between the first and the last level, :math:`r_j/\\sqrt{d-2}`.
        radius: with ``neighbors``, leave out those farther from the nearest center than ``radius`` times the
            distance of its second neighbor.
        level_weights: (N,) weights lambda of the levels; sigma^2 when absent.

    Cost: about that of an :class:`EmpiricalScore`, whatever the number of levels (a table holds their sum); a rule of
    sigma adds the search for the nearest center, a perplexity the weights of all centers. With ``neighbors``, that
    search and K distances. Memory: the centers as given, a table of at most some MB, and M x K indices.

    Raises:
        InputError: levels, temperature, neighbors or weights that cannot be used.

    Source: Smoothing the score function, eq. 3-5 and 10, Proposition 2, section 3.2, appendix B.4.4.
    """

    noise_conditional = False

    def __init__(
        self,
        centers: Tensor | ImageSet,
        sigmas: Tensor | Sequence[float],
        temperature: float | Sequence[float] | Tensor | str | Rule = 1.0,
        neighbors: int | NeighborGraph | None = None,
        optimal_shell: bool | Literal["continuous"] = False,
        radius: float | None = None,
        level_weights: Tensor | Sequence[float] | None = None,
    ) -> None:
        super().__init__(Centers(centers))
        given = listed("sigmas", sigmas)
        levels, order = given.sort()
        if (levels.diff() == 0).any():
            raise InputError("Some noise levels in sigmas are equal; give each level once.")
        weights = levels**2 if level_weights is None else listed("level_weights", level_weights, len(levels))[order]
        self.sigma_min, self.sigma_max = float(levels[0]), float(levels[-1])
        self.profile = _profile(levels, weights, self.dim, optimal_shell, level_weights is not None)
        self.constant = -self.dim / 2 * math.log(2 * math.pi) - float(weights.sum().log())
        self.temperature, self.perplexity = temperature, perplexity_of(temperature)
        if self.perplexity is None:
            self.rule = temperature_rule(temperature, given, self.dim, lambda: collapse_of(centers))
        self.constant_temperature = _number(temperature)
        if radius is not None and neighbors is None:
            raise InputError("radius says which of the neighbors to keep; give neighbors, too.")
        self.neighborhood = None if neighbors is None else Neighborhood(centers, neighbors, radius)

    def score(self, x: Tensor, sigma: Sigma | None = None) -> Tensor:
        """The field at ``x`` (batch, *shape); same shape. Differentiable in x, the temperature held fixed."""
        x, _ = self.check(x, 1.0)
        if self.neighborhood:
            return self._local(x, self.neighborhood)[0]
        return field(x, self.centers, self._kernel(x))

    def log_density(self, x: Tensor, sigma: Sigma | None = None) -> Tensor:
        """The potential whose gradient is the score, in nats: (batch,).

        At temperature 1, without approximation, the log-density of the mixture; else up to a constant.

        Raises:
            InputError: the temperature changes with x, or the centers do: such fields have no potential.
        """
        x, _ = self.check(x, 1.0)
        heat = self.constant_temperature
        if self.neighborhood or heat is None:
            raise InputError("Only a constant temperature over all centers has a log-density; take score instead.")
        return heat * log_mass(x, self.centers, self._kernel(x), self.constant / heat)

    def level(self, x: Tensor) -> Tensor:
        """The noise level at which ``x`` stands: that of the nearest center's shell, (batch,) in the dtype of x.

        The distance over sqrt(d - 2), between the first and the last level.
        """
        x, _ = self.check(x, 1.0)
        return self._level(self._nearest(x)[1]).to(x.dtype)

    def temperature_at(self, x: Tensor) -> Tensor:
        """The temperature that each query gets: (batch,) in the dtype of x."""
        x, _ = self.check(x, 1.0)
        if self.neighborhood:
            return self._local(x.detach(), self.neighborhood)[1].to(x.dtype)
        return self._temperature(x).to(x.dtype)

    def _weights(self, x: Tensor, sigma: Sigma | None) -> Tensor:
        x, _ = self.check(x, 1.0)
        if not self.neighborhood:
            return log_weights(x, self.centers, self._kernel(x)).exp()
        _, _, indices, found = self._local(x.detach(), self.neighborhood)
        full = torch.zeros(len(x), self.centers.count, dtype=torch.float64, device=x.device)
        return full.scatter_add_(1, indices, found)

    def jacobian(self, x: Tensor, sigma: Sigma | None = None, frozen: bool = False) -> Jacobian:
        """The Jacobian of the score at ``x``, the temperature held fixed.

        ``frozen=True`` holds the level of each center fixed as well, as the paper does for its optimal shells
        (eq. 18); it is not available with ``neighbors``.
        """
        x, _ = self.check(x, 1.0)
        if not self.neighborhood:
            return CenterJacobian(x, self.centers, self._kernel(x, frozen))
        if frozen:
            raise InputError("frozen levels are for the sum over all centers; leave out neighbors or frozen.")
        return JvpJacobian(self.score, x)

    def _kernel(self, x: Tensor, frozen: bool = False) -> ShellKernel:
        return ShellKernel(self.profile, self._temperature(x), frozen)

    def _temperature(self, x: Tensor) -> Tensor:
        """Of each query among all centers: (B,) float64."""
        x = x.detach()
        ones = torch.ones(len(x), dtype=torch.float64, device=x.device)
        if self.perplexity is not None:
            exact = ShellKernel(self.profile, ones)
            parts = []
            for start in range(0, len(x), QUERIES):
                some = slice(start, start + QUERIES)
                shares = log_weights(x[some], self.centers, exact.select(some))
                parts.append(perplexity_temperature(shares, self.perplexity))
            return torch.cat(parts)
        if self.constant_temperature is not None:
            return ones * self.constant_temperature
        return self.rule(self._level(self._nearest(x)[1]))

    def _nearest(self, x: Tensor) -> tuple[Tensor, Tensor]:
        """Index and squared distance of the nearest center: two (B,) tensors."""
        sharp = torch.full((len(x),), self.sigma_min / 1000, dtype=torch.float64, device=x.device)
        found = active(x, self.centers, GaussianKernel(sharp))
        return found.indices[:, 0], found.r2[:, 0]

    def _level(self, r2: Tensor) -> Tensor:
        return (r2 / max(self.dim - 2, 1)).sqrt().clamp(self.sigma_min, self.sigma_max)

    def _local(self, x: Tensor, neighborhood: Neighborhood) -> tuple[Tensor, Tensor, Tensor, Tensor]:
        """The field, the temperature (B,), and the centers (B, K) it sums over with their weights (B, K)."""
        flat = x.reshape(len(x), -1).double()
        nearest, nearest_r2 = self._nearest(x)
        indices, allowed = neighborhood(nearest)
        level = self._level(nearest_r2)
        parts = []
        for some in torch.split(
            torch.arange(len(x), device=x.device), max(1, VALUES // indices[0].numel() // self.dim)
        ):
            rows = self.centers.rows(indices[some].flatten()).reshape(*indices[some].shape, self.dim)
            delta = rows - flat[some].unsqueeze(1)
            r2 = delta.square().sum(2)
            mass = self.profile.log_mass(r2).masked_fill(~allowed[some], -torch.inf)
            if self.perplexity is None:
                heat = self.rule(level[some])
            else:
                heat = perplexity_temperature(torch.log_softmax(mass.detach(), 1), self.perplexity)
            weights = torch.softmax(mass / heat.unsqueeze(1), 1)
            pull = ((weights * self.profile.precision(r2)).unsqueeze(2) * delta).sum(1)
            parts.append((pull, heat, weights))
        pull, heat, weights = (torch.cat(part) for part in zip(*parts, strict=True))
        return pull.to(x.dtype).reshape(x.shape), heat, indices, weights


def _number(temperature: object) -> float | None:
    """A temperature that is one number, as a float."""
    if isinstance(temperature, str) or callable(temperature):
        return None
    values = torch.as_tensor(temperature)
    return None if values.ndim else float(values)


def _profile(levels: Tensor, weights: Tensor, dim: int, optimal_shell: bool | str, weighted: bool) -> Profile:
    if optimal_shell not in (False, True, "continuous"):
        raise InputError(f"optimal_shell is {optimal_shell!r}; take False, True or 'continuous'.")
    if optimal_shell == "continuous":
        if weighted:
            raise InputError("Continuous shells have the level weights sigma^2; leave out level_weights.")
        return ContinuousShell(levels, dim)
    return NearestLevel(levels, weights.log(), dim) if optimal_shell else Levels(levels, weights.log(), dim)
