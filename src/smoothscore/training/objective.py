r"""What the losses have in common: from clean images to the loss of each.

.. math:: x=y+\sigma n,\qquad L=\mathrm E\;w(\sigma)\,\|D_\theta(x;\sigma)-D^*(x)\|^2/d

with the weight w of the preconditioning and the target :math:`D^*` of a method (:mod:`.objectives`).
The noisy image and its target are mirrored together.
"""

from dataclasses import dataclass
from functools import cached_property
from typing import ClassVar

import torch
from torch import Tensor, nn

from smoothscore.errors import InputError
from smoothscore.networks.calling import inner, is_noise_conditional
from smoothscore.networks.form import Preconditioning, spread
from smoothscore.networks.preconditioning import preconditioning
from smoothscore.training.augment import Augmentation, Moves
from smoothscore.training.draws import Draws, fresh
from smoothscore.training.law import NoiseLaw

__all__ = ["Batch", "Losses", "Objective", "Target"]

FLIP = 0  # the place of this decision among the extra numbers of an image


@dataclass(frozen=True)
class Batch:
    """Images on their way to the network.

    Attributes:
        clean: (B, *shape). noise: (B, *shape) standard normal. sigma: (B,).
        indices: (B,) into the training set, or None.
        moves: how the clean images were moved, or None.
        conditional: whether the network takes the noise level.
    """

    clean: Tensor
    noise: Tensor
    sigma: Tensor
    indices: Tensor | None
    moves: Moves | None
    conditional: bool

    @cached_property
    def x(self) -> Tensor:
        """The noisy images."""
        return self.clean + spread(self.sigma, self.clean) * self.noise


@dataclass(frozen=True)
class Target:
    """What the network is to give for a batch.

    Attributes:
        images: (B, *shape) the denoised images, before they are mirrored.
        top_weight: (B,) the largest weight of one training image in each.
        effective: (B,) the number of training images that effectively share it, e to the entropy of the weights.
    """

    images: Tensor
    top_weight: Tensor
    effective: Tensor


@dataclass(frozen=True)
class Losses:
    """The loss of each image of a batch, and what it was measured at.

    Attributes:
        loss: (B,) weighted squared error, a value.
        sigma: (B,) noise levels.
        target: what the network was compared with.
        head: loss of the network's own estimate of the level, 0 where it makes none.
    """

    loss: Tensor
    sigma: Tensor
    target: Target
    head: Tensor

    @property
    def total(self) -> Tensor:
        """What is minimized."""
        return self.loss.mean() + self.head


class Objective:
    """A loss: ``objective(network, images, indices)`` is a scalar to call ``backward`` on.

    Args:
        form: how the network's output becomes a denoiser, a name or a
            :class:`smoothscore.networks.Preconditioning`.
        law: of the noise levels; EDM's lognormal when absent.
        flips: mirror half of the images left to right.
        augment: EDM's augmentation, :class:`smoothscore.training.Augmentation`; the network is told of it.

    Attributes:
        takes_level: whether the network must take the noise level; None for either.
    """

    takes_level: ClassVar[bool | None] = None

    def __init__(
        self,
        form: str | Preconditioning = "edm",
        law: NoiseLaw | None = None,
        flips: bool = False,
        augment: Augmentation | None = None,
    ) -> None:
        self.preconditioning = preconditioning(form)
        self.law = law or NoiseLaw()
        self.flips, self.augment = flips, augment

    def __call__(
        self, network: nn.Module, images: Tensor, indices: Tensor | None = None, draws: Draws | None = None
    ) -> Tensor:
        """The loss of a batch.

        Args:
            network: called as its preconditioning says.
            images: (B, *shape) clean images in [-1, 1].
            indices: (B,) their places in the training set, for the objectives that look at neighbors or make
                dummies.
            draws: the random numbers; new ones from PyTorch's generator when absent.

        Raises:
            InputError: the network takes the noise level where it must not, or the other way round, images are no
                floats, or indices are missing.
        """
        return self.losses(network, images, indices, draws).total

    def losses(
        self, network: nn.Module, images: Tensor, indices: Tensor | None = None, draws: Draws | None = None
    ) -> Losses:
        """The same, image by image. Autocast reaches the network only."""
        if not images.is_floating_point() or not len(images):
            raise InputError(
                f"The images are {images.dtype} of shape {tuple(images.shape)}; give one or more as floats in [-1, 1]."
            )
        if indices is not None and indices.shape != images.shape[:1]:
            raise InputError(
                f"There are {len(images)} images and indices of shape {tuple(indices.shape)}; give one each."
            )
        conditional = is_noise_conditional(network)
        if self.takes_level is not None and conditional != self.takes_level:
            raise InputError(
                "This network takes no noise level; train it with Unconditional, or give it one."
                if self.takes_level
                else "This network takes the noise level; build it with noise_conditional=False."
            )
        draws = draws or fresh(images)
        with torch.no_grad(), torch.autocast(images.device.type, enabled=False):
            clean, labels = self.images(images, indices, draws)
            moves = self.augment(draws.extras) if self.augment else None
            if moves:
                clean, labels = moves(clean), labels | {"augment_labels": moves.labels.to(images.dtype)}
            sigma = self.law.sigma(draws.level).to(images.dtype)
            batch = Batch(clean, draws.noise, sigma, indices, moves, conditional)
            target, x = self.target(batch), batch.x
            goal = target.images
            if self.flips:
                mirrored = spread(draws.extras[:, FLIP] < 0.5, x)
                x, goal = (torch.where(mirrored, each.flip(-1), each) for each in (x, goal))
        denoised = self.preconditioning.denoise(network, x, sigma, **labels)
        error = (denoised - goal).float().square().flatten(1).mean(1)
        head = getattr(inner(network), "sigma_head", None)
        extra = head.loss(x, sigma) if head is not None else error.new_zeros(())
        return Losses(self.preconditioning.weight(sigma) * error, sigma, target, extra)

    def images(self, images: Tensor, indices: Tensor | None, draws: Draws) -> tuple[Tensor, dict[str, Tensor]]:
        """The clean images to be noised, and what the network is told beside the noise level."""
        return images, {}

    def target(self, batch: Batch) -> Target:
        """The denoised images that the network is to give: here the clean ones."""
        one = torch.ones_like(batch.sigma)
        return Target(batch.clean, one, one)

    def to(self, device: torch.device) -> "Objective":
        """This objective, with what it looks up on ``device``."""
        return self
