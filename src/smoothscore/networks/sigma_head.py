r"""The noise level of an image, estimated from the image.

Noise of level :math:`\sigma` adds a Gaussian of exactly that standard deviation to every detail (horizontal, vertical
or diagonal difference, orthonormal) of every octave of the image's Haar transform. The head sees for three octaves the
logarithms of the details' root mean square and of three quantiles of their size: quantiles tell noise, which is
everywhere, from edges, which are rare. A network of two small layers turns these numbers into a correction of the
plainest estimate, the median of the finest diagonal details. For points, which have no details, it sees the norm and
the direction instead.
"""

import math

import torch
from torch import Tensor, nn
from torch.nn import functional

from smoothscore.data import ImageSet

__all__ = ["SigmaHead"]

OCTAVES = 3
QUANTILES = (0.1, 0.5, 0.9)
SAMPLED = 128
"""Most details of one kind whose quantiles are taken."""
FLOOR = 1e-4
SPAN = 5.0
"""Logarithms of levels are of this size."""
WIDTH = 32
NORMAL_MEDIAN = 0.6745
"""Median of the size of a standard normal."""


class SigmaHead(nn.Module):
    """Estimates the noise level of ``x = y + sigma n`` from x alone.

    Untrained, it is the median estimate, which is exact for flat images. Training loops add :meth:`loss` to theirs; the
    head has no input but the images, so it changes nothing else. :meth:`fit` trains it alone, in seconds.

    Cost: a sort of at most 256 values for each octave and orientation. About 2,500 parameters.

    Args:
        shape: shape of one image (C, H, W) with sides from 2, or of one point (d,).
    """

    def __init__(self, shape: torch.Size | tuple[int, ...]) -> None:
        super().__init__()
        self.shape = torch.Size(shape)
        self.octaves = min(OCTAVES, int(math.log2(min(shape[1:])))) if len(shape) == 3 else 0
        numbers = 1 + (3 * self.octaves * (1 + len(QUANTILES)) if self.octaves else self.shape.numel())
        self.layers = nn.Sequential(
            nn.Linear(numbers, WIDTH), nn.SiLU(), nn.Linear(WIDTH, WIDTH), nn.SiLU(), nn.Linear(WIDTH, 1)
        )
        last = self.layers[-1]
        assert isinstance(last, nn.Linear)
        nn.init.zeros_(last.weight)
        nn.init.zeros_(last.bias)

    def forward(self, x: Tensor) -> Tensor:
        """The logarithm of the estimated level of ``x`` (batch, *shape): (batch,), in the dtype of the parameters."""
        x = x.detach().to(next(self.parameters()).dtype)
        plain, numbers = self._image(x) if self.octaves else self._point(x)
        return plain + self.layers(numbers).squeeze(1)  # type: ignore[no-any-return]

    def loss(self, x: Tensor, sigma: Tensor) -> Tensor:
        """Mean squared error of the logarithm, for ``x`` (batch, *shape) of levels ``sigma`` (batch,): a number."""
        return functional.mse_loss(self(x), sigma.to(x.device).log().to(next(self.parameters()).dtype))

    def fit(
        self,
        images: Tensor | ImageSet,
        sigma_min: float = 0.002,
        sigma_max: float = 80.0,
        steps: int = 1000,
        batch_size: int = 128,
        seed: int = 0,
    ) -> "SigmaHead":
        """Train the head on log-uniform levels of noise; returns itself.

        Args:
            images: (N, *shape) in [-1, 1], or an ImageSet.
            sigma_min: lowest level.
            sigma_max: highest level.
            steps: of Adam, with a learning rate that falls to zero by a cosine from 0.003.
            batch_size: images a step.
            seed: of images, levels and noise.
        """
        parameter = next(self.parameters())
        draw = torch.Generator().manual_seed(seed)
        optimizer = torch.optim.Adam(self.parameters(), lr=3e-3)
        schedule = torch.optim.lr_scheduler.CosineAnnealingLR(optimizer, steps)
        for _ in range(steps):
            rows = torch.randint(len(images), (batch_size,), generator=draw)
            clean = images[rows.numpy()].tensor() if isinstance(images, ImageSet) else images[rows].cpu()
            level = torch.rand(batch_size, generator=draw)
            sigma = sigma_min * (sigma_max / sigma_min) ** level
            noise = torch.randn(clean.shape, generator=draw) * sigma.reshape(-1, *(1,) * len(self.shape))
            optimizer.zero_grad()
            self.loss((clean + noise).to(parameter), sigma.to(parameter)).backward()  # type: ignore[no-untyped-call]
            optimizer.step()
            schedule.step()
        return self

    def _image(self, x: Tensor) -> tuple[Tensor, Tensor]:
        """The median estimate (batch,), and that and all numbers relative to it (batch, numbers), as logarithms."""
        numbers = []
        median = x.new_zeros(len(x))
        for octave in range(self.octaves):
            x, details = _haar(x)
            every = -(-details.shape[-1] // SAMPLED)
            sizes = details[..., ::every].abs().sort(dim=-1).values
            chosen = [round(quantile * (sizes.shape[-1] - 1)) for quantile in QUANTILES]
            numbers += [details.square().mean(-1).sqrt(), *(sizes[..., index] for index in chosen)]
            if octave == 0:
                median = sizes[:, 2, chosen[1]]
        plain = (median / NORMAL_MEDIAN + FLOOR).log()
        relative = (torch.cat(numbers, 1) + FLOOR).log() - plain[:, None]
        return plain, torch.cat([plain[:, None] / SPAN, relative], 1)

    def _point(self, x: Tensor) -> tuple[Tensor, Tensor]:
        """The logarithm of the norm per dimension (batch,), and that with the direction (batch, 1 + d)."""
        flat = x.flatten(1)
        norm = flat.norm(dim=1, keepdim=True) + FLOOR
        plain = (norm / math.sqrt(flat.shape[1])).log()
        return plain.squeeze(1), torch.cat([plain / SPAN, flat / norm], 1)


def _haar(x: Tensor) -> tuple[Tensor, Tensor]:
    """One octave of the orthonormal Haar transform of (batch, C, H, W), an odd last row or column left out.

    Returns the coarse image (batch, C, H // 2, W // 2) and the details (batch, 3, C * (H // 2) * (W // 2)):
    horizontal, vertical, diagonal.
    """
    height, width = x.shape[-2] // 2 * 2, x.shape[-1] // 2 * 2
    upper, lower = x[..., 0:height:2, :width], x[..., 1:height:2, :width]
    sums, differences = (upper + lower) / 2, (upper - lower) / 2
    a, b, c, d = (half[..., side::2] for half in (sums, differences) for side in (0, 1))
    return a + b, torch.stack([a - b, c + d, c - d], 1).flatten(2)
