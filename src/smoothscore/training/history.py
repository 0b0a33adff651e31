"""What a run writes down while it trains: the loss over time, and by noise level how soft the targets were."""

import math
from dataclasses import dataclass, field
from typing import Any

import torch
from torch import Tensor

from smoothscore.training.objective import Losses

__all__ = ["BINS", "History", "Tally"]

BINS = 12
COLUMNS = 4  # images, loss, top weight, effective number of images


class Tally:
    """Sums over the images trained on since it was last read, by noise level.

    Args:
        sigma_min, sigma_max: ends of the 12 bins, equal in log sigma.
    """

    def __init__(self, sigma_min: float, sigma_max: float, device: torch.device) -> None:
        ends = math.log(sigma_min), math.log(sigma_max)
        self.inner = torch.linspace(*ends, BINS + 1, dtype=torch.float64)[1:-1].exp().to(device)
        self.sums = torch.zeros(BINS, COLUMNS, dtype=torch.float64, device=device)

    def add(self, losses: Losses) -> None:
        """Count the images of a batch."""
        loss = losses.loss.detach()
        row = torch.stack([torch.ones_like(loss), loss, losses.target.top_weight, losses.target.effective], 1)
        self.sums.index_add_(0, torch.bucketize(losses.sigma.double(), self.inner), row.double())

    def take(self) -> Tensor:
        """The sums (12, 4), which start again from zero."""
        sums, self.sums = self.sums, torch.zeros_like(self.sums)
        return sums


@dataclass
class History:
    """The log of a run, in JSON's own types.

    Attributes:
        steps: one row for every 50 steps and every checkpoint: step, seconds, loss, gradient norm.
        levels: one row for every checkpoint: step, and by noise level (12 bins between the ``edges`` of the run) the
            number of images, their mean loss, mean largest weight and mean effective number of images in a target.
        looks: one row for every look for copies, see :mod:`smoothscore.training.watch`.
    """

    steps: list[dict[str, float]] = field(default_factory=list)
    levels: list[dict[str, Any]] = field(default_factory=list)
    looks: list[dict[str, Any]] = field(default_factory=list)

    def add_levels(self, step: int, sums: Tensor) -> None:
        """Write down the sums of a tally."""
        count = sums[:, 0]
        means = torch.where(count[:, None] > 0, sums[:, 1:] / count[:, None].clamp(min=1), torch.nan)
        loss, top, effective = ([None if v != v else v for v in column] for column in means.T.tolist())
        row = {"step": step, "images": count.long().tolist(), "loss": loss, "top_weight": top, "effective": effective}
        self.levels.append(row)

    def to_dict(self) -> dict[str, Any]:
        """The three lists."""
        return {"steps": self.steps, "levels": self.levels, "looks": self.looks}
