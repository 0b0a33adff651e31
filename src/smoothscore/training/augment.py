r"""EDM's augmentation: images moved, and the network told how.

Each of five moves is made with the same probability: a vertical mirror, a scaling by :math:`2^{0.2g}`, a rotation by
:math:`\pi v`, a stretch by :math:`2^{0.2g}` along an axis of random direction, and a shift by :math:`0.125\,(g_1,g_2)`
of the image's sides, with g standard normal and v uniform in [-1, 1]; a horizontal mirror is made always or never, with
equal odds. The amounts are the network's ``augment_labels``, zero where nothing was moved, so that at sampling, with
labels of zero, it draws unmoved images.

Moved images are sampled bicubically with reflected borders, all images that belong together by the same map.

Source: EDM, Karras et al. 2022, appendix F.2.
"""

import math

import torch
from torch import Tensor
from torch.nn.functional import grid_sample

__all__ = ["AUGMENT_LABELS", "Augmentation", "Moves"]

AUGMENT_LABELS = 9
SIZE, SHIFT = 0.2, 0.125


class Moves:
    """The maps of a batch.

    Attributes:
        labels: (B, 9) amounts: the two mirrors, log2 of the scale, cosine less 1 and sine of the angle, the stretch in
            its two components, the two shifts.
    """

    def __init__(self, matrices: Tensor, labels: Tensor) -> None:
        self.matrices, self.labels = matrices, labels

    def select(self, some: Tensor) -> "Moves":
        """The maps of some of the images."""
        return Moves(self.matrices[some], self.labels[some])

    def __call__(self, images: Tensor) -> Tensor:
        """The moved images, of (B, C, H, W), or of (B, K, C, H, W) with one map for each K."""
        flat = images.reshape(len(images), -1, *images.shape[-2:])
        height, width = images.shape[-2:]
        y = torch.arange(height, dtype=torch.float64, device=images.device) - (height - 1) / 2
        x = torch.arange(width, dtype=torch.float64, device=images.device) - (width - 1) / 2
        side = min(height, width) / 2
        places = torch.stack([x.expand(height, -1), y[:, None].expand(-1, width), torch.full_like(flat[0, 0], side)], 2)
        source = torch.einsum("bij,hwj->bhwi", self.matrices.to(images.device), places.double())
        grid = source * torch.tensor([2 / width, 2 / height], dtype=torch.float64, device=images.device)
        moved = grid_sample(flat, grid.to(flat.dtype), "bicubic", "reflection", align_corners=False)
        return moved.clamp(-1, 1).reshape(images.shape)


class Augmentation:
    """Makes the maps from the extra random numbers of a batch.

    Args:
        probability: of each move, in (0, 1]; 0.12 in EDM for CIFAR-10.
    """

    def __init__(self, probability: float) -> None:
        self.probability = probability

    def __call__(self, extras: Tensor) -> Moves:
        """Maps of (B, 16) uniform numbers."""
        u = extras[:, 2:].double()
        chosen = (u[:, :5] < self.probability).double()
        mirror_x = (u[:, 5] < 0.5).double()
        mirror_y = chosen[:, 0] * (u[:, 6] < 0.5)
        scale = chosen[:, 1] * _normal(u[:, 7])
        angle = chosen[:, 2] * (2 * u[:, 8] - 1) * math.pi
        stretch = chosen[:, 3] * _normal(u[:, 9])
        axis = (2 * u[:, 10] - 1) * math.pi
        shift_x, shift_y = (chosen[:, 4] * _normal(u[:, column]) for column in (11, 12))
        one, zero = torch.ones_like(scale), torch.zeros_like(scale)
        forward = _linear(1 - 2 * mirror_x, zero, zero, 1 - 2 * mirror_y)
        forward = torch.exp2(SIZE * scale)[:, None, None] * forward
        forward = _rotation(angle) @ forward
        thin, wide = torch.exp2(SIZE * stretch), torch.exp2(-SIZE * stretch)
        forward = _rotation(axis) @ _linear(wide, zero, zero, thin) @ _rotation(-axis) @ forward
        back = torch.linalg.inv(forward)
        shift = 2 * SHIFT * torch.stack([shift_x, shift_y], 1)[:, :, None]
        labels = [mirror_x, mirror_y, scale, angle.cos() - one, angle.sin()]
        labels += [stretch * axis.cos(), stretch * axis.sin(), shift_x, shift_y]
        return Moves(torch.cat([back, -back @ shift], 2), torch.stack(labels, 1))


def _linear(a: Tensor, b: Tensor, c: Tensor, d: Tensor) -> Tensor:
    return torch.stack([torch.stack([a, b], 1), torch.stack([c, d], 1)], 1)


def _rotation(angle: Tensor) -> Tensor:
    return _linear(angle.cos(), -angle.sin(), angle.sin(), angle.cos())


def _normal(u: Tensor) -> Tensor:
    value: Tensor = torch.special.ndtri(u.clamp(1e-12, 1 - 1e-12))
    return value
