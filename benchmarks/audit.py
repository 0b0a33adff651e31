"""Does the audit err as seldom as it says, what does it find, and how long does it take?

    python benchmarks/audit.py validity power size --train ../shared/data/cifar10-train.zip \
        --test ../shared/data/cifar10-test.zip

validity: real images in the place of samples; the share of 200 repetitions in which any is flagged, on five data sets.
power: copies of CIFAR-10 images, changed in several ways, among fresh ones; the share found, beside the tests in use.
size: 10,000 samples against 50,000 training images; seconds, memory, and the matrix product they seem to need.

Results go to benchmarks/results/audit.json, one entry a part.
"""

import argparse
import io
import json
import os
import resource
import shutil
import subprocess
import tempfile
import warnings
from collections.abc import Callable
from pathlib import Path
from time import perf_counter

import numpy as np
import torch
from PIL import Image
from torch import Tensor
from torch.nn.functional import interpolate

from smoothscore import DataWarning, ImageSet, __version__, load_images
from smoothscore.memorization import audit
from smoothscore.memorization.conformal import discoveries, p_values
from smoothscore.memorization.copies import CopyTest
from smoothscore.memorization.detector import Detector, largest
from smoothscore.memorization.protocol import LOOSE, STRICT, VERSION
from smoothscore.memorization.published import authentic, relative_ratio

ALPHA = 0.05
SAMPLES, CONTROLS = 20, 399  # so that one sample alone can be flagged: 1 / 400 = 0.05 / 20
TRAINS, DRAWS = 4, 50


def points(count: int) -> Tensor:
    """Points of the plane: two rings and a cluster."""
    rng = torch.Generator().manual_seed(0)
    angle, kind = torch.rand(count, generator=rng) * 2 * torch.pi, torch.randint(0, 3, (count,), generator=rng)
    radius = torch.tensor([0.8, 0.4, 0.1])[kind] + 0.03 * torch.randn(count, generator=rng)
    return torch.stack([radius * angle.cos(), radius * angle.sin()], 1)


def take(images: ImageSet | Tensor, index: np.ndarray) -> ImageSet | Tensor:
    return images[index] if isinstance(images, ImageSet) else images[torch.from_numpy(index)]


def errors(images: ImageSet | Tensor, train: int, encoders: tuple[str, ...]) -> dict:
    """The share of repetitions with any discovery, with held-out images and without."""
    found = {"held-out": 0, "left out": 0}
    rng = np.random.default_rng(0)
    for _ in range(TRAINS):
        order = rng.permutation(len(images))
        chosen = take(images, np.sort(order[:train]))
        detector = Detector(chosen, encoders, tolerant=True, calibrate=True)
        fresh = detector.find(take(images, np.sort(order[train:])))
        new = fresh["pixel"].distances[:, 0] > 0  # images that stand in the data set twice are copies
        surprise = largest(detector.surprise(fresh))[new]
        usual = largest(detector.surprise(detector.reference))
        members = detector.first[detector.left_out]
        beside = np.any([np.isin(m.indices[:, 0], members) for m in fresh.values()], axis=0)[new]
        for _ in range(DRAWS):
            drawn = rng.permutation(len(surprise))[: SAMPLES + CONTROLS]
            mine, theirs = drawn[:SAMPLES], drawn[SAMPLES:]
            found["held-out"] += len(discoveries(p_values(surprise[mine], surprise[theirs]), ALPHA)) > 0
            found["left out"] += len(discoveries(p_values(surprise[mine], usual, beside[mine]), ALPHA)) > 0
    return {name: count / (TRAINS * DRAWS) for name, count in found.items()} | {"spaces": list(detector.tests)}


def validity(options: argparse.Namespace) -> dict:
    sets = {
        "points, d = 2": (points(4000), 1500),
        "digits, d = 64": (load_images("digits"), 800),
        "MNIST, d = 784": (load_images("mnist-5k"), 2500),
        "Fashion-MNIST, d = 784": (load_images("fashion-mnist", split="train", limit=4500), 2000),
        "CIFAR-10, d = 3,072": (load_images(options.train, limit=4500), 2000),
    }
    print(f"\nShare of {TRAINS * DRAWS} repetitions with any discovery, {SAMPLES} samples, alpha = {ALPHA}")
    found = {}
    for name, (images, train) in sets.items():
        found[name] = errors(images, train, ("pixel",) if name.startswith("points") else ("pixel", "pca:30"))
        print(f"  {name:24} {CONTROLS} held-out {found[name]['held-out']:.3f}", end="")
        print(f"   training images left out {found[name]['left out']:.3f}", flush=True)
    return found


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
    }


def power(options: argparse.Namespace) -> dict:
    train_set, held_out, fresh = load_images(options.train, limit=12_500).split((10_000, 2000, 500), seed=0)
    detector = Detector(train_set, ("pixel",), tolerant=True, expected=5000)
    usual, others = detector.find(held_out), detector.find(fresh)
    control, background = (largest(detector.surprise(found)) for found in (usual, others))
    cut = np.quantile(relative_ratio(others["pixel"]), 0.01)
    changed = copies(train_set[:100].tensor(), fresh[:100].tensor())
    print("\nShare of planted copies found, CIFAR-10: 10,000 training, 2,000 held-out images, 500 samples")
    print(f"  {'copies':24} {'1 of 500':>9} {'10':>6} {'100':>6} {'2/3':>6} {'1/3':>6} {'1 %':>6} {'auth.':>6}")
    rows = {}
    for name, make in {"none: fresh images": lambda: fresh[:100].tensor(), **changed}.items():
        found = detector.find(make())
        surprise = largest(detector.surprise(found))
        same = found["pixel"].distances[:, 0] == 0
        row = {}
        for planted in (1, 10, 100):
            hits = []
            for start in range(0, 100, planted):
                some = slice(start, start + planted)
                p = p_values(np.concatenate([surprise[some], background[planted:]]), control)
                hits.append(np.isin(np.arange(planted), discoveries(p, ALPHA)) | same[some])
            row[str(planted)] = float(np.mean(hits))
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
    return {"rows": rows, "false_alarms": alarms}


def size(options: argparse.Namespace) -> dict:
    train, test = load_images(options.train), load_images(options.test)
    held_out, rest = test.split((5000, 5000), seed=0)
    images = np.concatenate([rest.take(range(5000)), rest.take(range(5000))[..., ::-1]])
    images[:50] = train.take(range(50))
    samples = ImageSet.from_array(images)[: options.samples]
    train.fingerprint, samples.fingerprint, held_out.fingerprint  # noqa: B018 (not part of what is timed)
    row = {"samples": len(samples), "train": len(train), "held_out": len(held_out), "threads": torch.get_num_threads()}
    with tempfile.TemporaryDirectory() as cache, warnings.catch_warnings():
        warnings.simplefilter("ignore", DataWarning)
        os.environ["SMOOTHSCORE_CACHE"] = cache
        start = perf_counter()
        if options.pixels_only:
            test_ = CopyTest(train, Detector(train[:10], ("pixel",), False).tests["pixel"].space, 20_000)
            test_(samples, 50)
            test_(held_out, 50)
        else:
            found = audit(samples, train, held_out)
            row["flagged"] = len(found.flagged)
        row["seconds"] = perf_counter() - start
        row["peak_gb"] = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 2**20
        if not options.pixels_only:
            start = perf_counter()
            page = found.save_html(Path(cache) / "audit.html")
            row["html_seconds"], row["html_mb"] = perf_counter() - start, page.stat().st_size / 2**20
            row |= opened(page)
            if options.page:
                found.save_html(options.page)
    start = perf_counter()
    values, asked = train[:12_500].tensor().flatten(1), samples[:1000].tensor().flatten(1)
    out = torch.empty(len(values), len(asked))
    torch.mm(values, asked.T, out=out)
    start = perf_counter()
    torch.mm(values, asked.T, out=out)
    pairs = (len(samples) + len(held_out)) * len(train)
    row["product_seconds"] = (perf_counter() - start) * pairs / (len(values) * len(asked))
    row["of_the_product"] = row["seconds"] / row["product_seconds"]
    print("\nSize:", {name: round(value, 3) for name, value in row.items()})
    return row


def opened(page: Path) -> dict[str, float]:
    """Seconds from starting headless Chromium to the page's final content, and the same for an empty page."""
    browser = shutil.which("chromium") or shutil.which("google-chrome")
    if not browser:
        return {}
    empty = page.with_name("empty.html")
    empty.write_text("<!doctype html><title>empty</title>")
    seconds = {}
    for name, file in (("empty_page_seconds", empty), ("open_seconds", page)):
        profile = page.with_name(f"profile-{name}")
        start = perf_counter()
        command = [browser, "--headless", "--no-sandbox", "--disable-gpu", "--disable-background-networking"]
        command += ["--no-first-run", "--disable-sync", f"--user-data-dir={profile}", "--dump-dom", file.as_uri()]
        subprocess.run(command, capture_output=True, check=True, timeout=60)
        seconds[name] = perf_counter() - start
    return seconds


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("parts", nargs="*", default=["validity", "power", "size"])
    parser.add_argument("--train", default="../shared/data/cifar10-train.zip")
    parser.add_argument("--test", default="../shared/data/cifar10-test.zip")
    parser.add_argument("--samples", type=int, default=10_000, help="size: how many samples")
    parser.add_argument("--page", type=Path, help="keep the report of the large audit here")
    parser.add_argument("--pixels-only", action="store_true", help="size: the search in pixel space alone")
    parser.add_argument("--out", type=Path, default=Path("benchmarks/results/audit.json"))
    options = parser.parse_args()
    found = json.loads(options.out.read_text()) if options.out.exists() else {}
    found |= {"smoothscore": __version__, "protocol": VERSION}
    for part in options.parts:
        found[part] = {"validity": validity, "power": power, "size": size}[part](options)
        options.out.parent.mkdir(parents=True, exist_ok=True)
        options.out.write_text(json.dumps(found, indent=1) + "\n")


if __name__ == "__main__":
    main()
