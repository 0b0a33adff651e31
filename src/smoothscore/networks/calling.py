"""How a network is called, whoever made it and whatever it is wrapped in."""

import inspect

import torch
from torch import Tensor, nn

from smoothscore.errors import InputError

__all__ = ["evaluate", "inner", "is_noise_conditional", "precision"]


def inner(network: nn.Module) -> nn.Module:
    """The network itself, out of what spreads it over processes or compiles it."""
    if isinstance(network, nn.parallel.DistributedDataParallel):
        return inner(network.module)
    compiled = getattr(network, "_orig_mod", None)
    return network if compiled is None else inner(compiled)


def is_noise_conditional(network: nn.Module) -> bool:
    """Whether a network takes the noise level: its own word, or two arguments of its ``forward``."""
    network = inner(network)
    declared = getattr(network, "noise_conditional", None)
    if declared is not None:
        return bool(declared)
    kinds = (inspect.Parameter.POSITIONAL_ONLY, inspect.Parameter.POSITIONAL_OR_KEYWORD)
    arguments = [each for each in inspect.signature(network.forward).parameters.values() if each.kind in kinds]
    return len(arguments) > 1


def precision(network: nn.Module, x: Tensor) -> torch.dtype:
    """The dtype of the network's parameters; of ``x`` where it has none."""
    return next((parameter.dtype for parameter in network.parameters()), x.dtype)


def evaluate(network: nn.Module, x: Tensor, noise: Tensor | None, **labels: Tensor) -> Tensor:
    """The raw output in the dtype of ``x``, computed in the dtype of the network's parameters.

    Raises:
        InputError: the network returns anything but a tensor of the shape of ``x``.
    """
    dtype = precision(network, x)
    inputs = [x.to(dtype)]
    if is_noise_conditional(network):
        assert noise is not None
        inputs.append(noise.to(dtype))
    raw = network(*inputs, **labels)
    if not isinstance(raw, Tensor) or raw.shape != x.shape:
        title, what = type(inner(network)).__name__, type(raw).__name__
        shape = f" of shape {tuple(raw.shape)}" if isinstance(raw, Tensor) else ""
        raise InputError(
            f"{title} returned a {what}{shape} for images of shape {tuple(x.shape)}; let its forward return a tensor "
            "of their shape."
        )
    return raw.to(x.dtype)
