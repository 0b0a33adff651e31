"""Cost of a diagnosis: many levels, one level, and the straightforward evaluation, in one run.

    python benchmarks/diagnose.py --data cifar10-train.zip --held-out cifar10-test.zip --images 1000

The straightforward evaluation adds every noise to every image at every level and takes a softmax over all distances. It
is timed for one noise and one level; its total is that times their number. The candidates take turns; medians are
printed.
"""

import argparse
import json
import platform
import resource
import statistics
import time
import warnings
from collections.abc import Callable
from pathlib import Path

import torch

from smoothscore import load_images
from smoothscore.errors import DataWarning
from smoothscore.geometry import concentration, diagnose, shell_coverage
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
    parser.add_argument("--held-out", help="the same, of held-out images; the rest of --data if absent")
    parser.add_argument("--images", type=int, default=1000, help="training images, and held-out images at most")
    parser.add_argument("--noises", type=int, default=100)
    parser.add_argument("--levels", type=int, default=40)
    parser.add_argument("--repeat", type=int, default=3)
    parser.add_argument("--whole", action="store_true", help="the whole diagnosis only, once: for large sets")
    parser.add_argument("--out", type=Path, default=Path(__file__).parent / "results" / "diagnose.json")
    options = parser.parse_args()
    warnings.simplefilter("ignore", DataWarning)

    images = load_images(options.data)
    train = images.subset(min(options.images, len(images)), 0)
    if options.held_out:
        held_out = load_images(options.held_out).subset(min(options.images, 1000), 0)
    else:
        train, held_out = images.split((options.images, options.images), seed=0)
    train.fingerprint  # noqa: B018  read once
    levels, one = karras(options.levels), [2.0]
    work: dict[str, Callable[[], object]] = {
        f"diagnosis, {options.levels} levels": lambda: diagnose(train, held_out, sigmas=levels, noises=options.noises)
    }
    if not options.whole:
        y = train.tensor()
        noise = torch.randn(y.shape[1:], generator=torch.Generator().manual_seed(0))
        n = options.noises
        work |= {
            "diagnosis, 1 level": lambda: diagnose(train, held_out, sigmas=one, noises=n),
            f"posterior weight, {options.levels} levels": lambda: concentration(train, levels, 0, n),
            "posterior weight, 1 level": lambda: concentration(train, one, 0, n),
            f"shell coverage, {options.levels} levels": lambda: shell_coverage(train, held_out, levels, 0, n),
            "shell coverage, 1 level": lambda: shell_coverage(train, held_out, one, 0, n),
            "straightforward, 1 noise, 1 level": lambda: straightforward(y, 2.0, noise),
        }
    times: dict[str, list[float]] = {name: [] for name in work}
    for _ in range(1 if options.whole else options.repeat + 1):  # the first round warms up
        for name, call in work.items():
            times[name].append(seconds(call))
    medians = {name: statistics.median(measured[not options.whole :]) for name, measured in times.items()}
    for name, value in medians.items():
        print(f"{name:40} {value:9.3f} s")
    ratios: dict[str, float] = {}
    if not options.whole:
        whole, whole_one, weight, weight_one, coverage, coverage_one, single = medians.values()
        ratios = {
            "diagnosis, all levels / 1": whole / whole_one,
            "posterior weight, all levels / 1": weight / weight_one,
            "shell coverage, all levels / 1": coverage / coverage_one,
            "straightforward / posterior weight": single * options.noises * options.levels / weight,
        }
        for name, value in ratios.items():
            print(f"{name:40} {value:9.1f}")
    memory = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 1024
    print(f"{'peak memory':40} {memory:9.0f} MB")
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
    numbers = {"setting": setting, "medians": medians, "ratios": ratios, "peak memory MB": memory, "times": times}
    options.out.write_text(json.dumps(numbers, indent=2) + "\n")


if __name__ == "__main__":
    main()
