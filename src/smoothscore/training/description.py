"""What the ``run.json`` of a run says, and what must stay as it was when the run goes on."""

import json
import platform
from collections.abc import Mapping
from dataclasses import fields, replace
from importlib.metadata import version
from pathlib import Path
from typing import Any

import numpy
import torch
from torch import Tensor

from smoothscore.config import TrainConfig
from smoothscore.data import ImageSet, fingerprint
from smoothscore.errors import InputError
from smoothscore.networks.store import read_description
from smoothscore.report import write_text
from smoothscore.version import __version__

__all__ = ["as_begun", "check_same", "description_of", "gone_on", "read_run", "write_run"]

FREE = ("steps", "checkpoint_every", "keep", "watch_every", "watch_samples", "stop_on_memorization", "reasons")
"""Settings that may change when a run goes on: none of them changes a step."""


def description_of(config: TrainConfig, train: Tensor | ImageSet, held_out: Tensor | ImageSet | None) -> dict[str, Any]:
    """What is written of a run: settings, images and versions, in JSON's own types."""
    sets = {"train": train} | ({} if held_out is None else {"held_out": held_out})
    return {
        "smoothscore": __version__,
        "kind": "training run",
        "config": config.to_dict(),
        "images": {name: len(images) for name, images in sets.items()},
        "fingerprints": {name: fingerprint(images) for name, images in sets.items()},
        "sources": {name: images.source for name, images in sets.items() if isinstance(images, ImageSet)},
        "versions": {
            "python": platform.python_version(),
            "torch": torch.__version__,
            "numpy": numpy.__version__,
            "accelerate": version("accelerate"),
        },
    }


def check_same(run: Path, config: TrainConfig, now: Mapping[str, Any], before: Mapping[str, Any]) -> None:
    """Refuse to go on with other settings or other images; held-out ones may be given later, or be left out."""
    for name, title in {"train": "training", "held_out": "held-out"}.items():
        is_, was = (each["fingerprints"].get(name) for each in (now, before))
        if is_ and was and is_ != was:
            raise InputError(
                f"The run in {run} was begun with {before['images'][name]} other {title} images (fingerprint "
                f"{was[:12]}, these have {is_[:12]}); give those, or another folder."
            )
    old = TrainConfig.from_dict(before["config"])
    free = {name: getattr(config, name) for name in FREE}
    other = [
        item.name for item in fields(config) if getattr(replace(old, **free), item.name) != getattr(config, item.name)
    ]
    if other:
        was = ", ".join(f"{name} was {getattr(old, name)!r}" for name in other)
        raise InputError(f"The run in {run} was begun with other settings ({was}); give those, or another folder.")


def gone_on(now: Mapping[str, Any], before: Mapping[str, Any]) -> dict[str, Any]:
    """The description of a run that goes on: of held-out images that are left out now, what was known before."""
    sets = ("images", "fingerprints", "sources")
    return {**now, **{name: {**before.get(name, {}), **now[name]} for name in sets}}


def as_begun(run: Path, config: TrainConfig) -> TrainConfig:
    """The settings with the preconditioning of the run's network, should this version choose another."""
    if config.preconditioning is not None or not (run / "network.json").exists():
        return config
    return replace(config, preconditioning=read_description(run / "network.json")["preconditioning"]["name"])


def read_run(run: Path) -> dict[str, Any]:
    """What :func:`write_run` wrote.

    Raises:
        InputError: there is no run, or its description is damaged.
    """
    if not (run / "run.json").exists():
        raise InputError(f"There is no run in {run}; give the folder of one.")
    try:
        description: dict[str, Any] = json.loads((run / "run.json").read_text())
        whole = all(isinstance(description[part], dict) for part in ("config", "fingerprints", "images"))
    except (OSError, ValueError, KeyError, TypeError):
        whole = False
    if not whole:
        raise InputError(f"{run / 'run.json'} is damaged or describes no run; mend it, or give another folder.")
    return description


def write_run(run: Path, description: Mapping[str, Any]) -> None:
    """Write ``run.json``, at once or not at all."""
    write_text(run / "run.json", json.dumps(description, indent=2) + "\n")
