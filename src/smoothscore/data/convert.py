"""Images from floating-point tensors, and what tells whether two are the same."""

import hashlib

import numpy as np
import torch
from torch import Tensor

from smoothscore.data.imageset import CHUNK_BYTES, ImageSet
from smoothscore.errors import InputError

__all__ = ["fingerprint", "to_images"]


def fingerprint(images: ImageSet | Tensor) -> str:
    """SHA-256, in hex, of the values of a tensor with its shape and type; of an image set its own fingerprint."""
    if isinstance(images, ImageSet):
        return images.fingerprint
    kind = str(images.dtype).removeprefix("torch.")
    values = images.detach().cpu().contiguous().view(torch.uint8).numpy()
    return hashlib.sha256(f"{tuple(images.shape)} {kind}".encode() + values.tobytes()).hexdigest()


def to_images(values: Tensor) -> ImageSet:
    """Images from a floating-point tensor (N, C, H, W) in [-1, 1], clipped and rounded to 8 bits.

    Inverts :meth:`ImageSet.tensor` exactly. Raises InputError for another shape or type and for NaN or
    infinity.
    """
    if values.ndim != 4 or not values.is_floating_point():
        raise InputError(
            f"A tensor of type {values.dtype} and shape {tuple(values.shape)} is no set of images; "
            "pass floating-point values of shape (images, channels, height, width) in [-1, 1]."
        )
    pixels = np.empty(tuple(values.shape), dtype=np.uint8)
    step = max(1, CHUNK_BYTES // max(1, values[:1].numel()))
    for start in range(0, len(values), step):
        chunk = values[start : start + step].detach().to("cpu", torch.float64)
        if not chunk.isfinite().all():
            raise InputError("The images hold NaN or infinite values; mend what made them before measuring it.")
        pixels[start : start + step] = ((chunk + 1) * 127.5).round().clamp(0, 255).to(torch.uint8).numpy()
    return ImageSet.from_array(pixels, source="tensor")
