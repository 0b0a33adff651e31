r"""Different scores at different noise levels.

.. math:: s(x;\sigma)=s_i(x;\sigma)\quad\text{for}\quad \sigma\in[\sigma_i,\sigma_{i+1})

Swapping a memorizing denoiser for a generalizing one in one region of noise shows which region decides
whether a sampler copies.
"""

import math
from collections.abc import Callable, Sequence

import torch
from torch import Tensor, nn

from smoothscore.errors import InputError
from smoothscore.scores.base import Score, Sigma

__all__ = ["PiecewiseScore"]


class PiecewiseScore(Score):
    """One score for each region of noise levels.

    Cost: each image of a batch is evaluated once, by the score of its own level.

    Args:
        regions: pairs ``(sigma_low, score)`` in any order; a score is used from its ``sigma_low`` (included)
            up to the next region's (not included). The lowest region starts at 0.

    Raises:
        InputError: no regions, no pairs, two with the same edge, none from 0, or scores of different image shapes.

    Source: Two calm ends and the wild middle, Table 1.
    """

    def __init__(self, regions: Sequence[tuple[float, Score]]) -> None:
        if not isinstance(regions, Sequence):
            raise InputError(f"regions is a {type(regions).__name__}; give a list of pairs (sigma_low, score).")
        try:
            regions = sorted(((float(edge), score) for edge, score in regions), key=lambda region: region[0])
        except (TypeError, ValueError):
            raise InputError("A region is no pair (sigma_low, score); give e.g. [(0, a), (2.0, b)].") from None
        for _, score in regions:
            if not isinstance(score, Score):
                raise InputError(f"The score of a region is a {type(score).__name__}; give a Score.")
        edges = [edge for edge, _ in regions]
        if not all(map(math.isfinite, edges)):
            raise InputError(f"A region starts at a sigma that is not finite ({edges}); give finite lower edges.")
        if not edges or edges[0] != 0:
            raise InputError("The lowest region must start at sigma 0, so that every level has a score.")
        if len(set(edges)) < len(edges):
            raise InputError(f"Two regions start at the same sigma ({edges}); give each its own lower edge.")
        shapes = {tuple(score.shape) for _, score in regions}
        if len(shapes) > 1:
            raise InputError(f"The scores have different image shapes, {sorted(shapes)}; swap scores of one shape.")
        super().__init__(regions[0][1].shape)
        self.regions = regions
        self.scores = nn.ModuleList(score for _, score in regions)

    def score(self, x: Tensor, sigma: Sigma | None = None) -> Tensor:
        """The score of each image's region; same shape as ``x`` (batch, *shape)."""
        return self._dispatch(x, sigma, lambda score, part, level: score.score(part, level))

    def denoise(self, x: Tensor, sigma: Sigma) -> Tensor:
        """The denoised image by the score of each image's region; same shape as ``x`` (batch, *shape)."""
        return self._dispatch(x, sigma, lambda score, part, level: score.denoise(part, level))

    def log_density(self, x: Tensor, sigma: Sigma | None = None) -> Tensor:
        """The log-density of each image under its region's score: (batch,)."""
        return self._dispatch(x, sigma, lambda score, part, level: score.log_density(part, level))

    def _dispatch(self, x: Tensor, sigma: Sigma | None, evaluate: Callable[[Score, Tensor, Tensor], Tensor]) -> Tensor:
        x, level = self.check(x, sigma)
        edges = torch.tensor([edge for edge, _ in self.regions]).to(level)
        region = torch.bucketize(level.contiguous(), edges, right=True) - 1
        parts, rows = [], []
        for index, (_, score) in enumerate(self.regions):
            chosen = torch.nonzero(region == index).flatten()
            if len(chosen):
                parts.append(evaluate(score, x[chosen], level[chosen]))
                rows.append(chosen)
        return torch.cat(parts)[torch.cat(rows).argsort()]
