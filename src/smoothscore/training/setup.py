"""From a configuration and the images: the network to train and the loss to train it with."""

from contextlib import suppress
from pathlib import Path
from typing import Any

import numpy as np
import torch
from torch import Tensor, nn

from smoothscore.config import TrainConfig
from smoothscore.data import ImageSet
from smoothscore.errors import InputError
from smoothscore.geometry.pairs import shape_of
from smoothscore.neighbors import NeighborGraph
from smoothscore.neighbors.apart import build_apart
from smoothscore.networks import LinearBypass, Preconditioning, build, preconditioning
from smoothscore.scores import GaussianScore
from smoothscore.scores.temperature import temperature_rule
from smoothscore.training.augment import AUGMENT_LABELS, Augmentation
from smoothscore.training.law import NoiseLaw
from smoothscore.training.objective import Objective
from smoothscore.training.objectives import Conditional, Dummy, Gap, Unconditional
from smoothscore.training.temperature import Temperature, best_shells, perplexity_among

__all__ = ["form_of", "make_network", "make_objective"]

NEED_LEVEL = ("edm", "ve", "vp")
FIXED = ("name", "shape", "noise_conditional", "classes", "augmentation")
APART = 2**18  # values in all images, from which on a process of its own searches their neighbors
BYPASS_RANK = 256
BYPASS_SHRINKAGE = 0.01  # else the network must undo 1 / sigma in every direction that the Gaussian lacks


def form_of(config: TrainConfig) -> Preconditioning:
    """How the network of a configuration becomes a denoiser.

    Raises:
        InputError: there is none of that name, or the method leaves the noise level out and the form needs it.
    """
    blind = config.method in ("unconditional", "temperature")
    form = preconditioning(config.preconditioning or ("scaled-noise" if blind else "edm"))
    if config.method == "unconditional" and form.name in NEED_LEVEL:
        raise InputError(
            f"preconditioning {form.name!r} needs the noise level, which the method 'unconditional' leaves out; take "
            "'scaled-noise', 'noise', 'score' or 'denoiser'."
        )
    return form


def make_network(config: TrainConfig, train: Tensor | ImageSet) -> nn.Module:
    """The network of a configuration, with the weights that its seed gives.

    Raises:
        InputError: the network or an option is unknown, or cannot take images of this shape.
    """
    form = form_of(config)
    blind = config.method in ("unconditional", "temperature") and form.name not in NEED_LEVEL
    if config.linear_bypass and blind:
        raise InputError(
            f"linear_bypass needs the noise level, which the method {config.method!r} leaves out; set preconditioning "
            "to 'edm', or leave the bypass out."
        )
    options: dict[str, Any] = dict(config.network_options)
    for name in FIXED:
        if name in options:
            raise InputError(
                f"network_options has {name!r}, which follows from the images and the method; leave it out."
            )
    if config.method == "dummy":
        options["classes"] = 2
    if config.augment:
        options["augmentation"] = AUGMENT_LABELS
    with torch.random.fork_rng():
        torch.manual_seed(config.seed)
        network = build(config.network, shape_of(train), noise_conditional=not blind, **options)
    if config.linear_bypass:
        rank = min(BYPASS_RANK, shape_of(train).numel(), len(train) - 1)
        gaussian = GaussianScore.fit(train, rank=rank, shrinkage=BYPASS_SHRINKAGE)
        return LinearBypass(network, gaussian.float())
    return network


def make_objective(config: TrainConfig, train: Tensor | ImageSet, graph: Path | None = None) -> Objective:
    """The loss of a configuration; with "temperature" this searches the neighbors of all images.

    Args:
        config, train: the settings and the images.
        graph: a file for the neighbors, which are searched only where it does not hold them already.

    Raises:
        InputError: K is not below the number of images, gaps leave no level, or the temperature or the space is
            unknown.
    """
    law = NoiseLaw(
        config.noise,
        config.noise_mean,
        config.noise_std,
        config.sigma_min,
        config.sigma_max,
        config.gaps if config.method != "gap" else (),
        shape_of(train).numel(),
    )
    shared: dict[str, Any] = {
        "form": form_of(config),
        "law": law,
        "flips": config.flips,
        "augment": Augmentation(config.augment) if config.augment else None,
    }
    if (config.flips or config.augment) and len(shape_of(train)) != 3:
        raise InputError("Points cannot be mirrored or moved; leave flips and augment out.")
    if config.method == "temperature":
        if form_of(config).name not in NEED_LEVEL:
            best_shells(shape_of(train).numel())
        count, whose = _fewest(train, config.within_class)
        if count < 3:
            raise InputError(f"The method 'temperature' softens targets over neighbors; {count} {whose} are too few.")
        if not 2 <= config.neighbors < count:
            raise InputError(
                f"neighbors is {config.neighbors}; with {count} {whose} give 2 to {count - 1}, itself included."
            )
        if perplexity_among(config.temperature, config.neighbors) is None:
            temperature_rule(config.temperature, torch.ones(1), 1, lambda: 0.0)  # before a long search
        neighbors = _graph(config, train, graph)
        return Temperature(train, neighbors, config.temperature, config.sigma_collapse, **shared)
    if config.method == "gap":
        return Gap(config.gaps, **shared)
    if config.method == "dummy":
        return Dummy(seed=config.seed, **shared)
    return Unconditional(**shared) if config.method == "unconditional" else Conditional(**shared)


def _graph(config: TrainConfig, train: Tensor | ImageSet, file: Path | None) -> NeighborGraph:
    """The neighbors of a configuration: those of the file, or made by a process of their own, if images are many."""
    k, space, within_class = config.neighbors - 1, config.space, config.within_class
    if file is not None:
        with suppress(InputError):
            graph = NeighborGraph.load(file, train)
            if (graph.indices.shape[1], graph.space, graph.within_class) == (k, space, within_class):
                return graph
    if len(train) * shape_of(train).numel() < APART:
        graph = NeighborGraph.build(train, k, space, within_class)
        if file is not None:
            file.parent.mkdir(parents=True, exist_ok=True)
            graph.save(file)
        return graph
    return build_apart(train, k, space, within_class, file)


def _fewest(train: Tensor | ImageSet, within_class: bool) -> tuple[int, str]:
    """Among how many images the neighbors of an image are at least, and which these are, in words."""
    labels = train.labels if isinstance(train, ImageSet) else None
    if not within_class or labels is None:
        return len(train), "training images"
    classes, counts = np.unique(labels, return_counts=True)
    return int(counts.min()), f"images of class {classes[counts.argmin()]}"
