"""What a page is made of: sections of text, facts, tables, figures and galleries."""

import base64
import math
import re
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import ClassVar, Literal

import numpy as np
from numpy.typing import NDArray

from smoothscore.report.review import Review

__all__ = [
    "Block",
    "Cell",
    "Code",
    "Fact",
    "Facts",
    "Figure",
    "Gallery",
    "Group",
    "Picture",
    "Section",
    "Table",
    "Text",
    "number",
]

Cell = str | int | float | None


@dataclass(frozen=True)
class Text:
    """Plain paragraphs, parted by blank lines; a note or a warning is set off and says what it is."""

    text: str
    tone: Literal["plain", "note", "warning"] = "plain"
    kind: ClassVar[str] = "text"

    @property
    def paragraphs(self) -> list[str]:
        """The paragraphs in their order."""
        return [part for part in re.split(r"\n\s*\n", self.text.strip()) if part]


@dataclass(frozen=True)
class Code:
    """A command to copy, with a line that says what it does."""

    text: str
    caption: str = ""
    kind: ClassVar[str] = "code"


@dataclass(frozen=True)
class Fact:
    """One number with its name; ``detail`` (an interval, a count) stands under it in small type.

    The definition appears on hover and in the page's glossary.
    """

    label: str
    value: Cell
    detail: str = ""
    definition: str = ""


@dataclass(frozen=True)
class Facts:
    """A few numbers to be read first."""

    items: Sequence[Fact]
    kind: ClassVar[str] = "facts"

    @property
    def definitions(self) -> dict[str, str]:
        """The definitions given, by name."""
        return {fact.label: fact.definition for fact in self.items if fact.definition}


@dataclass(frozen=True)
class Table:
    """Rows under named columns; the first cell names its row, columns of numbers are set flush right.

    Cells are shown by :func:`number`; give a string where the digits matter. ``definitions`` explains columns by name,
    on hover and in the page's glossary.
    """

    columns: Sequence[str]
    rows: Sequence[Sequence[Cell]]
    caption: str = ""
    note: str = ""
    definitions: Mapping[str, str] | None = None
    kind: ClassVar[str] = "table"

    @property
    def numeric(self) -> list[bool]:
        """For each column, whether all its cells are numbers or begin like one."""
        return [all(_is_number(row[index]) for row in self.rows) for index in range(len(self.columns))]

    @property
    def sentences(self) -> bool:
        """Whether a cell is so long that a narrow screen shows each row as a paragraph."""
        return any(len(str(cell)) > 60 for row in self.rows for cell in row)


@dataclass(frozen=True)
class Figure:
    """A drawing: SVG text (from ``curves`` or ``histogram``) or PNG bytes (from ``image_grid``).

    ``alt`` says what the drawing shows to a reader who cannot see it; ``caption`` says how to read it.
    """

    source: str | bytes
    caption: str
    alt: str
    kind: ClassVar[str] = "figure"

    @property
    def uri(self) -> str:
        """The address of a PNG's bytes."""
        assert isinstance(self.source, bytes)
        return "data:image/png;base64," + base64.b64encode(self.source).decode("ascii")


@dataclass(frozen=True, eq=False)
class Picture:
    """One image, uint8 (C, H, W), with a short name such as ``train 4032``."""

    image: NDArray[np.uint8]
    label: str


@dataclass(frozen=True)
class Group:
    """Pictures that belong together, e.g. a sample and its nearest training image, and what to know about them."""

    pictures: Sequence[Picture]
    caption: str = ""


@dataclass(frozen=True)
class Gallery:
    """Groups of pictures; those after the first ``shown`` open on demand."""

    groups: Sequence[Group]
    caption: str = ""
    shown: int = 24
    kind: ClassVar[str] = "gallery"


Block = Text | Code | Facts | Table | Figure | Gallery | Review


@dataclass(frozen=True)
class Section:
    """A titled part of the page, listed in its contents."""

    title: str
    blocks: Sequence[Block]
    intro: str = ""


def number(value: Cell) -> str:
    """A cell as text: counts in full, other numbers to three digits, a dash for what is missing."""
    if isinstance(value, str):
        return value
    if value is None or math.isnan(value):
        return "–"
    if math.isinf(value):
        return "∞" if value > 0 else "−∞"
    if isinstance(value, (int, np.integer)):
        text = f"{value:,}"
    elif value == 0 or 1e-4 <= abs(value) < 999.5:
        text = f"{value:.3g}"
    else:
        text = f"{value:,.0f}" if 1 < abs(value) < 1e7 else f"{value:.2e}"
    return text.replace("-", "−")


def _is_number(cell: Cell) -> bool:
    return not isinstance(cell, str) or re.match(r"[-−+<>≤≥≈±]?\s?[\d.]|–$|$", cell) is not None
