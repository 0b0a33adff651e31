"""Points, for experiments in few dimensions: ``.npy`` files of floating-point values (N, d), taken as they are."""

from pathlib import Path

import numpy as np
import torch
from torch import Tensor

from smoothscore.data.imageset import shuffled
from smoothscore.errors import InputError

__all__ = ["load_points"]


def load_points(source: str | Path, limit: int | None = None, seed: int = 0, **others: object) -> Tensor | None:
    """The points (N, d) of a file, float64 or float32 as they are stored; ``None`` if it holds anything else.

    Args:
        source: the file.
        limit: at most this many, the random subset that :func:`smoothscore.load_images` would draw.
        seed: of the random subset.
        others: options that only images have.

    Raises:
        InputError: values that are NaN or infinite, no points, or options that points do not have.
    """
    path = Path(source).expanduser()
    if not path.is_file():
        return None
    with path.open("rb") as file:
        if file.read(6) != b"\x93NUMPY":
            return None
    try:
        stored = np.load(path, mmap_mode="r", allow_pickle=False)
    except (ValueError, EOFError):  # the reader of images says what is wrong with it
        return None
    if stored.dtype.kind != "f" or stored.ndim != 2 or 0 in stored.shape:
        return None
    if others:
        raise InputError(f"{source} holds points, not images; leave {', '.join(others)} out.")
    if limit is not None and limit < len(stored):
        if limit < 1:
            raise InputError(f"limit={limit} asks for no points; ask for at least one.")
        stored = stored[np.sort(shuffled(len(stored), seed)[:limit])]
    points = torch.from_numpy(np.array(stored, dtype=np.float64 if stored.dtype.itemsize > 4 else np.float32))
    if not points.isfinite().all():
        raise InputError(f"{source} holds NaN or infinite values; mend what made them before measuring it.")
    return points
