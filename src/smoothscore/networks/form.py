r"""What every preconditioning has in common.

.. math:: D(x;\sigma)=c_{skip}\,x+c_{out}\,F(c_{in}\,x,\ c_{noise})

A network with a :class:`LinearBypass` has the Gaussian denoiser of the training set in place of :math:`c_{skip}x`,
which in the form ``edm`` is that of the isotropic Gaussian of variance :math:`\sigma_d^2`.
"""

import dataclasses
from dataclasses import dataclass
from typing import ClassVar, NamedTuple

import torch
from torch import Tensor, nn

from smoothscore.networks.calling import evaluate, inner, precision
from smoothscore.networks.linear_bypass import LinearBypass

__all__ = ["Coefficients", "Preconditioning", "spread"]


class Coefficients(NamedTuple):
    """The four functions at given levels, each a tensor like them."""

    skip: Tensor
    out: Tensor
    scale: Tensor
    noise: Tensor


@dataclass(frozen=True)
class Preconditioning:
    """A form of :mod:`smoothscore.networks.preconditioning`; subclasses give :meth:`coefficients`."""

    name: ClassVar[str]

    def coefficients(self, sigma: Tensor) -> Coefficients:
        """``c_skip``, ``c_out``, ``c_in`` and ``c_noise`` at levels ``sigma`` of any shape."""
        raise NotImplementedError

    def denoise(self, network: nn.Module, x: Tensor, sigma: float | Tensor, **labels: Tensor) -> Tensor:
        """The denoised images, shape and dtype of ``x`` (batch, *shape).

        Args:
            network: called as ``network(c_in x, c_noise)``, or ``network(c_in x)`` without noise conditioning.
            x: (batch, *shape) noisy images.
            sigma: their noise levels, a float or (batch,).
            labels: passed on to the network (``class_labels``, ``augment_labels``).
        """
        level = torch.as_tensor(sigma, dtype=x.dtype, device=x.device).expand(len(x))
        skip, out, scale, _ = self.coefficients(level)
        exact = torch.promote_types(precision(network, x), torch.float32)
        noise = self.coefficients(level.to(exact)).noise  # a network is as exact about the level as it was trained
        raw = self.output(network, spread(scale, x) * x, noise, **labels)
        itself = inner(network)
        linear = itself.linear(x, level) if isinstance(itself, LinearBypass) else spread(skip, x) * x
        return linear + spread(out, x) * raw

    def output(self, network: nn.Module, x: Tensor, noise: Tensor, **labels: Tensor) -> Tensor:
        """The output F for the scaled images ``x`` and the levels ``noise`` as the network takes them."""
        return evaluate(network, x, noise, **labels)

    def weight(self, sigma: Tensor) -> Tensor:
        """The weight of the squared error ``|D - y|^2`` in the loss, like ``sigma``: 1 / sigma^2.

        Source: Smoothing the score function, eq. 8, whose factor sigma^2 weights the squared error of the score.
        """
        return 1 / sigma**2

    def estimate_sigma(self, network: nn.Module, x: Tensor, **labels: Tensor) -> Tensor | None:
        """The level (batch,) that the output of an unconditional network carries; None where it carries none."""
        return None

    def to_dict(self) -> dict[str, str | float]:
        """The name and the settings, for JSON; :func:`preconditioning` reads it back."""
        return {"name": self.name, **dataclasses.asdict(self)}


def spread(coefficient: Tensor, x: Tensor) -> Tensor:
    """(batch,) shaped to multiply a batch of images."""
    return coefficient.reshape(-1, *(1,) * (x.ndim - 1))
