"""One way in: whatever holds images, told apart by content."""

import re
import warnings
from pathlib import Path
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from smoothscore.data.cache import cached
from smoothscore.data.convert import to_images
from smoothscore.data.imageset import ImageSet
from smoothscore.data.locate import locate
from smoothscore.data.points import load_points
from smoothscore.data.query import parse_source
from smoothscore.errors import DataWarning, InputError

__all__ = ["as_given", "as_images", "load_given", "load_images"]

FEW = 10  # images that may all be bright


def load_images(
    source: str | Path,
    split: str | None = None,
    limit: int | None = None,
    seed: int = 0,
    resolution: int | None = None,
    class_: int | str | None = None,
    max_bad: float = 0.01,
) -> ImageSet:
    """Load images from a file, a folder or a built-in data set.

    The content of ``source``, not its name, decides how it is read:

    * a folder of image files; subfolders are classes, or splits where they are called train, val and test;
    * a zip of the same, with labels from ``dataset.json`` where it has one (the format of StyleGAN and EDM);
    * ``.npy``, ``.npz`` or ``.pt`` arrays: uint8, or floating-point in [0, 1], [-1, 1] or [0, 255], as
      (N, H, W), (N, H, W, C) or (N, C, H, W); in ``.npz`` and ``.pt`` the images are called images, x or
      data, the labels labels, y or targets, with train, val or test beside it where there are splits;
    * parquet or Arrow tables of encoded images, as Hugging Face data sets are stored, or a folder of them
      (needs ``smoothscore[datasets]``);
    * IDX files (MNIST and its kin), gzipped or not, or a folder of them;
    * CIFAR-10 or CIFAR-100 batches, in the Python or the binary layout, or a folder of them;
    * the name ``"digits"``, ``"mnist-5k"`` or ``"fashion-mnist"``.

    Args:
        source: path, or name of a built-in; ``"./digits"`` means a folder of that name.
        split: "train", "val" or "test". Needed where the source has splits: they are never mixed silently.
        limit: at most this many images, a random subset drawn with ``seed``, in the order of the source.
        seed: of the random subset.
        resolution: pixels a side. Other images are cropped to the centered square and resized (Lanczos,
            antialiased), which the set's ``notes`` say. Needed where sizes differ.
        class_: only images of this class: its number, or its name (the folder's, for one) as a text.
        max_bad: largest fraction of unreadable images that is accepted. They are left out, listed in
            ``ImageSet.skipped`` and announced by a DataWarning.

    Returns:
        The images, in the order of their sorted names for files and in stored order otherwise. Sixteen-bit
        gray is taken where it holds 8-bit values exactly; EXIF orientation is applied.

    Raises:
        InputError: nothing readable there, several sizes without ``resolution``, unclear layout or value
            range, NaN, transparent or 16-bit pixels, labels that do not fit, an unknown split or class, too
            many unreadable images, a zip with unsafe names or sizes.

    Cost: the first call decodes everything (some tenths of a millisecond for a small image) into a cache in the user's
    cache folder or ``$SMOOTHSCORE_CACHE``; later calls map it into memory in milliseconds. Any change of the
    source's files builds it anew.
    """
    if limit is not None and limit < 1:
        raise InputError(f"limit={limit} asks for no images; ask for at least one.")
    if resolution is not None and resolution < 1:
        raise InputError(f"resolution={resolution} is no image size; give the pixels of one side.")
    images = cached(locate(source, split), resolution)
    if split is not None:
        images.source += f", split {split}"
    _judge_skipped(images, max_bad)
    if class_ is not None:
        images = _of_class(images, class_)
    if limit is not None and limit < len(images):
        images = images.subset(limit, seed)
    return images


def load_given(source: str | Path, **options: Any) -> ImageSet | Tensor:
    """What :func:`load_images` gives, or of an ``.npy`` file of floating-point values (N, d) these points."""
    points = load_points(source, **options)
    return load_images(source, **options) if points is None else points


def as_given(source: str | Path | ImageSet | Tensor | NDArray[Any]) -> ImageSet | Tensor:
    """Images in any form, floating-point values left unrounded.

    A path, or a text like ``"mnist-5k?limit=1000&seed=1"``, is loaded by :func:`load_given`; a uint8 tensor or array
    (N, C, H, W) becomes an image set; floating-point values in [-1, 1] become a tensor, or stay one.

    Raises:
        InputError: it is none of these, or floating-point images in [0, 255].
        DataWarning: ten or more floating-point images without a negative value, as in [0, 1].
    """
    if isinstance(source, np.ndarray) and source.dtype.kind == "f":
        source = torch.tensor(source)
    if isinstance(source, ImageSet):
        return source
    if isinstance(source, Tensor) and source.is_floating_point():
        _judge_range(source)
        return source
    if isinstance(source, Tensor | np.ndarray):
        return ImageSet.from_array(source, source="tensor" if isinstance(source, Tensor) else "array")
    if isinstance(source, str | Path):
        return load_given(**parse_source(source)[0]) if isinstance(source, str) else load_given(source)
    raise InputError(f"A {type(source).__name__} is no set of images; give a path, an ImageSet, a tensor or an array.")


def as_images(source: str | Path | ImageSet | Tensor | NDArray[Any]) -> ImageSet:
    """The same as an image set: floating-point values are rounded to 8 bits by :func:`to_images`."""
    given = as_given(source)
    return given if isinstance(given, ImageSet) else to_images(given)


def _judge_range(values: Tensor) -> None:
    """Images are in [-1, 1]; points (N, d) are what they are."""
    if values.ndim != 4 or values.numel() == 0:
        return
    low, high = (float(end) for end in values.detach().aminmax())
    if low >= 0 and high > 127.5:
        raise InputError(
            f"The images' values lie between {low:g} and {high:g} where [-1, 1] is meant; give them as uint8, or give "
            "x / 127.5 - 1."
        )
    if low >= 0 and 0.5 < high <= 1 and len(values) >= FEW:
        warnings.warn(
            f"The images' values lie between {low:g} and {high:g} and are read as [-1, 1], so none is darker than a "
            "medium gray; if they are in [0, 1], give 2 x - 1.",
            DataWarning,
            stacklevel=4,
        )


def _judge_skipped(images: ImageSet, max_bad: float) -> None:
    if not images.skipped:
        return
    bad, total = len(images.skipped), len(images.skipped) + len(images)
    told = "; ".join(images.skipped[:3]) + ("; ..." if bad > 3 else "")
    if bad > max_bad * total:
        raise InputError(
            f"{bad} of the {total} images of {images.source} cannot be read ({told}); "
            f"mend or remove them, or allow more with max_bad, as in 'DATA?max_bad=0.1' (now {max_bad:g} of all)."
        )
    warnings.warn(
        f"{bad} of the {total} images of {images.source} cannot be read and are left out ({told}).",
        DataWarning,
        stacklevel=3,
    )


def _of_class(images: ImageSet, class_: int | str) -> ImageSet:
    if images.labels is None:
        raise InputError(f"{images.source} has no labels, so class {class_!r} cannot be chosen; leave it out.")
    known = images.class_names or []
    label: int | None = None
    if isinstance(class_, str) and class_ in known:
        label = known.index(class_)
    elif re.fullmatch(r"-?\d+", str(class_)):
        label = int(class_)
    if label is None or label not in images.labels:
        have = known or [str(one) for one in np.unique(images.labels)]
        raise InputError(
            f"{images.source} has no images of class {class_!r}; choose one of {', '.join(have[:20])}"
            f"{', ...' if len(have) > 20 else ''}."
        )
    chosen: ImageSet = images[np.flatnonzero(images.labels == label)]
    name = known[label] if 0 <= label < len(known) else label
    chosen.notes += (f"class {name} only",)
    return chosen
