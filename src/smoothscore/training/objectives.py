r"""Losses whose minimum is a score, each usable in any training loop.

.. math:: x=y+\sigma n,\qquad L=\mathrm E\;w(\sigma)\,\|D_\theta(x;\sigma)-D^*(x)\|^2/d

with the weight w of the preconditioning. The objectives differ in the target :math:`D^*`, in the levels they draw and
in what the network is told:

===================  ============================================  =====================================
``Conditional``      :math:`D^*=y`                                 the network takes sigma
``Unconditional``    :math:`D^*=y`                                 the network never sees sigma
``Gap``              :math:`D^*=y`, levels in the gaps left out    as ``Conditional``
``Dummy``            :math:`D^*=y`, half of the y pure noise       which half an image belongs to
``Temperature``      a softened posterior mean (``temperature``)   either
===================  ============================================  =====================================

With :math:`w=1/\sigma^2` the loss is twice eq. 8 and 9 of Smoothing the score function, divided by d; with EDM's weight
it is EDM's. The noisy image and its target are mirrored together.
"""

from collections.abc import Sequence
from dataclasses import dataclass
from functools import cached_property
from typing import Any, ClassVar

import numpy as np
import torch
from torch import Tensor, nn

from smoothscore.errors import InputError
from smoothscore.networks.preconditioning import Preconditioning, is_noise_conditional, preconditioning
from smoothscore.training.augment import Augmentation, Moves
from smoothscore.training.draws import Draws, fresh
from smoothscore.training.law import NoiseLaw

__all__ = ["Batch", "Conditional", "Dummy", "Gap", "Losses", "Objective", "Target", "Unconditional", "spread"]

FLIP = 0  # the place of each decision among the extra numbers of an image
CLASS = 1


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
        images: (B, *shape) the denoised images.
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
            InputError: the network takes the noise level where it must not, or the other way round, or indices
                are missing.
        """
        return self.losses(network, images, indices, draws).total

    def losses(
        self, network: nn.Module, images: Tensor, indices: Tensor | None = None, draws: Draws | None = None
    ) -> Losses:
        """The same, image by image. Autocast reaches the network only."""
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
        head = getattr(network, "sigma_head", None)
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


class Conditional(Objective):
    """The ordinary loss of a network that takes the noise level.

    Source: Smoothing the score function, eq. 8; with the form "edm", EDM (Karras et al. 2022).
    """

    takes_level = True


class Gap(Conditional):
    """The ordinary loss without the noise levels of some intervals.

    Args:
        gaps: intervals (low, high) of sigma; for timesteps of a DDPM see
            :func:`smoothscore.training.timestep_gap`.
        others: see :class:`Objective`; a ``law`` keeps its gaps beside these.

    Source: Two calm ends and the wild middle, section 5.
    """

    def __init__(self, gaps: Sequence[tuple[float, float]], law: NoiseLaw | None = None, **others: Any) -> None:
        super().__init__(law=(law or NoiseLaw()).without(gaps), **others)


class Unconditional(Objective):
    """The loss of a network that never sees the noise level, by default one that predicts unit noise.

    Source: Smoothing the score function, eq. 9.
    """

    takes_level = False

    def __init__(self, form: str | Preconditioning = "noise", **others: Any) -> None:
        super().__init__(form, **others)


class Dummy(Conditional):
    """The ordinary loss with as many images of pure noise as a second class.

    Half of the images of every batch are replaced by noise images, each training image by one of its own, and the
    network is told which is which as ``class_labels`` (B, 2); samples are drawn with the first class. The values of
    the noise images are independent and uniform in [-1, 1].

    Source: the baseline of Two calm ends and the wild middle, section 5, which does not say what its noise is.
    """

    def __init__(self, form: str | Preconditioning = "edm", seed: int = 0, **others: Any) -> None:
        super().__init__(form, **others)
        self.seed = seed

    def images(self, images: Tensor, indices: Tensor | None, draws: Draws) -> tuple[Tensor, dict[str, Tensor]]:
        """The images, half of them replaced, and their classes."""
        if indices is None:
            raise InputError("Dummy gives every training image a noise image of its own; pass indices.")
        dummy = draws.extras[:, CLASS] < 0.5
        clean = images.clone()
        for row in dummy.nonzero()[:, 0].tolist():
            stream = np.random.Generator(np.random.Philox(key=self.seed, counter=[0, 1, int(indices[row]), 0]))
            values = torch.from_numpy(stream.random(images[0].numel(), dtype=np.float32))
            clean[row] = values.mul_(2).sub_(1).reshape(images.shape[1:]).to(clean)
        classes = torch.stack([~dummy, dummy], 1).to(images.dtype)
        return clean, {"class_labels": classes}


def spread(values: Tensor, images: Tensor) -> Tensor:
    """(B,) shaped to multiply a batch of images."""
    return values.reshape(-1, *(1,) * (images.ndim - 1))
