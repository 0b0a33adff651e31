"""Folders and zips of image files, in the order of their sorted names."""

import hashlib
import os
import zipfile
import zlib
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from pathlib import Path, PurePosixPath

import numpy as np
import numpy.typing as npt

from smoothscore.data.decode import MAX_BYTES, SUFFIXES, Unreadable, decode, is_color, is_image
from smoothscore.data.labels import folder_labels, listed_labels, listing_of, of_split
from smoothscore.data.resize import note_resizing
from smoothscore.data.source import Content, Source, file_key
from smoothscore.errors import InputError

__all__ = ["Files", "folder_source", "open_files", "open_image", "open_zip"]

Pixels = npt.NDArray[np.uint8]

BLOCK_BYTES = 2**24
THREADED_BYTES = 2**14
THREADS = os.cpu_count() or 1
READING_FAILS = (OSError, EOFError, zlib.error, zipfile.BadZipFile, NotImplementedError)


@dataclass(frozen=True)
class Files:
    """Image files under one root: their names, sorted, the dataset.json, and how to read any of them."""

    title: str
    names: list[str]
    listing: str | None
    contents: Callable[[str], bytes]

    def read(self, name: str) -> bytes:
        """The bytes of one file; Unreadable when they cannot be had."""
        try:
            return self.contents(name)
        except READING_FAILS as problem:
            raise Unreadable(str(problem) or type(problem).__name__) from problem


def folder_source(root: Path, title: str, split: str | None) -> Source:
    """The images under a folder, subfolders included."""
    found = sorted(_walk(root))
    names = _images([name for name in found if _is_image_file(root / name)], title, split)
    listing = listing_of(names, found)

    def contents(name: str) -> bytes:
        path = root / name
        _check_size(path.stat().st_size, name, title)
        return path.read_bytes()

    stamps = [(name, _stamp(root / name)) for name in ([*names, listing] if listing else names)]
    key = hashlib.sha256(repr(stamps).encode("utf-8", "surrogateescape")).hexdigest()
    return Source(title, key, lambda resolution: open_files(Files(title, names, listing, contents), resolution))


def open_image(path: Path, title: str, resolution: int | None) -> Content:
    """A set of one image."""
    return open_files(Files(title, [path.name], None, lambda _: path.read_bytes()), resolution)


def open_zip(path: Path, title: str, split: str | None, resolution: int | None) -> Content:
    """The images in a zip; nothing is unpacked to disk."""
    archive = zipfile.ZipFile(path)
    for member in archive.infolist():
        name = member.filename
        _check_size(member.file_size, name, title)
        if name.startswith("/") or "\\" in name or name[1:2] == ":" or ".." in name.split("/"):
            raise InputError(f"{title} holds the unsafe name {name!r}; make the zip anew without it.")
        if member.flag_bits & 1:
            raise InputError(f"{title} is encrypted ({name}); make the zip anew without a password.")
    found = sorted(name for name in archive.namelist() if not _is_hidden(name))
    names = _images([name for name in found if name.lower().endswith(SUFFIXES)], title, split)
    return open_files(Files(title, names, listing_of(names, found), archive.read), resolution)


def open_files(files: Files, resolution: int | None) -> Content:
    """Decoded images with the labels that their names or their dataset.json give."""
    if files.listing is None:
        labels, class_names = folder_labels(files.names)
    else:
        try:
            text = files.read(files.listing)
        except Unreadable as problem:
            raise InputError(f"{files.listing} in {files.title} cannot be read ({problem}).") from problem
        labels, class_names = listed_labels(text, files.listing, files.names, files.title)
    content = Content(iter(()), len(files.names), labels, files.names, class_names)
    content.blocks = _blocks(files, content, resolution)
    return content


def _blocks(files: Files, content: Content, resolution: int | None) -> Iterator[Pixels]:
    """Stacks of decoded images; the unreadable ones go into ``content.bad``."""
    block: list[Pixels] = []
    first: tuple[str, Pixels] | None = None
    resized = 0
    for position, loaded in enumerate(_decoded(files, resolution)):
        if isinstance(loaded, Unreadable):
            content.bad[position] = str(loaded)
            continue
        pixels, changed = loaded
        first = first or (files.names[position], pixels)
        if pixels.shape != first[1].shape:
            raise _mixed_sizes(files, first, (files.names[position], pixels))
        resized += changed
        block.append(pixels)
        if len(block) * pixels.nbytes >= BLOCK_BYTES:
            yield np.stack(block)
            block = []
    if block:
        yield np.stack(block)
    note_resizing(content, resized, resolution)


def _decoded(files: Files, resolution: int | None) -> Iterator[tuple[Pixels, bool] | Unreadable]:
    """Every image in order: pixels and whether they were resized, or why there are none."""
    channels = 3 if any(_try(is_color, files, name) for name in files.names) else 1

    def load(name: str) -> tuple[Pixels, bool] | Unreadable:
        try:
            return decode(files.read(name), f"{name} in {files.title}", channels, resolution)
        except Unreadable as problem:
            return problem

    if _try(len, files, files.names[0]) < THREADED_BYTES:
        yield from map(load, files.names)
        return
    with ThreadPoolExecutor(THREADS) as pool:
        for start in range(0, len(files.names), 4 * THREADS):
            yield from pool.map(load, files.names[start : start + 4 * THREADS])


def _try(ask: Callable[[bytes], int], files: Files, name: str) -> int:
    """What ``ask`` says of a file's bytes; 0 where there are none to be had."""
    try:
        return ask(files.read(name))
    except Unreadable:
        return 0


def _mixed_sizes(files: Files, first: tuple[str, Pixels], other: tuple[str, Pixels]) -> InputError:
    (name, pixels), (other_name, other_pixels) = first, other
    sizes = [f"{shape[2]}x{shape[1]}" for shape in (pixels.shape, other_pixels.shape)]
    return InputError(
        f"{files.title} mixes sizes ({name} is {sizes[0]}, {other_name} is {sizes[1]}); "
        f"pass resolution={min(pixels.shape[1:])} or another number to resize all."
    )


def _images(names: list[str], title: str, split: str | None) -> list[str]:
    if not names:
        raise InputError(f"{title} holds no images; give a folder or a zip of images, or a file of arrays.")
    return of_split(names, split, title)


def _walk(root: Path) -> Iterator[str]:
    """Relative POSIX names of the files under ``root``; linked folders are followed once."""
    seen = set()
    for folder, folders, names in os.walk(root, followlinks=True, onerror=_fail):
        about = os.stat(folder)
        if (about.st_dev, about.st_ino) in seen:
            folders.clear()
            continue
        seen.add((about.st_dev, about.st_ino))
        folders[:] = sorted(name for name in folders if not _is_hidden(name))
        where = Path(folder).relative_to(root)
        yield from ((where / name).as_posix() for name in names if not _is_hidden(name))


def _fail(problem: OSError) -> None:
    raise problem


def _is_hidden(name: str) -> bool:
    return any(part.startswith(".") or part == "__MACOSX" for part in PurePosixPath(name).parts)


def _is_image_file(path: Path) -> bool:
    """By its suffix, or by its first bytes where it has none."""
    if path.suffix:
        return path.suffix.lower() in SUFFIXES
    with path.open("rb") as file:
        return is_image(file.read(16))


def _stamp(path: Path) -> str:
    return file_key(path) if path.exists() else "a link to nothing"


def _check_size(size: int, name: str, title: str) -> None:
    if size > MAX_BYTES:
        raise InputError(
            f"{name} in {title} takes {size / 1e9:.1f} GB, more than the {MAX_BYTES / 1e9:.1f} GB "
            "that is read as one image; remove it."
        )
