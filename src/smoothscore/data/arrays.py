"""Array files: ``.npy``, ``.npz`` and tensors saved by ``torch.save``.

Layout and value range are decided from the array, said in the notes of the set, and refused where two
readings are possible. Floating-point values are rounded to the nearest of the 256 levels.
"""

import re
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt
import torch

from smoothscore.data.labels import integer_labels
from smoothscore.data.source import Content, choose_split, split_name
from smoothscore.errors import InputError

__all__ = ["open_npy", "open_npz", "open_pt"]

Array = npt.NDArray[Any]
IMAGE_NAMES = {"images", "image", "imgs", "img", "x", "data", "samples", "arr_0"}
LABEL_NAMES = {"labels", "label", "y", "targets", "target", "classes", "class", "arr_1"}
BLOCK_BYTES = 2**25


def open_npy(path: Path, title: str, split: str | None) -> Content:
    """One array of images, read block by block."""
    with _sound(title):
        return _pick({"images": np.load(path, mmap_mode="r", allow_pickle=False)}, title, split)


def open_npz(path: Path, title: str, split: str | None) -> Content:
    """Images and labels by name, for each split where the names say so. Memory: the chosen arrays."""
    with _sound(title), np.load(path, allow_pickle=False) as arrays:
        return _pick(arrays, title, split)


def open_pt(path: Path, title: str, split: str | None) -> Content:
    """A tensor, a pair (images, labels) or a dict of tensors. Memory: the whole file."""
    with _sound(title):
        found = torch.load(path, map_location="cpu", weights_only=True)
        if isinstance(found, torch.Tensor):
            found = {"images": found}
        elif isinstance(found, tuple | list):
            found = dict(zip(("images", "labels"), found, strict=False))
        if not isinstance(found, Mapping):
            raise InputError(f"{title} holds a {type(found).__name__}; save the images as one tensor.")
        tensors = {str(name): value for name, value in found.items() if isinstance(value, torch.Tensor)}
        return _pick({name: _as_array(tensor) for name, tensor in tensors.items()}, title, split)


@contextmanager
def _sound(title: str) -> Iterator[None]:
    """Whatever a reader stumbles over is a damaged or foreign file."""
    try:
        yield
    except InputError:
        raise
    except Exception as problem:
        reason = (str(problem) or type(problem).__name__).splitlines()[0].rstrip(".")
        raise InputError(
            f"{title} cannot be read as plain arrays ({reason}); save the images anew as one uint8 array."
        ) from problem


def _content(images: Array, labels: Array | None, title: str) -> Content:
    notes: list[str] = []
    move = _layout(images.shape, title)
    quantize = _quantizer(images, title, notes)
    if labels is not None and labels.ndim == 2 and len(labels) == len(images) and labels.shape[1] > 1:
        notes.append(f"labels of shape {labels.shape} are not one class an image and were left out")
        labels = None
    whole = None if labels is None else integer_labels(labels, len(images), title)

    def blocks() -> Iterator[npt.NDArray[np.uint8]]:
        for block in _blocks(images):
            yield np.ascontiguousarray(move(quantize(block)))

    return Content(blocks(), len(images), whole, notes=notes)


def _pick(arrays: Mapping[str, Array], title: str, split: str | None) -> Content:
    """The images and labels among named arrays."""
    roles = {name: _role(name) for name in arrays}
    images = {name: part for name, (role, part) in roles.items() if role == "images"}
    if not images and len(roles) == 1:
        images = {name: part for name, (_, part) in roles.items()}
    if not images:
        raise InputError(f"{title} has no images among its arrays {', '.join(roles)}; name the images 'images'.")
    if split is not None or any(images.values()):
        split = choose_split([part for part in images.values() if part], split, title)
        images = {name: part for name, part in images.items() if part == split}
    labels = [name for name, role in roles.items() if role == ("labels", split)]
    if len(images) > 1 or len(labels) > 1:
        names = ", ".join([*images, *labels])
        raise InputError(f"{title} has several arrays of images or labels ({names}); keep one of each.")
    return _content(arrays[next(iter(images))], arrays[labels[0]] if labels else None, title)


def _role(name: str) -> tuple[str | None, str | None]:
    """What an array's name says it holds, and of which split: "x_train" is ("images", "train")."""
    words = re.findall(r"[a-z0-9]+", name.lower())
    split = next((split_name(word) for word in words if split_name(word)), None)
    rest = "_".join(word for word in words if not split_name(word))
    role = "images" if rest in IMAGE_NAMES else "labels" if rest in LABEL_NAMES else None
    return role, split


def _layout(shape: tuple[int, ...], title: str) -> Callable[[Array], Array]:
    """How to bring a block of this layout to (n, C, H, W)."""
    where = f"{title} has an array of shape {shape}"
    if 0 in shape:
        raise InputError(f"{where}, which holds no pixels; save at least one image.")
    if len(shape) == 3 and 3 not in (shape[0], shape[2]):
        return lambda block: block[:, None]
    if len(shape) == 4:
        first, last = shape[1] in (1, 3), shape[3] in (1, 3)
        if first and not last:
            return lambda block: block
        if last and not first:
            return lambda block: block.transpose(0, 3, 1, 2)
    raise InputError(
        f"{where}, which cannot be told to be (images, height, width), (images, height, width, channels) or "
        "(images, channels, height, width) with 1 or 3 channels; reshape it."
    )


def _quantizer(array: Array, title: str, notes: list[str]) -> Callable[[Array], npt.NDArray[np.uint8]]:
    """How to bring values to uint8, by their type and their range."""
    kind, name = array.dtype.kind, str(array.dtype)
    if array.dtype == np.uint8:
        return lambda block: block
    if kind == "b":
        notes.append("bool values, False taken as black and True as white")
        return lambda block: block.astype(np.uint8) * np.uint8(255)
    if kind not in "iuf":
        raise InputError(f"{title} holds values of type {name}; save the images as uint8.")
    low, high = _extremes(array, title)
    found = f"{name} values from {low:g} to {high:g}"
    if low >= 0 and 127.5 < high <= 255:
        offset, scale, span = 0.0, 1.0, "[0, 255]"
    elif kind == "f" and low >= 0 and 0 < high <= 1:
        offset, scale, span = 0.0, 255.0, "[0, 1]"
    elif kind == "f" and -1 <= low < 0 and high <= 1:
        offset, scale, span = 1.0, 127.5, "[-1, 1]"
    else:
        raise InputError(
            f"{title} holds {found}, which is not clearly the range [0, 1], [-1, 1] or [0, 255]; "
            "clip or scale it, or save it as uint8."
        )
    notes.append(f"{found}, taken as {span} and rounded to 8 bits")
    return lambda block: np.rint((block.astype(np.float64) + offset) * scale).astype(np.uint8)


def _extremes(array: Array, title: str) -> tuple[float, float]:
    lows, highs = [], []
    for block in _blocks(array):
        if not np.isfinite(block).all():
            raise InputError(f"{title} holds NaN or infinite values; mend what made them before measuring it.")
        lows.append(float(block.min()))
        highs.append(float(block.max()))
    return min(lows), max(highs)


def _blocks(array: Array) -> Iterator[Array]:
    step = max(1, BLOCK_BYTES // array[:1].nbytes)
    for start in range(0, len(array), step):
        yield array[start : start + step]


def _as_array(tensor: torch.Tensor) -> Array:
    tensor = tensor.detach()
    return (tensor.float() if tensor.dtype == torch.bfloat16 else tensor).numpy()
