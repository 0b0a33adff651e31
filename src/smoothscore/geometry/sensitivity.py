r"""Sensitivity: how far in the image a denoised pixel depends on a noisy one.

The denoiser of a Gaussian has the Jacobian :math:`J=\Sigma(\Sigma+\sigma^2I)^{-1}`. For a signal of length n whose
covariance is circulant with eigenvalues :math:`\lambda_k`, and :math:`g_k=\lambda_k/(\lambda_k+\sigma^2)`,

.. math::
    J_m=\frac1n\sum_kg_ke^{2\pi ikm/n},\qquad
    |J_m|\le\frac{\sum_k|g_{k+1}-g_k|}{2n\sin(\pi m/n)}\le\frac{\sum_k|g_{k+1}-g_k|}{4m}

at wrap-around distance m ("Two calm ends and the wild middle", Thm. D.4): at large noise the gain g is smooth in k, so
a pixel depends on its neighbors only. Images are not circulant; the bound is taken of the circulant covariance that
has the mean spectrum of their rows, and the decay measured in their own covariance stands beside it.
"""

from dataclasses import dataclass

import numpy as np
import torch
from torch import Tensor

from smoothscore.data import ImageSet
from smoothscore.errors import InputError
from smoothscore.geometry.curve import Array, Levels, as_levels
from smoothscore.geometry.far_field import images_at
from smoothscore.geometry.pairs import choose, shape_of
from smoothscore.scores import GaussianScore

__all__ = ["Sensitivity", "circulant_bound", "circulant_sensitivity", "sensitivity"]

PIXELS = 64  # output pixels whose rows of the Jacobian are averaged


@dataclass(frozen=True, eq=False)
class Sensitivity:
    """How the dependence of denoised pixels decays along a row of the image.

    Attributes:
        sigmas: (L,) noise levels.
        distances: (m,) pixels from 1 to half the width.
        measured: (L, m) mean modulus of the Gaussian denoiser's Jacobian between pixels of a row and channel.
        circulant: (L, m) the same of the circulant covariance with the rows' mean spectrum.
        bound: (L, m) its bound.
    """

    sigmas: Array
    distances: Array
    measured: Array
    circulant: Array
    bound: Array


def circulant_sensitivity(spectrum: Array, sigma: float) -> Array:
    """:math:`|J_m|` at m = 1 .. n // 2 for a circulant covariance with eigenvalues ``spectrum`` (n,), in FFT order."""
    gain = spectrum / (spectrum + sigma**2)
    return np.asarray(np.abs(np.fft.ifft(gain))[1 : len(spectrum) // 2 + 1])


def circulant_bound(spectrum: Array, sigma: float) -> Array:
    """The bound on :math:`|J_m|` at m = 1 .. n // 2 ("Two calm ends and the wild middle", Thm. D.4)."""
    gain = spectrum / (spectrum + sigma**2)
    variation = np.abs(np.diff(gain, append=gain[:1])).sum()
    n = len(spectrum)
    return np.asarray(variation / (2 * n * np.sin(np.pi * np.arange(1, n // 2 + 1) / n)))


def sensitivity(
    train: Tensor | ImageSet, sigmas: Levels, seed: int = 0, gaussian: GaussianScore | None = None
) -> Sensitivity:
    """The decay of the Gaussian denoiser's Jacobian along the rows of the training images.

    Args:
        train: (N, C, H, W) in [-1, 1] or an ImageSet, W at least 2.
        sigmas: noise levels.
        seed: of the pixels and of the images whose rows are averaged.
        gaussian: the Gaussian of the training set, if at hand.

    Raises:
        InputError: the images are not (C, H, W), or one pixel wide.

    Cost: one Gaussian fit, and ``64 d rank`` operations a level.
    """
    levels = as_levels(sigmas)
    shape = tuple(shape_of(train))
    if len(shape) != 3 or shape[2] < 2:
        raise InputError(f"the decay along rows needs images (C, H, W) at least 2 pixels wide, not {shape}.")
    gaussian = gaussian or GaussianScore.fit(train)
    width = shape[2]
    images = images_at(train, torch.from_numpy(choose(len(train), 1000, seed))).double()
    rows = (images - gaussian.mean.reshape(shape)).reshape(-1, width).numpy()
    spectrum = (np.abs(np.fft.fft(rows, axis=1)) ** 2).mean(0) / width
    places = torch.from_numpy(choose(int(np.prod(shape)), PIXELS, seed))
    own = gaussian.directions[places]
    measured = np.empty((len(levels), width // 2))
    for level, sigma in enumerate(levels.tolist()):
        gain = gaussian.variances / (gaussian.variances + sigma**2)
        jacobian = ((own * gain) @ gaussian.directions.T).abs().numpy().reshape(-1, width)
        measured[level] = _by_distance(jacobian, places.numpy(), width)
    return Sensitivity(
        levels,
        np.arange(1, width // 2 + 1, dtype=np.float64),
        measured,
        np.array([circulant_sensitivity(spectrum, sigma) for sigma in levels]),
        np.array([circulant_bound(spectrum, sigma) for sigma in levels]),
    )


def _by_distance(jacobian: Array, places: Array, width: int) -> Array:
    """Means over pixels of one row at each distance, from rows (pixels * C * H, width) of the Jacobian."""
    per_pixel = jacobian.reshape(len(places), -1, width)
    line, column = np.divmod(places, width)
    same = per_pixel[np.arange(len(places)), line]
    apart = np.abs(np.arange(width)[None] - column[:, None])
    return np.array([same[apart == m].mean() if (apart == m).any() else np.nan for m in range(1, width // 2 + 1)])
