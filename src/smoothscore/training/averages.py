r"""Averages of the weights over training.

.. math:: \bar\theta\leftarrow\beta\bar\theta+(1-\beta)\theta,\qquad\beta=2^{-B/\min(H,\,0.05\,n)}

with B images a step, n images seen and half-life H in images: the average forgets its beginning while the run is short.

Source: EDM, Karras et al. 2022, appendix F.2.
"""

from collections.abc import Sequence

import torch
from torch import Tensor, nn

__all__ = ["Averages", "average_name"]

RAMP = 0.05


def average_name(half_life: float) -> str:
    """The name of an average in files and logs, ``ema-50000``."""
    return f"ema-{half_life:.0f}"


class Averages:
    """Averages of a network's parameters with several half-lives.

    Args:
        network: whose parameters they start from.
        half_lives: in images.

    Memory: the parameters once for each half-life.
    """

    def __init__(self, network: nn.Module, half_lives: Sequence[float]) -> None:
        self.network = network
        self.names = [name for name, _ in network.named_parameters()]
        self.values = {life: [value.detach().clone() for value in network.parameters()] for life in half_lives}

    @torch.no_grad()
    def update(self, seen: int, batch_size: int) -> None:
        """Take in the parameters after a step, ``seen`` images in all."""
        current = [value.detach() for value in self.network.parameters()]
        for life, values in self.values.items():
            share = 1 - 0.5 ** (batch_size / min(life, RAMP * seen))
            torch._foreach_lerp_(values, current, share)

    def state(self, half_life: float) -> dict[str, Tensor]:
        """The network's state with the averaged parameters."""
        return self.network.state_dict() | dict(zip(self.names, self.values[half_life], strict=True))

    @torch.no_grad()
    def load(self, half_life: float, state: dict[str, Tensor]) -> None:
        """Take the average from what :meth:`state` gave."""
        for value, name in zip(self.values[half_life], self.names, strict=True):
            value.copy_(state[name])
