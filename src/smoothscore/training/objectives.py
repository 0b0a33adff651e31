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
it is EDM's.
"""

from collections.abc import Sequence
from typing import Any

import numpy as np
import torch
from torch import Tensor

from smoothscore.errors import InputError
from smoothscore.networks.form import Preconditioning
from smoothscore.training.draws import Draws
from smoothscore.training.law import NoiseLaw
from smoothscore.training.objective import Objective

__all__ = ["Conditional", "Dummy", "Gap", "Unconditional"]

CLASS = 1  # the place of this decision among the extra numbers of an image


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

    Raises:
        InputError: no gap, one that is no interval, or gaps that leave (almost) no level.

    Source: Two calm ends and the wild middle, section 5.
    """

    def __init__(self, gaps: Sequence[tuple[float, float]], law: NoiseLaw | None = None, **others: Any) -> None:
        if not gaps:
            raise InputError("Gap needs an interval of noise levels to leave out; give gaps such as [(1.0, 2.0)].")
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
