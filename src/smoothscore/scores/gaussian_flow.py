r"""The probability-flow ODE of a Gaussian, one principal axis at a time.

With :math:`x=\alpha y+\sigma n` and a principal axis u of variance :math:`\lambda`, the coefficient
:math:`c=u^\top(x_T-\alpha_T\mu)` of the start determines the whole path:

.. math::
    u^\top(x_t-\alpha_t\mu)&=\psi\,c, &\psi&=\sqrt{\frac{\sigma_t^2+\lambda\alpha_t^2}
        {\sigma_T^2+\lambda\alpha_T^2}} \\
    u^\top(D(x_t)-\mu)&=\xi\,c, &\xi&=\frac{\alpha_t\lambda}
        {\sqrt{(\sigma_t^2+\lambda\alpha_t^2)(\sigma_T^2+\lambda\alpha_T^2)}}

Off the manifold :math:`\lambda=0` and the factor is :math:`\sigma_t/\sigma_T`. Variance exploding paths have
:math:`\alpha=1` throughout, variance preserving ones :math:`\alpha^2+\sigma^2=1`; both are covered.

Every function broadcasts its arguments and returns their common shape. Source: Gaussian score approximation,
eq. 15-23 and appendix D.4.
"""

import torch
from torch import Tensor

__all__ = ["amplification", "denoiser_gain", "rotation_remainder", "state_gain"]


def state_gain(
    variance: Tensor,
    sigma_from: Tensor | float,
    sigma_to: Tensor | float,
    alpha_from: Tensor | float = 1.0,
    alpha_to: Tensor | float = 1.0,
) -> Tensor:
    r""":math:`\psi`: the factor by which the coefficient of an axis changes along the path."""
    return torch.sqrt((sigma_to**2 + variance * alpha_to**2) / (sigma_from**2 + variance * alpha_from**2))


def denoiser_gain(
    variance: Tensor,
    sigma_from: Tensor | float,
    sigma_to: Tensor | float,
    alpha_from: Tensor | float = 1.0,
    alpha_to: Tensor | float = 1.0,
) -> Tensor:
    r""":math:`\xi`: the coefficient of the denoised image at ``sigma_to > 0`` per unit at the start.

    From pure noise, ``denoiser_gain / sqrt(variance)`` rises from 0 to 1 around
    ``sigma_to == alpha_to * sqrt(variance)``, where the feature of this axis is decided.
    """
    gain = state_gain(variance, sigma_from, sigma_to, alpha_from, alpha_to)
    return gain * alpha_to * variance / (sigma_to**2 + variance * alpha_to**2)


def amplification(variance: Tensor, sigma: Tensor | float, alpha: Tensor | float = 1.0) -> Tensor:
    """How much a unit kick along an axis at level ``sigma`` changes the final image, as a factor.

    Zero off the manifold: such kicks are denoised away. Eq. 23.
    """
    return torch.sqrt(variance / (sigma**2 + variance * alpha**2))


def rotation_remainder(
    variance: Tensor,
    sigma_from: Tensor | float,
    sigma_to: Tensor | float,
    alpha_from: Tensor | float = 0.0,
    alpha_to: Tensor | float = 1.0,
) -> Tensor:
    r"""What the path adds to the straight combination of its two ends, per unit of the coefficient c.

    :math:`x_t=a\,x_0+b\,x_T+\sum_k J(\lambda_k)\,c_k u_k` with :math:`b=\sigma_t/\sigma_T` and
    :math:`a=\alpha_t-\alpha_T b`; for ``alpha_from = 0`` and ``sigma_from = 1`` this is the rotation
    :math:`\alpha_t x_0+\sigma_t x_T` and :math:`-1<J\le0`. Written without cancellation.
    """
    end = torch.sqrt(sigma_from**2 + variance * alpha_from**2)
    root = torch.sqrt(variance)
    toward_noise = sigma_to / sigma_from
    toward_image = alpha_to - alpha_from * toward_noise
    path = torch.sqrt(sigma_to**2 + variance * alpha_to**2)
    total = (end + root * alpha_from) * (path + toward_noise * end + toward_image * root) * end
    return -2 * toward_image * toward_noise * root * sigma_from**2 / total
