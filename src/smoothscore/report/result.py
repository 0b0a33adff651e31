"""What every verb returns: values for a program, a summary for a terminal, a page for a reader.

The three come from one object, so they cannot disagree.
"""

import json
import math
import os
from collections.abc import Mapping, Sequence, Set
from dataclasses import fields, is_dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any, ClassVar

import numpy as np

from smoothscore.report.blocks import Section
from smoothscore.report.page import Page
from smoothscore.report.write import write_text
from smoothscore.version import __version__

if TYPE_CHECKING:
    from rich.console import Group as RichGroup

__all__ = ["Result", "plain"]


class Result:
    """A result of one of the verbs; subclasses are frozen dataclasses.

    A subclass names its :attr:`kind` and gives :meth:`values`, :meth:`setting`, :meth:`summary`, :meth:`lead` and
    :meth:`sections`; the files, the page and the terminal's table follow.
    """

    kind: ClassVar[str]
    title: ClassVar[str]

    def __init_subclass__(cls, **options: Any) -> None:
        """Keep :meth:`__repr__` from being replaced by the one that ``dataclass`` would write."""
        super().__init_subclass__(**options)
        if "__repr__" not in vars(cls):
            cls.__repr__ = Result.__repr__  # type: ignore[method-assign]

    def values(self) -> Mapping[str, object]:
        """The results by name: numbers, strings, arrays and tensors, and mappings and lists of those."""
        raise NotImplementedError

    def setting(self) -> Mapping[str, object]:
        """What was done, so that it can be done again: options, seed, fingerprints of the data, counts used."""
        raise NotImplementedError

    def summary(self) -> Sequence[tuple[str, str]]:
        """The few lines a reader wants first, as (name, value)."""
        raise NotImplementedError

    def lead(self) -> str:
        """The result in one or two sentences, for the head of the page."""
        raise NotImplementedError

    def sections(self) -> Sequence[Section]:
        """The body of the page."""
        raise NotImplementedError

    def to_dict(self) -> dict[str, Any]:
        """Everything as JSON's own types; NaN is ``None``, infinities are ``"inf"`` and ``"-inf"``."""
        head = {"smoothscore": __version__, "kind": self.kind, "setting": plain(self.setting())}
        return head | {name: plain(value) for name, value in self.values().items()}

    def page(self) -> Page:
        """The page that :meth:`save_html` writes."""
        return Page(self.title, self.lead(), self.sections(), self.setting())

    def save_json(self, path: str | os.PathLike[str]) -> Path:
        """Write :meth:`to_dict` as JSON, one name a line; the path that was written.

        Raises:
            InputError: the file cannot be written.
        """
        lines = (f"  {_json(name)}: {_json(value)}" for name, value in self.to_dict().items())
        return write_text(path, "{\n" + ",\n".join(lines) + "\n}\n")

    def save_html(self, path: str | os.PathLike[str]) -> Path:
        """Write one self-contained HTML file; the path that was written.

        Raises:
            InputError: the file cannot be written.
        """
        return write_text(path, self.page().html())

    def __rich__(self) -> "RichGroup":
        """The title and the summary for ``rich.print``."""
        from rich.console import Group as RichGroup
        from rich.table import Table as RichTable
        from rich.text import Text as RichText

        table = RichTable(show_header=False, box=None)
        table.add_column()
        table.add_column()
        for name, value in self.summary():
            table.add_row(RichText(name), RichText(value))
        return RichGroup(RichText(self.title, style="bold"), table)

    def __repr__(self) -> str:
        lines = self.summary()
        width = max((len(name) for name, _ in lines), default=0)
        return "\n".join([self.title, *(f"  {name:<{width}}  {value}" for name, value in lines)])


def _json(value: object) -> str:
    return json.dumps(value, ensure_ascii=False, allow_nan=False)


def plain(value: object) -> Any:
    """``value`` in JSON's own types.

    Takes numbers, strings, paths, NumPy and PyTorch scalars and arrays, mappings, sequences, sets, dataclasses, and
    objects with a ``to_dict``. NaN becomes ``None``, infinities the strings ``"inf"`` and ``"-inf"``.

    Raises:
        TypeError: there is no such form of it.
    """
    if hasattr(value, "to_dict"):
        return plain(value.to_dict())
    if value is None or isinstance(value, (bool, int, str)):
        return value
    if isinstance(value, float):
        return float(value) if math.isfinite(value) else (None if math.isnan(value) else str(float(value)))
    if isinstance(value, np.ndarray) and (
        value.dtype.kind in "biu" or (value.dtype.kind == "f" and np.isfinite(value).all())
    ):
        return value.tolist()
    if isinstance(value, Mapping):
        return {str(name): plain(item) for name, item in value.items()}
    if isinstance(value, Set):
        return sorted(plain(item) for item in value)
    if isinstance(value, (list, tuple)):
        return [plain(item) for item in value]
    if is_dataclass(value) and not isinstance(value, type):
        return {field.name: plain(getattr(value, field.name)) for field in fields(value)}
    if hasattr(value, "tolist"):
        return plain(value.tolist())
    if isinstance(value, os.PathLike):
        return os.fspath(value)
    raise TypeError(f"{type(value).__name__} has no JSON form")
