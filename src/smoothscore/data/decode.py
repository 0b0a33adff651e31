"""One image file, as bytes, to uint8 pixels: exactly, or not at all.

Pixels are taken as stored: embedded color profiles and gamma are not applied, EXIF orientation is. Gray stays
one channel; RGB, palette and opaque RGBA become three. Sixteen-bit gray is taken when it holds 8-bit values
exactly (every one a multiple of 257). What cannot be had without loss (transparency, deeper pixels, other
color spaces, several frames) is refused by name.
"""

import io

import numpy as np
import numpy.typing as npt
from PIL import Image, ImageOps, UnidentifiedImageError

from smoothscore.data.resize import fit, pixels_of
from smoothscore.errors import InputError

__all__ = ["MAX_BYTES", "SUFFIXES", "Unreadable", "decode", "is_color", "is_image"]

FORMATS = ("PNG", "JPEG", "WEBP", "BMP", "GIF", "TIFF", "PPM")
SUFFIXES = (".png", ".jpg", ".jpeg", ".webp", ".bmp", ".gif", ".tif", ".tiff", ".ppm", ".pgm", ".pbm")
MAGIC = (b"\x89PNG", b"\xff\xd8\xff", b"BM", b"GIF8", b"II*\0", b"MM\0*", b"P4", b"P5", b"P6")
MAX_BYTES = 2**28
MAX_PIXELS = 2**26
ORIENTATION = 0x0112
GRAY_MODES = {"1", "L", "LA", "I;16", "I;16B", "I;16L"}
MODES = GRAY_MODES | {"P", "RGB", "RGBA"}


class Unreadable(Exception):
    """The bytes are no intact image; the message says why."""


def is_image(start: bytes) -> bool:
    """Whether a file beginning with ``start`` (16 bytes) is an image of a known format."""
    return start.startswith(MAGIC) or (start[:4] == b"RIFF" and start[8:12] == b"WEBP")


def is_color(data: bytes) -> bool:
    """Whether the image is stored in color, from its header; False when it has no readable one."""
    try:
        with Image.open(io.BytesIO(data), formats=FORMATS) as image:
            return image.mode not in GRAY_MODES
    except Exception:  # foreign bytes can fail in any way; decode() reports it
        return False


def decode(data: bytes, name: str, channels: int, resolution: int | None) -> tuple[npt.NDArray[np.uint8], bool]:
    """Pixels (C, H, W) of an image file, and whether they were resized.

    Raises Unreadable for damaged bytes and InputError, naming the image, for what is refused.
    """
    try:
        with Image.open(io.BytesIO(data), formats=FORMATS) as opened:
            _refuse_header(opened, name)
            opened.load()
            image = ImageOps.exif_transpose(opened) if ORIENTATION in opened.getexif() else opened
            image = _flat(image, name).convert("L" if channels == 1 else "RGB")
    except (InputError, MemoryError):
        raise
    except (Image.DecompressionBombError, Image.DecompressionBombWarning):
        raise _too_large(name) from None
    except UnidentifiedImageError as problem:
        raise Unreadable("no image of a known kind") from problem
    except Exception as problem:  # foreign bytes can fail in any way
        raise Unreadable(str(problem) or type(problem).__name__) from problem
    resized = resolution is not None and image.size != (resolution, resolution)
    return pixels_of(image if resolution is None else fit(image, resolution)), resized


def _refuse_header(image: Image.Image, name: str) -> None:
    if image.width * image.height > MAX_PIXELS:
        raise _too_large(name)
    if image.mode not in MODES:
        raise InputError(f"{name} has pixels of type {image.mode}; convert it to 8-bit gray or RGB first.")
    if image.mode not in GRAY_MODES and _is_deep(image):
        raise InputError(f"{name} has 16-bit colors, which 8 bits cannot hold; convert it to 8-bit RGB first.")
    if image.format != "MPO" and getattr(image, "is_animated", False):
        raise InputError(f"{name} has several frames; save the frames you mean as images of their own.")


def _is_deep(image: Image.Image) -> bool:
    """Whether more than 8 bits a channel are stored (Pillow would drop the lower ones silently)."""
    return any(
        ";16" in str(args) or (codec.startswith("ppm") and args[-1] > 255)
        for codec, _, _, args in getattr(image, "tile", [])
    )


def _flat(image: Image.Image, name: str) -> Image.Image:
    if image.mode.startswith("I;16"):
        values = np.asarray(image)
        if (values % 257).any():
            raise InputError(f"{name} holds 16-bit values, which 8 bits cannot hold; convert it to 8-bit first.")
        return Image.fromarray((values // 257).astype(np.uint8))
    if image.mode in ("LA", "RGBA") or "transparency" in image.info:
        with_alpha = image.convert("RGBA")
        if with_alpha.getchannel("A").getextrema() != (255, 255):
            raise InputError(f"{name} has transparent pixels, whose color is undefined; flatten it first.")
        return with_alpha if image.mode not in GRAY_MODES else image.convert("L")
    return image


def _too_large(name: str) -> InputError:
    return InputError(f"{name} declares more than {MAX_PIXELS:,} pixels; it is refused as a possible attack.")
