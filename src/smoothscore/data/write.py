"""Images out: lossless PNG files in a folder or a zip.

The layout is the one that :func:`load_images`, StyleGAN and EDM read: image files, and ``dataset.json`` with
the labels. What is written reads back bit for bit and in the same order.
"""

import io
import json
import re
import tempfile
import zipfile
from collections.abc import Iterator
from itertools import pairwise
from pathlib import Path, PurePosixPath

from torch import Tensor

from smoothscore import progress
from smoothscore.data.convert import to_images
from smoothscore.data.imageset import ImageSet
from smoothscore.data.resize import picture_of
from smoothscore.errors import InputError

__all__ = ["write_images"]

PART = r"[^\W_][\w .()+-]{0,99}"
SAFE_NAME = re.compile(rf"{PART}(/{PART})*")


def write_images(images: ImageSet | Tensor, out: str | Path) -> Path:
    """Write images as PNG into the folder ``out``, or into a zip when ``out`` ends in ``.zip``.

    ``images`` is a set or a floating-point tensor (N, C, H, W) in [-1, 1]. Images keep their names (with the
    suffix .png) where sorting these gives their order back, and are numbered ``00000/img00000000.png``
    otherwise. All is written under a temporary name and renamed at the end. Returns ``out``.

    Raises InputError when ``out`` exists and is not an empty folder, and for images that have neither one
    channel nor three.
    """
    images = images if isinstance(images, ImageSet) else to_images(images)
    out = Path(out).expanduser()
    zipped = out.suffix.lower() == ".zip"
    if images.shape[0] not in (1, 3):
        raise InputError(f"{images.source} has {images.shape[0]} channels; only gray and RGB images can be written.")
    if out.exists() and (zipped or not out.is_dir() or any(out.iterdir())):
        raise InputError(f"{out} exists already; remove it or choose another name.")
    out.parent.mkdir(parents=True, exist_ok=True)
    with tempfile.TemporaryDirectory(prefix=f".{out.name}.", dir=out.parent) as work:
        new = Path(work) / "new"
        (_write_zip if zipped else _write_folder)(images, new)
        if out.exists():
            out.rmdir()
        new.rename(out)
    return out


def _write_folder(images: ImageSet, folder: Path) -> None:
    for name, data in _encoded(images):
        file = folder / name
        file.parent.mkdir(parents=True, exist_ok=True)
        file.write_bytes(data)


def _write_zip(images: ImageSet, file: Path) -> None:
    with zipfile.ZipFile(file, "w") as archive:
        for name, data in _encoded(images):
            archive.writestr(zipfile.ZipInfo(name), data)  # of a fixed date: equal images, equal bytes


def _encoded(images: ImageSet) -> Iterator[tuple[str, bytes]]:
    """Names and contents of the files to write."""
    names = _file_names(images)
    with progress.task("writing images", total=len(images)) as advance:
        for position, name in enumerate(names):
            file = io.BytesIO()
            picture_of(images.read(position, position + 1)[0]).save(file, "PNG")
            yield name, file.getvalue()
            advance(1)
    labels = None if images.labels is None else list(zip(names, images.labels.tolist(), strict=True))
    yield "dataset.json", json.dumps({"labels": labels, "class_names": images.class_names}).encode()


def _file_names(images: ImageSet) -> list[str]:
    """The images' own names as PNG where these are safe and sorted, numbered ones otherwise."""
    if all(SAFE_NAME.fullmatch(name) and ".png/" not in name for name in images.names):
        names = [str(PurePosixPath(name).with_suffix(".png")) for name in images.names]
        in_order = all(first < second for first, second in pairwise(names))
        if in_order and len({name.casefold() for name in names}) == len(names):
            return names
    return [f"{i // 1000:05d}/img{i:08d}.png" for i in range(len(images))]
