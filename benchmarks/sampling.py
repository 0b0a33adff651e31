"""Cost of sampling: the loop beside the score, other libraries on the same network, and what teleportation saves.

    python benchmarks/sampling.py speed --data cifar10-train.zip
    python benchmarks/sampling.py teleport --data mnist-5k

``speed`` times the evaluations inside a run, so that the rest of the run is the loop's (the sampler's arithmetic and
the noise included). The libraries take turns, each gets the same denoiser and the same levels or as many, and medians
are compared per evaluation. ``teleport`` draws from a mixture of Gaussians with more and more levels skipped, as in
Tables 4 to 6 of "Gaussian score approximation", and compares the samples with the images by the Frechet distance of
pixels.
"""

import argparse
import json
import platform
import statistics
import time
from collections.abc import Callable
from pathlib import Path

import numpy as np
import torch

import smoothscore as ss
from smoothscore import networks, schedules
from smoothscore.memorization.frechet import frechet_distance, moments
from smoothscore.sampling import Teleport, draw, gaussian_of, noise


def run_of(score: ss.Score, n: int, **options: object) -> dict[str, float]:
    """Images and evaluations a second, and the share of the loop in the time of the evaluations."""
    inside, denoise, gradient = 0.0, score.denoise, score.score
    nested = False

    def timed(evaluate):
        def call(*arguments):
            nonlocal inside, nested
            if nested:
                return evaluate(*arguments)
            nested, start = True, time.perf_counter()
            try:
                return evaluate(*arguments)
            finally:
                inside, nested = inside + time.perf_counter() - start, False

        return call

    score.denoise, score.score = timed(denoise), timed(gradient)  # type: ignore[method-assign]
    start = time.perf_counter()
    samples = draw(score, n, batch_size=n, **options)  # type: ignore[arg-type]
    total = time.perf_counter() - start
    score.denoise, score.score = denoise, gradient  # type: ignore[method-assign]
    return {
        "images_per_second": n / total,
        "evaluations_per_second": samples.evaluations * n / total,
        "loop_over_score": total / inside - 1,
    }


def libraries(score: ss.Score, n: int, steps: int, repeats: int) -> dict[str, dict[str, float]]:
    """Milliseconds an evaluation of a batch, by sampler and library; those that are not installed are left out."""
    levels = schedules.karras(steps)
    start = noise(0, 0, n, score.shape).float() * 80

    def ours(name: str) -> int:
        return int(draw(score, n, name, sigmas=levels, batch_size=n).evaluations)

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

    taken: dict[tuple[str, str], list[float]] = {key: [] for key in works}
    with torch.no_grad():
        score.denoise(start, 80.0)
        for _ in range(repeats):
            for key, work in works.items():
                begin = time.perf_counter()
                used = work()
                taken[key].append((time.perf_counter() - begin) / used)
    table: dict[str, dict[str, float]] = {}
    for (name, library), times in taken.items():
        table.setdefault(name, {})[library] = 1000 * statistics.median(times)
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
        "milliseconds_per_evaluation": libraries(neural, n, 10, arguments.repeats),
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


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("what", choices=("speed", "teleport"))
    parser.add_argument("--data", default="mnist-5k", help="what load_images reads")
    parser.add_argument("--images", type=int, default=5000, help="of the data")
    parser.add_argument("-n", type=int, default=32, help="images to draw")
    parser.add_argument("--repeats", type=int, default=5)
    parser.add_argument("--out", type=Path, help="write the numbers here as JSON")
    arguments = parser.parse_args()
    torch.set_grad_enabled(False)
    result = {
        "setting": {name: str(value) for name, value in vars(arguments).items() if name != "out"}
        | {"torch": torch.__version__, "threads": torch.get_num_threads(), "machine": platform.machine()}
    } | (speed if arguments.what == "speed" else teleport)(arguments)
    text = json.dumps(result, indent=2)
    print(text)
    if arguments.out:
        arguments.out.write_text(text + "\n")


if __name__ == "__main__":
    main()
