"""Images in and out: reading, caching, views, writing."""

from smoothscore.data.convert import fingerprint, to_images
from smoothscore.data.imageset import ImageSet
from smoothscore.data.load import as_given, as_images, load_given, load_images
from smoothscore.data.query import parse_source
from smoothscore.data.write import write_images

__all__ = [
    "ImageSet",
    "as_given",
    "as_images",
    "fingerprint",
    "load_given",
    "load_images",
    "parse_source",
    "to_images",
    "write_images",
]
