"""``smoothscore train``: train a score network."""

import json
import os
from pathlib import Path
from typing import Annotated, Any

import typer
from typer.core import TyperCommand

from smoothscore import verbs
from smoothscore.cli.app import HeldOut, Html, Json, finish
from smoothscore.config import Method, Noise, Precision, TrainConfig
from smoothscore.errors import InputError
from smoothscore.training import Run
from smoothscore.training.description import read_run


class TrainCommand(TyperCommand):
    """Lets ``--gap`` take two numbers and be given several times, which typer cannot say."""

    def parse_args(self, ctx: Any, args: list[str]) -> list[str]:
        """Join the two numbers after each ``--gap`` into one text, then parse as ever."""
        rest, joined = iter(args), []
        for argument in rest:
            joined.append(argument)
            if argument == "--gap":
                joined.append(f"{next(rest, '')} {next(rest, '')}")
        return list(super().parse_args(ctx, joined))


def train(
    train: Annotated[str, typer.Argument(metavar="DATA", help="The training images.")],
    out: Annotated[Path, typer.Option("-o", "--out", help="Folder of the run; one in it with these settings goes on.")],
    held_out: HeldOut = None,
    config: Annotated[Path | None, typer.Option(help="JSON of a TrainConfig; the options below go before it.")] = None,
    resume: Annotated[
        bool, typer.Option("--resume", help="Go on with the run in the folder, with its settings.")
    ] = False,
    method: Annotated[
        Method | None, typer.Option(help="How copying is met; conditional does nothing about it.")
    ] = None,
    steps: Annotated[int | None, typer.Option(help="Optimizer steps.")] = None,
    batch_size: Annotated[int | None, typer.Option(help="Images a step, over all processes.")] = None,
    learning_rate: Annotated[float | None, typer.Option(help="Of AdamW.")] = None,
    network: Annotated[str | None, typer.Option(help="A preset: tiny, small, ncsnpp-cifar10, ...")] = None,
    preconditioning: Annotated[
        str | None, typer.Option(help="edm, ve, vp, noise, scaled-noise, score or denoiser.")
    ] = None,
    linear_bypass: Annotated[bool | None, typer.Option(help="Learn the difference to the Gaussian score.")] = None,
    noise: Annotated[Noise | None, typer.Option(help="Law of the noise levels.")] = None,
    sigma_min: Annotated[float | None, typer.Option(help="Smallest level.")] = None,
    sigma_max: Annotated[float | None, typer.Option(help="Largest level.")] = None,
    gap: Annotated[
        list[str] | None,  # each "LOW HIGH", see TrainCommand
        typer.Option("--gap", metavar="LOW HIGH", help="Levels that are never trained; may be given several times."),
    ] = None,
    temperature: Annotated[str | None, typer.Option(help="A number, 5/sigma, collapse:0.8 or perplexity:20.")] = None,
    sigma_collapse: Annotated[float | None, typer.Option(help="Levels from which on targets are not softened.")] = None,
    neighbors: Annotated[
        int | None, typer.Option(help="Images that share a target, the image itself included.")
    ] = None,
    space: Annotated[str | None, typer.Option(help="Where neighbors are near: pixel, pca:DIM, an encoder.")] = None,
    within_class: Annotated[bool | None, typer.Option(help="Neighbors of the image's own label only.")] = None,
    flips: Annotated[bool | None, typer.Option(help="Mirror half of the images.")] = None,
    augment: Annotated[float | None, typer.Option(help="Probability of each of EDM's moves, 0.12 there.")] = None,
    deduplicate: Annotated[bool | None, typer.Option(help="Train on one of each group of identical images.")] = None,
    precision: Annotated[Precision | None, typer.Option(help="Inside the network.")] = None,
    seed: Annotated[int | None, typer.Option(help="Of weights, batches and noise.")] = None,
    checkpoint_every: Annotated[int | None, typer.Option(help="Steps between checkpoints.")] = None,
    keep: Annotated[int | None, typer.Option(help="How many of the last checkpoints stay.")] = None,
    watch_every: Annotated[int | None, typer.Option(help="Steps between looks for copies; 0 for none.")] = None,
    watch_samples: Annotated[int | None, typer.Option(help="Samples drawn at each look.")] = None,
    stop_on_memorization: Annotated[
        float | None, typer.Option(help="Stop when more than this fraction are copies, and keep the checkpoint before.")
    ] = None,
    tensorboard: Annotated[bool, typer.Option("--tensorboard", help="Write events to OUT/tensorboard.")] = False,
    html: Html = None,
    json: Json = None,
) -> None:
    """Train a score network, with or without a remedy against copying; the same command again goes on with it."""
    given: dict[str, Any] = {
        "method": method or ("gap" if gap and config is None and not resume else None),
        "steps": steps,
        "batch_size": batch_size,
        "learning_rate": learning_rate,
        "network": network,
        "preconditioning": preconditioning,
        "linear_bypass": linear_bypass,
        "noise": noise,
        "sigma_min": sigma_min,
        "sigma_max": sigma_max,
        "gaps": None if gap is None else [_pair(text) for text in gap],
        "temperature": None if temperature is None else _number_or_rule(temperature),
        "sigma_collapse": sigma_collapse,
        "neighbors": neighbors,
        "space": space,
        "within_class": within_class,
        "flips": flips,
        "augment": augment,
        "deduplicate": deduplicate,
        "precision": precision,
        "seed": seed,
        "checkpoint_every": checkpoint_every,
        "keep": keep,
        "watch_every": watch_every,
        "watch_samples": watch_samples,
        "stop_on_memorization": stop_on_memorization,
    }
    given = {name: value for name, value in given.items() if value is not None}
    base = read_run(out)["config"] if resume else {} if config is None else _settings(config)
    settings = TrainConfig.from_dict(base | given)

    def start() -> Run:
        return verbs.train(train, settings, out, held_out, resume=resume, tensorboard=tensorboard)

    if os.environ.get("RANK", "0") == "0":
        finish(start, html, json)
    else:  # one of several processes; the first one prints
        start()


def _settings(path: Path) -> dict[str, Any]:
    try:
        values = json.loads(path.read_text())
    except (OSError, ValueError) as error:
        raise InputError(f"{path} cannot be read as the JSON of settings ({error}); give such a file.") from None
    if not isinstance(values, dict):
        raise InputError(f"{path} holds no settings by name; give the JSON of a TrainConfig.")
    return values


def _pair(text: str) -> tuple[float, float]:
    try:
        low, high = (float(end) for end in text.split())
    except ValueError:
        raise InputError(f"--gap {text.strip()} is no interval; give two noise levels, --gap LOW HIGH.") from None
    return low, high


def _number_or_rule(text: str) -> float | str:
    try:
        return float(text)
    except ValueError:
        return text
