"""How long exact neighbors take, beside the matrix product they seem to need and beside other libraries.

    python benchmarks/neighbors.py --cifar ../shared/data/cifar10-train.zip

Each round times every candidate once on the same queries, in turn, so that a slow moment of the machine hits all; the
table shows medians of the ratios to the float32 product timed in the same round. Preparation (centering, projection,
building an index) is timed apart. Results go to benchmarks/results/neighbors.json.
"""

import argparse
import importlib
import json
import platform
from collections.abc import Callable
from pathlib import Path
from statistics import median
from time import perf_counter

import numpy as np
import torch
from sklearn.neighbors import NearestNeighbors

from smoothscore import ImageSet, __version__, load_images
from smoothscore.encoders import encoder
from smoothscore.neighbors import Search

Candidate = Callable[[], object]


def seconds(candidate: Candidate) -> float:
    start = perf_counter()
    candidate()
    return perf_counter() - start


def candidates(
    place: ImageSet | torch.Tensor, queries: ImageSet | torch.Tensor, k: int
) -> tuple[dict[str, Candidate], dict[str, float]]:
    """What is timed, by name, and what its preparation took."""
    values, asked = (
        (images.tensor() if isinstance(images, ImageSet) else images).flatten(1) for images in (place, queries)
    )
    prepared = {}

    def prepare(name: str, make: Callable[[], object]) -> object:
        start = perf_counter()
        made = make()
        prepared[name] = perf_counter() - start
        return made

    out = torch.empty(len(values), len(asked))
    plain = prepare("smoothscore", lambda: Search(place))
    prefix = prepare("smoothscore, prepared for a graph", lambda: ready(place, queries, k))
    brute = NearestNeighbors(n_neighbors=k, algorithm="brute").fit(values.numpy())
    found: dict[str, Candidate] = {
        "float32 product": lambda: torch.mm(values, asked.T, out=out),
        "smoothscore": lambda: plain(queries, k),
        "smoothscore, prepared for a graph": lambda: prefix(queries, k),
        "torch.cdist + topk": lambda: torch.cdist(asked, values).topk(k, largest=False),
        "scikit-learn brute": lambda: brute.kneighbors(asked.numpy()),
    }
    try:
        faiss = importlib.import_module("faiss")
    except ImportError:
        print("faiss-cpu is not installed; leaving it out")
        return found, prepared
    index = faiss.IndexFlatL2(values.shape[1])
    prepare("FAISS IndexFlatL2", lambda: index.add(values.numpy()))
    found["FAISS IndexFlatL2"] = lambda: index.search(asked.numpy(), k)
    return found, prepared


def ready(place: ImageSet | torch.Tensor, queries: ImageSet | torch.Tensor, k: int) -> Search:
    """A search that expects the queries of a whole graph, after its trials."""
    search = Search(place, expected=len(place))
    search(queries, k)
    return search


def measure(name: str, place: ImageSet | torch.Tensor, queries: ImageSet | torch.Tensor, k: int, rounds: int) -> dict:
    """Medians of seconds and of ratios to the product, for every candidate."""
    timed, prepared = candidates(place, queries, k)
    taken: dict[str, list[float]] = {candidate: [] for candidate in timed}
    for _ in range(rounds):
        for candidate, run in timed.items():
            taken[candidate].append(seconds(run))
    product = taken["float32 product"]
    rows = {
        candidate: {
            "seconds": median(times),
            "ratio": median(time / base for time, base in zip(times, product, strict=True)),
            "least_ratio": min(times) / min(product),
            "prepare_seconds": prepared.get(candidate, 0.0),
        }
        for candidate, times in taken.items()
    }
    print(f"\n{name}: {len(queries):,} queries, {len(place):,} centers, K = {k}")
    for candidate, row in rows.items():
        print(f"  {candidate:36} {row['seconds']:8.3f} s  {row['ratio']:6.2f} of the product", end="")
        print(f"  ({row['least_ratio']:.2f} at best; prepared in {row['prepare_seconds']:.1f} s)")
    return {"queries": len(queries), "centers": len(place), "k": k, "rounds": rounds, "rows": rows}


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--cifar", type=Path, default=Path("../shared/data/cifar10-train.zip"))
    parser.add_argument("--queries", type=int, default=1000)
    parser.add_argument("-k", type=int, default=100)
    parser.add_argument("--rounds", type=int, default=7)
    parser.add_argument("--features", type=int, default=512, help="dimension of the feature space (PCA)")
    parser.add_argument("--out", type=Path, default=Path("benchmarks/results/neighbors.json"))
    options = parser.parse_args()

    images = load_images(str(options.cifar))
    chosen = np.linspace(0, len(images) - 1, options.queries).astype(int)
    found = {"pixels": measure("pixels, uint8", images, images[chosen], options.k + 1, options.rounds)}
    features = encoder(f"pca:{options.features}", images)(images)
    name = f"features, {options.features} dimensions"
    found["features"] = measure(name, features, features[torch.from_numpy(chosen)], options.k + 1, options.rounds)
    machine = {"processor": platform.processor() or platform.machine(), "threads": torch.get_num_threads()}
    options.out.parent.mkdir(parents=True, exist_ok=True)
    options.out.write_text(json.dumps({"smoothscore": __version__, "machine": machine, **found}, indent=2) + "\n")


if __name__ == "__main__":
    main()
