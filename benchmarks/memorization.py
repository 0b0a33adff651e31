"""Which training methods copy: the same network on the same few images, trained with each method for equally long.

    python benchmarks/memorization.py --out runs/memorization                      # the full experiment, hours
    python benchmarks/memorization.py --out runs/quick --images 40 --resolution 14 --steps 1500 --seeds 0

Every run is a run folder, so the same command goes on where it was stopped. At the end it prints, for each method, the
memorized fraction of the samples with its interval, the squared Frechet distances in pixels to training and held-out
images, and the mean and least ratio of distances to the nearest two training images (as "Smoothing the score function",
B.3.2), then how much of the conditional score's variance closed-form scores leave unexplained as training goes on (as
"Gaussian score approximation", figure 12). The gap is the danger zone that ``diagnose`` finds in the training images.

    python benchmarks/memorization.py --out runs/cars --preset automobiles --data cifar10-train.zip

is the experiment of "Two calm ends and the wild middle", section 5, with the other methods beside its own: 2,000
automobiles of CIFAR-10, EDM's network, 40,000 steps, 1,024 samples at eight checkpoints. It needs a graphics card and
many hours, in as many pieces as one likes: a run goes on from its last checkpoint, one every 500 steps.
"""

import argparse
import json
from pathlib import Path
from typing import Any

import numpy as np

import smoothscore as ss
from smoothscore.data import parse_source
from smoothscore.report import write_text

METHODS: dict[str, dict[str, Any]] = {
    "conditional": {"method": "conditional"},
    "unconditional": {"method": "unconditional"},
    "temperature, pixel": {"method": "temperature", "space": "pixel"},
    "temperature, feature": {"method": "temperature"},
    "temperature, perplexity": {"method": "temperature", "space": "pixel", "temperature": "perplexity:4"},
    "gap": {"method": "gap"},
    "dummy": {"method": "dummy"},
}
PRESETS: dict[str, dict[str, Any]] = {
    "automobiles": {
        "class_": "1",
        "images": 2000,
        "held_out": 1000,
        "resolution": 32,
        "steps": 40_000,
        "batch_size": 128,
        "network": "ddpmpp-cifar10",
        "learning_rate": 2e-4,
        "neighbors": 30,
        "half_life": 50_000.0,
        "looks": 8,
        "samples": 1024,
        "seeds": [0],
        "checkpoint_every": 500,
    },
}


def options() -> argparse.Namespace:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--out", type=Path, required=True, help="folder of the run folders")
    parser.add_argument("--data", default="mnist-5k")
    parser.add_argument("--class", dest="class_", default=None, help="images of this class only")
    parser.add_argument("--preset", choices=list(PRESETS), help="other defaults of the options below")
    parser.add_argument("--images", type=int, default=100, help="training images")
    parser.add_argument("--held-out", type=int, default=None, help="held-out images; as many as training images")
    parser.add_argument("--resolution", type=int, default=28)
    parser.add_argument("--steps", type=int, default=20_000)
    parser.add_argument("--batch-size", type=int, default=32)
    parser.add_argument("--network", default="tiny")
    parser.add_argument(
        "--width", type=int, default=None, help="channels of the network, those of the preset if absent"
    )
    parser.add_argument("--learning-rate", type=float, default=5e-4)
    parser.add_argument("--precision", choices=("float32", "bfloat16", "float16"), default="float32")
    parser.add_argument("--temperature", default="5/sigma")
    parser.add_argument("--neighbors", type=int, default=10)
    parser.add_argument("--space", default="efficientnet-lite0", help="of the feature neighbors")
    parser.add_argument("--half-life", type=float, default=5000.0)
    parser.add_argument("--looks", type=int, default=4)
    parser.add_argument("--samples", type=int, default=256)
    parser.add_argument("--seeds", type=int, nargs="+", default=[0, 1, 2])
    parser.add_argument("--methods", nargs="+", choices=list(METHODS), default=list(METHODS))
    parser.add_argument("--checkpoint-every", type=int, default=None, help="steps; only those of looks if absent")
    preset = parser.parse_known_args()[0].preset
    if preset:
        parser.set_defaults(**PRESETS[preset])
    return parser.parse_args()


def config(method: str, seed: int, zone: tuple[float, float] | None, given: argparse.Namespace) -> ss.TrainConfig:
    settings = dict(METHODS[method])
    if settings["method"] == "gap":
        if zone is None:
            raise SystemExit("diagnose finds no danger zone in these images, so there is no gap to leave out")
        settings["gaps"] = (zone,)
    if settings["method"] == "temperature":
        settings = {"temperature": given.temperature, "neighbors": given.neighbors, "space": given.space, **settings}
    return ss.TrainConfig(
        **settings,
        steps=given.steps,
        batch_size=given.batch_size,
        learning_rate=given.learning_rate,
        precision=given.precision,
        network=given.network,
        network_options={} if given.width is None else {"width": given.width},
        ema=(given.half_life,),
        seed=seed,
        checkpoint_every=given.checkpoint_every or max(1, given.steps // given.looks),
        keep=given.looks + 1,
        watch_every=max(1, given.steps // given.looks),
        watch_samples=given.samples,
    )


def table(runs: dict[tuple[str, int], ss.Run]) -> list[dict[str, Any]]:
    """One row for each method, seed and set of weights, from the last look."""
    rows = []
    for (method, seed), run in runs.items():
        looks = run.history.looks
        rows += [{"method": method, "seed": seed, **look} for look in looks if look["step"] == looks[-1]["step"]]
    return rows


def show(rows: list[dict[str, Any]]) -> None:
    head = ("method", "seed", "weights", "memorized", "95 % interval", "F train", "F held-out", "mean r", "min r")
    print(f"{head[0]:<24}{head[1]:<6}{head[2]:<12}{head[3]:<11}{head[4]:<16}" + "".join(f"{h:>11}" for h in head[5:]))
    for row in rows:
        rate = row["memorized"]
        interval = f"{rate['low']:.1%} to {rate['high']:.1%}"
        numbers = (row["frechet_train"], row["frechet_held_out"], row["mean_ratio"], row["min_ratio"])
        print(
            f"{row['method']:<24}{row['seed']:<6}{row['weights']:<12}{rate['value']:<11.1%}{interval:<16}"
            + "".join(f"{number:>11.3f}" for number in numbers)
        )


def main() -> None:
    given = options()
    source = parse_source(given.data)[0]
    images = ss.load_images(**source | {"resolution": given.resolution, "class_": given.class_})
    train, held_out = images.split([given.images, given.held_out or given.images], seed=0)
    zone = ss.diagnose(train, held_out).danger_zone if "gap" in given.methods else None
    print(f"{train!r}\ndanger zone {zone}\n{vars(given)}", flush=True)
    runs = {}
    for seed in given.seeds:
        for method in given.methods:
            folder = given.out / f"{method.replace(', ', '-')}-{seed}"
            runs[method, seed] = ss.train(train, config(method, seed, zone, given), folder, held_out)
            print(runs[method, seed], flush=True)
    rows = table(runs)
    show(rows)
    result = {"setting": {**vars(given), "out": str(given.out), "zone": zone}, "rows": rows}
    result["seconds"] = {f"{m}, seed {s}": run.history.steps[-1]["seconds"] for (m, s), run in runs.items()}
    write_text(given.out / "memorization.json", json.dumps(result, indent=1, default=np.ndarray.tolist) + "\n")
    if ("conditional", given.seeds[0]) in runs and given.looks > 1:
        raw = f"{runs['conditional', given.seeds[0]].folder}?ema=raw"
        found = ss.reproduce("learning-dynamics", data=train, score=raw)
        print(f"\n{found!r}")
        found.save_json(given.out / "dynamics.json")
        found.save_html(given.out / "dynamics.html")


if __name__ == "__main__":
    main()
