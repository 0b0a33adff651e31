r"""What the U-Net is made of: group norms, convolutions with a change of resolution, and their first weights.

Halving and doubling filter with :math:`f\otimes f`, where :math:`f` is ``[1, 1]`` (the mean of two pixels; each pixel
twice) or ``[1, 3, 3, 1]``, zero beyond the edges. Filters and convolutions commute, so the convolution runs at
the lower of the two resolutions wherever its kernel lets it.
"""

import math
from collections.abc import Sequence

import torch
from torch import Tensor, nn
from torch.nn import functional

__all__ = [
    "ConvHalving",
    "Doubling",
    "DoublingConv",
    "Dropout",
    "Halving",
    "HalvingConv",
    "convolution",
    "group_norm",
    "xavier",
]

GROUPS, SMALLEST_GROUP = 32, 4
LOTS = 2**16  # values of one random integer of a dropout


def group_norm(channels: int) -> nn.GroupNorm:
    """A group norm of as many groups as divide the channels, at most 32 and of at least 4 channels each."""
    most = max(1, min(GROUPS, channels // SMALLEST_GROUP))
    return nn.GroupNorm(next(groups for groups in range(most, 0, -1) if channels % groups == 0), channels, eps=1e-6)


def xavier(layer: nn.Conv2d | nn.Linear, variance: float = 1.0, parts: int = 1) -> None:
    """Uniform weights of ``variance`` / mean of inputs and outputs, no bias (Song et al. 2021).

    ``parts``: number of layers that the outputs of this one stand for, each with weights of its own.
    """
    field = layer.weight[0, 0].numel()
    inputs, outputs = layer.weight.shape[1] * field, layer.weight.shape[0] * field // parts
    bound = math.sqrt(6 * variance / (inputs + outputs))
    nn.init.uniform_(layer.weight, -bound, bound)
    if layer.bias is not None:
        nn.init.zeros_(layer.bias)


def convolution(inputs: int, outputs: int, kernel: int, variance: float = 1.0, parts: int = 1) -> nn.Conv2d:
    """A convolution that keeps the resolution."""
    layer = nn.Conv2d(inputs, outputs, kernel, padding=kernel // 2)
    xavier(layer, variance, parts)
    return layer


class Dropout(nn.Dropout):
    """Dropout whose mask costs a processor a third of PyTorch's: four values from each random integer.

    The probability is rounded to a multiple of 2^-16, and what is kept is scaled to the rounded one.
    """

    def forward(self, x: Tensor) -> Tensor:
        """Values of ``x``, in training each zero with the probability ``p`` and else scaled to keep the mean."""
        lost = round(self.p * LOTS)
        if not self.training or not lost or x.device.type != "cpu":
            return super().forward(x)
        integers = torch.empty(-(-x.numel() // 4), dtype=torch.int64).random_(-(2**63), None)
        lots = integers.view(torch.int16)[: x.numel()].reshape(x.shape)
        return x.masked_fill(lots < lost - LOTS // 2, 0) * (LOTS / (LOTS - lost))


def low_pass(taps: Sequence[int]) -> Tensor:
    """The filter ``f (x) f`` of unit sum: (1, 1, k, k) float32."""
    line = torch.tensor(taps, dtype=torch.float32) / sum(taps)
    return torch.outer(line, line)[None, None]


def halve(x: Tensor, kernel: Tensor) -> Tensor:
    """(batch, channels, height, width) filtered, at half the resolution."""
    if kernel.shape[-1] == 2:
        return functional.avg_pool2d(x, 2)
    return _depthwise(x, kernel, stride=2, padding=kernel.shape[-1] // 2 - 1)


def double(x: Tensor, kernel: Tensor) -> Tensor:
    """(batch, channels, height, width) at twice the resolution, filtered."""
    if kernel.shape[-1] == 2:
        return functional.interpolate(x, scale_factor=2.0, mode="nearest")
    each = (4 * kernel.to(x.dtype)).expand(x.shape[1], -1, -1, -1)
    return functional.conv_transpose2d(x, each, stride=2, padding=kernel.shape[-1] // 2 - 1, groups=x.shape[1])


def _depthwise(x: Tensor, kernel: Tensor, stride: int, padding: int) -> Tensor:
    each = kernel.to(x.dtype).expand(x.shape[1], -1, -1, -1)
    return functional.conv2d(x, each, stride=stride, padding=padding, groups=x.shape[1])


class Halving(nn.Module):
    """Half the resolution, without weights."""

    resample_filter: Tensor

    def __init__(self, taps: Sequence[int]) -> None:
        super().__init__()
        self.register_buffer("resample_filter", low_pass(taps))

    def forward(self, x: Tensor) -> Tensor:
        """(batch, channels, height, width) to half of height and width."""
        return halve(x, self.resample_filter)


class Doubling(Halving):
    """Twice the resolution, without weights."""

    def forward(self, x: Tensor) -> Tensor:
        """(batch, channels, height, width) to twice height and width."""
        return double(x, self.resample_filter)


class HalvingConv(nn.Conv2d):
    """Half the resolution, then a convolution."""

    resample_filter: Tensor

    def __init__(self, inputs: int, outputs: int, kernel: int, taps: Sequence[int]) -> None:
        super().__init__(inputs, outputs, kernel, padding=kernel // 2)
        self.register_buffer("resample_filter", low_pass(taps))
        xavier(self)

    def forward(self, x: Tensor) -> Tensor:
        """(batch, inputs, height, width) to (batch, outputs, height / 2, width / 2)."""
        return super().forward(halve(x, self.resample_filter))


class ConvHalving(HalvingConv):
    """A convolution, then half the resolution; beyond its edges the image is zero, the convolution's output is not."""

    def forward(self, x: Tensor) -> Tensor:
        """(batch, inputs, height, width) to (batch, outputs, height / 2, width / 2)."""
        margin = self.kernel_size[0] // 2 + self.resample_filter.shape[-1] // 2 - 1
        smooth = _depthwise(x, self.resample_filter, stride=1, padding=margin)
        return functional.conv2d(smooth, self.weight, self.bias, stride=2)


class DoublingConv(HalvingConv):
    """Twice the resolution, then a convolution."""

    def forward(self, x: Tensor) -> Tensor:
        """(batch, inputs, height, width) to (batch, outputs, 2 height, 2 width)."""
        if self.kernel_size[0] > 1:
            return functional.conv2d(double(x, self.resample_filter), self.weight, self.bias, padding=self.padding)
        assert self.bias is not None
        return double(functional.conv2d(x, self.weight), self.resample_filter).add_(self.bias[:, None, None])
