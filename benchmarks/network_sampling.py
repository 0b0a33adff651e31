"""Sampling from two trained networks: evaluations against quality, and teleportation.

    python benchmarks/network_sampling.py --runs runs/mnist --out benchmarks/results/network_sampling.json

trains the network ``tiny`` on 4,000 digits of MNIST, once with the ordinary loss and once without noise conditioning
(hours on a CPU; runs that are there are used, or go on), and draws from both:

- ``quality``: the noise-unconditional network by steps of the true level against the conditional one by Heun's method
  and DPM-Solver++, at equal numbers of evaluations ("Smoothing the score function", section 5 and appendix B.4.3);
- ``teleport``: the conditional network by Heun's method on EDM's 18 levels, begun at lower levels on the closed-form
  path of the Gaussian of the training images, of full and of low rank ("Gaussian score approximation", Tables 4 to 6;
  ``smoothscore reproduce teleportation --score RUN`` makes the whole tables again).

Images are drawn in blocks, each with a seed of its own that all settings share. The Frechet distance is that of all
blocks together; its standard error, and that of its change, leave out one block at a time. (It is biased upwards by few
images, in all settings alike.) What is drawn is kept, and a later call with more blocks goes on.
"""

import argparse
import json
import os
import platform
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import torch
from torch import Tensor

import smoothscore as ss
from smoothscore import schedules
from smoothscore.encoders import encoder
from smoothscore.memorization.frechet import frechet_distance, moments
from smoothscore.report import write_text
from smoothscore.sampling import (
    DPMSolver,
    Heun,
    Sampler,
    Teleport,
    TrueLevel,
    draw,
    fit_gaussian,
    nearest_level,
)

BUDGETS = (10, 20, 35, 50, 100)
SKIPPED = (5, 6, 7, 8)
LEVELS = schedules.karras(18)
BASE = "conditional heun 35"
SPACES = ("pca:64", "pixel")


@dataclass(frozen=True)
class Setting:
    """One way to draw images."""

    name: str
    method: str
    sampler: Sampler
    steps: int
    jump: Teleport | None = None


def config(method: str) -> ss.TrainConfig:
    """The settings of a run."""
    return ss.TrainConfig(
        method=method,
        steps=8000,
        batch_size=32,
        learning_rate=5e-4,
        warmup=200,
        ema=(20_000.0,),
        checkpoint_every=2000,
        keep=5,
    )


def quality_settings(train: ss.ImageSet) -> Iterator[Setting]:
    """The two networks at equal numbers of evaluations; other rules for the level at some of them."""
    others = {
        "network, dpm-solver": (TrueLevel("network", DPMSolver()), (10, 20, 35)),
        "residual": (TrueLevel("residual"), (10, 35)),
        "nearest": (TrueLevel(nearest_level(train)), (10, 35)),
    }
    for budget in BUDGETS:
        yield Setting(f"conditional heun {2 * ((budget + 1) // 2) - 1}", "conditional", Heun(), (budget + 1) // 2)
        yield Setting(f"conditional dpm-solver {budget}", "conditional", DPMSolver(), budget)
        yield Setting(f"unconditional true-level network {budget}", "unconditional", TrueLevel("network"), budget)
        for name, (sampler, budgets) in others.items():
            if budget in budgets:
                yield Setting(f"unconditional true-level {name} {budget}", "unconditional", sampler, budget)


def teleport_settings(gaussians: dict[str, ss.GaussianScore]) -> Iterator[Setting]:
    """The conditional network, begun at lower and lower levels."""
    yield Setting(BASE, "conditional", Heun(), 18)
    for name, gaussian in gaussians.items():
        for skipped in SKIPPED:
            jump = Teleport(gaussian, float(LEVELS[skipped]))
            yield Setting(f"teleport {name} {skipped}", "conditional", Heun(), 18, jump)


class Drawn:
    """Blocks of images, drawn once and kept."""

    def __init__(self, folder: Path, scores: dict[str, ss.Score], size: int) -> None:
        self.folder, self.scores, self.size = folder, scores, size
        folder.mkdir(parents=True, exist_ok=True)

    def file(self, setting: Setting, block: int) -> Path:
        return self.folder / f"{setting.name.replace(' ', '-')}-{self.size}-{block}.npz"

    def draw(self, setting: Setting, block: int) -> None:
        if self.file(setting, block).exists():
            return
        samples = draw(
            self.scores[setting.method], self.size, setting.sampler, setting.steps, teleport=setting.jump, seed=block
        )
        partial = self.folder / f"partial-{os.getpid()}.npz"
        np.savez(partial, images=samples.images.numpy(), evaluations=samples.evaluations)
        partial.rename(self.file(setting, block))

    def read(self, setting: Setting, block: int) -> tuple[Tensor, float]:
        """The images of a block that did not fail, and the evaluations of each."""
        with np.load(self.file(setting, block)) as found:
            images = torch.from_numpy(found["images"]).clamp(-1, 1)
            return images[torch.isfinite(images).flatten(1).all(1)], float(found["evaluations"])


def jackknife(values: np.ndarray) -> list[float]:
    """The first value and its standard error, from the others: each the same without one block."""
    rest = values[1:]
    error = np.sqrt((len(rest) - 1) * np.var(rest)) if len(rest) > 1 else np.nan
    return [float(values[0]), float(error)]


def table(drawn: Drawn, settings: list[Setting], blocks: int, sets: dict[str, ss.ImageSet]) -> list[dict[str, object]]:
    """Frechet distances of every setting with all its blocks, and the change from the conditional network by Heun."""
    spaces = {name: encoder(name, sets["train"]) for name in SPACES}
    references = {f"{s}, {w}": (s, moments(spaces[s](images).numpy())) for s in SPACES for w, images in sets.items()}
    found: dict[str, dict[str, np.ndarray]] = {}
    rows: list[dict[str, object]] = []
    for setting in sorted(settings, key=lambda each: each.name != BASE):
        if not all(drawn.file(setting, block).exists() for block in range(blocks)):
            continue
        read = [drawn.read(setting, block) for block in range(blocks)]
        features = {name: [space(images).numpy() for images, _ in read] for name, space in spaces.items()}
        values: dict[str, list[float]] = {key: [] for key in references}
        for out in (None, *range(blocks if blocks > 1 else 0)):
            kept = [block for block in range(blocks) if block != out]
            pooled = {name: moments(np.concatenate([parts[b] for b in kept])) for name, parts in features.items()}
            for key, (space, reference) in references.items():
                values[key].append(frechet_distance(pooled[space], reference))
        found[setting.name] = {key: np.array(each) for key, each in values.items()}
        row: dict[str, object] = {
            "setting": setting.name,
            "evaluations": read[0][1],
            "images": sum(len(images) for images, _ in read),
        }
        row["frechet"] = {key: jackknife(each) for key, each in found[setting.name].items()}
        if BASE in found:
            row["change"] = {key: jackknife(each / found[BASE][key] - 1) for key, each in found[setting.name].items()}
        rows.append(row)
    return rows


def markdown(rows: list[dict[str, object]]) -> str:
    """The rows of :func:`table` as a table for the documentation."""
    keys = list(rows[0]["frechet"]) if rows else []
    lines = [f"| setting | evaluations | {' | '.join(keys)} | change, {keys[0] if keys else ''} |"]
    lines.append("|" + "---|" * (len(keys) + 3))
    for row in rows:
        values = [f"{mean:.2f} ± {error:.2f}" for mean, error in row["frechet"].values()]
        change = "" if "change" not in row else "{:+.1%} ± {:.1%}".format(*row["change"][keys[0]])
        lines.append(f"| {row['setting']} | {row['evaluations']:.0f} | {' | '.join(values)} | {change} |")
    return "\n".join(lines)


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--runs", type=Path, required=True, help="folder of the two runs")
    parser.add_argument("--step", type=int, help="draw from this checkpoint, and do not train")
    parser.add_argument("--parts", nargs="+", choices=("quality", "teleport"), default=["quality", "teleport"])
    parser.add_argument("--blocks", type=int, default=20)
    parser.add_argument("--size", type=int, default=50, help="images in a block")
    parser.add_argument("--only-report", action="store_true", help="draw nothing")
    parser.add_argument("--work", type=Path, help="where drawn images are kept; RUNS/drawn when absent")
    parser.add_argument("--out", type=Path, help="write the numbers here as JSON")
    given = parser.parse_args()
    torch.set_grad_enabled(False)
    train, held = ss.load_images("mnist-5k").split([4000, 1000], seed=0)
    scores = {}
    for method in ("conditional", "unconditional"):
        if given.step is None:
            with torch.enable_grad():
                ss.train(train, config(method), given.runs / method, held)
        scores[method] = ss.load_score(str(given.runs / method) + (f"?step={given.step}" if given.step else ""))
    gaussians = {"full": fit_gaussian(train), "rank 256": fit_gaussian(train, 256), "rank 20": fit_gaussian(train, 20)}
    settings = {"quality": list(quality_settings(train)), "teleport": list(teleport_settings(gaussians))}
    work = given.work or given.runs / "drawn"
    drawn = Drawn(work / f"step-{given.step or config('conditional').steps}", scores, given.size)
    if not given.only_report:
        for block in range(given.blocks):
            for part in given.parts:
                for setting in settings[part]:
                    drawn.draw(setting, block)
    sets = {"held-out": held, "train": train}
    result: dict[str, object] = {
        "setting": {name: str(value) for name, value in vars(given).items() if name not in ("out", "work", "runs")}
        | {"torch": torch.__version__, "machine": platform.machine(), "network": "tiny", "data": "mnist-5k, 4,000"}
    }
    for part in given.parts:
        result[part] = rows = table(drawn, settings[part], given.blocks, sets)
        print(markdown(rows), end="\n\n")
    if "teleport" in given.parts:
        levels = LEVELS.tolist()
        automatic = {name: Teleport.auto(scores["conditional"], g, levels) for name, g in gaussians.items()}
        result["auto"] = {name: jump and levels.index(jump.sigma) for name, jump in automatic.items()}
        print("steps skipped by auto:", result["auto"])
    if given.out:
        write_text(given.out, json.dumps(result, indent=1) + "\n")


if __name__ == "__main__":
    main()
