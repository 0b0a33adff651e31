"""The centers near a center, looked up when they are first needed."""

import torch
from torch import Tensor

from smoothscore.data import ImageSet
from smoothscore.errors import InputError
from smoothscore.neighbors import NeighborGraph, Search

__all__ = ["Neighborhood"]


class Neighborhood:
    """For a center, itself and its nearest others.

    Args:
        centers: (M, *shape) in [-1, 1], or an ImageSet.
        neighbors: number K of centers, from 1 (the center itself) to M; or a graph of the centers, all of whose
            neighbors are taken.
        radius: keep those within ``radius`` times the distance of the second neighbor (the center itself not
            counted), and the center itself.

    Memory: M x K indices and distances. Rows that a graph does not give are searched for once.

    Raises:
        InputError: K is out of range, the graph is of other images, or ``radius`` is not positive.
    """

    def __init__(self, centers: Tensor | ImageSet, neighbors: int | NeighborGraph, radius: float | None = None) -> None:
        self.centers, self.radius = centers, radius
        count = len(centers)
        if radius is not None and (isinstance(radius, bool) or not isinstance(radius, int | float) or not radius > 0):
            raise InputError(f"radius is {radius!r}; give a positive multiple of the second neighbor's distance.")
        if isinstance(neighbors, bool) or not isinstance(neighbors, int | NeighborGraph):
            raise InputError(f"neighbors is {neighbors!r}; give a whole number or a NeighborGraph.")
        width = neighbors.indices.shape[1] + 1 if isinstance(neighbors, NeighborGraph) else neighbors
        if radius is not None and width < 3:
            raise InputError("radius is measured by the second neighbor; give 3 neighbors or more.")
        if isinstance(neighbors, NeighborGraph):
            if not neighbors.belongs(centers):
                raise InputError("The neighbor graph is of other images than the centers; build it of the same images.")
            own = torch.arange(count)[:, None]
            self.indices = torch.cat([own, neighbors.indices], 1)
            self.distances = torch.cat([torch.zeros(count, 1).double(), neighbors.distances], 1)
            self.known = torch.ones(count, dtype=torch.bool)
            return
        if not 1 <= neighbors <= count:
            raise InputError(f"neighbors is {neighbors}; give between 1 and the number of centers, {count}.")
        self.indices = torch.zeros(count, neighbors, dtype=torch.int64)
        self.distances = torch.zeros(count, neighbors, dtype=torch.float64)
        self.known = torch.zeros(count, dtype=torch.bool)

    def __call__(self, center: Tensor) -> tuple[Tensor, Tensor]:
        """Centers (B, K), the given ones (B,) first, and which of them are within the radius: (B, K) bool."""
        wanted = center.cpu()
        missing = torch.unique(wanted[~self.known[wanted]])
        if len(missing):
            self._search(missing)
        distances = self.distances[wanted]
        allowed = torch.ones_like(distances, dtype=torch.bool)
        if self.radius is not None:
            allowed = distances <= self.radius * distances[:, 2:3]
        return self.indices[wanted].to(center.device), allowed.to(center.device)

    def _search(self, missing: Tensor) -> None:
        found = Search(self.centers)(self.centers[missing], self.indices.shape[1])
        own = found.indices == missing[:, None]
        order = (~own).long().argsort(dim=1, stable=True)
        self.indices[missing] = found.indices.gather(1, order)
        self.distances[missing] = found.distances
        self.indices[missing, 0] = missing
        self.known[missing] = True
