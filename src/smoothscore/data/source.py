"""What a reader hands over: images not yet read, and how to know them again."""

import re
from collections.abc import Callable, Iterable, Iterator, Sequence
from dataclasses import dataclass, field
from pathlib import Path

import numpy as np
import numpy.typing as npt

from smoothscore.errors import InputError

__all__ = ["Content", "Source", "choose_split", "file_key", "split_name", "split_of"]

SPLIT_NAMES = {
    "train": ("train", "training"),
    "val": ("val", "valid", "validation"),
    "test": ("test", "testing", "t10k"),
}


@dataclass
class Content:
    """Images on their way in.

    ``blocks`` yields uint8 arrays (n, C, H, W) of one shape, in order, ``count`` images in all but the bad
    ones. While it is consumed it files the images it could not read in ``bad`` (position -> reason) and adds
    to ``notes``. ``labels`` and ``names`` count the bad ones too.
    """

    blocks: Iterator[npt.NDArray[np.uint8]]
    count: int
    labels: npt.NDArray[np.int64] | None = None
    names: Sequence[str] | None = None
    class_names: Sequence[str] | None = None
    notes: list[str] = field(default_factory=list)
    bad: dict[int, str] = field(default_factory=dict)


@dataclass(frozen=True)
class Source:
    """Somewhere that images can be read from.

    Attributes:
        title: the source in words, for messages and reports.
        key: a text that changes whenever the images may have changed.
        open: starts reading, at a resolution or (None) as they are.
    """

    title: str
    key: str
    open: Callable[[int | None], Content]


def file_key(path: Path) -> str:
    """A text that changes whenever the file does, from its inode and times; the content is not read."""
    about = path.stat()
    return f"{about.st_dev}-{about.st_ino}-{about.st_size}-{about.st_mtime_ns}-{about.st_ctime_ns}"


def split_name(text: str) -> str | None:
    """The split ("train", "val" or "test") that a word stands for, or None."""
    return next((split for split, words in SPLIT_NAMES.items() if text.lower() in words), None)


def split_of(name: str) -> str | None:
    """The split that a word in the name of a file speaks of, or None."""
    return next((one for one in map(split_name, re.findall("[a-z0-9]+", name.lower())) if one), None)


def choose_split(available: Iterable[str], split: str | None, title: str) -> str:
    """The asked one of the ``available`` splits; InputError when it is missing or none was asked for."""
    have = sorted(set(available))
    if not have:
        raise InputError(f"{title} has no splits; leave split={split!r} out.")
    wanted = split_name(split) if split is not None else None
    if wanted not in have:
        problem = "has several splits" if split is None else f"has no split {split!r}"
        raise InputError(f"{title} {problem}; choose one of split={', split='.join(map(repr, have))}.")
    return str(wanted)
