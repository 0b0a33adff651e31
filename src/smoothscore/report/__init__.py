"""Results, their pages and their figures, from plain arrays, numbers and texts; knows no score and no network."""

from smoothscore.report.blocks import (
    Block,
    Cell,
    Code,
    Fact,
    Facts,
    Figure,
    Gallery,
    Group,
    Picture,
    Section,
    Table,
    Text,
)
from smoothscore.report.figures import Region, Series, curves, histogram
from smoothscore.report.page import Page
from smoothscore.report.pictures import image_grid, png_uri
from smoothscore.report.result import Result
from smoothscore.report.review import Item, Review
from smoothscore.report.write import write_bytes, write_text

__all__ = [
    "Block",
    "Cell",
    "Code",
    "Fact",
    "Facts",
    "Figure",
    "Gallery",
    "Group",
    "Item",
    "Page",
    "Picture",
    "Region",
    "Result",
    "Review",
    "Section",
    "Series",
    "Table",
    "Text",
    "curves",
    "histogram",
    "image_grid",
    "png_uri",
    "write_bytes",
    "write_text",
]
