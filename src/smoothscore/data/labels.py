"""Labels: as numbers that are given, and what the names of image files say of splits and classes.

Folders called train, val and test are splits. Labels come from ``dataset.json`` where there is one (the
format of StyleGAN and EDM: ``{"labels": [[name, int], ...]}``, or ``{"labels": null}``), else the folders at
the top are classes, numbered in the order of their names. The top is the deepest folder that holds all
images.
"""

import json
import posixpath
from collections.abc import Mapping, Sequence
from pathlib import PurePosixPath
from typing import Any

import numpy as np
import numpy.typing as npt

from smoothscore.data.source import choose_split, split_name
from smoothscore.errors import InputError

__all__ = ["folder_labels", "integer_labels", "listed_labels", "listing_of", "of_split"]

Labels = npt.NDArray[np.int64] | None
ClassNames = list[str] | None


def of_split(names: list[str], split: str | None, title: str) -> list[str]:
    """The names in the asked split, where every folder at the top is a split; all names otherwise."""
    depth = len(_top(names).parts)
    splits = [split_name(PurePosixPath(name).parts[depth]) for name in names]
    have = [one for one in splits if one] if None not in splits else []
    if not have and split is None:
        return names
    chosen = choose_split(have, split, title)
    return [name for name, one in zip(names, splits, strict=True) if one == chosen]


def listing_of(names: Sequence[str], found: Sequence[str]) -> str | None:
    """The dataset.json that speaks for ``names``: at their top or above it."""
    top = _top(names)
    candidates = [str(folder / "dataset.json") for folder in (top, *top.parents)]
    return next((name for name in candidates if name in found), None)


def folder_labels(names: Sequence[str]) -> tuple[Labels, ClassNames]:
    """Labels and class names by the folders at the top; none where an image lies in no such folder."""
    depth = len(_top(names).parts)
    parts = [PurePosixPath(name).parts for name in names]
    if any(len(part) < depth + 2 for part in parts):
        return None, None
    classes = sorted({part[depth] for part in parts})
    numbers = {name: number for number, name in enumerate(classes)}
    return np.array([numbers[part[depth]] for part in parts], dtype=np.int64), classes


def listed_labels(text: bytes, listing: str, names: Sequence[str], title: str) -> tuple[Labels, ClassNames]:
    """Labels and class names by the contents of a dataset.json, for images that lie where it says.

    Raises InputError unless it labels every image with an integer, or none of them.
    """
    where = f"{listing} in {title}"
    try:
        entry: Any = json.loads(text)
    except ValueError as problem:
        raise InputError(f"{where} is not JSON ({problem}); write it anew or remove it.") from problem
    if not isinstance(entry, Mapping) or "labels" not in entry:
        raise InputError(f'{where} has no "labels"; it must hold {{"labels": [["name", 0], ...]}}, or go.')
    if entry["labels"] is None:
        return None, None
    folder = PurePosixPath(listing).parent
    try:
        given = {str(folder / name.replace("\\", "/")): label for name, label in entry["labels"]}
    except (TypeError, ValueError, AttributeError) as problem:
        raise InputError(f"{where} has labels that are no [name, integer] pairs; write it anew.") from problem
    missing = [name for name in names if type(given.get(name)) is not int]
    if missing:
        raise InputError(
            f"{where} has no integer label for {len(missing)} of the {len(names)} images "
            f"({missing[0]}, for one); label all of them or none."
        )
    classes = entry.get("class_names")
    return (
        np.array([given[name] for name in names], dtype=np.int64),
        [str(name) for name in classes] if isinstance(classes, list) else None,
    )


def integer_labels(labels: npt.ArrayLike, count: int, source: str) -> npt.NDArray[np.int64]:
    """``labels`` as (count,) int64; InputError unless they are ``count`` integers."""
    array = np.asarray(labels)
    if array.shape == (count, 1):
        array = array[:, 0]
    if array.shape != (count,):
        raise InputError(
            f"{source} has {count} images but labels of shape {array.shape}; pass one integer label an image."
        )
    if array.dtype.kind not in "biuf" or not np.array_equal(np.floor(array), array):
        raise InputError(f"The labels of {source} are not integers; pass one integer label an image.")
    return array.astype(np.int64)


def _top(names: Sequence[str]) -> PurePosixPath:
    return PurePosixPath(posixpath.commonpath([PurePosixPath(name).parent for name in names]))
