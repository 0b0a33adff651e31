"""The best window: how near one image comes to another over mirror images, shifts and crops.

A sample, or its mirror image, is looked for in a training image through templates: its center, at all shifts of up to
3 of 32 pixels, and the whole sample, made smaller, at all places of three sizes it may be a magnified crop of. With
t and w a template and a window brought to mean 0 and norm 1, brightness and contrast drop out, and

    a = |t - w| = sqrt(2 - 2 c),        c = t . w.

The smallest a counts. The correlations of a template with all windows of an image are one product in frequency,

    t . w(p) = sum over f of conj(T_f) Y_f exp(2 pi i f . p) / (H W),

of which the low frequencies tell where the best window of each template is. That one and those a pixel beside it are
compared in full.
"""

from dataclasses import dataclass
from itertools import product

import torch
from torch import Tensor
from torch.nn.functional import interpolate, normalize, pad

__all__ = ["CROPS", "LARGEST", "Template", "best_windows", "templates", "unit"]

LARGEST = 32  # pixels a side that images are reduced to
CROPS = (28, 26, 24)  # of them: what a magnified sample may have been cut to
FREQUENCIES = 6  # of them: the highest frequency of the first look, in periods a side
FLAT = 1e-3  # norm of a window, moved to mean 0, below which float32 tells nothing about it


@dataclass(frozen=True)
class Template:
    """A way to look for a sample inside a training image: a height, a width, and what fills them."""

    height: int
    width: int
    whole: bool  # the whole sample made smaller, or its center

    def of(self, images: Tensor) -> Tensor:
        """What is looked for (n, C, height, width)."""
        if self.whole:
            return interpolate(images, (self.height, self.width), mode="bilinear", antialias=True)
        top, left = (images.shape[2] - self.height) // 2, (images.shape[3] - self.width) // 2
        return images[:, :, top : top + self.height, left : left + self.width]


def templates(height: int, width: int) -> tuple[Template, ...]:
    """Those for images of this size, the center first."""
    down, right = (max(1, round(side * 3 / LARGEST)) for side in (height, width))
    crops = ((round(height * side / LARGEST), round(width * side / LARGEST)) for side in CROPS)
    return Template(height - 2 * down, width - 2 * right, False), *(Template(*size, True) for size in crops)


def best_windows(
    x: Tensor, pool: Tensor, index: Tensor, ways: tuple[Template, ...], count: int
) -> tuple[Tensor, Tensor]:
    """The ``count`` best candidates of each sample and their a.

    Args:
        x: (B, C, H, W) samples.
        pool: (m, C, H, W) training images.
        index: (B, k) candidates in ``pool``.
        ways: of looking.
        count: at most k.

    Returns:
        Which of the k, (B, count), in the order of the first look; and a in float64 (B, count), 0 for equal windows.

    Cost: about 2 ms of one core a sample with 10 candidates of 3 x 32 x 32. Memory: some 300 KB a sample.
    """
    sums = _sums(pool)
    looks = [_Look(way, x, pool, sums) for way in ways]
    spectra = _spectrum(pool)[index]
    seen = [look.best(spectra, index) for look in looks]
    which = torch.stack([found for found, _ in seen]).amax(0).topk(count).indices
    members, rows = index.gather(1, which).flatten(), torch.arange(len(x)).repeat_interleave(count)
    apart = [
        look.exact(rows, members, at.gather(1, which).flatten()) for look, (_, at) in zip(looks, seen, strict=True)
    ]
    return which, torch.stack(apart).amin(0).view(which.shape)


class _Look:
    """One template of samples and of their mirror images, in some training images.

    Places are numbers: (mirrored * down + top) * right + left.
    """

    def __init__(self, way: Template, x: Tensor, pool: Tensor, sums: Tensor) -> None:
        values = way.of(x)
        self._raw = torch.stack([values, values.flip(-1)], 1)
        self._unit = unit(self._raw.flatten(2)).view_as(self._raw)
        self._pool = pool
        self._size = (way.height, way.width)
        self._spread = _spread(sums, way, pool.shape[1])
        self._places = (self._spread.shape[1], self._spread.shape[2])

    def best(self, spectra: Tensor, index: Tensor) -> tuple[Tensor, Tensor]:
        """The largest correlation of each pair (B, k) by low frequencies, and its place."""
        height, width = self._pool.shape[2:]
        own = _spectrum(self._unit, (height, width)).conj()
        shared = torch.zeros(len(own), 2, *spectra.shape[1::2], dtype=own.dtype)
        for channel in range(spectra.shape[2]):
            shared.addcmul_(own[:, :, None, channel], spectra[:, None, :, channel])
        surface = torch.view_as_real(shared).flatten(3) @ _waves(height, width, self._places)
        surface /= self._spread.flatten(1)[index][:, None]
        found: tuple[Tensor, Tensor] = surface.transpose(1, 2).flatten(2).max(2)
        return found

    def exact(self, row: Tensor, member: Tensor, place: Tensor) -> Tensor:
        """a (n,) of pairs of a sample and a training image: the best place and those a pixel beside it."""
        down, right = self._places
        side, top, left = place // (down * right), place // right % down, place % right
        tall, wide = min(3, down), min(3, right)
        top, left = (top - 1).clamp(0, down - tall), (left - 1).clamp(0, right - wide)
        height, width = self._size
        patch = self._cut(member, top, left, height + tall - 1, width + wide - 1)
        mine, steps = self._unit[row, side], list(product(range(tall), range(wide)))
        found = [(patch[:, :, i : i + height, j : j + width] * mine).sum((1, 2, 3)) for i, j in steps]
        spread = torch.stack([self._spread[member, top + i, left + j] for i, j in steps])
        step = torch.tensor(steps)[(torch.stack(found) / spread).argmax(0)]
        window = self._cut(member, top + step[:, 0], left + step[:, 1], height, width)
        t, w = (unit(values.flatten(1).double()) for values in (self._raw[row, side], window))
        squares = 2 - t.square().sum(1) - w.square().sum(1) + (t - w).square().sum(1)  # flat ones are like nothing
        return squares.clamp(min=0).sqrt()

    def _cut(self, member: Tensor, top: Tensor, left: Tensor, height: int, width: int) -> Tensor:
        """Windows (n, C, height, width) of training images at their own corners."""
        channels, tall, wide = self._pool.shape[1:]
        rows = torch.arange(channels)[:, None] * tall + torch.arange(height)
        inside = (rows[..., None] * wide + torch.arange(width)).flatten()
        start = (member * channels * tall + top) * wide + left
        return self._pool.flatten()[start[:, None] + inside].view(-1, channels, height, width)


def unit(values: Tensor) -> Tensor:
    """The last axis moved to mean 0 and scaled to norm 1; a constant row becomes 0."""
    return normalize(values - values.mean(-1, keepdim=True), dim=-1, eps=1e-6)


def _spectrum(images: Tensor, size: tuple[int, int] | None = None) -> Tensor:
    """The low frequencies of images (..., C, h, w) filled up with 0 to ``size``: (..., C, f)."""
    height, width = size or images.shape[-2:]
    low, high = _limits(height, width)
    found = torch.fft.rfft2(images, s=(height, width))[..., : high + 1]
    return torch.cat([found[..., : low + 1, :], found[..., height - low :, :]], -2).flatten(-2)


def _limits(height: int, width: int) -> tuple[int, int]:
    """The highest frequencies down and to the right, below half the number of pixels."""
    return min(FREQUENCIES, (height - 1) // 2), min(FREQUENCIES, (width - 1) // 2)


def _waves(height: int, width: int, places: tuple[int, int]) -> Tensor:
    """(2 f, places): what turns real and imaginary parts of low frequencies into values."""
    low, high = _limits(height, width)
    down = torch.cat([torch.arange(low + 1), torch.arange(-low, 0)]).double()
    right = torch.arange(high + 1).double()
    turns = (
        down[:, None, None, None] * torch.arange(places[0])[:, None] / height
        + right[:, None, None] * torch.arange(places[1]) / width
    )
    weight = torch.where(right > 0, 2.0, 1.0)[:, None, None] / (height * width)
    angle = 2 * torch.pi * turns
    both = torch.stack([weight * angle.cos(), -weight * angle.sin()], 2)
    return both.reshape(-1, places[0] * places[1]).float()


def _sums(images: Tensor) -> Tensor:
    """Sums of values and of squares over all rectangles from the upper left corner (2, n, height + 1, width + 1)."""
    sums = torch.stack([images.sum(1), images.square().sum(1)]).double()
    return pad(sums.cumsum(2).cumsum(3), (1, 0, 1, 0))


def _spread(sums: Tensor, way: Template, channels: int) -> Tensor:
    """Norm of every window (n, down, right) of that size after its mean is taken away, at least 0.001."""
    tall = sums[:, :, way.height :] - sums[:, :, : -way.height]
    total, square = tall[..., way.width :] - tall[..., : -way.width]
    count = channels * way.height * way.width
    spread: Tensor = (square - total.square() / count).clamp(min=FLAT**2).sqrt().float()
    return spread
