"""Pixels (C, H, W) and pictures, and the one way in which this library resizes."""

from collections.abc import Iterator

import numpy as np
import numpy.typing as npt
from PIL import Image

from smoothscore.data.source import Content

__all__ = ["fit", "fitted", "note_resizing", "picture_of", "pixels_of"]

Pixels = npt.NDArray[np.uint8]


def picture_of(pixels: Pixels) -> Image.Image:
    """The picture, gray or RGB, of uint8 pixels (1, H, W) or (3, H, W)."""
    return Image.fromarray(pixels[0] if len(pixels) == 1 else np.ascontiguousarray(pixels.transpose(1, 2, 0)))


def pixels_of(picture: Image.Image) -> Pixels:
    """The pixels (C, H, W) of a gray (mode L) or RGB picture."""
    values = np.asarray(picture)
    return values[None] if values.ndim == 2 else np.ascontiguousarray(values.transpose(2, 0, 1))


def fit(picture: Image.Image, resolution: int) -> Image.Image:
    """The largest centered square of a picture, at ``resolution`` pixels a side.

    Lanczos filter with antialiasing, on the values as stored (no gamma correction). A picture that has the
    size already comes back unchanged.
    """
    if picture.size == (resolution, resolution):
        return picture
    side = min(picture.size)
    left, top = (picture.width - side) // 2, (picture.height - side) // 2
    square = picture.crop((left, top, left + side, top + side))
    return square.resize((resolution, resolution), Image.Resampling.LANCZOS)


def note_resizing(content: Content, count: int, resolution: int | None) -> None:
    """Say in the content's notes that ``count`` images were resized."""
    if count:
        content.notes.append(
            f"{count:,} images resized to {resolution}x{resolution} "
            "(center crop to a square, Lanczos filter with antialiasing)"
        )


def fitted(content: Content, resolution: int | None) -> Content:
    """The same content at a resolution; None leaves it as it is."""
    content.blocks = _resized(content, content.blocks, resolution)
    return content


def _resized(content: Content, blocks: Iterator[Pixels], resolution: int | None) -> Iterator[Pixels]:
    count = 0
    for block in blocks:
        if resolution is None or block.shape[2:] == (resolution, resolution):
            yield block
        else:
            yield np.stack([pixels_of(fit(picture_of(pixels), resolution)) for pixels in block])
            count += len(block)
    note_resizing(content, count, resolution)
