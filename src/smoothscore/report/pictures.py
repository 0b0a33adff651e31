"""Images as PNG: one to stand inside a page, many as a sheet."""

import base64
import io
from collections.abc import Sequence

import numpy as np
from numpy.typing import NDArray
from PIL import Image, ImageDraw, ImageFont

from smoothscore.errors import InputError

__all__ = ["image_grid", "png_uri"]


def png_uri(image: NDArray[np.uint8], side: int | None = None) -> str:
    """A (C, H, W) image of 1, 3 or 4 channels as the ``data:`` address of a PNG, to stand inside a page.

    Without loss, unless the image is larger than ``side`` pixels either way: then it is reduced to fit (Lanczos).
    """
    picture = _pillow(image)
    if side is not None:
        picture.thumbnail((side, side), Image.Resampling.LANCZOS)
    stream = io.BytesIO()
    picture.save(stream, "PNG")
    return "data:image/png;base64," + base64.b64encode(stream.getvalue()).decode("ascii")


def _pillow(image: NDArray[np.uint8]) -> Image.Image:
    if image.dtype != np.uint8 or image.ndim != 3 or image.shape[0] not in (1, 3, 4):
        raise InputError(f"Cannot draw an array of shape {image.shape} and dtype {image.dtype}; pass uint8 (C, H, W).")
    return Image.fromarray(np.ascontiguousarray(image[0] if len(image) == 1 else image.transpose(1, 2, 0)))


def image_grid(
    images: NDArray[np.uint8], columns: int, row_labels: Sequence[str] = (), scale: int = 2, gap: int = 3
) -> bytes:
    """Images in rows on white, as a PNG file.

    Args:
        images: uint8 (n, C, H, W) with 1, 3 or 4 channels, row by row.
        columns: images in a row.
        row_labels: a name for each row, written at its left.
        scale: every pixel becomes ``scale`` x ``scale`` pixels.
        gap: white pixels between images.
    """
    height, width = (side * scale + gap for side in images.shape[2:])
    font = ImageFont.load_default(max(10, min(15, height // 3)))
    margin = max((int(font.getlength(label)) + 4 * gap for label in row_labels), default=gap)
    rows = -(-len(images) // columns)
    sheet = Image.new("RGB", (margin + columns * width, gap + rows * height), "white")
    for index, image in enumerate(images):
        row, column = divmod(index, columns)
        picture = _pillow(image).convert("RGBA")
        picture = picture.resize((width - gap, height - gap), Image.Resampling.NEAREST)
        sheet.paste(picture, (margin + column * width, gap + row * height), picture)
    pen = ImageDraw.Draw(sheet)
    for row, label in enumerate(row_labels):
        pen.text((gap, gap + row * height + (height - gap) // 2), label, fill="black", font=font, anchor="lm")
    stream = io.BytesIO()
    sheet.save(stream, "PNG", optimize=True)
    return stream.getvalue()
