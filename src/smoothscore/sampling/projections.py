r"""Constraints on the images to be drawn: each a function from clean images to clean images.

They act on the denoised image at every step (:mod:`smoothscore.sampling.evaluator`): an image at noise level
:math:`\sigma` lies outside any box, but what it will become need not.
"""

from dataclasses import dataclass

import torch
from torch import Tensor

from smoothscore.errors import InputError

__all__ = ["Box", "KnownPixels", "Subspace"]


@dataclass(frozen=True)
class Box:
    """Values between ``low`` and ``high``: numbers, or tensors that broadcast against (batch, *shape)."""

    low: float | Tensor = -1.0
    high: float | Tensor = 1.0

    def __call__(self, image: Tensor) -> Tensor:
        """The nearest image within the box."""
        low, high = (torch.as_tensor(edge, dtype=image.dtype, device=image.device) for edge in (self.low, self.high))
        return torch.minimum(torch.maximum(image, low), high)


@dataclass(frozen=True, eq=False)
class KnownPixels:
    """Inpainting: the pixels where ``mask`` is true are those of ``image``.

    They enter at each level with the noise they have there, and the rest follows the score. That is no exact
    conditional: where few pixels are known, the rest may be decided at large noise, before they speak.

    Args:
        image: (*shape), the known image; what it holds elsewhere does not matter.
        mask: (*shape) bool, or a shape that broadcasts to it, e.g. (1, H, W).
    """

    image: Tensor
    mask: Tensor

    def __post_init__(self) -> None:
        if self.mask.dtype != torch.bool:
            raise InputError(f"The mask has dtype {self.mask.dtype}; give bools, true where pixels are known.")

    def __call__(self, image: Tensor) -> Tensor:
        """The image with the known pixels put in."""
        return torch.where(self.mask.to(image.device), self.image.to(image), image)


class Subspace:
    """Images in the affine subspace ``origin + span(basis)``.

    Args:
        basis: (r, *shape), images that span it; need not be orthogonal.
        origin: (*shape), zero when absent.

    Raises:
        InputError: there are no images in the basis, or they are linearly dependent.
    """

    def __init__(self, basis: Tensor, origin: Tensor | None = None) -> None:
        flat = basis.flatten(1).double()
        if len(flat) == 0 or torch.linalg.matrix_rank(flat) < len(flat):
            raise InputError("The images that span the subspace must be linearly independent, and at least one.")
        self.directions = torch.linalg.qr(flat.mT).Q
        self.origin = torch.zeros(basis.shape[1:]) if origin is None else origin

    def __call__(self, image: Tensor) -> Tensor:
        """The nearest image in the subspace."""
        directions, origin = self.directions.to(image), self.origin.to(image)
        within = (image - origin).flatten(1) @ directions @ directions.mT
        projected: Tensor = origin + within.reshape(image.shape)
        return projected
