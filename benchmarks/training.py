"""What a step costs with each method, as ratios to the ordinary loss in the same run.

    python benchmarks/training.py                 # 32 x 32, batch 128 and 64 x 64, batch 64

The methods take turns, step by step, and the medians are compared, so that a noisy machine disturbs all alike. Memory
is the largest of the process during the steps of one method, each in a process of its own. Images are noise: their
content changes no cost. The neighbor graph is made before the clock starts, as it is in a run.
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
from pathlib import Path

import torch

import smoothscore as ss
from smoothscore.report import write_text
from smoothscore.training import Objective, make_network, make_objective

METHODS = {
    "conditional": ss.TrainConfig(),
    "unconditional": ss.TrainConfig(method="unconditional"),
    "temperature, pixel": ss.TrainConfig(method="temperature", neighbors=30),
    "temperature, feature": ss.TrainConfig(method="temperature", neighbors=30, space="pca:16"),
    "gap": ss.TrainConfig(method="gap", gaps=((1.0, 2.0),)),
    "dummy": ss.TrainConfig(method="dummy"),
}
SIZES = {"32": ((3, 32, 32), 128), "64": ((3, 64, 64), 64)}


class Stepper:
    """Steps of one method."""

    def __init__(self, method: str, train: torch.Tensor, batch: int, width: int | None) -> None:
        settings = METHODS[method].to_dict() | {"network_options": {} if width is None else {"width": width}}
        config = ss.TrainConfig.from_dict(settings)
        self.network, self.train, self.batch = make_network(config, train), train, batch
        self.objective: Objective = make_objective(config, train)
        self.optimizer = torch.optim.AdamW(self.network.parameters(), 2e-4)

    def step(self) -> float:
        indices = torch.randint(len(self.train), (self.batch,))
        images = self.train[indices.numpy()].tensor()
        start = time.perf_counter()
        self.objective(self.network, images, indices).backward()
        self.optimizer.step()
        self.optimizer.zero_grad()
        return time.perf_counter() - start


def images(shape: tuple[int, ...], count: int) -> ss.ImageSet:
    values = torch.randint(0, 256, (count, *shape), generator=torch.Generator().manual_seed(0), dtype=torch.uint8)
    return ss.ImageSet.from_array(values)


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--sizes", nargs="+", choices=list(SIZES), default=list(SIZES))
    parser.add_argument("--rounds", type=int, default=7)
    parser.add_argument("--images", type=int, default=1000)
    parser.add_argument("--width", type=int, default=None, help="channels of the network 'tiny'")
    parser.add_argument("--methods", nargs="+", choices=list(METHODS), default=list(METHODS))
    parser.add_argument("--memory", metavar="METHOD", help="only print the largest memory of three steps, in MiB")
    parser.add_argument("--time-only", action="store_true", help="leave the memory out")
    parser.add_argument("--json", type=Path)
    given = parser.parse_args()
    if given.memory:
        stepper = Stepper(given.memory, images(*_of(given, given.sizes[0])), SIZES[given.sizes[0]][1], given.width)
        for _ in range(3):
            stepper.step()
        print(resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 1024)
        return
    rows = []
    for size in given.sizes:
        batch = SIZES[size][1]
        train = images(*_of(given, size))
        steppers = {method: Stepper(method, train, batch, given.width) for method in given.methods}
        times: dict[str, list[float]] = {method: [] for method in steppers}
        for _ in range(given.rounds):
            for method, stepper in steppers.items():
                times[method].append(stepper.step())
        seconds = {method: statistics.median(values[1:]) for method, values in times.items()}
        memory = {method: math.nan if given.time_only else _memory(method, size, given) for method in steppers}
        for method in steppers:
            row = {"size": size, "batch": batch, "method": method, "seconds": seconds[method], "MiB": memory[method]}
            row |= {"time": row["seconds"] / seconds["conditional"], "memory": row["MiB"] / memory["conditional"]}
            rows.append(row)
            print(
                "{size:>3} {batch:>4} {method:<22} {seconds:.3f} s {time:.3f} {MiB:.0f} MiB {memory:.3f}".format(**row)
            )
    if given.json:
        setting = {**vars(given), "json": None, "machine": platform.processor(), "threads": torch.get_num_threads()}
        write_text(given.json, json.dumps({"setting": setting, "rows": rows}, indent=1) + "\n")


def _of(given: argparse.Namespace, size: str) -> tuple[tuple[int, ...], int]:
    return SIZES[size][0], given.images


def _memory(method: str, size: str, given: argparse.Namespace) -> float:
    command = [sys.executable, __file__, "--memory", method, "--sizes", size, "--images", str(given.images)]
    command += [] if given.width is None else ["--width", str(given.width)]
    return float(subprocess.run(command, capture_output=True, text=True, check=True).stdout.split()[-1])


if __name__ == "__main__":
    main()
