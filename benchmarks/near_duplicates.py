"""Near duplicates: false alarms among images as they are, and which planted copies are found.

    python benchmarks/near_duplicates.py --data cifar10-train.zip --images 1000

Of 48 images one altered copy each is added: compressed, shifted (the edge wraps around), mirrored, brighter, noisy. A
copy is found if one group, of near or of equal images, holds it and its original.
"""

import argparse
import io
import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray
from PIL import Image

from smoothscore import ImageSet, load_images
from smoothscore.geometry import near_duplicates
from smoothscore.geometry.duplicates import exact_duplicates

Pixels = NDArray[np.uint8]


def compressed(image: Pixels, quality: int) -> Pixels:
    stream = io.BytesIO()
    Image.fromarray(image.transpose(1, 2, 0).squeeze()).save(stream, "JPEG", quality=quality)
    found = np.asarray(Image.open(stream))
    return found[None] if found.ndim == 2 else found.transpose(2, 0, 1)


def alterations(rng: np.random.Generator) -> dict[str, Callable[[Pixels], NDArray[Any]]]:
    return {
        "JPEG of quality 75": lambda x: compressed(x, 75),
        "JPEG of quality 50": lambda x: compressed(x, 50),
        "shifted by (0, 1)": lambda x: np.roll(x, 1, 2),
        "shifted by (2, -1)": lambda x: np.roll(x, (2, -1), (1, 2)),
        "mirrored": lambda x: x[:, :, ::-1],
        "brighter by 20": lambda x: x + 20.0,
        "brighter by 15 %": lambda x: x * 1.15,
        "noise of 8": lambda x: x + rng.normal(0, 8, x.shape),
    }


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--data", default="mnist-5k", help="what load_images reads")
    parser.add_argument("--split", help="a split of it")
    parser.add_argument("--images", type=int, default=1000)
    parser.add_argument("--encoder", default="pixel", help="where images are near; others than pixel are added to it")
    parser.add_argument("--each", type=int, default=6, help="copies of each kind")
    parser.add_argument("--seed", type=int, default=0)
    parser.add_argument("--out", type=Path, default=Path(__file__).parent / "results" / "near_duplicates.json")
    options = parser.parse_args()

    images = load_images(options.data, split=options.split)
    pixels = images.subset(min(options.images, len(images)), options.seed).read(0, min(options.images, len(images)))
    rng = np.random.default_rng(options.seed)
    kinds = alterations(rng)
    sources = rng.choice(len(pixels), (len(kinds), options.each), replace=False)
    copies = [
        np.clip(np.round(alter(pixels[i])), 0, 255).astype(np.uint8)
        for alter, chosen in zip(kinds.values(), sources, strict=True)
        for i in chosen
    ]
    spaces = list(dict.fromkeys(("pixel", options.encoder)))
    alarms = [group for space in spaces for group in near_duplicates(ImageSet.from_array(pixels), encoder=space)]
    planted = ImageSet.from_array(np.concatenate([pixels, copies]))
    alike = [near_duplicates(planted, encoder=space) for space in spaces]
    together = [set(group.indices) for groups in alike for group in groups] + [
        set(g) for g in exact_duplicates(planted)
    ]
    pairs = {(int(i), len(pixels) + k) for k, i in enumerate(sources.flat)}
    found = {
        name: sum(
            any({int(i), len(pixels) + row * options.each + k} <= group for group in together)
            for k, i in enumerate(sources[row])
        )
        for row, name in enumerate(kinds)
    }
    others = sum(not any(set(pair) <= group for pair in pairs) for group in together)
    print(f"groups among the {len(pixels)} images as they are: {len(alarms)}")
    for name, count in found.items():
        print(f"{name:20} {count} of {options.each} found")
    print(f"groups without a planted copy: {others}")
    options.out.parent.mkdir(parents=True, exist_ok=True)
    setting = {name: str(value) for name, value in vars(options).items()}
    numbers = {"setting": setting, "groups as they are": len(alarms), "found": found, "other groups": others}
    options.out.write_text(json.dumps(numbers, indent=2) + "\n")


if __name__ == "__main__":
    main()
