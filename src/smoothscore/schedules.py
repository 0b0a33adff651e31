r"""Noise levels.

Each function returns a descending float64 tensor without a trailing zero; samplers append the step to zero.

.. math::
    \text{karras:}\quad & \sigma_i=\Big(\sigma_{max}^{1/\rho}
        +\tfrac{i}{n-1}\big(\sigma_{min}^{1/\rho}-\sigma_{max}^{1/\rho}\big)\Big)^\rho \\
    \text{log-uniform:}\quad & \sigma_i=\sigma_{max}(\sigma_{min}/\sigma_{max})^{i/(n-1)} \\
    \text{shell-touch:}\quad & \sigma_{i+1}/\sigma_i=\frac{\sqrt d+3/\sqrt2}{\sqrt d-3/\sqrt2}
        \approx 1+\frac{3\sqrt2}{\sqrt d} \\
    \text{vp:}\quad & \alpha_t^2=\prod_{s\le t}(1-\beta_s),\qquad \sigma_t^2=1-\alpha_t^2

Variance preserving levels are pairs, :math:`\tilde x=\alpha y+\sigma n`; the library works with
:math:`x=\tilde x/\alpha`, whose noise level is :math:`\sigma/\alpha`.
"""

import math
from typing import Literal, NamedTuple

import torch
from torch import Tensor

from smoothscore.errors import InputError

__all__ = ["VPLevels", "karras", "log_uniform", "shell_touch", "vp"]


def karras(steps: int, sigma_min: float = 0.002, sigma_max: float = 80.0, rho: float = 7.0) -> Tensor:
    """The levels of the EDM sampler: equally spaced in ``sigma ** (1 / rho)``.

    Args:
        steps: number of levels, at least 1; one level is ``sigma_max``.
        sigma_min: smallest level, positive.
        sigma_max: largest level, at least ``sigma_min``.
        rho: positive; larger values put more levels at low noise, 1 spaces them equally.

    Returns:
        (steps,) float64, descending.

    Raises:
        InputError: a value is out of its range.

    Source: Gaussian score approximation, eq. 40.
    """
    _check_count("steps", steps)
    _check_range(sigma_min, sigma_max)
    if not (rho > 0 and math.isfinite(rho)):
        raise InputError(f"rho is {rho}; give a positive number, 7 in EDM.")
    if steps == 1:
        return torch.tensor([sigma_max], dtype=torch.float64)
    ramp = torch.linspace(0, 1, steps, dtype=torch.float64)
    top, bottom = sigma_max ** (1 / rho), sigma_min ** (1 / rho)
    return _pinned((top + ramp * (bottom - top)) ** rho, sigma_min, sigma_max)


def log_uniform(n: int, sigma_min: float = 0.002, sigma_max: float = 80.0) -> Tensor:
    """Geometric levels from ``sigma_max`` down to ``sigma_min``, both included: (n,) float64, descending.

    The variance-exploding SDE of the literature takes 1,000 of them in [0.01, 50] for images in [0, 1],
    which is [0.02, 100] for images in [-1, 1].

    Raises:
        InputError: ``n`` is below 1 or the range is not ``0 < sigma_min <= sigma_max``.
    """
    _check_count("n", n)
    _check_range(sigma_min, sigma_max)
    if n == 1:
        return torch.tensor([sigma_max], dtype=torch.float64)
    levels = torch.linspace(math.log(sigma_max), math.log(sigma_min), n, dtype=torch.float64).exp()
    return _pinned(levels, sigma_min, sigma_max)


def shell_touch(
    sigma_min: float,
    sigma_max: float,
    dim: int,
    kind: Literal["linear", "exact", "squared"] = "linear",
) -> Tensor:
    """Levels whose Gaussian shells of three standard deviations just touch, counted up from ``sigma_min``.

    The noise ``sigma * n`` of dimension d has a norm within ``sigma * (sqrt(d) -+ 3 / sqrt(2))`` with
    probability 0.9973; the next level begins where this one ends. Levels stop at the last one that does not
    exceed ``sigma_max``.

    Args:
        sigma_min: smallest level, positive; always among the levels.
        sigma_max: upper end of the range.
        dim: dimension d of one image; at least 5, below which shells of this width reach the center.
        kind: ``"linear"`` takes the ratio ``1 + 3 sqrt(2 / d)``, as the paper does (116 levels for
            [0.01, 50] and d = 3072); ``"exact"`` the ratio itself (112 levels); ``"squared"`` the root of
            the linearized ratio of variances (120 levels).

    Returns:
        (n,) float64, descending.

    Raises:
        InputError: a value is out of its range, or ``kind`` is not one of the three.

    Source: Smoothing the score function, appendix B.2.1, eq. 16.
    """
    _check_range(sigma_min, sigma_max)
    if dim < 5:
        raise InputError(f"dim is {dim}; shells of three standard deviations need a dimension of at least 5.")
    thickness = 3 * math.sqrt(2 / dim)
    ratios = {
        "linear": 1 + thickness,
        "exact": (1 + thickness / 2) / (1 - thickness / 2),
        "squared": math.sqrt(1 + 2 * thickness),
    }
    if kind not in ratios:
        raise InputError(f"kind is {kind!r}; take one of {', '.join(map(repr, ratios))}.")
    step = math.log(ratios[kind])
    last = math.floor(math.log(sigma_max / sigma_min) / step * (1 + 1e-12))
    return sigma_min * torch.arange(last, -1, -1, dtype=torch.float64).mul(step).exp()


class VPLevels(NamedTuple):
    """Variance preserving levels ``x = alpha * y + sigma * n``, largest ``sigma`` first."""

    alpha: Tensor
    """(timesteps,) float64, ascending: the factor of the clean image."""
    sigma: Tensor
    """(timesteps,) float64, descending: the standard deviation of the noise; ``alpha**2 + sigma**2 = 1``."""

    @property
    def variance_exploding(self) -> Tensor:
        """The equivalent levels ``sigma / alpha`` of ``x / alpha``: (timesteps,) float64, descending."""
        return self.sigma / self.alpha


def vp(
    timesteps: int = 1000,
    beta_start: float = 1e-4,
    beta_end: float = 0.02,
    kind: Literal["linear", "scaled-linear", "cosine"] = "linear",
    betas: Tensor | None = None,
) -> VPLevels:
    """The (alpha, sigma) pairs of a DDPM, last timestep (largest noise) first.

    Args:
        timesteps: number of training timesteps.
        beta_start: variance added by the first step, in (0, 1).
        beta_end: variance added by the last step, in (0, 1).
        kind: ``"linear"`` in beta (DDPM); ``"scaled-linear"`` in the root of beta (latent diffusion);
            ``"cosine"`` (improved DDPM), which does not read ``beta_start`` and ``beta_end``.
        betas: (timesteps,) the variances themselves, first timestep first; overrides everything else.

    Returns:
        Two (timesteps,) float64 tensors ``alpha``, ``sigma``; ``.variance_exploding`` is their ratio.

    Raises:
        InputError: a beta outside (0, 1), no timestep, or an unknown ``kind``.
    """
    if betas is None:
        betas = _betas(timesteps, beta_start, beta_end, kind)
    betas = betas.to(torch.float64).cpu()
    if betas.ndim != 1 or len(betas) == 0 or not ((betas > 0) & (betas < 1)).all():
        raise InputError("betas must be a list of numbers between 0 and 1, one for each timestep.")
    log_alpha_squared = torch.log1p(-betas).cumsum(0).flip(0)
    return VPLevels(alpha=(log_alpha_squared / 2).exp(), sigma=(-torch.expm1(log_alpha_squared)).sqrt())


def _betas(timesteps: int, beta_start: float, beta_end: float, kind: str) -> Tensor:
    _check_count("timesteps", timesteps)
    if kind == "linear":
        return torch.linspace(beta_start, beta_end, timesteps, dtype=torch.float64)
    if kind == "scaled-linear":
        if min(beta_start, beta_end) <= 0:
            raise InputError("beta_start and beta_end must lie between 0 and 1.")
        return torch.linspace(beta_start**0.5, beta_end**0.5, timesteps, dtype=torch.float64) ** 2
    if kind == "cosine":
        time = torch.linspace(0, 1, timesteps + 1, dtype=torch.float64)
        alpha_squared = torch.cos((time + 0.008) / 1.008 * math.pi / 2) ** 2
        return (1 - alpha_squared[1:] / alpha_squared[:-1]).clamp(max=0.999)
    raise InputError(f"kind is {kind!r}; take one of 'linear', 'scaled-linear', 'cosine'.")


def _pinned(levels: Tensor, sigma_min: float, sigma_max: float) -> Tensor:
    """The same levels with the two ends free of rounding."""
    levels[0], levels[-1] = sigma_max, sigma_min
    return levels


def _check_count(name: str, count: int) -> None:
    if count < 1:
        raise InputError(f"{name} is {count}; give at least 1.")


def _check_range(sigma_min: float, sigma_max: float) -> None:
    if not 0 < sigma_min <= sigma_max < math.inf:
        raise InputError(
            f"Noise levels cannot run from {sigma_min} to {sigma_max}; give 0 < sigma_min <= sigma_max < inf."
        )
