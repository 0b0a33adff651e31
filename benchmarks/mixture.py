"""How long closed-form scores take, beside the two matrix products they seem to need and beside other ways.

    python benchmarks/mixture.py --data cifar10-train.zip --batches 16 --sigmas 0.1 1 10

The floor is the time of the two float32 products ``X @ Y.T`` and ``W @ Y``. Each round times every candidate once on
the same queries, in turn, so that a slow moment of the machine hits all; the tables show medians of the ratios to
the floor of the same round. Results are merged into benchmarks/results/mixture.json, so that a table can be measured
in pieces. ``--unified`` compares the score of 116 levels with that of one, ``--run`` times 40 Euler steps from sigma 80
to 0.002, ``--memory`` says what one evaluation adds to the resident memory of a fresh process, ``--crossover`` with
and without the index for sets of several sizes, ``--little`` what sets of 1,000 to 5,000 images take, beside the
formula of IdealDenoiser.
"""

import argparse
import json
import platform
import resource
import subprocess
import sys
from collections.abc import Callable, Mapping
from pathlib import Path
from statistics import median
from time import perf_counter, process_time

import torch
from torch import Tensor

from smoothscore import ImageSet, __version__, load_images, schedules
from smoothscore.data.query import parse_source
from smoothscore.scores.empirical import EmpiricalScore
from smoothscore.scores.unified import UnifiedScore

SIGMAS = [0.002, 0.01, 0.1, 0.5, 1.0, 2.0, 4.0, 10.0, 80.0]
SIZES = [2000, 8192, 20000, 50000]
LITTLE = [1000, 2000, 5000]
PARTS = ("speed", "unified", "run", "memory", "crossover", "little")
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
    """The formula of smalldiffusion's IdealDenoiser, as one writes it first: expanded squares, softmax, product."""
    r2 = x.square().sum(1, keepdim=True) + squares - 2 * x @ values.T
    return torch.softmax(-r2 / (2 * sigma**2), 1) @ values


def keops(x: Tensor, values: Tensor, sigma: float) -> Tensor:
    from pykeops.torch import LazyTensor

    r2 = ((LazyTensor(x[:, None]) - LazyTensor(values[None])) ** 2).sum(-1)
    found: Tensor = (-r2 / (2 * sigma**2)).sumsoftmaxweight(LazyTensor(values[None]), dim=1)
    return found


def peers(values: Tensor, wanted: list[str]) -> dict[str, Callable[[Tensor, float], object]]:
    """The other ways, by name; ``density`` gives the log-density only."""
    from sklearn.neighbors import KernelDensity

    squares = values.square().sum(1)
    keys = torch.cat([values, squares[:, None] / 2], 1) if "attention" in wanted else values
    tree = KernelDensity().fit(values.numpy()) if "density" in wanted else None
    every: dict[str, Callable[[Tensor, float], object]] = {
        "cdist": lambda x, sigma: cdist(x, values, sigma),
        "attention": lambda x, sigma: attention(x, values, sigma, keys),
        "ideal": lambda x, sigma: ideal_denoiser(x, values, sigma, squares),
        "density": lambda x, sigma: tree.set_params(bandwidth=sigma).score_samples(x.numpy()) if tree else None,
        "keops": lambda x, sigma: keops(x, values, sigma),
    }
    return {name: every[name] for name in wanted}


def compare(candidates: Mapping[str, Candidate], rounds: int) -> dict[str, float]:
    """Medians over rounds: seconds of the first candidate, and of the others their ratios to it."""
    times: dict[str, list[float]] = {name: [] for name in candidates}
    for turn in range(rounds + 1):
        for name, candidate in candidates.items():
            elapsed = seconds(candidate)
            if turn:  # the first round warms up
                times[name].append(elapsed)
    base, *others = times
    floor = times[base]
    ratios = {name: median(t / f for t, f in zip(times[name], floor, strict=True)) for name in others}
    return {base: median(floor)} | ratios


def noisy(values: Tensor, batch: int, sigma: float) -> Tensor:
    generator = torch.Generator().manual_seed(batch)
    chosen = torch.randint(len(values), (batch,), generator=generator)
    return values[chosen] + sigma * torch.randn(batch, values.shape[1], generator=generator)


def speed(images: ImageSet, options: argparse.Namespace) -> dict[str, object]:
    """One entry a batch size and noise level: seconds of the floor and ratios to it."""
    score = EmpiricalScore(images)
    start = perf_counter()
    if score.centers.index is not None:
        print(f"the index took {perf_counter() - start:.1f} s")
    values = images.tensor().flatten(1)
    others = peers(values, options.peers)
    found: dict[str, object] = {}
    for batch in options.batches:
        weights = torch.rand(batch, len(values))
        for sigma in options.sigmas:
            x = noisy(values, batch, sigma)
            pictures = x.reshape(-1, *score.shape)
            candidates: dict[str, Candidate] = {
                "floor": lambda x=x, weights=weights: (x @ values.T, weights @ values),
                "smoothscore": lambda pictures=pictures, sigma=sigma: score.denoise(pictures, sigma),
            }
            for name, other in others.items():
                candidates[name] = lambda x=x, sigma=sigma, other=other: other(x, sigma)
            found[f"batch {batch} sigma {sigma:g}"] = report(
                f"batch {batch:4d}  sigma {sigma:6g}", compare(candidates, options.rounds)
            )
    return found


def report(title: str, found: dict[str, float]) -> dict[str, float]:
    print(title, "  ".join(f"{name} {value:.3f}" for name, value in found.items()), flush=True)
    return found


def unified(images: ImageSet, options: argparse.Namespace) -> dict[str, object]:
    """The noise-unconditional score of 116 levels against the empirical score of one, at sigma 10."""
    one = EmpiricalScore(images)
    levels = schedules.shell_touch(0.02, 80.0, one.shape.numel())
    every = UnifiedScore(images, levels)
    values = images.tensor().flatten(1)
    found: dict[str, object] = {"levels": len(levels)}
    for batch in options.batches:
        x = noisy(values, batch, 10.0).reshape(-1, *one.shape)
        candidates = {"empirical": lambda x=x: one.score(x, 10.0), "unified": lambda x=x: every.score(x)}
        found[f"batch {batch}"] = report(f"{len(levels)} levels, batch {batch}", compare(candidates, options.rounds))
    return found


def run(images: ImageSet, options: argparse.Namespace) -> dict[str, object]:
    """40 Euler steps, as a multiple of 40 floors."""
    score, values = EmpiricalScore(images), images.tensor().flatten(1)
    assert score.centers.index is not None or len(images) < 8192
    found: dict[str, object] = {}
    for batch in options.batches:
        x = 80 * torch.randn(batch, *score.shape, generator=torch.Generator().manual_seed(0))
        weights = torch.rand(batch, len(values))
        levels = schedules.karras(40).tolist()
        floor = spent = 0.0
        for sigma, after in zip(levels, [*levels[1:], 0.0], strict=True):
            start = clock()
            denoised = score.denoise(x, sigma)
            spent += clock() - start
            floor += seconds(lambda x=x, weights=weights: (x.flatten(1) @ values.T, weights @ values))
            x = denoised + (after / sigma) * (x - denoised)
        found[f"batch {batch}"] = report(f"40 steps, batch {batch}", {"floor": floor, "smoothscore": spent / floor})
    return found


def memory(images: ImageSet, options: argparse.Namespace) -> dict[str, object]:
    """MB of a fresh process each: centers in memory and on disk, few and many centers that count."""
    found: dict[str, object] = {}
    for kind in ("disk", "memory"):
        for sigma in (0.1, 2.0, 80.0):
            command = [sys.executable, __file__, "--data", options.data, "--resident", kind, str(sigma)]
            output = subprocess.run(command, check=True, capture_output=True, text=True).stdout
            found[f"{kind} sigma {sigma:g}"] = json.loads(output)
            print(kind, f"sigma {sigma:g}", found[f"{kind} sigma {sigma:g}"], flush=True)
    return found


def resident(data: str, kind: str, sigma: float) -> None:
    """Print what 128 queries add to the memory of this process."""
    small = torch.randn(128, 64)
    (small @ small.T).sum()  # the thread pool and its like
    found = {"imports": peak()}
    images = load_images(**parse_source(data)[0])
    source = images if kind == "disk" else torch.from_numpy(images.take(range(len(images))))
    score = EmpiricalScore(source)
    x = sigma * torch.randn(128, *score.shape)
    found["centers"] = peak()
    if sigma <= 2:
        assert score.centers.index is not None or len(images) < 8192
        found["index made"] = peak()
    score.denoise(x, sigma)
    found["evaluation"] = peak()
    found["left"] = held()
    print(json.dumps(found))


def peak() -> int:
    """Most memory this process has held so far, in MB, and start again."""
    found = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss // 1024
    status = Path("/proc/self/status")
    if status.exists():
        found = int(status.read_text().split("VmHWM:")[1].split()[0]) // 1024
        Path("/proc/self/clear_refs").write_text("5")
    return found


def held() -> dict[str, int]:
    """MB held now: memory of our own, and pages of files that are mapped."""
    status = Path("/proc/self/status")
    if not status.exists():
        return {}
    text = status.read_text()
    return {name: int(text.split(f"{name}:")[1].split()[0]) // 1024 for name in ("RssAnon", "RssFile")}


def crossover(images: ImageSet, options: argparse.Namespace) -> dict[str, object]:
    """Ratios to the floor with and without the index, batch 16, for sets of several sizes."""
    found: dict[str, object] = {}
    for count in options.sizes:
        some = images[:count]
        values = some.tensor().flatten(1)
        weights = torch.rand(16, count)
        score = EmpiricalScore(some)
        index = score.centers.index
        for sigma in options.sigmas:
            x = noisy(values, 16, sigma)

            def with_index(made: object, x: Tensor = x, sigma: float = sigma, score: EmpiricalScore = score) -> None:
                score.centers.__dict__["index"] = made
                score.denoise(x.reshape(-1, *score.shape), sigma)

            candidates: dict[str, Candidate] = {
                "floor": lambda x=x, values=values, weights=weights: (x @ values.T, weights @ values),
                "without": lambda call=with_index: call(None),
            }
            if index is not None:
                candidates["with the index"] = lambda call=with_index, index=index: call(index)
            title = f"M {count:6d}  sigma {sigma:4g}"
            found[f"M {count} sigma {sigma:g}"] = report(title, compare(candidates, options.rounds))
    return found


def little(images: ImageSet, options: argparse.Namespace) -> dict[str, object]:
    """Ratios to the floor for the first 1,000, 2,000 and 5,000 images."""
    found: dict[str, object] = {}
    for count in LITTLE:
        some = images[:count]
        values = some.tensor().flatten(1)
        score, ideal = EmpiricalScore(some), peers(values, ["ideal"])["ideal"]
        for batch in options.batches:
            weights = torch.rand(batch, count)
            for sigma in options.sigmas:
                x = noisy(values, batch, sigma)
                pictures = x.reshape(-1, *score.shape)
                candidates: dict[str, Candidate] = {
                    "floor": lambda x=x, values=values, weights=weights: (x @ values.T, weights @ values),
                    "smoothscore": lambda pictures=pictures, sigma=sigma, score=score: score.denoise(pictures, sigma),
                    "ideal": lambda x=x, sigma=sigma, ideal=ideal: ideal(x, sigma),
                }
                title = f"M {count:5d}  batch {batch:3d}  sigma {sigma:4g}"
                found[f"M {count} batch {batch} sigma {sigma:g}"] = report(title, compare(candidates, options.rounds))
    return found


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawTextHelpFormatter)
    parser.add_argument(
        "--data",
        default="mnist-5k",
        help="images, as smoothscore.load_images reads them; DATA?limit=5000 for some of them",
    )
    parser.add_argument("--batches", type=int, nargs="+", default=[1, 16, 128])
    parser.add_argument("--sigmas", type=float, nargs="+", default=SIGMAS)
    parser.add_argument("--sizes", type=int, nargs="+", default=SIZES, help="of --crossover")
    parser.add_argument("--rounds", type=int, default=5)
    parser.add_argument("--peers", nargs="*", default=[], help="of cdist, attention, ideal, density, keops")
    for part in PARTS[1:]:
        parser.add_argument(f"--{part}", action="store_true", help="measure this instead")
    parser.add_argument("--resident", nargs=2, help=argparse.SUPPRESS)
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
        resident(options.data, options.resident[0], float(options.resident[1]))
        return
    images = load_images(**parse_source(options.data)[0])
    print(f"{images!r}, {torch.get_num_threads()} threads, {'processor' if options.cpu else 'wall'} time")
    chosen = [part for part in PARTS[1:] if getattr(options, part)] or ["speed"]
    measures = {
        "speed": speed,
        "unified": unified,
        "run": run,
        "memory": memory,
        "crossover": crossover,
        "little": little,
    }
    out = Path(__file__).parent / "results" / f"{options.out}.json"
    for part in chosen:
        found = measures[part](images, options)
        result = json.loads(out.read_text()) if out.exists() else {}
        setting = {
            "version": __version__,
            "torch": torch.__version__,
            "machine": platform.processor() or platform.machine(),
            "clock": "processor" if options.cpu else "wall",
            "data": {"source": images.source, "count": len(images), "fingerprint": images.fingerprint},
        }
        key = f"{part}, {torch.get_num_threads()} threads"
        result[key] = result.get(key, {}) | found | {"setting": setting}
        out.parent.mkdir(exist_ok=True)
        out.write_text(json.dumps(result, indent=2) + "\n")
    print(out)


if __name__ == "__main__":
    main()
