"""A training run: begun, continued, and read again."""

import json
import os
import warnings
from collections.abc import Mapping, Sequence
from contextlib import nullcontext
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, ClassVar

import numpy as np
import torch
from torch import Tensor

from smoothscore.config import TrainConfig
from smoothscore.data import ImageSet
from smoothscore.errors import DataWarning, InputError
from smoothscore.geometry.duplicates import first_of_each, shared_images
from smoothscore.geometry.pairs import shape_of
from smoothscore.networks.store import describe, write_description
from smoothscore.report import Result, Section
from smoothscore.scores.network import MOMENTS
from smoothscore.training import run_page
from smoothscore.training.checkpoints import check_place, checkpoints, lock, make_folder
from smoothscore.training.description import as_begun, check_same, description_of, gone_on, read_run, write_run
from smoothscore.training.guards import enough_memory
from smoothscore.training.history import History
from smoothscore.training.moments import write_moments
from smoothscore.training.setup import form_of, make_network, make_objective
from smoothscore.training.trainer import Trainer
from smoothscore.training.watch import Watch

__all__ = ["Run", "train"]

GRAPH = "neighbors.safetensors"

Images = Tensor | ImageSet


@dataclass(frozen=True, eq=False)
class Run(Result):
    """A training run and its log.

    Attributes:
        folder: where it is; ``smoothscore.load_score(run.folder)`` is the trained score.
        config: its settings.
        step: optimizer steps behind the last checkpoint.
        history: losses, targets and looks for copies, see :class:`smoothscore.training.History`.
        stopped: why it stopped before its last step (step, weights and memorized fraction of the look), or None.
        description: what ``run.json`` says: versions, fingerprints and counts of the images.
    """

    folder: Path
    config: TrainConfig
    step: int
    history: History
    stopped: Mapping[str, Any] | None = None
    description: Mapping[str, Any] = field(default_factory=dict)

    kind: ClassVar[str] = "run"
    title: ClassVar[str] = "Training run"

    @classmethod
    def load(cls, folder: str | Path) -> "Run":
        """The run in a folder, as far as its last checkpoint.

        Raises:
            InputError: there is no run, or no checkpoint yet.
        """
        run = Path(folder)
        description = read_run(run)
        found = checkpoints(run)
        if not found:
            raise InputError(f"The run in {run} has no checkpoint yet; let it train.")
        state = json.loads((found[-1] / "state.json").read_text())
        config = TrainConfig.from_dict(description["config"])
        stopped = description.get("stopped")
        history = History(**state["history"])
        if stopped:
            history.looks += stopped["looks"]
        return cls(run, config, state["step"], history, stopped, description)

    def values(self) -> Mapping[str, object]:
        """The log."""
        return {"step": self.step, "stopped": self.stopped, **self.history.to_dict()}

    def setting(self) -> Mapping[str, object]:
        """The description of the run."""
        return self.description

    def summary(self) -> Sequence[tuple[str, str]]:
        """The terminal's lines."""
        return run_page.summary(self)

    def lead(self) -> str:
        """The sentence at the head of the page."""
        return run_page.lead(self)

    def sections(self) -> Sequence[Section]:
        """Losses, looks for copies, targets and samples."""
        return run_page.sections(self)


def train(
    train: Images,
    config: TrainConfig | None,
    out: str | Path,
    held_out: Images | None = None,
    resume: bool = False,
    tensorboard: bool = False,
) -> Run:
    """Train a score network, or go on with a run that was interrupted.

    Args:
        train: (N, *shape) images in [-1, 1], or an ImageSet.
        config: the settings; None with ``resume`` for those of the run.
        out: the run's folder, made if it is missing. With a run of the same settings and images in it, that run goes
            on, to the very weights it would have had without the interruption.
        held_out: images that are not trained on, for the looks for copies.
        resume: there must be a run in ``out``, and it goes on.
        tensorboard: write events to ``out/tensorboard``; needs ``smoothscore[tensorboard]``.

    Returns:
        The run, at its last step or where a look stopped it.

    Raises:
        InputError: settings that do not fit the images or the run in ``out``, other training or held-out images than
            before, another process at work in ``out``, a loss that is no number, memory or disk full. What was written
            stays whole.
        DataWarning: some held-out images are training images; they are left out.
    """
    from accelerate import Accelerator  # type: ignore[import-untyped]

    if config is not None and not isinstance(config, TrainConfig):
        raise InputError(
            f"config is a {type(config).__name__}; give a TrainConfig, e.g. TrainConfig.from_dict(config)."
        )
    run = Path(out)
    check_place(run)
    before = read_run(run) if (run / "run.json").exists() else None
    if resume and before is None:
        raise InputError(f"There is no run in {run} to go on with; leave resume out to begin one.")
    if config is None:
        if before is None:
            raise InputError("There is no configuration; give one, or resume a run.")
        config = TrainConfig.from_dict(before["config"])
    if held_out is not None and shape_of(held_out) != shape_of(train):
        raise InputError(
            f"The held-out images have shape {tuple(shape_of(held_out))} and the training images "
            f"{tuple(shape_of(train))}; bring them to one shape."
        )
    chosen = _distinct(train) if config.deduplicate else train
    several = int(os.environ.get("WORLD_SIZE", "1")) > 1  # which accelerate does not look for without a GPU
    accelerator = Accelerator(cpu=several and not torch.cuda.is_available())
    if config.batch_size % accelerator.num_processes:
        raise InputError(
            f"batch_size is {config.batch_size}, and {accelerator.num_processes} processes cannot share that equally; "
            "give a multiple."
        )
    description = description_of(config, chosen, held_out)
    if before is not None:
        check_same(run, config, description, before)
        reached = max((int(path.name) for path in checkpoints(run)), default=0)
        if config.steps < reached:
            raise InputError(
                f"The run in {run} is at step {reached} already, and steps is {config.steps}; give at least {reached}, "
                "or another folder."
            )
        if before.get("stopped") and _stops(config, before["stopped"]):
            return Run.load(run)
        config, description = as_begun(run, config), gone_on(description, before)
    with enough_memory(f"The network {config.network!r} with its options does not fit into memory; make it smaller."):
        network = make_network(config, chosen)
    if accelerator.is_main_process:
        objective = make_objective(config, chosen, run / GRAPH)
        make_folder(run)
    accelerator.wait_for_everyone()
    if not accelerator.is_main_process:
        objective = make_objective(config, chosen, run / GRAPH)
    with lock(run) if accelerator.is_main_process else nullcontext():
        if accelerator.is_main_process:
            class_ = 0 if config.method == "dummy" else None
            write_description(run / "network.json", describe(network, form_of(config), class_))
            write_run(run, description)
            if not (run / MOMENTS).exists():
                write_moments(run / MOMENTS, chosen)
        looks = config.watch_every and accelerator.is_main_process
        watch = Watch(chosen, _unseen(chosen, held_out), config, form_of(config)) if looks else None
        board = _board(run) if tensorboard and accelerator.is_main_process else None
        trainer = Trainer(network, objective, chosen, config, run, accelerator, watch, board)
        trainer.go_on()
        trainer.train()
        if trainer.stopped and accelerator.is_main_process:
            looks = [look for look in trainer.history.looks if look["step"] == trainer.step]
            write_run(run, description | {"stopped": {**trainer.stopped, "looks": looks}})
        if board is not None:
            board.close()
        accelerator.wait_for_everyone()
    return Run.load(run)


def _stops(config: TrainConfig, stopped: Mapping[str, Any]) -> bool:
    """Whether a run that was stopped by a look still is."""
    limit = config.stop_on_memorization
    return limit is not None and stopped["value"] > limit


def _distinct(images: Images) -> Images:
    return images[first_of_each(images)]


def _unseen(train: Images, held_out: Images | None) -> Images | None:
    """The held-out images that are no training images."""
    leaked = [] if held_out is None else shared_images(train, held_out)
    if held_out is None or not leaked:
        return held_out
    warnings.warn(
        f"{len(leaked)} of {len(held_out)} held-out images are training images; the looks for copies leave them out.",
        DataWarning,
        stacklevel=3,
    )
    rest = np.setdiff1d(np.arange(len(held_out)), leaked)
    return held_out[rest] if len(rest) else None


def _board(run: Path) -> Any:
    try:
        from torch.utils.tensorboard import SummaryWriter
    except ImportError:
        raise InputError(
            'TensorBoard is not installed; run pip install "smoothscore[tensorboard]", or leave tensorboard out.'
        ) from None
    return SummaryWriter(str(run / "tensorboard"))
