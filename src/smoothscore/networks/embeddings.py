r"""The noise level as a vector of sines and cosines.

Positional (DDPM++): :math:`\sin,\cos(\omega_i c)` with :math:`\omega_i` geometric from 1 to :math:`10^{-4}`.
Fourier (NCSN++): :math:`\sin,\cos(2\pi f_i c)` with :math:`f_i\sim N(0,16^2)` drawn once and never trained.
"""

import math

import torch
from torch import Tensor, nn

__all__ = ["FourierEmbedding", "PositionalEmbedding"]


class PositionalEmbedding(nn.Module):
    """Sines, then cosines, of geometric frequencies: (batch,) to (batch, channels)."""

    def __init__(self, channels: int) -> None:
        super().__init__()
        self.channels = channels

    def forward(self, noise: Tensor) -> Tensor:
        """The embedding of ``c_noise`` (batch,)."""
        exponents = torch.linspace(0, -4, self.channels // 2, dtype=noise.dtype, device=noise.device)
        angles = torch.outer(noise, 10.0**exponents)
        return torch.cat([angles.sin(), angles.cos()], dim=1)


class FourierEmbedding(nn.Module):
    """Sines, then cosines, of random frequencies: (batch,) to (batch, channels)."""

    freqs: Tensor

    def __init__(self, channels: int, scale: float = 16.0) -> None:
        super().__init__()
        self.register_buffer("freqs", scale * torch.randn(channels // 2))

    def forward(self, noise: Tensor) -> Tensor:
        """The embedding of ``c_noise`` (batch,)."""
        angles = torch.outer(noise, 2 * math.pi * self.freqs.to(noise.dtype))
        return torch.cat([angles.sin(), angles.cos()], dim=1)
