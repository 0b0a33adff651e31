"""A page as one HTML file.

It asks the network for nothing: style, figures and pictures stand inside it, and its content security policy forbids
the rest. It runs nothing, but for the one script of :mod:`smoothscore.report.review` where a page holds pictures to be
marked. All text is escaped.
"""

from collections import Counter
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from functools import cache
from typing import TYPE_CHECKING

import numpy as np
from markupsafe import Markup
from numpy.typing import NDArray

from smoothscore.report.blocks import Block, Gallery, Picture, Section, number
from smoothscore.report.figures import prefix_ids
from smoothscore.report.pictures import png_uri
from smoothscore.report.review import SCRIPT, Review, script_hash
from smoothscore.version import __version__

if TYPE_CHECKING:
    from jinja2 import Environment

__all__ = ["Page"]


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
