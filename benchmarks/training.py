"""What a step costs with each method, as ratios to the ordinary loss in the same run.

    python benchmarks/training.py                 # 32 x 32, batch 128 and 64 x 64, batch 64
    python benchmarks/training.py --edm ~/edm     # beside EDM's own network and loss, a checkout of NVlabs/edm

The methods take turns, step by step, each round begun by another one. A ratio is the median over the rounds of the
method's time over the ordinary loss's in the same round, so that a noisy machine disturbs all alike; the number after
+- is its standard error, 1.25 deviations over the root of the number of rounds. Memory is the largest of a process that
makes the neighbor graph and three steps of one method, or of the process that it has the graph made by. The graph is
made before the clock starts, as it is in a run. As in a run, too, freed memory stays with the process, whoever's step
it is; ``--usual-allocator`` leaves it to the C library, which returns it and asks for it again. Images are noise, of
which no neighbor is near enough to be read in a step, unless --data names others.

With ``--edm`` both networks have the same hyperparameters; first, with the same weights, their outputs are compared.
"""

import argparse
import json
import math
import platform
import resource
import statistics
import subprocess
import sys
import time
from collections.abc import Callable
from contextlib import nullcontext
from pathlib import Path
from typing import Any

import torch
from torch import Tensor, nn

import smoothscore as ss
from smoothscore.allocator import reuse_freed_memory
from smoothscore.networks import build
from smoothscore.report import write_text
from smoothscore.training import make_network, make_objective

METHODS = {
    "conditional": ss.TrainConfig(),
    "unconditional": ss.TrainConfig(method="unconditional"),
    "temperature, pixel": ss.TrainConfig(method="temperature", neighbors=30),
    "temperature, feature": ss.TrainConfig(method="temperature", neighbors=30, space="pca:16"),
    "gap": ss.TrainConfig(method="gap", gaps=((1.0, 2.0),)),
    "dummy": ss.TrainConfig(method="dummy"),
}
EDM = "EDM's own"
SIZES = {"32": ((3, 32, 32), 128), "64": ((3, 64, 64), 64)}
Loss = Callable[[Tensor, Tensor], Tensor]


class Stepper:
    """Steps of one network with one loss."""

    def __init__(self, network: nn.Module, loss: Loss, train: ss.ImageSet, batch: int) -> None:
        self.network, self.loss, self.train, self.batch = network.train(), loss, train, batch
        self.optimizer = torch.optim.AdamW(network.parameters(), 2e-4)

    def step(self, clock: Callable[[], float] = time.perf_counter) -> float:
        indices = torch.randint(len(self.train), (self.batch,))
        images = self.train[indices.numpy()].tensor()
        start = clock()
        self.loss(images, indices).backward()
        self.optimizer.step()
        self.optimizer.zero_grad()
        return clock() - start


def stepper(method: str, size: str, given: argparse.Namespace) -> Stepper:
    """The network and the loss of a method, or EDM's, on images of a size."""
    shape, batch = SIZES[size]
    batch = given.batch or batch
    if given.data:
        train = ss.load_images(given.data, limit=given.images, resolution=shape[-1])
        train = ss.ImageSet.from_array(train.take(range(len(train))))  # pages of other images are not to count
    else:
        train = ss.ImageSet.from_array(torch.randint(0, 256, (given.images, *shape), dtype=torch.uint8))
    options = {"width": given.width, "blocks": given.blocks}
    options = {name: value for name, value in options.items() if value is not None}
    if method == EDM:
        network = edm_network(given.edm, build(given.network, shape, **options))
        from training.loss import EDMLoss  # EDM's

        loss = EDMLoss()
        return Stepper(network, lambda images, _: loss(network, images).mean(), train, batch)
    config = ss.TrainConfig.from_dict(
        METHODS[method].to_dict() | {"network": given.network, "network_options": options}
    )
    network, objective = make_network(config, train), make_objective(config, train)
    return Stepper(network, lambda images, indices: objective(network, images, indices), train, batch)


def edm_network(checkout: str, ours: nn.Module) -> nn.Module:
    """EDM's network with the hyperparameters and the weights of ours, once the outputs of the two agree."""
    sys.path.insert(0, checkout)
    from training.networks import EDMPrecond

    part: Any = ours.architecture
    if part.stem != 1:
        raise SystemExit("EDM's network has no stem; take --network ddpmpp-cifar10, ncsnpp-cifar10 or ncsnpp-64")
    theirs = EDMPrecond(
        max(ours.shape[1:]),
        ours.shape[0],
        model_type="SongUNet",
        model_channels=part.width,
        channel_mult=list(part.multipliers),
        channel_mult_emb=part.hidden,
        num_blocks=part.blocks,
        attn_resolutions=list(part.attention),
        dropout=part.dropout,
        embedding_type=part.embedding,
        channel_mult_noise=part.embedding_width,
        encoder_type=part.encoder,
        decoder_type=part.decoder,
        resample_filter=list(part.taps),
    )
    with torch.no_grad():  # fresh networks give nearly zero, which would agree whatever is inside
        for value in ours.parameters():
            value.add_(0.02 * torch.randn_like(value))
    theirs.model.load_state_dict(ours.state_dict())
    x, sigma = torch.randn(2, *ours.shape), torch.tensor([0.3, 5.0])
    with torch.no_grad():
        first = ss.NetworkScore(ours, "edm").denoise(x, sigma)
        second = theirs.eval()(x, sigma.reshape(-1, 1, 1, 1))
    error = float((first - second).abs().max() / second.abs().max())
    print(f"largest difference of the two denoisers, of the largest value: {error:.1e}")
    assert error < 1e-5
    return theirs


def main() -> None:
    given = options()
    with nullcontext() if given.usual_allocator else reuse_freed_memory():
        measure(given)


def measure(given: argparse.Namespace) -> None:
    """Print and write what was asked for."""
    if given.memory:
        one = stepper(given.memory, given.sizes[0], given)
        for _ in range(3):
            one.step()
        print(
            max(resource.getrusage(whose).ru_maxrss for whose in (resource.RUSAGE_CHILDREN, resource.RUSAGE_SELF))
            / 1024
        )
        return
    methods = ["conditional", EDM] if given.edm else given.methods
    rows = []
    for size in given.sizes:
        steppers = {method: stepper(method, size, given) for method in methods}
        times: dict[str, list[float]] = {method: [] for method in steppers}
        for turn in range(given.rounds):
            for method in [*methods[turn % len(methods) :], *methods[: turn % len(methods)]]:
                clock = time.process_time if given.processor_time else time.perf_counter
                times[method].append(steppers[method].step(clock))
        memory = {method: math.nan if given.time_only else _memory(method, size, given) for method in steppers}
        base = EDM if given.edm else "conditional"
        for method, one in steppers.items():
            ratios = [own / other for own, other in zip(times[method][1:], times[base][1:], strict=True)]
            row = {"size": size, "batch": one.batch, "method": method, "seconds": statistics.median(times[method][1:])}
            row |= {"time": statistics.median(ratios), "error": 1.25 * statistics.stdev(ratios) / len(ratios) ** 0.5}
            row |= {"MiB": memory[method], "memory": memory[method] / memory[base]}
            row |= {"parameters": sum(value.numel() for value in one.network.parameters())}
            rows.append(row)
            line = (
                "{size:>3} {batch:>4} {method:<22} {seconds:.3f} s {time:.3f} +- {error:.3f} {MiB:.0f} MiB {memory:.3f}"
            )
            print(line.format(**row))
    setting = {**vars(given), "json": None, "machine": platform.processor(), "threads": torch.get_num_threads()}
    print(setting)
    if given.json:
        write_text(given.json, json.dumps({"setting": setting, "rows": rows}, indent=1) + "\n")


def options() -> argparse.Namespace:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--sizes", nargs="+", choices=list(SIZES), default=list(SIZES))
    parser.add_argument("--batch", type=int, default=None, help="images a step; 128 and 64 if absent")
    parser.add_argument("--rounds", type=int, default=7)
    parser.add_argument("--images", type=int, default=1000)
    parser.add_argument("--data", help="images to take instead of noise, brought to the sizes")
    parser.add_argument("--network", default=None, help="tiny if absent, ddpmpp-cifar10 with --edm")
    parser.add_argument("--width", type=int, default=None, help="channels of the network")
    parser.add_argument("--blocks", type=int, default=None, help="residual blocks at each resolution")
    parser.add_argument("--methods", nargs="+", choices=list(METHODS), default=list(METHODS))
    parser.add_argument("--edm", metavar="PATH", help="checkout of github.com/NVlabs/edm, to be compared with")
    parser.add_argument("--memory", metavar="METHOD", help="only print the largest memory of three steps, in MiB")
    parser.add_argument("--processor-time", action="store_true", help="of all threads together; for a busy machine")
    parser.add_argument("--time-only", action="store_true", help="leave the memory out")
    parser.add_argument("--usual-allocator", action="store_true", help="not as a run has it; for comparison")
    parser.add_argument("--json", type=Path)
    given = parser.parse_args()
    given.network = given.network or ("ddpmpp-cifar10" if given.edm else "tiny")
    return given


def _memory(method: str, size: str, given: argparse.Namespace) -> float:
    command = [sys.executable, __file__, "--memory", method, "--sizes", size]
    for name in ("images", "data", "network", "batch", "width", "blocks", "edm"):
        value = getattr(given, name)
        command += [] if value is None else [f"--{name}", str(value)]
    command += ["--usual-allocator"] if given.usual_allocator else []
    return float(subprocess.run(command, capture_output=True, text=True, check=True).stdout.split()[-1])


if __name__ == "__main__":
    main()
