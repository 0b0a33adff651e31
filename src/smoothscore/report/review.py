"""Pictures to be looked at one by one: sorted, filtered, marked by a person, and the marks written to a file.

The pictures of all items lie on one sheet, a PNG that the page holds once, and every tile shows its part of it. Without
scripts the page shows all items in their order; with them, the reader sorts, filters and marks. The one script that a
page may run is :data:`SCRIPT`; its hash stands in the page's content security policy, which allows no other.
"""

import base64
import hashlib
import io
import json
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from importlib.resources import files
from typing import ClassVar

import numpy as np
from numpy.typing import NDArray
from PIL import Image

__all__ = ["SCRIPT", "Item", "Review", "script_hash"]

SCRIPT = files("smoothscore.report").joinpath("templates", "review.js").read_text("utf-8")
SIDE = 64  # CSS pixels that the longer side of a tile aims at
LARGEST = 64  # pixels of the longer side beyond which a tile is reduced


def script_hash() -> str:
    """The script as a content security policy names it."""
    return "sha256-" + base64.b64encode(hashlib.sha256(SCRIPT.encode("utf-8")).digest()).decode("ascii")


@dataclass(frozen=True, eq=False)
class Item:
    """One thing to look at.

    Attributes:
        name: such as ``sample 17``; it names the item in the exported marks.
        pictures: uint8 (C, H, W), all of one shape on one page, with their labels.
        numbers: what it can be sorted by.
        tags: what it can be filtered by.
        text: shown under the pictures.
    """

    name: str
    pictures: Sequence[tuple[str, NDArray[np.uint8]]]
    numbers: Mapping[str, float]
    tags: Sequence[str] = ()
    text: str = ""

    @property
    def data(self) -> str:
        """The numbers as JSON, for the script."""
        return json.dumps({name: float(f"{value:.6g}") for name, value in self.numbers.items()})


@dataclass(frozen=True, eq=False)
class Review:
    """Items of pictures with marks.

    Attributes:
        items: in the order in which they appear first.
        question: what is to be decided about each.
        answers: the two marks, the first for yes.
        caption: how to read the pictures.
        about: what the exported file says of its origin.
    """

    items: Sequence[Item]
    question: str
    answers: tuple[str, str]
    caption: str = ""
    about: Mapping[str, str] = field(default_factory=dict)
    kind: ClassVar[str] = "review"

    @property
    def orders(self) -> list[str]:
        """The names of the numbers."""
        return list(self.items[0].numbers) if self.items else []

    @property
    def tags(self) -> list[str]:
        """All tags in the order of the alphabet."""
        return sorted({tag for item in self.items for tag in item.tags})

    @property
    def origin(self) -> str:
        """:attr:`about` as JSON."""
        return json.dumps(dict(self.about))

    @property
    def columns(self) -> int:
        """Pictures of the item that has most."""
        return max((len(item.pictures) for item in self.items), default=0)

    @property
    def tile(self) -> tuple[int, int]:
        """Width and height of a tile on the page, in CSS pixels."""
        height, width = self._size()
        scale = max(1, round(SIDE / max(height, width)))
        return width * scale, height * scale

    def _size(self) -> tuple[int, int]:
        height, width = self.items[0].pictures[0][1].shape[1:]
        scale = min(1.0, LARGEST / max(height, width))
        return max(1, round(height * scale)), max(1, round(width * scale))

    @property
    def reduced(self) -> bool:
        """Whether the tiles have fewer pixels than the pictures."""
        return bool(self.items) and max(self.items[0].pictures[0][1].shape[1:]) > LARGEST

    @property
    def sheet(self) -> str:
        """The ``data:`` address of the PNG with all tiles: a row an item."""
        height, width = self._size()
        sheet = np.zeros((len(self.items) * height, self.columns * width, 3), dtype=np.uint8)
        for row, item in enumerate(self.items):
            for column, (_, pixels) in enumerate(item.pictures):
                tile = np.broadcast_to(pixels.transpose(1, 2, 0), (*pixels.shape[1:], 3))
                if tile.shape[:2] != (height, width):
                    picture = Image.fromarray(np.ascontiguousarray(tile))
                    tile = np.asarray(picture.resize((width, height), Image.Resampling.LANCZOS))
                sheet[row * height : (row + 1) * height, column * width : (column + 1) * width] = tile
        gray = bool((sheet == sheet[..., :1]).all())
        stream = io.BytesIO()
        Image.fromarray(np.ascontiguousarray(sheet[..., 0]) if gray else sheet).save(stream, "PNG", optimize=True)
        return "data:image/png;base64," + base64.b64encode(stream.getvalue()).decode("ascii")
