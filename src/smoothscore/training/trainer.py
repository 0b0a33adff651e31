r"""The trainer: AdamW on the batches of a run, with averages, checkpoints and looks for copies.

A run is a function of its configuration and its images. Which images a step sees, at which levels and with which noise,
follows from (seed, step, place in the batch) alone (:mod:`smoothscore.training.draws`), and a checkpoint holds all the
rest. So a run that was killed goes on from its last checkpoint to the very weights it would have had, and one that is
spread over processes (``accelerate launch -m smoothscore train ...``) has the loss of one process, up to rounding.
"""

import math
import time
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
import torch
from torch import Tensor, nn

from smoothscore import progress
from smoothscore.allocator import reuse_freed_memory
from smoothscore.config import TrainConfig
from smoothscore.data import ImageSet
from smoothscore.errors import InputError
from smoothscore.mixture import Centers
from smoothscore.training.averages import Averages, average_name
from smoothscore.training.checkpoints import checkpoints, prune, restore, save_checkpoint
from smoothscore.training.draws import Draws, batch_indices, draw
from smoothscore.training.guards import enough_memory, reproducible
from smoothscore.training.history import History, Tally
from smoothscore.training.objective import Losses, Objective
from smoothscore.training.watch import Watch

if TYPE_CHECKING:
    from accelerate import Accelerator  # type: ignore[import-untyped]

__all__ = ["LOG_EVERY", "Trainer"]

LOG_EVERY = 50
TYPES = {"float32": None, "bfloat16": torch.bfloat16, "float16": torch.float16}


class Step(nn.Module):
    """One forward pass, from images to losses: what is spread over processes."""

    def __init__(self, network: nn.Module, objective: Objective, dtype: torch.dtype | None) -> None:
        super().__init__()
        self.network, self.objective, self.dtype = network, objective, dtype

    def forward(self, images: Tensor, indices: Tensor, draws: Draws) -> tuple[Tensor, Losses]:
        """The total loss, and what it was made of."""
        with torch.autocast(images.device.type, self.dtype, enabled=self.dtype is not None):
            losses = self.objective.losses(self.network, images, indices, draws)
        return losses.total, losses


class Trainer:
    """One run in its folder.

    Args:
        network, objective: as :mod:`smoothscore.training.setup` makes them.
        train: the images.
        config: the settings.
        run: the folder, which holds the run's description already.
        accelerator: the device and the processes.
        watch: looks for copies, or None.
        board: a TensorBoard writer, or None.
    """

    def __init__(
        self,
        network: nn.Module,
        objective: Objective,
        train: Tensor | ImageSet,
        config: TrainConfig,
        run: Path,
        accelerator: "Accelerator",
        watch: Watch | None = None,
        board: Any = None,
    ) -> None:
        self.config, self.run, self.accelerator, self.watch, self.board = config, run, accelerator, watch, board
        device = accelerator.device
        self.network = network.to(device)
        self.objective = objective.to(device)
        self.store = Centers(train).to(device)
        share = config.batch_size // accelerator.num_processes
        self.positions = range(accelerator.process_index * share, (accelerator.process_index + 1) * share)
        learned = [value for value in self.network.parameters() if value.requires_grad]
        self.optimizer = torch.optim.AdamW(learned, config.learning_rate, weight_decay=config.weight_decay)
        self.clipped = [value for name, value in self.network.named_parameters() if not name.startswith("sigma_head.")]
        self.averages = Averages(self.network, config.ema)
        self.history = History()
        self.tally = Tally(config.sigma_min, config.sigma_max, device)
        self.levels = torch.zeros_like(self.tally.sums)
        dtype = TYPES[config.precision]
        self.scaler = torch.amp.GradScaler(device.type, enabled=dtype == torch.float16)
        self.forward = accelerator.prepare_model(Step(self.network, self.objective, dtype))
        self.step = 0
        self.seconds = 0.0
        self.stopped: dict[str, Any] | None = None

    def go_on(self) -> None:
        """Continue from the last checkpoint, where there is one."""
        found = checkpoints(self.run)
        if not found:
            return
        state = restore(found[-1], self.network, self.averages, self.optimizer)
        self.step, self.seconds = state["step"], state["seconds"]
        self.history = History(**state["history"])
        if state["scaler"]:
            self.scaler.load_state_dict(state["scaler"])

    def train(self) -> None:
        """Train to the last step, or until a look finds too many copies.

        Raises:
            InputError: the loss is no number any more, memory or disk is full. What was written stays.
        """
        config, begun = self.config, time.perf_counter() - self.seconds
        self.forward.train()
        if config.stop_on_memorization is not None and not checkpoints(self.run):
            self._save()  # what is kept if the first look already stops the run
        with reuse_freed_memory(), reproducible(), progress.task("training", total=config.steps) as advance:
            advance(self.step)
            while self.step < config.steps and self.stopped is None:
                norm = self._take_step()
                self.step += 1
                self.seconds = time.perf_counter() - begun
                last = self.step == config.steps
                saves = last or self.step % config.checkpoint_every == 0
                note = ""
                if saves or self.step % LOG_EVERY == 0:
                    note = self._log(norm)
                if self.watch_now(last):
                    self._look()
                if saves and self.stopped is None:
                    self._save()
                advance(1, note)

    def watch_now(self, last: bool) -> bool:
        """Whether this step ends with a look for copies."""
        every = self.config.watch_every
        return bool(every) and (last or self.step % every == 0)

    def _take_step(self) -> Tensor:
        """One step of the optimizer; the norm of the gradient."""
        config, step, device = self.config, self.step, self.accelerator.device
        for group in self.optimizer.param_groups:
            group["lr"] = config.learning_rate * min(1.0, (step + 1) / max(1, config.warmup))
        chosen = batch_indices(config.seed, step, self.positions, config.batch_size, self.store.count)
        indices = torch.from_numpy(chosen).to(device)
        images = self.store.rows(indices, torch.float32).reshape(-1, *self.store.shape)
        draws = draw(config.seed, step, self.positions, self.store.shape).to(device)
        own = np.random.SeedSequence([config.seed, step, self.positions.start]).generate_state(1)
        torch.manual_seed(int(own[0]))  # of dropout
        with enough_memory(
            f"Memory ran out at step {step} with batch_size {config.batch_size}; make the batch smaller in a new "
            "folder, or train on more processes."
        ):
            total, losses = self.forward(images, indices, draws)
            self.scaler.scale(total).backward()
        self.scaler.unscale_(self.optimizer)
        norm = nn.utils.clip_grad_norm_(self.clipped, config.gradient_clip or math.inf)
        self.scaler.step(self.optimizer)
        self.scaler.update()
        self.optimizer.zero_grad(set_to_none=True)
        self.averages.update((step + 1) * config.batch_size, config.batch_size)
        self.tally.add(losses)
        return norm

    def _log(self, norm: Tensor) -> str:
        """Write down the loss since the last time; the note for the progress bar.

        Raises:
            InputError: the loss is no number any more.
        """
        sums = self.accelerator.reduce(self.tally.take(), "sum").cpu()
        self.levels = self.levels.cpu() + sums
        loss = float(sums[:, 1].sum() / sums[:, 0].sum())
        spoilt = not self.scaler.is_enabled() and not math.isfinite(norm)  # a scaler leaves such steps out
        if spoilt or not math.isfinite(loss):
            kept = checkpoints(self.run)
            where = f"the checkpoint of step {int(kept[-1].name)} is whole" if kept else "there is no checkpoint yet"
            raise InputError(
                f"The loss became {loss} and its gradient {float(norm)} shortly before step {self.step}; "
                f"{where}: train with a lower learning_rate than {self.config.learning_rate:g} in a new "
                "folder."
            )
        row = {"step": self.step, "seconds": self.seconds, "loss": loss, "gradient_norm": float(norm)}
        self.history.steps.append(row)
        if self.board is not None:
            for name in ("loss", "gradient_norm"):
                self.board.add_scalar(name, row[name], self.step)
        return f"loss {loss:.4f}, {self.step / self.seconds:.1f} steps/s"

    def _look(self) -> None:
        """Look for copies in all weights, and stop the run if one has too many."""
        limit = self.config.stop_on_memorization
        if self.accelerator.is_main_process and self.watch is not None:
            averages = {average_name(life): self.averages.state(life) for life in self.averages.values}
            looks = self.watch.look(self.step, self.network, averages, self.run)
            self.history.looks += looks
            copies = {look["weights"]: look["memorized"] for look in looks if "memorized" in look}
            worst = max(copies, key=lambda name: float(copies[name]["value"]), default=None)
            if worst is not None and limit is not None and copies[worst]["value"] > limit:
                self.stopped = {"step": self.step, "weights": worst, **copies[worst]}
            if self.board is not None:
                for look in looks:
                    shown = {name: look.get(name) for name in ("frechet_train", "frechet_held_out")}
                    shown["memorized"] = copies.get(look["weights"], {}).get("value")
                    for name, value in shown.items():
                        if value is not None:
                            self.board.add_scalar(f"{name}/{look['weights']}", value, self.step)
        if self.accelerator.num_processes > 1:
            from accelerate.utils import broadcast_object_list  # type: ignore[import-untyped]

            shared = [self.stopped]
            broadcast_object_list(shared)
            self.stopped = shared[0]

    def _save(self) -> None:
        """Write a checkpoint and delete the oldest."""
        self.history.add_levels(self.step, self.levels)
        self.levels = torch.zeros_like(self.levels)
        if self.accelerator.is_main_process:
            state = {"seconds": self.seconds, "history": self.history.to_dict(), "scaler": self.scaler.state_dict()}
            save_checkpoint(self.run, self.step, self.network, self.averages, self.optimizer, state)
            prune(self.run, self.config.keep)
