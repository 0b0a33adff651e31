"""The folder of a run, and the checkpoints in it: all that it needs to go on as if it had never stopped, written whole
or not at all.

``RUN/checkpoints/000012000/`` holds ``network.safetensors``, ``ema-50000.safetensors`` and so on for the averages,
``optimizer.safetensors`` and ``state.json`` (step and history). It is written under a name that nobody reads and then
renamed.
"""

import json
import os
import shutil
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import torch
from safetensors import SafetensorError
from safetensors.torch import load_file, save
from torch import Tensor, nn

from smoothscore.errors import InputError
from smoothscore.networks.store import read_weights, save_weights
from smoothscore.report import write_bytes, write_text
from smoothscore.report.write import sweep
from smoothscore.training.averages import Averages, average_name

__all__ = ["check_place", "checkpoints", "lock", "make_folder", "prune", "restore", "save_checkpoint"]

PARTIAL = ".partial"


def check_place(run: Path) -> None:
    """Refuse, before any work, a place where no folder can be made."""
    there = next(place for place in (run, *run.absolute().parents) if place.exists())
    if not there.is_dir() or not os.access(there, os.W_OK):
        raise InputError(
            f"Cannot make the folder {run}: {there} is no folder that can be written to; choose another with -o."
        )


def make_folder(run: Path) -> None:
    """The folder of a run, if it is missing."""
    try:
        run.mkdir(parents=True, exist_ok=True)
    except OSError as error:
        raise InputError(f"Cannot make the folder {run}: {error.strerror}; choose another with -o.") from None


def checkpoints(run: Path) -> list[Path]:
    """The folders of the whole checkpoints of a run, by step."""
    folder = run / "checkpoints"
    found = [path for path in folder.glob("*") if path.name.isdigit()] if folder.is_dir() else []
    return sorted(path for path in found if (path / "state.json").is_file())


def save_checkpoint(
    run: Path,
    step: int,
    network: nn.Module,
    averages: Averages,
    optimizer: torch.optim.Optimizer,
    state: dict[str, Any],
) -> Path:
    """Write the checkpoint of ``step``, ``state`` being what else there is, in JSON's own types.

    Raises:
        InputError: the disk is full or cannot be written; the checkpoints before stay as they are.
    """
    target = run / "checkpoints" / f"{step:09d}"
    partial = target.with_name(target.name + PARTIAL)
    try:
        shutil.rmtree(partial, ignore_errors=True)
        partial.mkdir(parents=True)
        save_weights(partial / "network.safetensors", network)
        for life in averages.values:
            save_weights(partial / f"{average_name(life)}.safetensors", averages.state(life))
        write_bytes(partial / "optimizer.safetensors", save(_optimizer_tensors(optimizer)))
        write_text(partial / "state.json", json.dumps({"step": step, **state}))
        shutil.rmtree(target, ignore_errors=True)
        partial.rename(target)
    except (OSError, InputError) as error:
        cause = error if isinstance(error, OSError) else error.__cause__
        raise InputError(
            f"The checkpoint of step {step} could not be written to {run} ({getattr(cause, 'strerror', None) or error})"
            "; nothing written before is lost: make room and run the same command again."
        ) from error
    finally:
        shutil.rmtree(partial, ignore_errors=True)
    return target


def restore(
    checkpoint: Path, network: nn.Module, averages: Averages, optimizer: torch.optim.Optimizer
) -> dict[str, Any]:
    """Bring network, averages and optimizer to a checkpoint; the rest of its state.

    Raises:
        InputError: a file of it is missing or damaged.
    """
    try:
        network.load_state_dict(read_weights(checkpoint / "network.safetensors"))
        for life in averages.values:
            averages.load(life, read_weights(checkpoint / f"{average_name(life)}.safetensors"))
        _load_optimizer(optimizer, load_file(checkpoint / "optimizer.safetensors"))
        state: dict[str, Any] = json.loads((checkpoint / "state.json").read_text())
    except (OSError, SafetensorError, KeyError, ValueError, RuntimeError) as error:
        raise InputError(
            f"{checkpoint} cannot be read ({error}); delete that folder to go on from the checkpoint before."
        ) from error
    return state


def prune(run: Path, keep: int) -> None:
    """Delete all but the last ``keep`` checkpoints."""
    for folder in checkpoints(run)[:-keep]:
        shutil.rmtree(folder, ignore_errors=True)


@contextmanager
def lock(run: Path) -> Iterator[None]:
    """Hold a run's folder for this process, and clear away what a killed one left half written in it.

    The system lets go when the process ends, however it ends.

    Raises:
        InputError: another process holds it.
    """
    with open(run / ".lock", "a") as file:
        try:
            _hold(file.fileno())
        except OSError:
            raise InputError(
                f"Another process is training in {run}; wait for it, or give another folder with -o."
            ) from None
        sweep(run)
        yield


def _hold(descriptor: int) -> None:
    try:
        import fcntl
    except ImportError:  # Windows
        import msvcrt

        msvcrt.locking(descriptor, msvcrt.LK_NBLCK, 1)  # type: ignore[attr-defined]
    else:
        fcntl.flock(descriptor, fcntl.LOCK_EX | fcntl.LOCK_NB)


def _optimizer_tensors(optimizer: torch.optim.Optimizer) -> dict[str, Tensor]:
    states = optimizer.state_dict()["state"]
    return {f"{index}.{name}": value.cpu() for index, state in states.items() for name, value in state.items()}


def _load_optimizer(optimizer: torch.optim.Optimizer, tensors: dict[str, Tensor]) -> None:
    states: dict[int, dict[str, Tensor]] = {}
    for key, value in tensors.items():
        index, name = key.split(".")
        states.setdefault(int(index), {})[name] = value
    optimizer.load_state_dict({"state": states, "param_groups": optimizer.state_dict()["param_groups"]})
