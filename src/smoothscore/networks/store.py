"""Networks on disk: weights in safetensors, and a JSON text that says how to build the network they belong to."""

import json
import os
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import safetensors
import safetensors.torch
import torch
from torch import Tensor, nn

from smoothscore.errors import InputError
from smoothscore.networks.build import build
from smoothscore.networks.linear_bypass import LinearBypass
from smoothscore.networks.preconditioning import Preconditioning, preconditioning
from smoothscore.report import write_bytes, write_text

__all__ = [
    "describe",
    "load_network",
    "read_description",
    "read_plan",
    "read_weights",
    "rebuild",
    "save_network",
    "save_weights",
    "write_description",
]

FORMAT = 1


def describe(
    network: nn.Module, form: str | Mapping[str, str | float] | Preconditioning, class_: int | None = None
) -> dict[str, Any]:
    """All that is needed to build the network again and to use it, as JSON's own types.

    Args:
        network: one that :func:`smoothscore.networks.build` made, alone or in a :class:`LinearBypass`.
        form: its preconditioning.
        class_: the class that samples are drawn of; None for no class.

    Raises:
        InputError: a network of another origin.
    """
    inner: Any = network.network if isinstance(network, LinearBypass) else network
    if not hasattr(inner, "kind"):
        raise InputError(
            f"{type(inner).__name__} is not a network of smoothscore.networks and cannot be saved with its plan; save "
            "its state_dict and use it as NetworkScore(network, preconditioning, shape)."
        )
    return {
        "format": FORMAT,
        "network": inner.kind,
        "shape": list(inner.shape),
        "noise_conditional": inner.noise_conditional,
        "options": inner.options,
        "preconditioning": preconditioning(form).to_dict(),
        "linear_bypass": isinstance(network, LinearBypass),
        "class": class_,
    }


def write_description(path: str | os.PathLike[str], description: Mapping[str, Any]) -> Path:
    """Write a description as JSON, at once or not at all."""
    return write_text(path, json.dumps(description, indent=2) + "\n")


def read_description(path: str | os.PathLike[str]) -> dict[str, Any]:
    """What :func:`write_description` wrote.

    Raises:
        InputError: no such file, or another one.
    """
    try:
        text = Path(path).read_text()
    except OSError as error:
        raise InputError(f"Cannot read {path}: {error.strerror}.") from None
    return _parsed(text, str(path))


def save_weights(path: str | os.PathLike[str], network: nn.Module | Mapping[str, Tensor]) -> Path:
    """Write a network's parameters and buffers, or such a state, as safetensors, at once or not at all."""
    return write_bytes(path, _packed(network, None))


def read_weights(path: str | os.PathLike[str]) -> dict[str, Tensor]:
    """The tensors of a safetensors file, on the CPU.

    Raises:
        InputError: no such file, or a damaged one.
    """
    try:
        return safetensors.torch.load_file(path)
    except (OSError, safetensors.SafetensorError) as error:
        raise _unreadable(path, error) from None


def save_network(path: str | os.PathLike[str], network: nn.Module, description: Mapping[str, Any]) -> Path:
    """Write weights and description (:func:`describe`) into one safetensors file, at once or not at all."""
    return write_bytes(path, _packed(network, {"smoothscore": json.dumps(description)}))


def read_plan(path: str | os.PathLike[str]) -> dict[str, Any]:
    """The description in a file that :func:`save_network` wrote.

    Raises:
        InputError: another file, or a damaged one.
    """
    try:
        with safetensors.safe_open(path, "pt") as stream:
            metadata = stream.metadata() or {}
    except (OSError, safetensors.SafetensorError) as error:
        raise _unreadable(path, error) from None
    if "smoothscore" not in metadata:
        raise InputError(f"{path} has weights but does not say of which network; give a file that save_network wrote.")
    return _parsed(metadata["smoothscore"], str(path))


def load_network(path: str | os.PathLike[str]) -> tuple[nn.Module, dict[str, Any]]:
    """The network that :func:`save_network` wrote, and its description.

    Of a network with a linear bypass it is the network alone; ``smoothscore.load_score`` reads it with its Gaussian.

    Raises:
        InputError: another file, or a damaged one.
    """
    description = read_plan(path)
    return rebuild(description, read_weights(path), str(path)), description


def rebuild(description: Mapping[str, Any], tensors: Mapping[str, Tensor], title: str) -> nn.Module:
    """The described network with these weights; a linear bypass is left to the caller.

    Raises:
        InputError: the weights are those of another network.
    """
    prefix = "network." if description["linear_bypass"] else ""
    own = {name.removeprefix(prefix): value for name, value in tensors.items() if name.startswith(prefix)}
    network = build(
        description["network"], description["shape"], description["noise_conditional"], **description["options"]
    )
    try:
        network.load_state_dict(own)
    except RuntimeError as error:
        raise InputError(
            f"The weights in {title} belong to another network ({str(error).splitlines()[-1].strip()})."
        ) from None
    dtype = next((value.dtype for value in own.values() if value.is_floating_point()), torch.float32)
    return network.to(dtype)


def _packed(network: nn.Module | Mapping[str, Tensor], metadata: dict[str, str] | None) -> bytes:
    state = network.state_dict() if isinstance(network, nn.Module) else network
    tensors = {name: value.detach().cpu().contiguous() for name, value in state.items()}
    return safetensors.torch.save(tensors, metadata)


def _unreadable(path: str | os.PathLike[str], error: Exception) -> InputError:
    return InputError(f"{path} cannot be read as safetensors ({error}); give a file that save_network wrote.")


def _parsed(text: str, title: str) -> dict[str, Any]:
    try:
        description = json.loads(text)
        known = description["format"] == FORMAT
    except (ValueError, KeyError, TypeError):
        raise InputError(f"{title} does not describe a network; give a file that smoothscore wrote.") from None
    if not known:
        raise InputError(f"{title} has format {description['format']}; this version reads format {FORMAT}.")
    return description  # type: ignore[no-any-return]
