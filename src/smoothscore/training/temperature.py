r"""Targets that several training images share.

The target of a noisy image :math:`x=\mu+\sigma n` is a posterior mean over the K images nearest to the clean one,
itself included, at a temperature T,

.. math::
    D^*(x)=x+\sigma^2\sum_jw_j\kappa_j(\mu_j-x),\qquad w_j=\operatorname{softmax}_j\frac{F(\|x-\mu_j\|^2)}T .

For a network that never sees the level, F and :math:`\kappa` are those of the best shell of each image,
:math:`\sigma_j^2=\|x-\mu_j\|^2/(d-2)` (:class:`smoothscore.scores.shells.ContinuousShell`); for one that takes the
level, :math:`F=-r^2/2\sigma^2` and :math:`\kappa=1/\sigma^2`. There is one temperature a noisy image, that of the level
which made it: with one an image of the sum, the weights would depend on the unit of length.

Neighbors come from a graph made once. Against it only one product a neighbor is left in a step, of the noise with the
neighbor, since :math:`\|x-\mu_j\|^2-\|x-\mu\|^2=\|\mu-\mu_j\|^2+2\sigma\,n\cdot(\mu-\mu_j)`.

Source: Smoothing the score function, eq. 10 and 11, section 4.2.
"""

from typing import Any

import torch
from torch import Tensor

from smoothscore.data import ImageSet
from smoothscore.errors import InputError
from smoothscore.mixture import Centers, GaussianKernel
from smoothscore.neighbors import NeighborGraph
from smoothscore.networks.form import Preconditioning, spread
from smoothscore.scores.shells import ContinuousShell, ShellKernel
from smoothscore.scores.temperature import collapse_level, perplexity_of, perplexity_temperature, temperature_rule
from smoothscore.training.neighborhoods import Listed, Neighborhoods, Stored
from smoothscore.training.objective import Batch, Objective, Target

__all__ = ["Temperature", "best_shells"]

TILE = 2**21  # values of neighbors written out at a time, so that they stay in the cache


def best_shells(dim: int) -> None:
    """Refuse points of one or two values, whose shells have no best level: r^2 / (d - 2)."""
    if dim < 3:
        raise InputError(
            f"Points of {dim} values have no best shell, by which targets are softened without the noise level; take "
            "the preconditioning 'edm', or 've', with a network that takes the level."
        )


class Temperature(Objective):
    """The loss against softened targets.

    Args:
        train: the training images, (N, *shape) in [-1, 1] or an ImageSet.
        graph: their nearest neighbors, in pixels, in features or within classes; all its k neighbors are taken, so
            that K = k + 1.
        temperature: a number, a rule of sigma such as "5/sigma", or "perplexity:P"
            (:mod:`smoothscore.scores.temperature`); "collapse" takes the distances to the first neighbors.
        sigma_collapse: levels from which on the target is the clean image, as in the ordinary losses (eq. 11); None:
            where a rule has come down to 1.
        form: see :class:`Objective`.

    Raises:
        InputError: the graph is of other images, or the temperature cannot be used; in a call, the network never sees
            the level and points have fewer than three values.

    Cost: B K products of d values a step. Memory: 8 N K bytes beside the graph, and 8 MB.
    """

    def __init__(
        self,
        train: Tensor | ImageSet,
        graph: NeighborGraph,
        temperature: float | str = "5/sigma",
        sigma_collapse: float | None = None,
        form: str | Preconditioning = "noise",
        **others: Any,
    ) -> None:
        super().__init__(form, **others)
        if len(graph.indices) != len(train):
            raise InputError(
                f"The neighbor graph is of {len(graph.indices)} images and there are {len(train)}; build it of these."
            )
        self.centers = Centers(train)
        own = torch.arange(len(train))[:, None]
        self.indices = torch.cat([own, graph.indices], 1)
        self.squares = _squares(self.centers, self.indices, graph)
        ends = torch.tensor([self.law.sigma_min, self.law.sigma_max], dtype=torch.float64)
        self.profile = ContinuousShell(ends, self.centers.dim)
        self.named = isinstance(temperature, str)
        self.sigma_collapse = sigma_collapse
        self.perplexity = perplexity_of(temperature)
        if self.perplexity is None:
            first = self.squares[:, 1].sqrt()
            self.rule = temperature_rule(temperature, ends, self.centers.dim, lambda: collapse_level(first, len(train)))

    def to(self, device: torch.device) -> "Temperature":
        """The same, with images and neighbors on ``device``."""
        self.centers.to(device)
        self.indices, self.squares = self.indices.to(device), self.squares.to(device)
        return self

    def target(self, batch: Batch) -> Target:
        """The posterior means, and how many images share them."""
        if batch.indices is None:
            raise InputError("Temperature looks up the neighbors of each image; pass indices.")
        if not batch.conditional:
            best_shells(self.centers.dim)
        goal = batch.clean.clone()
        top, effective = torch.ones_like(batch.sigma), torch.ones_like(batch.sigma)
        smoothed = self._smoothed(batch.sigma).nonzero()[:, 0]
        in_place = batch.moves is None and self.centers.stored is not None
        size = len(smoothed) if in_place else TILE // (self.indices.shape[1] * self.centers.dim)
        for some in torch.split(smoothed, max(1, size)):
            near, squares = self._stored(batch, some) if in_place else self._listed(batch, some)
            weights, shares, heat = self._weights(batch, some, near, squares)
            pull = near.sum(shares, goal.dtype).reshape(-1, *goal.shape[1:])
            softened = pull + spread(1 - shares.sum(1), pull).to(pull) * batch.x[some]
            kept = self._acts(heat)
            some = some[kept]
            goal[some] = softened[kept]
            top[some] = weights[kept].amax(1).to(top)
            effective[some] = torch.special.entr(weights[kept]).sum(1).exp().to(top)
        return Target(goal, top, effective)

    def _smoothed(self, sigma: Tensor) -> Tensor:
        """The levels whose target may be softened: (B,) bool."""
        if self.sigma_collapse is not None:
            return sigma < self.sigma_collapse
        if self.perplexity is None:
            return self._acts(self.rule(sigma.double()))
        return torch.ones_like(sigma, dtype=torch.bool)

    def _acts(self, heat: Tensor) -> Tensor:
        """The temperatures that change a target: all, but where a rule alone decides those above 1."""
        if self.sigma_collapse is None and self.named:
            return heat > 1
        return torch.ones_like(heat, dtype=torch.bool)

    def _stored(self, batch: Batch, some: Tensor) -> tuple[Neighborhoods, Tensor]:
        """The neighbors of some images, themselves first, and their squared distances from these (b, K)."""
        assert batch.indices is not None
        here = batch.indices[some]
        return Stored(self.centers, self.indices[here]), self.squares[here]

    def _listed(self, batch: Batch, some: Tensor) -> tuple[Neighborhoods, Tensor]:
        """The same, written out; moved with their image."""
        assert batch.indices is not None
        here = batch.indices[some]
        wanted = self.indices[here]
        rows = self.centers.rows(wanted.flatten(), batch.clean.dtype).reshape(*wanted.shape, self.centers.dim)
        if batch.moves is None:
            return Listed(rows), self.squares[here]
        images = rows.reshape(*wanted.shape, *self.centers.shape)
        rows = batch.moves.select(some)(images).reshape(rows.shape)
        return Listed(rows), (rows - rows[:, :1]).double().square().sum(2)

    def _weights(
        self, batch: Batch, some: Tensor, near: Neighborhoods, squares: Tensor
    ) -> tuple[Tensor, Tensor, Tensor]:
        """The weights w_j and sigma^2 w_j kappa_j, both (b, K) float64, and the temperatures (b,)."""
        sigma, noise = batch.sigma[some].double().unsqueeze(1), batch.noise[some].flatten(1)
        along = near.along(noise)
        offset = squares + 2 * sigma * (along[:, :1] - along)
        base = sigma**2 * noise.double().square().sum(1, keepdim=True)
        one = torch.ones_like(base[:, 0])
        kernel = GaussianKernel(sigma[:, 0]) if batch.conditional else ShellKernel(self.profile, one)
        logits, precision = kernel.relative(base, offset)
        wanted = self.perplexity
        heat = self.rule(sigma[:, 0]) if wanted is None else perplexity_temperature(logits, wanted)
        weights = torch.softmax(logits / heat.unsqueeze(1), 1)
        return weights, sigma**2 * weights * precision, heat


def _squares(centers: Centers, indices: Tensor, graph: NeighborGraph) -> Tensor:
    """Squared pixel distances of the neighbors (N, K) float64: the graph's own, or measured."""
    if graph.space == "pixel":
        return torch.cat([torch.zeros(len(indices), 1).double(), graph.distances**2], 1)
    size = max(1, TILE // (indices.shape[1] * centers.dim))
    parts = []
    for some in torch.split(indices, size):
        rows = centers.rows(some.flatten(), torch.float32).reshape(*some.shape, centers.dim)
        parts.append((rows - rows[:, :1]).square().sum(2).double())
    return torch.cat(parts)
