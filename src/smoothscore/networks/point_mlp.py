r"""A network for points of low dimension.

.. math:: h_0=W_0x,\qquad h_{i+1}=h_i+\mathrm{silu}\big(W_i\,\mathrm{norm}(h_i)+V_i\,e\big),\qquad F(x)=W\,h

with sines and cosines :math:`e` of the noise level.
"""

from collections.abc import Sequence
from typing import Any

import torch
from torch import Tensor, nn
from torch.nn import functional

from smoothscore.errors import InputError
from smoothscore.networks.embeddings import PositionalEmbedding
from smoothscore.networks.sigma_head import SigmaHead

__all__ = ["PointMLP"]

SCALE = 16.0
"""Preconditioned levels are small numbers; their sines should differ."""


class PointMLP(nn.Module):
    """A residual network of fully connected layers, for points (d,) or small images taken as points.

    Args:
        shape: of one point, (d,).
        noise_conditional: False leaves the noise embedding out, with all its parameters.
        width: size of the hidden layers, an even number.
        layers: number of residual layers.
        sigma_head: with a :class:`SigmaHead`; None: in networks without noise conditioning.

    Raises:
        InputError: a size below 1, or an odd width.
    """

    kind = "point-mlp"
    classes = 0

    def __init__(
        self,
        shape: Sequence[int],
        noise_conditional: bool = True,
        *,
        width: int = 128,
        layers: int = 4,
        sigma_head: bool | None = None,
    ) -> None:
        super().__init__()
        counts = (width, layers, *shape)
        if not all(isinstance(count, int) and count > 0 for count in counts) or width % 2:
            raise InputError(
                f"A network of {layers!r} layers of width {width!r} for points of shape {tuple(shape)} cannot be; give "
                "positive whole numbers and an even width."
            )
        self.shape = torch.Size(shape)
        self.noise_conditional = noise_conditional
        dim = self.shape.numel()
        self.first, self.last = nn.Linear(dim, width), nn.Linear(width, dim)
        self.norms = nn.ModuleList(nn.LayerNorm(width) for _ in range(layers))
        self.layers = nn.ModuleList(nn.Linear(width, width) for _ in range(layers))
        if noise_conditional:
            self.embedding = PositionalEmbedding(width)
            self.levels = nn.ModuleList(nn.Linear(width, width, bias=False) for _ in range(layers))
        wanted = not noise_conditional if sigma_head is None else sigma_head
        self.sigma_head = SigmaHead(self.shape) if wanted else None

    @property
    def options(self) -> dict[str, Any]:
        """What the network was built with beside shape and noise conditioning."""
        head = self.sigma_head is not None
        return {"width": self.first.out_features, "layers": len(self.layers), "sigma_head": head}

    def forward(self, x: Tensor, noise: Tensor | None = None) -> Tensor:
        """The raw output, shape of ``x`` (batch, *shape); ``noise`` (batch,) are preconditioned levels."""
        if self.noise_conditional and noise is None:
            raise InputError("This network takes the noise level; pass it, or build one with noise_conditional=False.")
        h = self.first(x.flatten(1))
        e = None if noise is None or not self.noise_conditional else self.embedding(SCALE * noise)
        for index, (norm, layer) in enumerate(zip(self.norms, self.layers, strict=True)):
            step = layer(norm(h))
            if e is not None:
                step = step + self.levels[index](e)
            h = h + functional.silu(step)
        return self.last(h).reshape(x.shape)  # type: ignore[no-any-return]
