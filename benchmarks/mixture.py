"""How long an empirical score takes, beside the two matrix products it seems to need and beside other ways.

    python benchmarks/mixture.py --data cifar10-train.zip

The floor is the time of the two float32 products ``X @ Y.T`` and ``W @ Y``. Each round times every candidate once on
the same queries, in turn, so that a slow moment of the machine hits all; the tables show medians of the ratios to
the floor of the same round. ``--run`` times 40 Euler steps from sigma 80 to 0.002, ``--memory`` says what one
evaluation adds to the resident memory of a fresh process. Results go to benchmarks/results/mixture.json.
"""

import argparse
import json
import platform
import resource
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path
from statistics import median
from time import perf_counter, process_time

import torch
from torch import Tensor

from smoothscore import __version__, load_images, schedules
from smoothscore.scores.empirical import EmpiricalScore

SIGMAS = [0.002, 0.01, 0.1, 0.5, 1.0, 2.0, 4.0, 10.0, 80.0]
Candidate = Callable[[], object]
clock = perf_counter


def seconds(candidate: Candidate) -> float:
    start = clock()
    candidate()
    return clock() - start


def cdist(x: Tensor, values: Tensor, sigma: float) -> Tensor:
    return torch.softmax(torch.cdist(x, values).square_().mul_(-0.5 / sigma**2), 1) @ values


def attention(x: Tensor, values: Tensor, sigma: float, keys: Tensor) -> Tensor:
    """Keys have half their squared norms appended, so that the attention logits are those of the posterior."""
    queries = torch.cat([x, -torch.ones(len(x), 1)], 1)
    return torch.nn.functional.scaled_dot_product_attention(queries, keys, values, scale=1 / sigma**2)


def ideal_denoiser(x: Tensor, values: Tensor, sigma: float, squares: Tensor) -> Tensor:
    """As one writes it first: expanded squares, softmax, product."""
    r2 = x.square().sum(1, keepdim=True) + squares - 2 * x @ values.T
    return torch.softmax(-r2 / (2 * sigma**2), 1) @ values


def speed(
    score: EmpiricalScore, values: Tensor, batches: list[int], sigmas: list[float], peers: bool, rounds: int
) -> list[dict[str, object]]:
    """Medians of the ratios to the floor, one entry a batch size, noise level and candidate."""
    generator = torch.Generator().manual_seed(0)
    squares = values.square().sum(1)
    keys = torch.cat([values, squares[:, None] / 2], 1) if peers else values
    found: list[dict[str, object]] = []
    for batch in batches:
        weights = torch.rand(batch, len(values), generator=generator)
        for sigma in sigmas:
            chosen = torch.randint(len(values), (batch,), generator=generator)
            x = values[chosen] + sigma * torch.randn(batch, values.shape[1], generator=generator)
            images = x.reshape(-1, *score.shape)
            candidates: dict[str, Candidate] = {
                "floor": lambda x=x, weights=weights: (x @ values.T, weights @ values),
                "smoothscore": lambda images=images, sigma=sigma: score.denoise(images, sigma),
            }
            if peers:
                candidates |= {
                    "cdist + softmax": lambda x=x, sigma=sigma: cdist(x, values, sigma),
                    "attention": lambda x=x, sigma=sigma: attention(x, values, sigma, keys),
                    "ideal denoiser": lambda x=x, sigma=sigma: ideal_denoiser(x, values, sigma, squares),
                }
            times: dict[str, list[float]] = {name: [] for name in candidates}
            for turn in range(rounds + 1):
                for name, candidate in candidates.items():
                    elapsed = seconds(candidate)
                    if turn:  # the first round warms up
                        times[name].append(elapsed)
            floor = times.pop("floor")
            line = f"batch {batch:4d}  sigma {sigma:6g}  floor {median(floor):7.4f} s"
            for name, each in times.items():
                ratio = median(t / f for t, f in zip(each, floor, strict=True))
                found.append({"batch": batch, "sigma": sigma, "candidate": name, "ratio": ratio})
                line += f"  {name} {ratio:.3f}"
            print(line, flush=True)
    return found


def run(score: EmpiricalScore, values: Tensor, batch: int) -> float:
    """40 Euler steps, as a multiple of 40 floors."""
    x = 80 * torch.randn(batch, *score.shape, generator=torch.Generator().manual_seed(0))
    weights = torch.rand(batch, len(values))
    levels = schedules.karras(40).tolist()
    floor = spent = 0.0
    for sigma, after in zip(levels, [*levels[1:], 0.0], strict=True):
        start = clock()
        denoised = score.denoise(x, sigma)
        spent += clock() - start
        floor += seconds(lambda x=x: (x.flatten(1) @ values.T, weights @ values))
        x = denoised + (after / sigma) * (x - denoised)
    return spent / floor


def resident() -> int:
    """Most memory this process has held so far, in MB."""
    return resource.getrusage(resource.RUSAGE_SELF).ru_maxrss // 1024


def memory(data: str, on_disk: bool) -> None:
    """Print what 128 queries at several levels add to the memory of this process."""
    images = load_images(data)
    if on_disk:
        score = EmpiricalScore(images)
    else:
        pixels = torch.from_numpy(images.take(range(len(images))))
        score = EmpiricalScore(pixels)
    x = torch.randn(128, *score.shape)
    small = torch.randn(128, 4)
    (small @ small.T).sum()  # the thread pool and its like
    before = resident()
    index = score.centers.index
    made = resident()
    for sigma in (0.1, 1.0, 10.0, 80.0):
        score.denoise(sigma * x, sigma)
    kind = "on disk" if on_disk else "in memory"
    print(f"centers {kind}: {before} MB before, {made} MB with the index, {resident()} MB at most", index is None)


def crossover(data: str, counts: list[int]) -> None:
    """Print the ratio to the floor with and without the index, for sets of several sizes."""
    for count in counts:
        images = load_images(data, limit=count)
        values = images.tensor().flatten(1)
        for sigma in (0.1, 1.0, 2.0):
            line = f"M {count:6d}  sigma {sigma:4g}"
            for label in ("with the index", "without"):
                score = EmpiricalScore(images)
                if label == "without":
                    score.centers.__dict__["index"] = None
                found = speed(score, values, [16], [sigma], False, 3)[0]
                line += f"  {label} {found['ratio']:.3f}"
            print(line)


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawTextHelpFormatter)
    parser.add_argument("--data", default="mnist-5k", help="images, as smoothscore.load_images reads them")
    parser.add_argument("--limit", type=int, help="use this many of them")
    parser.add_argument("--batches", type=int, nargs="+", default=[1, 16, 128])
    parser.add_argument("--sigmas", type=float, nargs="+", default=SIGMAS)
    parser.add_argument("--rounds", type=int, default=5)
    parser.add_argument("--no-peers", action="store_true", help="time the floor and smoothscore only")
    parser.add_argument("--run", action="store_true", help="also time a sampling run")
    parser.add_argument("--memory", action="store_true", help="also measure memory, in processes of their own")
    parser.add_argument("--crossover", type=int, nargs="*", help="only compare with and without the index, sizes M")
    parser.add_argument("--resident", choices=["disk", "memory"], help=argparse.SUPPRESS)
    parser.add_argument("--threads", type=int, help="of torch; with --cpu 1 on a busy machine")
    parser.add_argument("--cpu", action="store_true", help="count processor time, not time on the wall")
    parser.add_argument("--out", default="mixture", help="name of the result")
    options = parser.parse_args()
    if options.threads:
        torch.set_num_threads(options.threads)
    if options.cpu:
        global clock
        clock = process_time
    if options.resident:
        memory(options.data, options.resident == "disk")
        return
    if options.crossover is not None:
        crossover(options.data, options.crossover or [2000, 8192, 20000, 50000])
        return
    images = load_images(options.data, limit=options.limit)
    score = EmpiricalScore(images)
    start = perf_counter()
    indexed = score.centers.index is not None
    prepared = perf_counter() - start
    values = images.tensor().flatten(1)
    print(f"{images!r}: the index took {prepared:.1f} s" if indexed else f"{images!r}: no index")
    found = speed(score, values, options.batches, options.sigmas, not options.no_peers, options.rounds)
    result: dict[str, object] = {
        "version": __version__,
        "torch": torch.__version__,
        "machine": platform.processor() or platform.machine(),
        "threads": torch.get_num_threads(),
        "clock": "processor" if options.cpu else "wall",
        "data": {"source": images.source, "count": len(images), "fingerprint": images.fingerprint},
        "index_seconds": prepared if indexed else None,
        "ratios": found,
    }
    if options.run:
        result["run"] = {batch: run(score, values, batch) for batch in options.batches}
        print("40 steps:", result["run"])
    if options.memory:
        for kind in ("disk", "memory"):
            subprocess.run([sys.executable, __file__, "--data", options.data, "--resident", kind], check=True)
    out = Path(__file__).parent / "results" / f"{options.out}.json"
    out.parent.mkdir(exist_ok=True)
    out.write_text(json.dumps(result, indent=2) + "\n")
    print(out)


if __name__ == "__main__":
    main()
