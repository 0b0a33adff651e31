r"""The law of the noise levels that a network is trained at, with intervals left out.

A level is a quantile: with :math:`F` the distribution function on :math:`[\sigma_{min},\sigma_{max}]` and
:math:`u` uniform in (0, 1),

.. math:: \sigma=F^{-1}(u)\quad\text{or, with gaps,}\quad \sigma=F^{-1}(u'),

where :math:`u'` is :math:`u` stretched over what the gaps leave of (0, 1): the law that rejecting every level inside a
gap has, without the rejection, so that a level is a function of one number.

Source: Two calm ends and the wild middle, section 5 (gaps); EDM, Karras et al. 2022 (the lognormal law).
"""

import math
from collections.abc import Sequence
from typing import Literal

import torch
from torch import Tensor

from smoothscore import schedules
from smoothscore.config import noise_gap
from smoothscore.errors import InputError

__all__ = ["NoiseLaw", "timestep_gap"]


class NoiseLaw:
    """Noise levels in [``sigma_min``, ``sigma_max``] outside ``gaps``.

    Args:
        kind: ``"lognormal"``; ``"log-uniform"``; or ``"shell-touch"``, the levels of
            :func:`smoothscore.schedules.shell_touch`, each with the same probability.
        mean, std: of log sigma, for ``"lognormal"``.
        sigma_min, sigma_max: the range, 0 < ``sigma_min`` < ``sigma_max``.
        gaps: intervals (low, high) of sigma that are never drawn; they may overlap.
        dim: number of values in one image, for ``"shell-touch"``.

    Raises:
        InputError: an unknown kind, an impossible range, or gaps that are none or leave (almost) no level.
    """

    def __init__(
        self,
        kind: Literal["lognormal", "log-uniform", "shell-touch"] = "lognormal",
        mean: float = -1.2,
        std: float = 1.2,
        sigma_min: float = 0.002,
        sigma_max: float = 80.0,
        gaps: Sequence[tuple[float, float]] = (),
        dim: int | None = None,
    ) -> None:
        if kind not in ("lognormal", "log-uniform", "shell-touch"):
            raise InputError(f"noise is {kind!r}; take lognormal, log-uniform or shell-touch.")
        if not (0 < sigma_min < sigma_max < math.inf and 0 < std < math.inf and math.isfinite(mean)):
            raise InputError(
                f"Noise levels from {sigma_min:g} to {sigma_max:g} with mean {mean:g} and std {std:g} are no law; "
                "give 0 < sigma_min < sigma_max and std > 0."
            )
        self.kind: Literal["lognormal", "log-uniform", "shell-touch"] = kind
        self.mean, self.std, self.dim = mean, std, dim
        self.sigma_min, self.sigma_max = sigma_min, sigma_max
        self.gaps = tuple(noise_gap(gap) for gap in gaps)
        if kind == "shell-touch":
            if dim is None:
                raise InputError("The law shell-touch depends on the number of values in one image; give dim.")
            levels = schedules.shell_touch(sigma_min, sigma_max, dim).flip(0)
            inside = torch.zeros_like(levels, dtype=torch.bool)
            for low, high in self.gaps:
                inside |= (levels >= low) & (levels <= high)
            self.levels = levels[~inside]
            self.share = len(self.levels) / len(levels)
        else:
            self.kept = self._pieces()
            self.share = float((self.kept[:, 1] - self.kept[:, 0]).sum())
        if self.share < 1e-3:
            raise InputError(
                f"The gaps {[list(gap) for gap in gaps]} leave {self.share:.2g} of the noise levels; leave more."
            )

    def without(self, gaps: Sequence[tuple[float, float]]) -> "NoiseLaw":
        """The same law with more intervals left out."""
        gaps = (*self.gaps, *gaps)
        return NoiseLaw(self.kind, self.mean, self.std, self.sigma_min, self.sigma_max, gaps, self.dim)

    def sigma(self, u: Tensor) -> Tensor:
        """The levels at ``u`` in [0, 1), of any shape; float64."""
        u = u.double()
        if self.kind == "shell-touch":
            return self.levels.to(u.device)[(u * len(self.levels)).long()]
        kept = self.kept.to(u.device)
        ends = (kept[:, 1] - kept[:, 0]).cumsum(0)
        position = u * ends[-1]
        piece = torch.bucketize(position, ends[:-1], right=True)
        return self._quantile(kept[piece, 1] - (ends[piece] - position))

    def _pieces(self) -> Tensor:
        """What the gaps leave of (0, 1) in the distribution function: (n, 2), ascending."""
        edges = [(float(self._share(low)), float(self._share(high))) for low, high in sorted(self.gaps)]
        kept, start = [], 0.0
        for low, high in edges:
            if low > start:
                kept.append((start, low))
            start = max(start, high)
        if start < 1:
            kept.append((start, 1.0))
        return torch.tensor(kept, dtype=torch.float64).reshape(-1, 2)

    def _share(self, sigma: float) -> Tensor:
        """The distribution function."""
        level = torch.tensor(min(max(sigma, self.sigma_min), self.sigma_max), dtype=torch.float64)
        first, last = self._ends()
        return (self._position(level) - first) / (last - first)

    def _quantile(self, share: Tensor) -> Tensor:
        first, last = self._ends()
        position = first + share * (last - first)
        normal = self.kind == "lognormal"
        log_sigma: Tensor = self.mean + self.std * torch.special.ndtri(position) if normal else position
        return log_sigma.exp().clamp(self.sigma_min, self.sigma_max)

    def _ends(self) -> tuple[Tensor, Tensor]:
        ends = torch.tensor([self.sigma_min, self.sigma_max], dtype=torch.float64)
        first, last = self._position(ends)
        return first, last

    def _position(self, sigma: Tensor) -> Tensor:
        log_sigma = sigma.log()
        share: Tensor = torch.special.ndtr((log_sigma - self.mean) / self.std)
        return share if self.kind == "lognormal" else log_sigma


def timestep_gap(first: int, last: int, levels: schedules.VPLevels | None = None) -> tuple[float, float]:
    """The interval of sigma that the timesteps ``first`` to ``last`` of a DDPM are, to be left out.

    Args:
        first, last: timesteps, counted from 0, ``first`` < ``last``.
        levels: of the DDPM; the 1,000 linear ones when absent.

    Raises:
        InputError: timesteps out of range.
    """
    sigmas = (levels or schedules.vp()).variance_exploding.flip(0)
    if not 0 <= first < last < len(sigmas):
        raise InputError(f"There are no timesteps {first} to {last}; give 0 <= first < last < {len(sigmas)}.")
    low, high = sigmas[[first, last]].tolist()
    return low * (1 - 1e-9), high * (1 + 1e-9)
