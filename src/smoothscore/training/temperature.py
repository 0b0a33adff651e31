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
neighbor, since :math:`\|x-\mu_j\|^2-\|x-\mu\|^2=\|\mu-\mu_j\|^2+2\sigma\,n\cdot(\mu-\mu_j)`. And as normal noise
hardly points at any one image, it is known beforehand which images none of their neighbors can share: those need none.

Source: Smoothing the score function, eq. 10 and 11, section 4.2.
"""

from collections.abc import Iterator
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

__all__ = ["Temperature", "best_shells", "perplexity_among"]

TILE = 2**19  # values of neighbors written out at a time, so that they stay in the cache of a processor
FAR = 8.0  # standard deviations of normal noise that none is beyond
LOST = 25.0  # nats below the weight of the own image: 10^-11 of it, which float32 does not see


def best_shells(dim: int) -> None:
    """Refuse points of one or two values, whose shells have no best level: r^2 / (d - 2)."""
    if dim < 3:
        raise InputError(
            f"Points of {dim} values have no best shell, by which targets are softened without the noise level; take "
            "the preconditioning 'edm', or 've', with a network that takes the level."
        )


def perplexity_among(temperature: object, count: int) -> float | None:
    """The perplexity that a temperature asks for, None for another rule; refused above the ``count`` of a target."""
    perplexity = perplexity_of(temperature)
    if perplexity is not None and perplexity > count:
        raise InputError(
            f"temperature {temperature!r} asks for {perplexity:g} images in a target that {count} share; give more "
            "neighbors, or a smaller perplexity."
        )
    return perplexity


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

    Cost: at most B K products of d values a step. Memory: 16 N K bytes beside the graph, and 2 MB or K images.
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
        if not graph.belongs(train):
            raise InputError(
                f"The neighbor graph of {len(graph.indices)} images is not of these {len(train)}; build one of these."
            )
        self.centers = Centers(train)
        own = torch.arange(len(train))[:, None]
        self.indices = torch.cat([own, graph.indices], 1)
        self.squares = _squares(self.centers, self.indices, graph)
        ends = torch.tensor([self.law.sigma_min, self.law.sigma_max], dtype=torch.float64)
        self.profile = ContinuousShell(ends, self.centers.dim)
        self.named = isinstance(temperature, str)
        self.sigma_collapse = sigma_collapse
        self.perplexity = perplexity_among(temperature, self.indices.shape[1])
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
        base = _base(batch)
        smoothed = self._smoothed(batch.sigma).nonzero()[:, 0]
        within = self._within_reach(batch, smoothed, base)
        alone = smoothed[~within]
        none = base.new_zeros(len(alone), 1)
        own = batch.sigma[alone].double().unsqueeze(1) ** 2 * self._logits(batch, alone, base, none)[1]
        goal[alone] = torch.lerp(batch.x[alone], goal[alone], spread(own[:, 0], goal).to(goal))
        for some, near, squares in self._neighborhoods(batch, smoothed[within]):
            weights, shares, heat = self._weights(batch, some, base, near, squares)
            pull = near.sum(shares).to(goal).reshape(-1, *goal.shape[1:])
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

    def _within_reach(self, batch: Batch, some: Tensor, base: Tensor) -> Tensor:
        """Which of some images (b,) have a neighbor whose weight may be more than rounding.

        The noise, which is normal, takes less than 2 sigma FAR r from the squared distance of a neighbor at distance
        r, but for one in 10^15.
        """
        if self.perplexity is not None or batch.moves is not None:
            return torch.ones_like(some, dtype=torch.bool)
        assert batch.indices is not None
        sigma, squares = batch.sigma[some].double(), self.squares[batch.indices[some], 1:]
        nearest = squares - 2 * FAR * sigma.unsqueeze(1) * squares.sqrt()
        logits, _ = self._logits(batch, some, base, nearest.amin(1, keepdim=True))
        return logits[:, 0] > -LOST * self.rule(sigma)

    def _neighborhoods(self, batch: Batch, wanted: Tensor) -> Iterator[tuple[Tensor, Neighborhoods, Tensor]]:
        """Images in parts (b,), their neighbors, themselves first, and the squared distances of these (b, K).

        Neighbors are moved with their image.
        """
        assert batch.indices is not None
        indices = self.indices[batch.indices]
        if batch.moves is None and self.centers.stored is not None and len(wanted):
            yield wanted, Stored(self.centers, indices[wanted]), self.squares[batch.indices[wanted]]
            return
        for some in torch.split(wanted, _together(self.centers, indices)) if len(wanted) else ():
            near = _listed(self.centers, indices[some], batch.clean.dtype)
            if batch.moves is None:
                yield some, near, self.squares[batch.indices[some]]
                continue
            images = near.rows.div(near.scale).reshape(*near.rows.shape[:2], *self.centers.shape)
            near = Listed(batch.moves.select(some)(images).flatten(2))
            yield some, near, near.squares()

    def _logits(self, batch: Batch, some: Tensor, base: Tensor, offset: Tensor) -> tuple[Tensor, Tensor]:
        """F less that of the own image, and kappa, both (b, n), ``offset`` beyond its squared distance."""
        sigma = batch.sigma[some].double()
        kernel = GaussianKernel(sigma) if batch.conditional else ShellKernel(self.profile, torch.ones_like(sigma))
        return kernel.relative(base[some], offset)

    def _weights(
        self, batch: Batch, some: Tensor, base: Tensor, near: Neighborhoods, squares: Tensor
    ) -> tuple[Tensor, Tensor, Tensor]:
        """The weights w_j and sigma^2 w_j kappa_j, both (b, K) float64, and the temperatures (b,)."""
        sigma = batch.sigma[some].double().unsqueeze(1)
        along = near.along(batch.noise[some].flatten(1))
        logits, precision = self._logits(batch, some, base, squares + 2 * sigma * (along[:, :1] - along))
        wanted = self.perplexity
        heat = self.rule(sigma[:, 0]) if wanted is None else perplexity_temperature(logits, wanted)
        weights = torch.softmax(logits / heat.unsqueeze(1), 1)
        return weights, sigma**2 * weights * precision, heat


def _base(batch: Batch) -> Tensor:
    """Squared distances of the noisy images from the clean ones: (B, 1) float64."""
    size: Tensor = torch.linalg.vector_norm(batch.noise.flatten(1), dim=1, keepdim=True, dtype=torch.float64)
    return (batch.sigma.double().unsqueeze(1) * size).square()


def _listed(centers: Centers, indices: Tensor, dtype: torch.dtype) -> Listed:
    """The neighbors (b, K) among the centers, written out."""
    rows = torch.empty(indices.numel(), centers.dim, dtype=dtype, device=centers.device)
    return Listed(centers.scaled_rows(indices.flatten(), rows).view(*indices.shape, -1), centers.scale)


def _squares(centers: Centers, indices: Tensor, graph: NeighborGraph) -> Tensor:
    """Squared pixel distances of the neighbors (N, K) float64: the graph's own, or measured."""
    squares = torch.zeros(indices.shape, dtype=torch.float64)
    if graph.space == "pixel":
        squares[:, 1:] = graph.distances**2
        return squares
    for some in torch.split(torch.arange(len(indices)), _together(centers, indices)):
        squares[some] = _listed(centers, indices[some], torch.float32).squares()
    return squares


def _together(centers: Centers, indices: Tensor) -> int:
    """How many images' neighbors are written out at a time."""
    values = TILE if centers.device.type == "cpu" else 64 * TILE
    return max(1, values // (indices.shape[1] * centers.dim))
