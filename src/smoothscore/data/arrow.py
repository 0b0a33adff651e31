"""Arrow and parquet tables of images, as Hugging Face data sets are stored: one row an image.

The images are a column of encoded image files, as bytes or as ``{bytes, path}`` records; the labels a column of
integers, with the names of the classes in the table's metadata. A folder may hold many such files, with splits told
by the names of files or folders. Needs pyarrow, which ``pip install 'smoothscore[datasets]'`` brings.
"""

import hashlib
import json
from bisect import bisect_right
from collections.abc import Callable, Sequence
from functools import lru_cache, partial
from itertools import accumulate
from pathlib import Path
from types import ModuleType
from typing import Any

import numpy as np

from smoothscore.data.arrays import IMAGE_NAMES, LABEL_NAMES
from smoothscore.data.decode import Unreadable
from smoothscore.data.files import Files, open_files
from smoothscore.data.labels import integer_labels
from smoothscore.data.source import Content, Source, choose_split, file_key, split_of
from smoothscore.errors import InputError

__all__ = ["SUFFIXES", "folder_source", "is_table", "table_source"]

SUFFIXES = (".parquet", ".arrow")
PARQUET = b"PAR1"

Chunk = tuple[int, Callable[[list[str]], Any]]


def is_table(path: Path) -> bool:
    """Whether a file is a table by its suffix, leaving out what the ``datasets`` library keeps as a cache."""
    return path.suffix in SUFFIXES and not path.name.startswith("cache-")


def table_source(files: Sequence[Path], title: str) -> Source:
    """The images of one table in one or more files, in the order of the files."""
    key = hashlib.sha256(repr([file_key(path) for path in files]).encode()).hexdigest()
    return Source(title, key, lambda resolution: _open(files, title, resolution))


def folder_source(root: Path, files: Sequence[Path], title: str, split: str | None) -> Source:
    """The asked split among the tables under ``root``; all of them where no name speaks of a split."""
    splits = {path: split_of(path.relative_to(root).as_posix()) for path in files}
    have = [one for one in splits.values() if one]
    if have or split is not None:
        wanted = choose_split(have, split, title)
        files = [path for path in files if splits[path] == wanted]
    return table_source(files, title)


def _open(files: Sequence[Path], title: str, resolution: int | None) -> Content:
    pyarrow = _pyarrow(title)
    try:
        tables = [_read(path) for path in files]
        schema, chunks = tables[0][0], [chunk for _, found in tables for chunk in found]
        image, label = _columns(pyarrow, schema, title)
        labels = np.concatenate([load([label])[label].to_numpy() for _, load in chunks]) if label else None
    except (pyarrow.ArrowException, OSError, KeyError) as problem:
        raise InputError(f"{title} cannot be read as a table ({_first_line(problem)}); fetch it anew.") from problem
    ends = list(accumulate(count for count, _ in chunks))
    if not ends or ends[-1] == 0:
        raise InputError(f"{title} is a table without rows; give one with images.")

    @lru_cache(maxsize=2)
    def column(chunk: int) -> Any:
        return chunks[chunk][1]([image])[image]

    def contents(name: str) -> bytes:
        row = int(name.removeprefix("row "))
        chunk = bisect_right(ends, row)
        try:
            value = column(chunk)[row - ends[chunk]].as_py()
        except pyarrow.ArrowException as problem:
            raise Unreadable(_first_line(problem)) from problem
        data = value["bytes"] if isinstance(value, dict) else value
        if data is None:
            raise Unreadable("the table holds no bytes for it, at most a path")
        return bytes(data)

    content = open_files(Files(title, [f"row {row}" for row in range(ends[-1])], None, contents), resolution)
    if labels is not None:
        content.labels = integer_labels(labels, ends[-1], title)
        content.class_names = _class_names(schema, label)
    return content


def _read(path: Path) -> tuple[Any, list[Chunk]]:
    """The schema of a file, and the parts that are read at once: their number of rows, how to load columns of them."""
    from pyarrow import ipc, memory_map, parquet

    with path.open("rb") as start:
        if start.read(4) == PARQUET:
            file = parquet.ParquetFile(path, memory_map=True)
            counts = [file.metadata.row_group(group).num_rows for group in range(file.num_row_groups)]
            return file.schema_arrow, [(n, partial(file.read_row_group, group)) for group, n in enumerate(counts)]
    mapped = memory_map(str(path))
    try:
        table = ipc.open_stream(mapped).read_all()
    except ValueError:  # the file format rather than the stream format
        table = ipc.open_file(mapped).read_all()
    return table.schema, [(len(table), table.select)]


def _columns(pyarrow: ModuleType, schema: Any, title: str) -> tuple[str, str | None]:
    """The names of the columns of images and of labels; None where no column holds labels."""
    types = pyarrow.types

    def encoded(kind: Any) -> bool:
        if types.is_struct(kind):
            return any(kind.field(i).name == "bytes" for i in range(kind.num_fields))
        return bool(types.is_binary(kind) or types.is_large_binary(kind))

    images = [field.name for field in schema if encoded(field.type)]
    labels = [field.name for field in schema if types.is_integer(field.type) and field.name.lower() in LABEL_NAMES]
    if len(images) > 1:
        images = [name for name in images if name.lower() in IMAGE_NAMES]
    if len(images) != 1 or len(labels) > 1:
        raise InputError(
            f"{title} has the columns {', '.join(schema.names) or 'none'}, of which not one alone holds encoded "
            "images; call it image, and the labels label."
        )
    return images[0], labels[0] if labels else None


def _class_names(schema: Any, label: str | None) -> list[str] | None:
    """The names of the classes, where the ``datasets`` library wrote them."""
    about = json.loads((schema.metadata or {}).get(b"huggingface", b"{}"))
    names = about.get("info", {}).get("features", {}).get(label, {}).get("names")
    return [str(name) for name in names] if isinstance(names, list) else None


def _pyarrow(title: str) -> ModuleType:
    try:
        import pyarrow
    except ImportError:
        raise InputError(
            f"Reading the table {title} needs pyarrow; install it with: pip install 'smoothscore[datasets]'."
        ) from None
    return pyarrow  # type: ignore[no-any-return]


def _first_line(problem: Exception) -> str:
    return (str(problem) or type(problem).__name__).splitlines()[0].rstrip(".")
