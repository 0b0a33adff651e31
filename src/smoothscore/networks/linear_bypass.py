r"""A network with the Gaussian score of its training set as a second, untrained path.

.. math:: D(x;\sigma)=D_{\mathcal N(\mu,\Sigma)}(x;\sigma)+c_{out}\,F(c_{in}x,c_{noise})

At large noise the Gaussian denoiser is the answer already (Gaussian score approximation, section 3), and the network
has to learn the difference only.
"""

import torch
from torch import Tensor, nn

from smoothscore.networks.calling import is_noise_conditional

__all__ = ["LinearBypass"]


class LinearBypass(nn.Module):
    """A network together with a Gaussian denoiser that takes the place of the skip connection.

    It is called like the network; the preconditioning adds :meth:`linear`. The Gaussian has buffers and no
    parameters, so an optimizer leaves it alone, and it is saved with the network.

    Cost: the network's, and two products with (d, rank).

    Args:
        network: any that a preconditioning calls: of :func:`smoothscore.networks.build`, or a module of your own.
        gaussian: a score with ``denoise``, e.g. ``GaussianScore.fit(images, shrinkage=0.01).float()``. It should have a
            variance in every direction: what a Gaussian of low rank projects away, the network would have to bring back
            at small noise.
    """

    def __init__(self, network: nn.Module, gaussian: nn.Module) -> None:
        super().__init__()
        self.network = network
        self.gaussian = gaussian

    @property
    def shape(self) -> torch.Size | None:
        """The shape of one image, where the network says it."""
        return getattr(self.network, "shape", None)

    @property
    def noise_conditional(self) -> bool:
        """Whether the network takes the noise level."""
        return is_noise_conditional(self.network)

    @property
    def sigma_head(self) -> nn.Module | None:
        """The network's estimate of the noise level, where it has one."""
        return getattr(self.network, "sigma_head", None)

    @property
    def classes(self) -> int:
        """Number of class labels, 0 for none."""
        return getattr(self.network, "classes", 0)

    def linear(self, x: Tensor, sigma: Tensor) -> Tensor:
        """The Gaussian denoiser at ``x`` (batch, *shape) and levels ``sigma`` (batch,)."""
        return self.gaussian.denoise(x, sigma)  # type: ignore[operator, no-any-return]

    def forward(self, *inputs: Tensor, **labels: Tensor) -> Tensor:
        """The network's raw output."""
        return self.network(*inputs, **labels)  # type: ignore[no-any-return]
