r"""Images as uint8, looked at rather than copied.

A pixel value :math:`u\in\{0,\dots,255\}` stands for :math:`y=u/127.5-1\in[-1,1]`, the scale in which every
noise level of this library is given. An :class:`ImageSet` keeps the integers, on disk where they came from a
file, and every selection from it is a view.
"""

import hashlib
from collections.abc import Iterator, Sequence
from typing import Any, overload

import numpy as np
import numpy.typing as npt
import torch
from torch import Tensor

from smoothscore.data.labels import integer_labels
from smoothscore.data.mapped import release
from smoothscore.errors import InputError

__all__ = ["ImageSet", "seal", "shuffled"]

Pixels = npt.NDArray[np.uint8]
Integers = npt.NDArray[np.int64]

CHUNK_BYTES = 2**24


class ImageSet:
    """A set of images of one shape, in a fixed order.

    Attributes:
        shape: (C, H, W) of one image, a ``torch.Size``.
        labels: (N,) int64 class labels, or None.
        names: N names, in order.
        class_names: name of class 0, 1, ..., or None.
        source: where the images came from, in words.
        notes: what was done to them on the way in (value range, layout, resizing, selection).
        skipped: names of the unreadable images that were left out, each with the reason.

    ``images[3]`` is a uint8 tensor (C, H, W); ``images[10:20]``, ``images[[4, 2]]`` and ``images[mask]`` are
    views. Built by :func:`load_images`, :meth:`from_array` or :func:`to_images`. Memory: a view costs 8 bytes
    an image; pixels from a file stay on disk and are read when they are asked for.
    """

    def __init__(
        self,
        pixels: Pixels,
        *,
        rows: Integers | None = None,
        labels: Integers | None = None,
        names: Sequence[str],
        class_names: Sequence[str] | None = None,
        source: str = "array",
        notes: tuple[str, ...] = (),
        skipped: tuple[str, ...] = (),
        fingerprint: str | None = None,
    ) -> None:
        self._pixels = pixels
        self._rows = rows
        self._fingerprint = fingerprint
        if len(self) == 0:
            raise InputError(f"{source} gives no images; at least one is needed.")
        self.shape = torch.Size(pixels.shape[1:])
        self.labels = labels
        self.names = list(names)
        self.class_names = None if class_names is None else list(class_names)
        self.source = source
        self.notes = notes
        self.skipped = list(skipped)

    @classmethod
    def from_array(
        cls,
        pixels: Pixels | Tensor,
        labels: npt.ArrayLike | None = None,
        names: Sequence[str] | None = None,
        source: str = "array",
    ) -> "ImageSet":
        """An image set of a uint8 array (N, C, H, W), which is not copied.

        ``labels`` are N integers, ``names`` N strings ("000000", "000001", ... by default). Raises InputError
        for any other type or shape, for no images at all, and for labels or names of another length.
        """
        given = pixels if isinstance(pixels, Tensor) else np.asarray(pixels)
        if str(given.dtype).removeprefix("torch.") != "uint8" or given.ndim != 4 or 0 in given.shape[1:]:
            raise InputError(
                f"{source} has type {given.dtype} and shape {tuple(given.shape)}; "
                "pass uint8 values of shape (images, channels, height, width)."
            )
        count = len(given)
        if names is not None and len(names) != count:
            raise InputError(f"{source} has {count} images but {len(names)} names; pass one name an image.")
        return cls(
            given.cpu().numpy() if isinstance(given, Tensor) else given,
            labels=None if labels is None else integer_labels(labels, count, source),
            names=names if names is not None else [f"{i:06d}" for i in range(count)],
            source=source,
        )

    @property
    def dim(self) -> int:
        """Number of values in one image, C * H * W."""
        return self.shape.numel()

    @property
    def fingerprint(self) -> str:
        """SHA-256, in hex, of the pixels in order and of the shape (N, C, H, W).

        Equal for equal pixels however they were stored or selected. Computed once, by one pass over the
        pixels.
        """
        if self._fingerprint is None:
            digest = hashlib.sha256()
            for chunk in self._chunks():
                digest.update(np.ascontiguousarray(chunk).data)
            self._fingerprint = seal(digest, (len(self), *self.shape))
        return self._fingerprint

    def __len__(self) -> int:
        return len(self._pixels) if self._rows is None else len(self._rows)

    @overload
    def __getitem__(self, item: int | np.integer[Any]) -> Tensor: ...
    @overload
    def __getitem__(self, item: slice | npt.ArrayLike) -> "ImageSet": ...
    def __getitem__(self, item: Any) -> "Tensor | ImageSet":
        """One image as a tensor for an integer; a view for a slice, a list of integers or a mask."""
        if isinstance(item, int | np.integer):
            row = range(len(self))[int(item)]
            return torch.tensor(self.read(row, row + 1)[0])
        positions = np.arange(len(self))[item if isinstance(item, slice) else np.asarray(item)]
        return self._view(positions)

    def __repr__(self) -> str:
        channels, height, width = self.shape
        classes = "" if self.labels is None else f", {len(np.unique(self.labels))} classes"
        return f"ImageSet({len(self):,} images of {channels}x{height}x{width}{classes}, source={self.source!r})"

    def read(self, start: int, stop: int) -> Pixels:
        """Images ``start`` to ``stop`` of this view as a uint8 array (n, C, H, W).

        Consecutive rows are not copied: the array may share its memory with the set, so do not write into it.
        """
        if self._rows is None:
            block = np.asarray(self._pixels[start:stop])
            return block if block.flags.writeable else block.copy()
        return self._pixels[self._rows[start:stop]]

    def stored(self) -> tuple[Pixels, Integers] | None:
        """Where the pixels lie: an array (stored images, dim) that is not a copy, and the row (N,) of each image.

        None where the images do not lie one after the other. Do not write into the array.
        """
        if not self._pixels.flags.c_contiguous:
            return None
        pixels = np.asarray(self._pixels).reshape(len(self._pixels), -1)
        return pixels, np.arange(len(pixels)) if self._rows is None else self._rows

    def release(self, start: int, stop: int) -> None:
        """Let the system take back the memory of images ``start`` to ``stop``, where they can be read again from disk.

        They are mapped again when they are next asked for, which takes about as long as to copy them.
        """
        if self._rows is None:
            release(self._pixels[start:stop])

    def take(self, indices: npt.ArrayLike) -> Pixels:
        """The images at ``indices`` of this view, copied into a uint8 array (n, C, H, W)."""
        positions = np.asarray(indices, dtype=np.int64)
        return self._pixels[positions if self._rows is None else self._rows[positions]]

    def tensor(self, dtype: torch.dtype = torch.float32, device: str | torch.device = "cpu") -> Tensor:
        """All images as a floating-point tensor (N, C, H, W) in [-1, 1]: y = u / 127.5 - 1.

        Memory: N * dim values of ``dtype``, and one chunk.
        """
        out = torch.empty((len(self), *self.shape), dtype=dtype, device=device)
        exact = dtype if dtype.itemsize >= 4 else torch.float32
        start = 0
        for chunk in self._chunks():
            values = torch.from_numpy(chunk).to(device=device, dtype=exact)
            out[start : start + len(chunk)] = values.div_(127.5).sub_(1)
            start += len(chunk)
        return out

    def subset(self, n: int, seed: int = 0) -> "ImageSet":
        """A view of ``n`` images drawn without replacement, in the order of this set.

        With the same seed a smaller subset is contained in a larger one. Raises InputError when ``n`` is not
        between 1 and the number of images.
        """
        if not 1 <= n <= len(self):
            raise InputError(f"Cannot draw {n} images from the {len(self)} of {self.source}; ask for at most that.")
        view = self._view(np.sort(shuffled(len(self), seed)[:n]))
        view.notes += (f"random subset of {n:,} of {len(self):,} images (seed {seed})",)
        return view

    def split(self, parts: float | Sequence[int], seed: int = 0) -> "tuple[ImageSet, ...]":
        """Disjoint random views of this set, each in its order.

        ``parts`` is a fraction f in (0, 1), for round(f N) images and the rest, or the counts of the parts,
        which may leave images over. Exact copies of one image may land on both sides: see :meth:`distinct`.
        Raises InputError for an empty part and for more images than there are.
        """
        if isinstance(parts, float | int):
            first = round(parts * len(self))
            parts = (first, len(self) - first)
        if min(parts) < 1 or sum(parts) > len(self):
            raise InputError(
                f"Cannot split the {len(self)} images of {self.source} into parts of "
                f"{', '.join(map(str, parts))}; every part needs at least one image of its own."
            )
        ends = np.cumsum(parts)
        order = shuffled(len(self), seed)
        views = tuple(self._view(np.sort(order[end - n : end])) for n, end in zip(parts, ends, strict=True))
        for i, view in enumerate(views):
            view.notes += (f"random part {i + 1} of {len(views)} of {len(self):,} images (seed {seed})",)
        return views

    def distinct(self) -> tuple[Integers, Integers]:
        """Groups of identical images, by a hash of the pixels: ``(first_index, group)``.

        ``first_index`` (U,) holds the first index of every distinct image, ascending; ``group`` (N,) says
        which of them each image equals. One pass over the pixels.
        """
        groups: dict[bytes, int] = {}
        first: list[int] = []
        group = np.empty(len(self), dtype=np.int64)
        row = 0
        for chunk in self._chunks():
            for image in chunk:
                key = hashlib.sha256(np.ascontiguousarray(image).data).digest()
                if key not in groups:
                    groups[key] = len(first)
                    first.append(row)
                group[row] = groups[key]
                row += 1
        return np.array(first, dtype=np.int64), group

    def _view(self, positions: Integers) -> "ImageSet":
        labels = None if self.labels is None else self.labels[positions]
        names = [self.names[i] for i in positions]
        rows: Integers | None = positions if self._rows is None else self._rows[positions]
        pixels = self._pixels
        if rows is not None and len(rows) and np.array_equal(rows, np.arange(rows[0], rows[0] + len(rows))):
            pixels, rows = pixels[rows[0] : rows[0] + len(rows)], None
        return ImageSet(
            pixels,
            rows=rows,
            labels=labels,
            names=names,
            class_names=self.class_names,
            source=self.source,
            notes=self.notes,
            skipped=tuple(self.skipped),
        )

    def _chunks(self) -> Iterator[Pixels]:
        step = max(1, CHUNK_BYTES // self.dim)
        for start in range(0, len(self), step):
            yield self.read(start, min(start + step, len(self)))


def shuffled(count: int, seed: int) -> Integers:
    """The numbers below ``count`` in random order; the first of them are the random subset of their number."""
    return np.argsort(np.random.default_rng(seed).random(count), kind="stable")


def seal(digest: "hashlib._Hash", shape: Sequence[int]) -> str:
    """The fingerprint, given a running SHA-256 of all pixels in order and the shape (N, C, H, W)."""
    digest.update(repr(tuple(int(n) for n in shape)).encode())
    return digest.hexdigest()
