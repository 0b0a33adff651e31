"""A page as data: sections of text, facts, tables, figures and galleries, and its HTML.

The HTML is one file that asks the network for nothing: style, figures and pictures stand inside it, and its content
security policy forbids the rest. It runs nothing, but for the one script of :mod:`smoothscore.report.review` where a
page holds pictures to be marked. All text is escaped.
"""

import base64
import math
import re
from collections import Counter
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from functools import cache
from typing import TYPE_CHECKING, ClassVar, Literal

import numpy as np
from markupsafe import Markup
from numpy.typing import NDArray

from smoothscore.report.figures import png_uri, prefix_ids
from smoothscore.report.review import SCRIPT, Review, script_hash
from smoothscore.version import __version__

if TYPE_CHECKING:
    from jinja2 import Environment

__all__ = [
    "Block",
    "Cell",
    "Code",
    "Fact",
    "Facts",
    "Figure",
    "Gallery",
    "Group",
    "Page",
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


@dataclass(frozen=True)
class Page:
    """A report: a title, the result in one or two sentences, its sections, and the setting to repeat it.

    ``setting`` may be nested; it is shown in full at the end.
    """

    title: str
    lead: str
    sections: Sequence[Section]
    setting: Mapping[str, object]

    def html(self) -> str:
        """The page as one self-contained HTML file."""
        template = _environment().get_template("page.html")
        return template.render(page=self, sheet=_Sheet(self), version=__version__, setting=list(_flat(self.setting)))

    def blocks(self) -> Iterator[Block]:
        """All blocks in their order."""
        for section in self.sections:
            yield from section.blocks

    def glossary(self) -> dict[str, str]:
        """Every definition given on the page, by name, in the order of the alphabet.

        Raises:
            ValueError: one name is given two definitions.
        """
        terms: dict[str, str] = {}
        for block in self.blocks():
            for name, definition in (getattr(block, "definitions", None) or {}).items():
                if terms.setdefault(name, definition) != definition:
                    raise ValueError(f"{name!r} has two definitions on one page")
        return dict(sorted(terms.items(), key=lambda term: term[0].casefold()))


@dataclass(frozen=True)
class _Placed:
    """Where a picture stands: its own address, or the symbol that holds it; and its size on the page."""

    uri: str
    symbol: str
    width: int
    height: int


class _Sheet:
    """What a page's blocks share: each distinct picture is encoded once, each drawing and term has its own ids."""

    SIDE = 96  # CSS pixels that the longer side of a picture aims at
    LIMIT = 192  # pixels of the longer side beyond which a picture is reduced, two a CSS pixel

    def __init__(self, page: Page) -> None:
        galleries = [block for block in page.blocks() if isinstance(block, Gallery)]
        shown = [picture.image for gallery in galleries for group in gallery.groups for picture in group.pictures]
        counts = Counter(map(_key, shown))
        self._symbols = {key: f"picture-{index}" for index, key in enumerate(k for k, n in counts.items() if n > 1)}
        images = {_key(image): image for image in shown}
        self.symbols = [(name, self._place(images[key])) for key, name in self._symbols.items()]
        self.glossary = page.glossary()
        self.terms = {name: f"term-{index}" for index, name in enumerate(self.glossary)}
        self._drawings = 0
        self.script_hash = script_hash()
        self.script = Markup(SCRIPT if any(isinstance(block, Review) for block in page.blocks()) else "")
        self._reviews = 0

    def name(self) -> str:
        """The id of the next review."""
        self._reviews += 1
        return f"review-{self._reviews}"

    def place(self, picture: Picture) -> _Placed:
        """How to show ``picture``."""
        symbol = self._symbols.get(_key(picture.image), "")
        return self._place(picture.image, symbol)

    def _place(self, image: NDArray[np.uint8], symbol: str = "") -> _Placed:
        height, width = image.shape[1:]
        side = max(height, width)
        scale = max(1, round(self.SIDE / side)) if side <= self.SIDE else self.SIDE / side
        uri = "" if symbol else png_uri(image, self.LIMIT)
        return _Placed(uri, symbol, round(width * scale), round(height * scale))

    def reduced(self, gallery: Gallery) -> bool:
        """Whether some picture of the gallery has more pixels than are shown."""
        return any(max(picture.image.shape[1:]) > self.LIMIT for group in gallery.groups for picture in group.pictures)

    def drawing(self, svg: str) -> Markup:
        """An SVG text whose ids no other drawing of the page shares."""
        self._drawings += 1
        return Markup(prefix_ids(svg, f"drawing-{self._drawings}-"))


def _key(image: NDArray[np.uint8]) -> bytes:
    return repr(image.shape).encode() + image.tobytes()


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


def _flat(setting: Mapping[str, object], prefix: str = "") -> Iterator[tuple[str, str]]:
    """Nested settings as dotted names and texts."""
    for name, value in setting.items():
        if isinstance(value, Mapping):
            yield from _flat(value, f"{prefix}{name}.")
        elif isinstance(value, (list, tuple)):
            yield f"{prefix}{name}", ", ".join(map(str, value))
        else:
            yield f"{prefix}{name}", str(value)


@cache
def _environment() -> "Environment":
    from jinja2 import Environment, PackageLoader, StrictUndefined

    environment = Environment(
        loader=PackageLoader("smoothscore.report"),
        autoescape=True,
        undefined=StrictUndefined,
        trim_blocks=True,
        lstrip_blocks=True,
    )
    environment.filters["number"] = number
    return environment
