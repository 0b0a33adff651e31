"""Cost of the noise-level curves: many levels, one level, and the straightforward evaluation, in one run.

    python benchmarks/diagnose.py --data cifar10-train.zip --images 1000

The straightforward evaluation adds every noise to every image at every level and takes a softmax over all
distances. It is timed on a few noises and levels and reported per noise and level; its total is that times
their number.
"""

import argparse
import json
import platform
import statistics
import time
from collections.abc import Callable
from pathlib import Path

import torch

from smoothscore import load_images
from smoothscore.geometry import concentration, shell_coverage
from smoothscore.schedules import karras


def straightforward(y: torch.Tensor, sigma: float, noise: torch.Tensor) -> float:
    """Mean largest weight for one noise at one level."""
    squares = torch.cdist((y + sigma * noise).flatten(1), y.flatten(1)).square()
    return float(torch.softmax(-squares / (2 * sigma**2), dim=1).amax(1).mean())


def seconds(work: Callable[[], object]) -> float:
    start = time.perf_counter()
    work()
    return time.perf_counter() - start


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--data", default="mnist-5k", help="what load_images reads")
    parser.add_argument("--images", type=int, default=1000, help="training images, and as many held out")
    parser.add_argument("--noises", type=int, default=100)
    parser.add_argument("--levels", type=int, default=40)
    parser.add_argument("--repeat", type=int, default=3)
    parser.add_argument("--out", type=Path, default=Path(__file__).parent / "results" / "diagnose.json")
    options = parser.parse_args()

    images = load_images(options.data, limit=2 * options.images, seed=0)
    train, held_out = images[: options.images], images[options.images :]
    y = train.tensor()
    noise = torch.randn(y.shape[1:], generator=torch.Generator().manual_seed(0))
    levels, one = karras(options.levels), [2.0]
    work: dict[str, Callable[[], object]] = {
        f"posterior weight, {options.levels} levels": lambda: concentration(train, levels, 0, options.noises),
        "posterior weight, 1 level": lambda: concentration(train, one, 0, options.noises),
        f"shell coverage, {options.levels} levels": lambda: shell_coverage(train, held_out, levels, 0, options.noises),
        "shell coverage, 1 level": lambda: shell_coverage(train, held_out, one, 0, options.noises),
        "straightforward, 1 noise, 1 level": lambda: straightforward(y, 2.0, noise),
    }
    times: dict[str, list[float]] = {name: [] for name in work}
    for _ in range(options.repeat + 1):  # the first round warms up
        for name, call in work.items():
            times[name].append(seconds(call))
    medians = {name: statistics.median(measured[1:]) for name, measured in times.items()}
    *curves, single = medians.values()
    total = single * options.noises * options.levels
    for name, value in medians.items():
        print(f"{name:40} {value:9.3f} s")
    print(f"{'straightforward, all':40} {total:9.1f} s, {total / curves[0]:.0f} times the posterior weight's")
    print(
        f"{options.levels} levels against 1: weight {curves[0] / curves[1]:.1f}, coverage {curves[2] / curves[3]:.1f}"
    )
    setting = {
        "data": options.data,
        "images": len(train),
        "held out": len(held_out),
        "shape": list(train.shape),
        "noises": options.noises,
        "levels": options.levels,
        "machine": platform.processor() or platform.machine(),
        "threads": torch.get_num_threads(),
        "torch": torch.__version__,
    }
    options.out.parent.mkdir(parents=True, exist_ok=True)
    options.out.write_text(json.dumps({"setting": setting, "medians": medians, "times": times}, indent=2) + "\n")


if __name__ == "__main__":
    main()
