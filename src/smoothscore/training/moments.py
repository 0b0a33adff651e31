"""The Gaussian of the training images, kept with a run so that its samples can be teleported without the images."""

from pathlib import Path

import torch
from torch import Tensor

from smoothscore.data import ImageSet
from smoothscore.networks.store import save_weights
from smoothscore.sampling import fit_gaussian

__all__ = ["write_moments"]

RANK = 256
MOST = 4096  # images


def write_moments(path: Path, train: Tensor | ImageSet) -> Path:
    """Write the mean and the covariance of ``train`` (N, *shape), whole or not at all.

    Float32, the largest 256 directions, the rest of the variance spread evenly over the others: (259 + d) d values or
    less. Of more than 4,096 images as many, evenly spaced, which moves a variance by 2 % or so (one standard error).
    """
    if len(train) > MOST:
        train = train[torch.arange(MOST) * len(train) // MOST]
    return save_weights(path, fit_gaussian(train, RANK).float())
