r"""The residual block of NCSN++ and DDPM++, with its attention.

.. math::
    h&=\mathrm{conv}_0(\mathrm{silu}(\mathrm{norm}_0(x)))+\mathrm{affine}(e),\qquad
    y=\tfrac1{\sqrt2}\big(\mathrm{skip}(x)+\mathrm{conv}_1(\mathrm{silu}(\mathrm{norm}_1(h)))\big), \\
    z&=\tfrac1{\sqrt2}\big(y+\mathrm{proj}(\mathrm{softmax}(q^\top k/\sqrt{C})\,v)\big),\qquad
    (q,k,v)=\mathrm{qkv}(\mathrm{norm}_2(y))

with the noise embedding :math:`e`; a change of resolution happens in :math:`\mathrm{conv}_0` and the skip alike.
Sums are divided by :math:`\sqrt2` to keep their variance (Song et al. 2021, appendix H).
"""

from collections.abc import Sequence
from typing import Literal

from torch import Tensor, nn
from torch.nn import functional

from smoothscore.networks.layers import DoublingConv, Dropout, HalvingConv, convolution, group_norm, xavier

__all__ = ["ResidualBlock", "Resize"]

Resize = Literal["half", "double"] | None

HALF_POWER = 0.5**0.5
NEARLY_ZERO = 1e-10
"""Variance of the weights of the last layer of a branch, which so begins as almost the identity."""
ATTENTION = 0.1
"""Variance of the weights of queries, keys and values."""


class ResidualBlock(nn.Module):
    """One residual block; called with images and, when it has ``embedding`` channels, the noise embedding.

    Args:
        inputs: channels of the images.
        outputs: channels of the result.
        embedding: channels of the noise embedding; None for a block without.
        attention: with self-attention over all pixels (one head).
        resize: "half" or "double" the resolution.
        taps: filter of the change of resolution.
        dropout: probability, in training, that a value before the last convolution is zero.
    """

    def __init__(
        self,
        inputs: int,
        outputs: int,
        embedding: int | None,
        *,
        attention: bool = False,
        resize: Resize = None,
        taps: Sequence[int] = (1, 1),
        dropout: float = 0.0,
    ) -> None:
        super().__init__()
        self.inputs, self.outputs = inputs, outputs
        self.norm0 = group_norm(inputs)
        self.conv0 = _resizing(inputs, outputs, 3, resize, taps)
        self.affine = None
        if embedding is not None:
            self.affine = nn.Linear(embedding, outputs)
            xavier(self.affine)
        self.norm1 = group_norm(outputs)
        self.dropout = Dropout(dropout)
        self.conv1 = convolution(outputs, outputs, 3, variance=NEARLY_ZERO)
        self.skip = None if inputs == outputs and resize is None else _resizing(inputs, outputs, 1, resize, taps)
        self.attention = attention
        if attention:
            self.norm2 = group_norm(outputs)
            self.qkv = convolution(outputs, 3 * outputs, 1, variance=ATTENTION, parts=3)
            self.proj = convolution(outputs, outputs, 1, variance=NEARLY_ZERO)

    def forward(self, x: Tensor, embedding: Tensor | None) -> Tensor:
        """(batch, inputs, height, width) and (batch, embedding) to (batch, outputs, new height, new width)."""
        h = self.conv0(functional.silu(self.norm0(x)))
        if self.affine is not None:
            h += self.affine(embedding)[:, :, None, None]
        y: Tensor = self.conv1(self.dropout(functional.silu(self.norm1(h))))
        y += x if self.skip is None else self.skip(x)
        y *= HALF_POWER
        if self.attention:
            y = self._attend(y).add_(y).mul_(HALF_POWER)
        return y

    def _attend(self, y: Tensor) -> Tensor:
        """What every pixel takes from all others; queries, keys and values alternate among the channels of ``qkv``."""
        queries, keys, values = self.qkv(self.norm2(y)).unflatten(1, (-1, 3)).flatten(3).permute(2, 0, 3, 1)
        taken = functional.scaled_dot_product_attention(queries[:, None], keys[:, None], values[:, None])
        return self.proj(taken.squeeze(1).mT.reshape(y.shape))  # type: ignore[no-any-return]


def _resizing(inputs: int, outputs: int, kernel: int, resize: Resize, taps: Sequence[int]) -> nn.Conv2d:
    if resize is None:
        return convolution(inputs, outputs, kernel)
    return (HalvingConv if resize == "half" else DoublingConv)(inputs, outputs, kernel, taps)
