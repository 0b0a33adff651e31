r"""Mixtures over noise levels as functions of one squared distance.

A center seen through levels :math:`\sigma_1<\dots<\sigma_N` of weight :math:`\lambda_i` has the density
:math:`e^{F(r^2)}` (up to a constant) with

.. math::
    F=\operatorname{lse}_i f_i,\qquad f_i=\log\lambda_i-d\log\sigma_i-\frac{r^2}{2\sigma_i^2},\qquad
    \kappa=-2F'=\mathrm E[\sigma^{-2}\mid r],\qquad \eta=-2\kappa'=\operatorname{Var}[\sigma^{-2}\mid r],

so N levels cost what one costs once F is a table (``levels.Levels``). The optimal-shell approximations keep one
level for each center: the best of the N (:class:`NearestLevel`, :math:`F=\max_if_i`), or of all between the first
and the last (:class:`ContinuousShell`, :math:`\sigma^2=r^2/(d-2)`, so that :math:`F=-\tfrac{d-2}2\log r^2`).

Source: Smoothing the score function, section 3.1, eq. 3-5 and Proposition 2.
"""

import math
from abc import ABC, abstractmethod

import torch
from torch import Tensor, nn

from smoothscore.mixture import Kernel
from smoothscore.mixture.kernels import Loop

__all__ = ["ContinuousShell", "NearestLevel", "Profile", "ShellKernel"]


class Profile(nn.Module, ABC):
    """F and its derivatives as functions of squared distances of any shape, which the results share.

    Tables move with ``.to`` but keep their precision.
    """

    def _apply(self, fn, recurse=True):  # type: ignore[no-untyped-def]
        tables = [(part, *item) for part in self.modules() for item in part.named_buffers(recurse=False)]
        super()._apply(fn, recurse)  # type: ignore[no-untyped-call]
        for part, name, table in tables:
            setattr(part, name, table.to(getattr(part, name).device))
        return self

    @abstractmethod
    def log_mass(self, r2: Tensor) -> Tensor:
        """F, decreasing."""

    @abstractmethod
    def precision(self, r2: Tensor) -> Tensor:
        """The precision of the levels seen from this distance."""

    @abstractmethod
    def softening(self, r2: Tensor) -> Tensor | None:
        """Minus twice the derivative of the precision, not negative; None where it is zero throughout."""

    @abstractmethod
    def inverse(self, log_mass: Tensor) -> Tensor:
        """A squared distance at which F is ``log_mass`` or less, close to the smallest."""

    def relative(self, base: Tensor, offset: Tensor, cold: Tensor) -> tuple[Tensor, Tensor]:
        """``F(base + offset) - F(base)`` times ``cold`` and the precision, in the dtype of ``offset`` (B, n).

        ``base`` and ``cold`` are (B, 1) float64.
        """
        r2 = base + offset.double()
        ratio = (self.log_mass(r2) - self.log_mass(base)) * cold
        return ratio.to(offset.dtype), self.precision(r2).to(offset.dtype)

    def loop(self, base: Tensor, cold: Tensor, s: Tensor) -> Loop | None:
        """The loop of :meth:`smoothscore.mixture.Kernel.loop`; None unless overridden."""
        return None


class ShellKernel(Kernel):
    """The weights of a profile at one temperature a query.

    Args:
        profile: F.
        temperature: (B,) positive.
        frozen: the Jacobian holds each center's level fixed (Smoothing the score function, eq. 18).
    """

    def __init__(self, profile: Profile, temperature: Tensor, frozen: bool = False) -> None:
        self.profile, self.temperature, self.frozen = profile, temperature.double(), frozen

    def select(self, queries: Tensor | slice) -> "ShellKernel":
        """The temperatures of some of the queries."""
        return ShellKernel(self.profile, self.temperature[queries], self.frozen)

    def inverse_temperature(self, like: Tensor) -> Tensor:
        """1/T: (B, 1)."""
        return (1 / self.temperature)[:, None].to(like.dtype)

    def log_weight(self, r2: Tensor) -> Tensor:
        """F over T."""
        return self.profile.log_mass(r2) * self.inverse_temperature(r2)

    def relative(self, base: Tensor, offset: Tensor) -> tuple[Tensor, Tensor]:
        """By the profile at once."""
        return self.profile.relative(base, offset, self.inverse_temperature(base))

    def loop(self, base: Tensor, s: Tensor) -> Loop | None:
        """That of the profile."""
        return self.profile.loop(base, self.inverse_temperature(base), s)

    def precision(self, r2: Tensor) -> Tensor:
        """The precision of the profile; temperature does not change it."""
        return self.profile.precision(r2)

    def softening(self, r2: Tensor) -> Tensor | None:
        """That of the profile, or None when frozen."""
        return None if self.frozen else self.profile.softening(r2)

    def reach(self, r2: Tensor, nats: Tensor) -> Tensor:
        """By the inverse of F."""
        return torch.maximum(r2, self.profile.inverse(self.profile.log_mass(r2) - nats * self.temperature))


class ContinuousShell(Profile):
    """One level for each center, the best between the first and the last: F by its closed form.

    Weights are :math:`r^{-(d-2)/T}`, and at T = 1 the field is harmonic, as it is for the mixture of all levels
    with :math:`\\lambda=\\sigma^2`. Nearer than the first shell, and beyond the last one, the level stays.
    """

    def __init__(self, sigmas: Tensor, dim: int) -> None:
        super().__init__()
        self.power = max(dim - 2, 0)
        low, high = (sigmas[[0, -1]] ** 2).tolist()
        self.low, self.high = (low, high) if self.power else (high, high)

    def log_mass(self, r2: Tensor) -> Tensor:
        """The largest of the densities of all levels, up to a constant."""
        variance = self._variance(r2)
        return -(self.power * variance.log() + r2 / variance) / 2

    def precision(self, r2: Tensor) -> Tensor:
        """One over the variance of the level kept."""
        return 1 / self._variance(r2)

    def softening(self, r2: Tensor) -> Tensor:
        """Positive while the level follows the distance."""
        variance = self._variance(r2)
        follows = (variance > self.low) & (variance < self.high)
        return torch.where(follows, 2 / (max(self.power, 1) * variance**2), 0)

    def inverse(self, log_mass: Tensor) -> Tensor:
        """In closed form on each of the three pieces."""
        inner = self.power * (-2 * log_mass / max(self.power, 1) - 1).exp()
        near = -self.low * (2 * log_mass + self.power * math.log(self.low))
        far = -self.high * (2 * log_mass + self.power * math.log(self.high))
        first = -self.power / 2 * (math.log(self.low) + 1)
        last = -self.power / 2 * (math.log(self.high) + 1)
        return torch.where(log_mass > first, near, torch.where(log_mass < last, far, inner)).clamp(min=0)

    def _variance(self, r2: Tensor) -> Tensor:
        return (r2 / max(self.power, 1)).clamp(self.low, self.high) if self.power else self.high + 0 * r2


class NearestLevel(Profile):
    """The best of the given levels for each center: F is the upper envelope of N straight lines in r2."""

    starts: Tensor
    intercepts: Tensor
    slopes: Tensor

    def __init__(self, sigmas: Tensor, log_weights: Tensor, dim: int) -> None:
        super().__init__()
        intercepts = (log_weights - dim * sigmas.log()).tolist()
        slopes = (0.5 / sigmas**2).tolist()
        kept, starts = [0], [0.0]
        for level in range(1, len(slopes)):
            while kept:
                top = kept[-1]
                start = (intercepts[top] - intercepts[level]) / (slopes[top] - slopes[level])
                if start > starts[-1]:
                    break
                kept.pop()
                starts.pop()
            starts.append(start if kept else 0.0)
            kept.append(level)
        self.register_buffer("starts", torch.tensor(starts, dtype=torch.float64))
        self.register_buffer("intercepts", torch.tensor(intercepts, dtype=torch.float64)[kept])
        self.register_buffer("slopes", torch.tensor(slopes, dtype=torch.float64)[kept])

    def log_mass(self, r2: Tensor) -> Tensor:
        """The largest of the N log-densities."""
        level = self._level(r2)
        return self.intercepts[level] - self.slopes[level] * r2

    def precision(self, r2: Tensor) -> Tensor:
        """One over the variance of the level kept."""
        return 2 * self.slopes[self._level(r2)].to(r2.dtype)

    def softening(self, r2: Tensor) -> None:
        """None: levels change in steps."""
        return

    def inverse(self, log_mass: Tensor) -> Tensor:
        """On the line that F follows there."""
        level = torch.bucketize(-log_mass, -self.log_mass(self.starts)[1:])
        return ((self.intercepts[level] - log_mass) / self.slopes[level]).clamp(min=0)

    def _level(self, r2: Tensor) -> Tensor:
        return torch.bucketize(r2.contiguous(), self.starts[1:])
