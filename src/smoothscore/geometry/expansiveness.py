r"""How far one sampling step drives two nearby points apart, where the shells of two training images overlap.

For training images :math:`\mu_0,\mu_1` at distance :math:`\Delta`, direction :math:`u=(\mu_0-\mu_1)/\Delta`, midpoint
m, a level :math:`\sigma` and a gap :math:`\epsilon=\|x-y\|`, the two points are

.. math::
    x=m-\tfrac\epsilon2u+Re,\qquad y=m+\tfrac\epsilon2u+Re,\qquad R^2=\sigma^2d-\big(\tfrac{\Delta-\epsilon}2\big)^2,

with e a random unit vector orthogonal to u. Then x lies on the shell :math:`\sigma\sqrt d` of :math:`\mu_1` and y on
that of :math:`\mu_0`, and each is :math:`C` times as far from the other image, :math:`C^2=1+\epsilon\Delta/\sigma^2d`.
One step is :math:`x'=x+\eta\sigma^2s(x)`, and the expansiveness is :math:`\gamma=\|y'-x'\|/\|y-x\|`.

With these two images as the only centers it has a closed form. Conditional on :math:`\sigma`, at temperature T,

.. math:: \gamma=1-\eta+\eta\,\frac\Delta\epsilon\tanh\frac{\epsilon\Delta}{4T\sigma^2};

unconditional, with continuous optimal shells, where :math:`\ln a=\frac{d-2}T\ln C`,

.. math::
    \gamma=\Big|1-\eta(k_n+k_f)+\eta(k_n-k_f)\tfrac\Delta\epsilon\Big|,\qquad
    k_n=\tfrac a{1+a}\tfrac{d-2}d,\quad k_f=\tfrac1{1+a}\tfrac{d-2}{C^2d}.

Source: Smoothing the score function, section 3.2 (eq. 7 drops the term 1 - eta) and appendix A.5.
"""

from dataclasses import dataclass

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from smoothscore.errors import InputError
from smoothscore.scores import Score

__all__ = [
    "ExpansionPairs",
    "conditional_expansion",
    "expansion_pairs",
    "expansion_ratio",
    "local_expansion",
    "unconditional_expansion",
]

Array = NDArray[np.float64]


@dataclass(frozen=True, eq=False)
class ExpansionPairs:
    """Pairs of nearby points between two training images.

    Attributes:
        x: (m, *shape) points on the shell of the second image.
        y: (m, *shape) points on the shell of the first image.
        index: (m,) int64, the pairs of images whose shells overlap at this level; the others have no such points.
    """

    x: Tensor
    y: Tensor
    index: Tensor


def expansion_pairs(first: Tensor, second: Tensor, sigma: float, gap: float = 0.2, seed: int = 0) -> ExpansionPairs:
    """The two points of each pair of training images at level ``sigma``.

    Args:
        first: (n, *shape) training images in [-1, 1]; float64 keeps the gap exact at small levels.
        second: (n, *shape) the other image of each pair, distinct from the first.
        sigma: noise level in the units of the images.
        gap: distance of x and y in units of ``sigma``.
        seed: of the orthogonal directions.

    Raises:
        InputError: shapes differ, a pair is one image twice, or ``sigma`` or ``gap`` is not positive.
    """
    if first.shape != second.shape:
        raise InputError(
            f"The images of the pairs have shapes {tuple(first.shape)} and {tuple(second.shape)}; pair them."
        )
    if not (sigma > 0 and gap > 0):
        raise InputError(f"sigma is {sigma} and gap is {gap}; both must be positive.")
    a, b = first.flatten(1), second.flatten(1)
    distance = (a - b).norm(dim=1, keepdim=True)
    if not (distance > 0).all():
        raise InputError("A pair is the same image twice; leave duplicates out.")
    dim, epsilon = a.shape[1], gap * sigma
    square = sigma**2 * dim - (distance[:, 0] - epsilon) ** 2 / 4
    index = (square >= 0).nonzero()[:, 0]
    a, b, distance = a[index], b[index], distance[index]
    along = (a - b) / distance
    noise = torch.from_numpy(np.random.default_rng(seed).standard_normal((len(first), dim))).to(a)[index]
    across = noise - (noise * along).sum(1, keepdim=True) * along
    across /= across.norm(dim=1, keepdim=True)
    middle = (a + b) / 2 + square[index, None].sqrt() * across
    shape = (len(index), *first.shape[1:])
    return ExpansionPairs(
        (middle - epsilon / 2 * along).reshape(shape), (middle + epsilon / 2 * along).reshape(shape), index
    )


def expansion_ratio(score: Score, x: Tensor, y: Tensor, sigma: float, step: float = 0.1) -> Tensor:
    """By what factor one step of size ``step * sigma**2`` along the score changes the distance of x and y: (n,).

    Args:
        score: any score; one that is not noise conditional is called without ``sigma``.
        x: (n, *shape).
        y: (n, *shape), each different from its x.
        sigma: noise level, in the units of the images.
        step: the step as a fraction of ``sigma**2``; 1 goes all the way to the denoised image.

    Cost: two evaluations of the score.
    """
    level = sigma if score.noise_conditional else None
    apart = y - x
    moved = apart + step * sigma**2 * (score.score(y, level) - score.score(x, level))
    before, after = (points.flatten(1).square().sum(1).sqrt() for points in (apart, moved))
    return after / before


def local_expansion(score: Score, x: Tensor, y: Tensor, sigma: float, step: float = 0.1) -> Tensor:
    """The limit of :func:`expansion_ratio` for points ever closer to the middle of x and y, along their line: (n,).

    Arguments as there. With u the unit vector along ``y - x`` and J the score's Jacobian it is
    ``|u + step sigma^2 J u|``, by one Jacobian-vector product: exact, where a difference of two float32 answers is not.
    Between two centers at distance D it is ``1 - step + step D^2 / (4 sigma^2)``.
    """
    along = y - x
    along = along / along.flatten(1).norm(dim=1).reshape(-1, *(1,) * (x.ndim - 1))
    jacobian = score.jacobian((x + y) / 2, sigma if score.noise_conditional else None)
    moved = along + step * sigma**2 * jacobian.matvec(along)
    factor: Tensor = moved.flatten(1).norm(dim=1)
    return factor


def conditional_expansion(
    distance: float | Array, sigma: float, temperature: float = 1.0, gap: float = 0.2, step: float = 0.1
) -> Array:
    """The expansiveness between two centers at ``distance`` of the score at level ``sigma``; shape of ``distance``."""
    ratio = np.asarray(distance) / (gap * sigma)
    sharpness = gap**2 * ratio / (4 * temperature)
    return np.asarray(1 - step + step * ratio * np.tanh(sharpness))


def unconditional_expansion(
    distance: float | Array, sigma: float, dim: int, temperature: float = 1.0, gap: float = 0.2, step: float = 0.1
) -> Array:
    """The same of the noise-unconditional score with continuous optimal shells."""
    from scipy.special import expit

    ratio = np.asarray(distance) / (gap * sigma)
    far = 1 + gap**2 * ratio / dim  # C^2
    weight = expit((dim - 2) / (2 * temperature) * np.log(far))
    near_pull = weight * (dim - 2) / dim
    far_pull = (1 - weight) * (dim - 2) / (dim * far)
    return np.asarray(np.abs(1 - step * (near_pull + far_pull) + step * (near_pull - far_pull) * ratio))
