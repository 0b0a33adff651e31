"""How long an audit takes and how much memory, beside the matrix product that it seems to need.

    python benchmarks/audit_size.py pixels whole search flag million --train ../shared/data/cifar10-train.zip \
        --test ../shared/data/cifar10-test.zip

pixels: 10,000 samples against 50,000 training and 5,000 held-out images, in pixel space.
whole: the same with all spaces, and the report.
spaces: the neighbors of the same images in each space.
search: the 50 nearest of 1,000 samples, beside FAISS and scikit-learn.
flag: batches of 16 as a generation loop asks for them.
million: the neighbors of 200 samples among 1,000,000 made images that lie on disk (3 GB, in --work).

Each part runs alone in a process; results go to benchmarks/results/audit_size.json, one entry a part.
"""

import argparse
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

from smoothscore import DataWarning, ImageSet, __version__, load_images
from smoothscore.encoders import PIXEL
from smoothscore.memorization import audit
from smoothscore.memorization.aligned import AlignedTest
from smoothscore.memorization.copies import CopyTest
from smoothscore.memorization.detector import Detector
from smoothscore.memorization.protocol import NEIGHBORS, VERSION
from smoothscore.neighbors import Search
from smoothscore.neighbors.approximate import Approximate

HELD_OUT = 5000


def sets(options: argparse.Namespace) -> tuple[ImageSet, ImageSet, ImageSet]:
    """Samples, 50 of them training images and half of them mirrored, training and held-out images."""
    train, test = load_images(options.train), load_images(options.test)
    held_out, rest = test.split((HELD_OUT, HELD_OUT), seed=0)
    images = np.concatenate([rest.take(range(HELD_OUT)), rest.take(range(HELD_OUT))[..., ::-1]])
    images[:50] = train.take(range(50))
    samples = ImageSet.from_array(images)[: options.samples]
    train.fingerprint, samples.fingerprint, held_out.fingerprint  # noqa: B018 (not part of what is timed)
    return samples, train, held_out


def timed(work: Callable[[], object]) -> float:
    start = perf_counter()
    work()
    return perf_counter() - start


def product_seconds(train: ImageSet, samples: ImageSet, pairs: float) -> float:
    """Of the float32 product of so many pairs of images, from a part of it."""
    values, asked = train[:12_500].tensor().flatten(1), samples[:1000].tensor().flatten(1)
    out = torch.empty(len(values), len(asked))
    torch.mm(values, asked.T, out=out)
    return min(timed(lambda: torch.mm(values, asked.T, out=out)) for _ in range(2)) * pairs / out.numel()


def memory() -> float:
    return resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 2**20


def whole(options: argparse.Namespace, tolerant: bool = True) -> dict:
    samples, train, held_out = sets(options)
    row = {"samples": len(samples), "train": len(train), "held_out": len(held_out)}
    with tempfile.TemporaryDirectory() as cache:
        os.environ["SMOOTHSCORE_CACHE"] = cache
        start = perf_counter()
        found = audit(samples, train, held_out, tolerant=tolerant)
        row |= {"seconds": perf_counter() - start, "flagged": len(found.flagged), "peak_gb": memory()}
        row["spaces"] = list(found.detector.tests)
        row["again_seconds"] = timed(lambda: audit(samples, train, held_out, tolerant=tolerant))
        page = Path(cache) / "audit.html"
        row["json_seconds"] = timed(lambda: found.save_json(page.with_suffix(".json")))
        row["html_seconds"], row["html_mb"] = timed(lambda: found.save_html(page)), page.stat().st_size / 2**20
        row |= opened(page)
        if options.page:
            found.save_html(options.page)
    row["product_seconds"] = product_seconds(train, samples, (len(samples) + len(held_out)) * len(train))
    row["of_the_product"] = row["seconds"] / row["product_seconds"]
    return row


def pixels(options: argparse.Namespace) -> dict:
    return whole(options, tolerant=False)


def spaces(options: argparse.Namespace) -> dict:
    """Seconds to prepare everything, to leave 2,000 training images out, and to search in each space."""
    samples, train, held_out = sets(options)
    start = perf_counter()
    detector = Detector(train[: options.limit], ("pixel",), True, len(samples) + len(held_out))
    row = {"prepared": perf_counter() - start}
    for name, test in detector.tests.items():
        asked = (lambda x, t=test: t(x)) if name == "aligned" else (lambda x, t=test: t(x, NEIGHBORS, spaced=True))
        row[name] = timed(lambda: (asked(samples), asked(held_out)))  # noqa: B023 (called at once)
    row["product_seconds"] = product_seconds(train, samples, (len(samples) + len(held_out)) * len(train))
    return row


def search(options: argparse.Namespace) -> dict:
    """The same neighbors by FAISS and scikit-learn; what is prepared once is timed for itself."""
    import faiss
    from sklearn.neighbors import NearestNeighbors

    samples, train, _ = sets(options)
    asked, k = samples[:1000], NEIGHBORS
    values, queries = train.tensor().flatten(1), asked.tensor().flatten(1)
    ours, flat = Search(train, expected=10_000), faiss.IndexFlatL2(values.shape[1])
    peer = NearestNeighbors(n_neighbors=k, algorithm="brute").fit(values.numpy())
    faiss.omp_set_num_threads(torch.get_num_threads())
    row = {"queries": len(asked), "k": k, "prepare": timed(lambda: ours(samples[:128], k))}
    row["prepare faiss"] = timed(lambda: flat.add(values.numpy()))
    row["ours"] = min(timed(lambda: ours(asked, k)) for _ in range(2))
    row["faiss"] = min(timed(lambda: flat.search(queries.numpy(), k)) for _ in range(2))
    row["scikit-learn"] = timed(lambda: peer.kneighbors(queries.numpy()))
    row["product"] = product_seconds(train, samples, len(asked) * len(train))
    same = flat.search(queries.numpy(), k)[1] == ours(asked, k).indices.numpy()
    return row | {"same neighbors as faiss": float(same.mean())}


def flag(options: argparse.Namespace) -> dict:
    """Seconds of a call, the first one apart."""
    samples, train, held_out = sets(options)
    train, held_out = train[:10_000], held_out[:2000]
    row = {"train": len(train), "batch": 16}
    for tolerant in (False, True):
        found = audit(samples[:500], train, held_out, tolerant=tolerant)
        calls = [timed(lambda i=i: found.flag(samples[i : i + 16].tensor())) for i in range(0, 320, 16)]  # noqa: B023
        name = "all spaces" if tolerant else "pixels"
        row |= {f"{name}, first": calls[0], f"{name}, median": float(np.median(calls[1:]))}
    return row


def million(options: argparse.Namespace) -> dict:
    """Neighbors of 200 samples, 20 of them noisy training images, exactly, aligned, and by FAISS.

    The training images are blends of two CIFAR-10 images each, so that none is near another. Memory is that of the
    process without the pages of the file, which the system can take back at any time.
    """
    count, copies = options.million, np.arange(20)
    base = load_images(options.train).take(range(50_000))
    rng = np.random.default_rng(0)
    with tempfile.TemporaryDirectory(dir=options.work) as folder:
        file = Path(folder) / "pixels"
        made = np.memmap(file, dtype=np.uint8, mode="w+", shape=(count + 1000, *base.shape[1:]))
        for start in range(0, len(made), 10_000):
            part = made[start : start + 10_000]
            a, b = (rng.permutation(len(base))[: len(part)] for _ in range(2))
            part[:] = (base[a].astype(np.uint16) + base[b][..., ::-1]) // 2
        made.flush()
        del base, made, part
        mapped = ImageSet.from_array(np.memmap(file, dtype=np.uint8, mode="r", shape=(count + 1000, 3, 32, 32)))
        train, samples = mapped[:count], mapped[count : count + 200].tensor()
        samples[copies] = train[copies].tensor() + 0.1 * torch.randn(len(copies), *samples.shape[1:])
        row = {"train": count, "samples": len(samples), "gb before": anonymous()}
        first = np.arange(count)
        tests = {"pixels": lambda: CopyTest(train, PIXEL, first=first), "aligned": lambda: AlignedTest(train, first)}
        tests |= {"faiss": lambda: Approximate(train)}
        for name in options.spaces:
            start = perf_counter()
            test = tests[name]()
            row[f"{name}, prepare"] = perf_counter() - start
            start = perf_counter()
            found = test(samples) if name == "aligned" else test(samples, NEIGHBORS)
            row[f"{name}, search"], row[f"{name}, gb"] = perf_counter() - start, anonymous()
            row[f"{name}, copies found"] = int((np.asarray(found.indices)[copies, 0] == copies).sum())
            if name == "faiss":
                row["recall"] = test.recall
            print({key: value for key, value in row.items() if key.startswith(name)}, flush=True)
            del test
    return row


def anonymous() -> float:
    """Memory of this process now, in GB, without the pages of files."""
    lines = Path("/proc/self/status").read_text().splitlines()
    return int(next(line for line in lines if line.startswith("RssAnon")).split()[1]) / 2**20


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
        command = [browser, "--headless", "--no-sandbox", "--disable-gpu", "--disable-background-networking"]
        command += ["--no-first-run", "--disable-sync", f"--user-data-dir={profile}", "--dump-dom", file.as_uri()]
        seconds[name] = timed(lambda: subprocess.run(command, capture_output=True, check=True, timeout=60))  # noqa: B023
    return seconds


PARTS = {"pixels": pixels, "whole": whole, "spaces": spaces, "search": search, "flag": flag, "million": million}


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("parts", nargs="+", choices=PARTS)
    parser.add_argument("--train", default="../shared/data/cifar10-train.zip")
    parser.add_argument("--test", default="../shared/data/cifar10-test.zip")
    parser.add_argument("--samples", type=int, default=10_000)
    parser.add_argument("--limit", type=int, help="spaces: training images")
    parser.add_argument("--million", type=int, default=1_000_000, help="million: training images")
    parser.add_argument("--spaces", nargs="+", default=["pixels", "aligned", "faiss"], help="million: what to search")
    parser.add_argument("--work", type=Path, help="million: where the images are made")
    parser.add_argument("--page", type=Path, help="whole: keep the report here")
    parser.add_argument("--out", type=Path, default=Path("benchmarks/results/audit_size.json"))
    options = parser.parse_args()
    warnings.simplefilter("ignore", DataWarning)
    for part in options.parts:
        row = PARTS[part](options) | {"threads": torch.get_num_threads(), "smoothscore": __version__}
        print(f"{part}:", {name: round(v, 3) if isinstance(v, float) else v for name, v in row.items()}, flush=True)
        found = json.loads(options.out.read_text()) if options.out.exists() else {}
        options.out.parent.mkdir(parents=True, exist_ok=True)
        options.out.write_text(json.dumps(found | {"protocol": VERSION, part: row}, indent=1) + "\n")


if __name__ == "__main__":
    main()
