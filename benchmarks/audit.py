"""Does the audit err as seldom as it says, and what does it find?

    python benchmarks/audit.py validity power --train ../shared/data/cifar10-train.zip \
        --test ../shared/data/cifar10-test.zip

validity: real images in the place of samples; the share of 200 repetitions in which any is flagged, on five data sets.
    Searches are kept in the cache, so that a benchmark that was stopped goes on.
power: copies of CIFAR-10 images, changed in several ways, among fresh ones; the share found, beside the tests in use.

Results go to benchmarks/results/audit.json, one entry a part.
"""

import argparse
import io
import json
from collections.abc import Callable
from itertools import product
from pathlib import Path

import numpy as np
import torch
from PIL import Image
from torch import Tensor
from torch.nn.functional import interpolate

from smoothscore import ImageSet, __version__, load_images
from smoothscore.memorization.calibration import halves
from smoothscore.memorization.conformal import discoveries, p_values
from smoothscore.memorization.detector import Detector, Found, largest
from smoothscore.memorization.images import at
from smoothscore.memorization.leaks import near_leaks
from smoothscore.memorization.protocol import LOOSE, STRICT, VERSION
from smoothscore.memorization.published import authentic, relative_ratio

ALPHA = 0.05
TRAINS, DRAWS, FRESH = 40, 5, 627  # training sets, repetitions with each, and fresh images that these draw from


def points(count: int) -> Tensor:
    """Points of the plane: two rings and a cluster."""
    rng = torch.Generator().manual_seed(0)
    angle, kind = torch.rand(count, generator=rng) * 2 * torch.pi, torch.randint(0, 3, (count,), generator=rng)
    radius = torch.tensor([0.8, 0.4, 0.1])[kind] + 0.03 * torch.randn(count, generator=rng)
    return torch.stack([radius * angle.cos(), radius * angle.sin()], 1)


def errors(images: ImageSet | Tensor, train: int, encoders: tuple[str, ...]) -> dict:
    """The share of repetitions with any discovery.

    Calibrated by held-out images; by those of them that are no near duplicates, where samples that are near duplicates
    do not count; and by halves of the training set.
    """
    samples = round(ALPHA / 2 * (train // 2 + 1))  # so that one above all of a half is flagged
    controls = round(samples / ALPHA) - 1
    rng = np.random.default_rng(0)
    any_flagged: dict[str, list[float]] = {"held-out": [], "near": [], "halves": []}
    for _ in range(TRAINS):
        order = rng.permutation(len(images))
        chosen, fresh = (at(images, np.sort(rows)) for rows in (order[:train], order[train : train + FRESH]))
        detector = Detector(chosen, encoders, tolerant=True)
        found = detector.find(fresh)
        new = np.flatnonzero(found["pixel"].distances[:, 0] > 0)  # images that stand in the data set twice are copies
        surprise = largest(detector.surprise(found))
        sides = halves(chosen, detector.first, fresh, encoders, True, ALPHA)
        some = dict.fromkeys(any_flagged, 0)
        for _ in range(DRAWS):
            drawn = rng.permutation(new)
            mine, theirs, more = drawn[:samples], drawn[samples : samples + controls], drawn[samples : 2 * controls]
            some["held-out"] += len(discoveries(p_values(surprise[mine], surprise[theirs]), ALPHA)) > 0
            kept = np.delete(more, near(found, more, encoders))[:controls]
            flagged = discoveries(p_values(surprise[mine], surprise[kept]), ALPHA)
            some["near"] += len(np.setdiff1d(flagged, near(found, np.concatenate([mine, more]), encoders))) > 0
            some["halves"] += any(len(discoveries(side.p_values[mine], side.level)) for side in sides)
        for name, count in some.items():
            any_flagged[name].append(count / DRAWS)
    stated = {"train": train, "samples": samples, "controls": controls, "spaces": list(detector.tests)}
    for name, shares in any_flagged.items():
        stated[name] = {"share": float(np.mean(shares)), "stderr": float(np.std(shares, ddof=1) / TRAINS**0.5)}
    return stated


def near(found: Found, rows: np.ndarray, encoders: tuple[str, ...]) -> np.ndarray:
    """Which of some images are near duplicates of training images, by their place in ``rows``."""
    return near_leaks({space: matches.at(rows) for space, matches in found.items()}, encoders)


def validity(options: argparse.Namespace) -> dict:
    sets = {
        "points, d = 2": (points(4000), 798),
        "digits, d = 64": (load_images("digits"), 798),
        "MNIST, d = 784": (load_images("mnist-5k"), 798),
        "Fashion-MNIST, d = 784": (load_images("fashion-mnist", split="train", limit=4500), 798),
        "CIFAR-10, d = 3,072": (load_images(options.train, limit=4500), 798),
    }
    print(f"\nShare of {TRAINS} x {DRAWS} repetitions with any discovery, alpha = {ALPHA}")
    found = {}
    for name, (images, train) in sets.items():
        found[name] = row = errors(images, train, ("pixel",) if name.startswith("points") else ("pixel", "pca:30"))
        kinds = ("held-out", "near", "halves")
        texts = [f"{kind} {row[kind]['share']:.3f} +- {row[kind]['stderr']:.3f}" for kind in kinds]
        print(f"  {name:24} {row['samples']} samples: {', '.join(texts)}", flush=True)
    return {"alpha": ALPHA, "repetitions": [TRAINS, DRAWS], "sets": found}


def jpeg(images: Tensor, quality: int) -> Tensor:
    changed = []
    for image in ((images + 1) * 127.5).round().clamp(0, 255).byte().permute(0, 2, 3, 1).numpy():
        stream = io.BytesIO()
        Image.fromarray(image).save(stream, "JPEG", quality=quality)
        changed.append(np.asarray(Image.open(stream)))
    return torch.from_numpy(np.stack(changed)).permute(0, 3, 1, 2).float() / 127.5 - 1


def shifted(images: Tensor, by: int) -> Tensor:
    """Moved right and down, the border repeated."""
    return torch.nn.functional.pad(images, (by, 0, by, 0), mode="replicate")[..., : images.shape[2], : images.shape[3]]


def cropped(images: Tensor, side: int) -> Tensor:
    at = (images.shape[2] - side) // 2
    inner = images[..., at : at + side, at : at + side]
    return interpolate(inner, images.shape[2:], mode="bilinear", antialias=True)


def patched(images: Tensor, others: Tensor, share: float) -> Tensor:
    """The left part of copies, the rest of other images."""
    out, width = others.clone(), round(images.shape[3] * share)
    out[..., :width] = images[..., :width]
    return out


def pasted(images: Tensor, others: Tensor, start: int, side: int) -> Tensor:
    """A square of copies in other images, at its place."""
    out, inner = others.clone(), slice(start, start + side)
    out[..., inner, inner] = images[..., inner, inner]
    return out


def copies(train: Tensor, others: Tensor) -> dict[str, Callable[[], Tensor]]:
    """Ways to change copies, by name."""
    noise = torch.randn(train.shape, generator=torch.Generator().manual_seed(0))
    return {
        "exact": lambda: train,
        "JPEG quality 75": lambda: jpeg(train, 75),
        "JPEG quality 30": lambda: jpeg(train, 30),
        "noise 0.1": lambda: train + 0.1 * noise,
        "noise 0.2": lambda: train + 0.2 * noise,
        "noise 0.3": lambda: train + 0.3 * noise,
        "noise 0.5": lambda: train + 0.5 * noise,
        "brightness + 0.2": lambda: (train + 0.2).clamp(-1, 1),
        "brightness + 0.4": lambda: (train + 0.4).clamp(-1, 1),
        "contrast x 0.6": lambda: 0.6 * train,
        "mirrored": lambda: train.flip(-1),
        "shifted 1": lambda: shifted(train, 1),
        "shifted 2": lambda: shifted(train, 2),
        "shifted 3": lambda: shifted(train, 3),
        "cropped to 28, resized": lambda: cropped(train, 28),
        "cropped to 24, resized": lambda: cropped(train, 24),
        "mirrored and shifted 2": lambda: shifted(train.flip(-1), 2),
        "patch, 3/4 of it": lambda: patched(train, others, 0.75),
        "patch, 1/2 of it": lambda: patched(train, others, 0.5),
        "patch, a quarter": lambda: pasted(train, others, 0, 16),
        "patch, the middle": lambda: pasted(train, others, 8, 16),
        "patch, 18 x 18 off grid": lambda: pasted(train, others, 5, 18),
        "patch, 1/2, noise 0.1": lambda: patched(train + 0.1 * noise, others, 0.5),
        "patch, 1/2, shifted 1": lambda: patched(shifted(train, 1), others, 0.5),
    }


def power(options: argparse.Namespace) -> dict:
    train_set, held_out, fresh = load_images(options.train, limit=12_500).split((10_000, 2000, 500), seed=0)
    detector = Detector(train_set, ("pixel",), tolerant=True, expected=5000)
    usual, others = detector.find(held_out), detector.find(fresh)
    control, background = (largest(detector.surprise(found)) for found in (usual, others))
    leaked = near_leaks(usual, ())
    controls = {"": control, "near ": np.delete(control, leaked)}
    cut = np.quantile(relative_ratio(others["pixel"]), 0.01)
    changed = copies(train_set[:100].tensor(), fresh[:100].tensor())
    print(
        f"\nShare of planted copies found, CIFAR-10: 10,000 training, 2,000 held-out images ({len(leaked)} of them near"
    )
    print("duplicates of training images, kept or left out), 500 samples, of which 1, 10, 100 are copies")
    print(
        f"  {'':24} {'kept: 1':>8} {'10':>6} {'100':>6} {'out: 1':>8} {'10':>6} {'100':>6}   2/3    1/3    1 %  auth."
    )
    rows = {}
    for name, make in {"none: fresh images": lambda: fresh[:100].tensor(), **changed}.items():
        found = detector.find(make())
        surprise = largest(detector.surprise(found))
        same = found["pixel"].distances[:, 0] == 0
        row = {}
        for (kind, calibrated), planted in product(controls.items(), (1, 10, 100)):
            hits = []
            for start in range(0, 100, planted):
                some = slice(start, start + planted)
                p = p_values(np.concatenate([surprise[some], background[planted:]]), calibrated)
                hits.append(np.isin(np.arange(planted), discoveries(p, ALPHA)) | same[some])
            row[f"{kind}{planted}"] = float(np.mean(hits))
        pixels = found["pixel"]
        row |= {
            "ratio 2/3": float((pixels.ratio < LOOSE).mean()),
            "ratio 1/3": float((pixels.ratio < STRICT).mean()),
            "extraction 1 %": float((relative_ratio(pixels) <= cut).mean()),
            "not authentic": float((~authentic(pixels)).mean()),
        }
        rows[name] = row
        print(f"  {name:24} " + " ".join(f"{value:6.2f}" for value in row.values()), flush=True)
    ratios = {name: float((usual["pixel"].ratio < t).mean()) for name, t in (("2/3", LOOSE), ("1/3", STRICT))}
    alarms = ratios | {
        "1 %": float((relative_ratio(usual["pixel"]) <= cut).mean()),
        "auth.": float((~authentic(usual["pixel"])).mean()),
    }
    print("  false alarms on held-out images:", {name: round(rate, 3) for name, rate in alarms.items()})
    return {"rows": rows, "false_alarms": alarms, "near_leaks": len(leaked), "held_out": len(control)}


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("parts", nargs="*", default=["validity", "power"])
    parser.add_argument("--train", default="../shared/data/cifar10-train.zip")
    parser.add_argument("--test", default="../shared/data/cifar10-test.zip")
    parser.add_argument("--out", type=Path, default=Path("benchmarks/results/audit.json"))
    options = parser.parse_args()
    found = json.loads(options.out.read_text()) if options.out.exists() else {}
    for part in options.parts:
        measured = {"validity": validity, "power": power}[part](options)
        found[part] = {"smoothscore": __version__, "protocol": VERSION} | measured
        options.out.parent.mkdir(parents=True, exist_ok=True)
        options.out.write_text(json.dumps(found, indent=1) + "\n")


if __name__ == "__main__":
    main()
