"""Cost of sampling: the loop beside the score, other libraries on the same network, and what teleportation saves.

    python benchmarks/sampling.py speed --data cifar10-train.zip
    python benchmarks/sampling.py teleport --data mnist-5k
    python benchmarks/sampling.py size --data cifar10-train.zip -n 50000

``speed`` times the evaluations inside a run, so that the rest of the run is the loop's (the sampler's arithmetic and
the noise included). The libraries take turns, each gets the same denoiser and the same levels or as many; since whole
times differ by a tenth from one to the next, what each adds to the score is taken with a score that costs nothing.

``teleport`` draws from a mixture of Gaussians with more and more levels skipped, as in Tables 4 to 6 of "Gaussian score
approximation", and compares the samples with the images by the Frechet distance of pixels.

``size`` draws a tenth of ``n`` images and then ``n`` into a zip by the command, each in a process of its own whose
largest memory is noted; the large one is killed half way and goes on.
"""

import argparse
import json
import math
import os
import platform
import statistics
import subprocess
import sys
import tempfile
import time
import zipfile
from collections.abc import Callable
from pathlib import Path

import numpy as np
import torch

import smoothscore as ss
from smoothscore import networks, schedules
from smoothscore.memorization.frechet import frechet_distance, moments
from smoothscore.report import write_text
from smoothscore.sampling import Teleport, draw, gaussian_of, noise

BATCH = 256
SIZE_OPTIONS = ("--sampler", "euler", "--schedule", "log-uniform:0.5:20", "--steps", "3", "--batch-size", str(BATCH))


class Inside:
    """The seconds spent inside of a score while this is entered."""

    def __init__(self, score: ss.Score) -> None:
        self.score, self.seconds, self.nested = score, 0.0, False

    def __enter__(self) -> "Inside":
        for name in ("denoise", "score"):
            setattr(self.score, name, self.timed(getattr(self.score, name)))
        return self

    def __exit__(self, *error: object) -> None:
        del self.score.denoise, self.score.score

    def timed(self, evaluate: Callable[..., torch.Tensor]) -> Callable[..., torch.Tensor]:
        def call(*arguments: object) -> torch.Tensor:
            if self.nested:
                return evaluate(*arguments)
            self.nested, start = True, time.perf_counter()
            try:
                return evaluate(*arguments)
            finally:
                self.seconds, self.nested = self.seconds + time.perf_counter() - start, False

        return call


def run_of(score: ss.Score, n: int, **options: object) -> dict[str, float]:
    """Images and evaluations a second, and the share of the loop in the time of the evaluations."""
    start = time.perf_counter()
    with Inside(score) as inside:
        samples = draw(score, n, batch_size=n, **options)  # type: ignore[arg-type]
    total = time.perf_counter() - start
    return {
        "images_per_second": n / total,
        "evaluations_per_second": samples.evaluations * n / total,
        "loop_over_score": total / inside.seconds - 1,
    }


class Nothing(ss.Score):
    """A score that costs nothing."""

    def __init__(self, images: torch.Tensor) -> None:
        super().__init__(images.shape[1:])
        self.images = images

    def denoise(self, x: torch.Tensor, sigma: object) -> torch.Tensor:
        return self.images


def walks(score: ss.Score, n: int, steps: int) -> dict[tuple[str, str], Callable[[], int]]:
    """By sampler and library, what draws ``n`` images from the same noise and counts its evaluations.

    Libraries that are not installed are left out.
    """
    levels = schedules.karras(steps)
    start = noise(0, 0, n, score.shape).float() * 80

    def ours(name: str) -> int:
        return int(draw(score, n, name, sigmas=levels, batch_size=n, start=start).evaluations)

    works: dict[tuple[str, str], Callable[[], int]] = {
        (name, "smoothscore"): (lambda name=name: ours(name)) for name in ("euler", "heun", "dpm-solver")
    }
    try:
        import diffusers

        def by_diffusers(scheduler: object) -> int:
            scheduler.set_timesteps(steps)
            x, used = start.clone(), 0
            for moment in scheduler.timesteps:
                if scheduler.step_index is None:
                    scheduler._init_step_index(moment)
                sigma = float(scheduler.sigmas[scheduler.step_index])
                x = scheduler.step(score.denoise(x, sigma), moment, x).prev_sample
                used += 1
            return used

        kinds = {
            "euler": diffusers.EulerDiscreteScheduler,
            "heun": diffusers.HeunDiscreteScheduler,
            "dpm-solver": diffusers.DPMSolverMultistepScheduler,
        }
        for name, kind in kinds.items():
            made = kind(prediction_type="sample", use_karras_sigmas=True)
            works[name, "diffusers"] = lambda made=made: by_diffusers(made)
    except ImportError:
        pass
    try:
        from azula.denoise import Denoiser, DiracPosterior
        from azula.noise import VESchedule
        from azula.sample import EulerSampler, HeunSampler, xEABSampler

        class Same(Denoiser):
            schedule = VESchedule(0.002, 80.0)

            def forward(self, x_t: torch.Tensor, t: torch.Tensor) -> DiracPosterior:
                return DiracPosterior(score.denoise(x_t, float(self.schedule.sigma(t))))

        def by_azula(kind: type, evaluations: int) -> int:
            kind(Same(), steps=steps, silent=True)(start)
            return evaluations

        works["euler", "azula"] = lambda: by_azula(EulerSampler, steps)
        works["heun", "azula"] = lambda: by_azula(HeunSampler, 2 * steps)
        works["dpm-solver", "azula"] = lambda: by_azula(xEABSampler, steps)
    except ImportError:
        pass

    return works


def libraries(score: ss.Score, n: int, steps: int, repeats: int) -> dict[str, dict[str, dict[str, float]]]:
    """Milliseconds an evaluation of a batch by sampler and library: all of it, and of it what is not the score's.

    The second is the least processor time with a score that costs nothing.
    """
    taken: dict[tuple[str, str], list[float]] = {}
    works = walks(score, n, steps)
    for _ in range(repeats):
        for key, work in works.items():
            begin = time.perf_counter()
            used = work()
            taken.setdefault(key, []).append(1000 * (time.perf_counter() - begin) / used)
    own: dict[tuple[str, str], float] = {}
    for key, work in walks(Nothing(torch.zeros(n, *score.shape)), n, steps).items():
        work()
        for _ in range(20):
            begin = time.process_time()
            used = work()
            own[key] = min(own.get(key, math.inf), 1000 * (time.process_time() - begin) / used)
    within = statistics.median(value for times in taken.values() for value in times)
    table: dict[str, dict[str, dict[str, float]]] = {}
    for (name, library), times in taken.items():
        rounds = [ours / theirs for ours, theirs in zip(taken[name, "smoothscore"], times, strict=True)]
        low, middle, high = statistics.quantiles(rounds, n=4)
        table.setdefault(name, {})[library] = {
            "milliseconds": statistics.median(times),
            "own": own[name, library],
            "ours_over_it": (within + own[name, "smoothscore"]) / (within + own[name, library]),
            "rounds": middle,
            "quarter": low,
            "three_quarters": high,
        }
    return table


def speed(arguments: argparse.Namespace) -> dict[str, object]:
    """The loop's share for three kinds of score, and the libraries on the network."""
    images = ss.load_images(arguments.data, limit=arguments.images, seed=0)
    torch.manual_seed(0)
    network = networks.build("tiny", images.shape)
    neural = ss.NetworkScore(network, "edm").eval()
    empirical = ss.EmpiricalScore(images)
    n = arguments.n
    return {
        "runs": {
            "network, heun": run_of(neural, n, sampler="heun", steps=10),
            "network, sde": run_of(neural, n, sampler="sde", steps=20),
            "empirical, heun": run_of(empirical, n, sampler="heun", steps=10),
        },
        "parameters": sum(p.numel() for p in network.parameters()),
        "an_evaluation": libraries(neural, n, 10, arguments.repeats),
    }


def teleport(arguments: argparse.Namespace) -> dict[str, object]:
    """Evaluations and Frechet distance by the number of levels skipped, and at the automatic level."""
    images = ss.load_images(arguments.data, limit=arguments.images, seed=0)
    score = ss.GaussianMixtureScore.fit(images, components=10, rank=50)
    gaussian, levels = gaussian_of(score), schedules.karras(18)
    reference = moments(images.tensor().flatten(1).numpy())

    def row(drawn: ss.Samples) -> dict[str, float]:
        distance = frechet_distance(moments(drawn.images.flatten(1).numpy().astype(np.float64)), reference)
        return {"evaluations": float(drawn.evaluations), "frechet": distance}

    rows = []
    for skipped in (0, 2, 4, 5, 6, 7, 8, 10, 12):
        jump = Teleport(gaussian, float(levels[skipped])) if skipped else None
        rows.append(
            {"skipped": skipped, "sigma": float(levels[skipped])} | row(draw(score, arguments.n, teleport=jump))
        )
    automatic = ss.sample(score, arguments.n, teleport="auto")
    rows.append({"skipped": -1, "sigma": float(automatic.options["teleport"])} | row(automatic))  # type: ignore[arg-type]
    for entry in rows:
        entry["saved"] = 1 - entry["evaluations"] / rows[0]["evaluations"]
        entry["change"] = entry["frechet"] / rows[0]["frechet"] - 1
    return {"rows": rows}


def size(arguments: argparse.Namespace) -> dict[str, object]:
    """Time and largest memory of drawing many images, and whether the interrupted set begins with the small one."""
    with tempfile.TemporaryDirectory(dir=arguments.work) as folder:
        small, large = Path(folder, "small.zip"), Path(folder, "large.zip")
        few = max(1, arguments.n // 10)
        first = drawn(arguments, few, small)
        stopped = drawn(arguments, arguments.n, large, stop_at=arguments.n // 2)
        rest = drawn(arguments, arguments.n, large)
        with zipfile.ZipFile(small) as one, zipfile.ZipFile(large) as two:
            names = [name for name in one.namelist() if name.endswith(".png")]
            same = all(one.read(name) == two.read(name) for name in names)
            images = sum(name.endswith(".png") for name in two.namelist())
        return {
            "small": {"images": len(names)} | first,
            "large, until it was killed": stopped,
            "large, the rest": {"images": images, "MiB on disk": large.stat().st_size / 2**20} | rest,
            "large begins with small": same,
        }


def drawn(arguments: argparse.Namespace, n: int, out: Path, stop_at: int | None = None) -> dict[str, float]:
    """Seconds and MiB of one process that draws ``n`` images, killed when ``stop_at`` of them are there."""
    score = f"empirical:{arguments.data}?limit={arguments.images}"
    command = [sys.executable, "-m", "smoothscore", "sample", score, "-n", str(n), "-o", str(out), *SIZE_OPTIONS]
    records = out.with_name(f".{out.name}.partial") / "batches"
    begin = time.perf_counter()
    child = subprocess.Popen(command, stdout=subprocess.DEVNULL)
    found = 0
    while True:
        done, status, usage = os.wait4(child.pid, os.WNOHANG)
        if done:
            break
        found = max(found, sum(int(path.stem) < n for path in records.glob("*.json")))
        if stop_at is not None and found * BATCH >= stop_at:
            child.kill()
        time.sleep(1)
    if stop_at is None and status != 0:
        raise SystemExit(f"drawing {n} images failed")
    seconds = time.perf_counter() - begin
    return {"batches": found, "seconds": seconds, "largest_memory_MiB": usage.ru_maxrss / 1024}


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("what", choices=("speed", "teleport", "size"))
    parser.add_argument("--data", default="mnist-5k", help="what load_images reads")
    parser.add_argument("--images", type=int, default=5000, help="of the data")
    parser.add_argument("-n", type=int, default=32, help="images to draw")
    parser.add_argument("--repeats", type=int, default=5)
    parser.add_argument("--work", type=Path, help="where the images of size go for the while")
    parser.add_argument("--out", type=Path, help="put the numbers into this JSON file, beside those of the other parts")
    arguments = parser.parse_args()
    torch.set_grad_enabled(False)
    result = {
        "setting": {name: str(value) for name, value in vars(arguments).items() if name != "out"}
        | {"torch": torch.__version__, "threads": torch.get_num_threads(), "machine": platform.machine()}
    } | {"speed": speed, "teleport": teleport, "size": size}[arguments.what](arguments)
    print(json.dumps(result, indent=1))
    if arguments.out:
        before = json.loads(arguments.out.read_text()) if arguments.out.exists() else {}
        write_text(arguments.out, json.dumps(before | {arguments.what: result}, indent=1) + "\n")


if __name__ == "__main__":
    main()
