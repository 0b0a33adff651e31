r"""How a raw network becomes a denoiser.

Every form is affine in the network's output, with four functions of the noise level:

.. math:: D(x;\sigma)=c_{skip}\,x+c_{out}\,F(c_{in}\,x,\ c_{noise})

============  =====================  ==============================  ===========================  ======================
form          :math:`c_{skip}`       :math:`c_{out}`                 :math:`c_{in}`               :math:`c_{noise}`
============  =====================  ==============================  ===========================  ======================
``edm``       :math:`\sigma_d^2/v`   :math:`\sigma\sigma_d/\sqrt v`  :math:`1/\sqrt v`            :math:`\ln(\sigma)/4`
``ve``        1                      :math:`\sigma`                  1                            :math:`\ln(\sigma/2)`
``vp``        1                      :math:`-\sigma`                 :math:`1/\sqrt{1+\sigma^2}`  :math:`999\,t(\sigma)`
``noise``     1                      :math:`-\sigma`                 1                            :math:`\sigma`
``score``     1                      :math:`\sigma^2`                1                            :math:`\sigma`
``denoiser``  0                      1                               1                            :math:`\sigma`
============  =====================  ==============================  ===========================  ======================

with :math:`v=\sigma^2+\sigma_d^2`.
A network without noise conditioning is called with :math:`c_{in}x` alone. With the form ``noise`` it then never meets
the level at all: it predicts unit noise, and the level is a factor of its output. Its input, though, is as large as the
noise, 80 and more. The form ``scaled-noise`` therefore divides an image by its own size and starts from what that says,

.. math:: \hat n=s^{-1}F(h)+\big(1-s^{-2}\big)h,\qquad h=x/s,\quad s^2=1+|x|^2/d,

which in much noise is :math:`(x+F)/\sigma`: what is left to predict is the clean image, of unit size at every level, so
that an error of F is not multiplied by the noise. Nothing comes from outside, since the size is the image's.
"""

import dataclasses
import math
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any, ClassVar

import torch
from torch import Tensor, nn

from smoothscore.errors import InputError
from smoothscore.networks.calling import evaluate
from smoothscore.networks.form import Coefficients, Preconditioning, spread

__all__ = [
    "EDM",
    "VE",
    "VP",
    "Denoiser",
    "Preconditioning",
    "ScaledNoise",
    "ScoreOutput",
    "UnitNoise",
    "preconditioning",
]


@dataclass(frozen=True)
class EDM(Preconditioning):
    """Karras et al. 2022: input, output and target of unit variance at every level.

    Args:
        sigma_data: standard deviation of the images, positive.
    """

    name: ClassVar[str] = "edm"
    sigma_data: float = 0.5

    def __post_init__(self) -> None:
        if not (self.sigma_data > 0 and math.isfinite(self.sigma_data)):
            raise InputError(f"sigma_data is {self.sigma_data}; give the images' standard deviation, 0.5 in EDM.")

    def coefficients(self, sigma: Tensor) -> Coefficients:
        """The four functions at levels ``sigma``."""
        total = sigma**2 + self.sigma_data**2
        return Coefficients(
            self.sigma_data**2 / total, sigma * self.sigma_data * total.rsqrt(), total.rsqrt(), sigma.log() / 4
        )

    def weight(self, sigma: Tensor) -> Tensor:
        """``1 / c_out^2``, so that every level has the same loss at the start."""
        return (sigma**2 + self.sigma_data**2) / (sigma * self.sigma_data) ** 2


@dataclass(frozen=True)
class VE(Preconditioning):
    """Song et al. 2021, variance exploding: the score is the output divided by sigma."""

    name: ClassVar[str] = "ve"

    def coefficients(self, sigma: Tensor) -> Coefficients:
        """The four functions at levels ``sigma``."""
        one = torch.ones_like(sigma)
        return Coefficients(one, sigma, one, (sigma / 2).log())


@dataclass(frozen=True)
class VP(Preconditioning):
    """Song et al. 2021, variance preserving: the network predicts unit noise from the image scaled back to unit size.

    ``t(sigma)`` is the time at which the level of a linear ``beta`` from ``beta_min`` to ``beta_min + beta_d`` is
    ``sigma``: ``sigma^2 = exp(beta_d t^2 / 2 + beta_min t) - 1``. It is computed by EDM's operations in EDM's order: a
    Fourier embedding turns 999 t into angles of thousands, so that in float32 another rounding of t, or of sigma in its
    last digit, changes a denoised image by some 2e-4 of its largest value.
    """

    name: ClassVar[str] = "vp"
    beta_d: float = 19.9
    beta_min: float = 0.1

    def coefficients(self, sigma: Tensor) -> Coefficients:
        """The four functions at levels ``sigma``."""
        growth = (1 + sigma**2).log()  # not log1p
        time = ((self.beta_min**2 + 2 * self.beta_d * growth).sqrt() - self.beta_min) / self.beta_d
        return Coefficients(torch.ones_like(sigma), -sigma, (1 + sigma**2).rsqrt(), 999 * time)


@dataclass(frozen=True)
class UnitNoise(Preconditioning):
    """The network predicts the noise ``n`` of ``x = y + sigma n``; an unconditional one never meets the level."""

    name: ClassVar[str] = "noise"

    def coefficients(self, sigma: Tensor) -> Coefficients:
        """The four functions at levels ``sigma``."""
        one = torch.ones_like(sigma)
        return Coefficients(one, -sigma, one, sigma)


@dataclass(frozen=True)
class ScaledNoise(UnitNoise):
    """The unit noise, predicted from an image divided by its own size; for networks that never meet the level."""

    name: ClassVar[str] = "scaled-noise"

    def output(self, network: nn.Module, x: Tensor, noise: Tensor, **labels: Tensor) -> Tensor:
        """The predicted noise of the images ``x``."""
        size = spread((1 + x.square().flatten(1).mean(1)).sqrt(), x)
        scaled = x / size
        return evaluate(network, scaled, noise, **labels) / size + (1 - size**-2) * scaled


@dataclass(frozen=True)
class ScoreOutput(Preconditioning):
    """The network is the score itself, with or without the level as an input."""

    name: ClassVar[str] = "score"

    def coefficients(self, sigma: Tensor) -> Coefficients:
        """The four functions at levels ``sigma``."""
        one = torch.ones_like(sigma)
        return Coefficients(one, sigma**2, one, sigma)

    def estimate_sigma(self, network: nn.Module, x: Tensor, **labels: Tensor) -> Tensor | None:
        """``sqrt(d) / |F(x)|``: near the data the score is noise divided by the level."""
        raw = evaluate(network, x, None, **labels).flatten(1)
        return math.sqrt(raw.shape[1]) / _norm(raw)


@dataclass(frozen=True)
class Denoiser(Preconditioning):
    """The network denoises as it is, with or without the level as an input."""

    name: ClassVar[str] = "denoiser"

    def coefficients(self, sigma: Tensor) -> Coefficients:
        """The four functions at levels ``sigma``."""
        one = torch.ones_like(sigma)
        return Coefficients(torch.zeros_like(sigma), one, one, sigma)

    def estimate_sigma(self, network: nn.Module, x: Tensor, **labels: Tensor) -> Tensor | None:
        """``|x - F(x)| / sqrt(d)``: what a blind denoiser takes away is the noise."""
        taken = (x - evaluate(network, x, None, **labels)).flatten(1)
        return _norm(taken) / math.sqrt(taken.shape[1])


FORMS: Mapping[str, type[Preconditioning]] = {
    form.name: form for form in (EDM, VE, VP, UnitNoise, ScaledNoise, ScoreOutput, Denoiser)
}


def preconditioning(form: str | Mapping[str, str | float] | Preconditioning) -> Preconditioning:
    """The preconditioning of a name of the table above, or ``"scaled-noise"``.

    A mapping ``{"name": ..., settings}`` of :meth:`Preconditioning.to_dict` and an object are taken as well.

    Raises:
        InputError: an unknown name or setting.
    """
    if isinstance(form, Preconditioning):
        return form
    settings: dict[str, Any] = {"name": form} if isinstance(form, str) else dict(form)
    name = settings.pop("name", None)
    if name not in FORMS:
        raise InputError(f"preconditioning is {name!r}; take one of {', '.join(FORMS)}.")
    try:
        return FORMS[str(name)](**settings)
    except TypeError:
        known = [field.name for field in dataclasses.fields(FORMS[str(name)])]
        raise InputError(
            f"The preconditioning {name!r} has no settings {sorted(set(settings) - set(known))}; it has {known}."
        ) from None


def _norm(rows: Tensor) -> Tensor:
    """The length of each row."""
    return rows.square().sum(1).sqrt()
