"""A reader of pickles that builds numbers, texts, containers and arrays of plain numbers, and nothing else.

Reading a pickle calls what the pickle names. Here every name is refused but those with which numpy spells an
array, and even these stand for the classes below: no foreign state reaches numpy unchecked.
"""

import io
import pickle
from typing import Any

import numpy as np
import numpy.typing as npt

from smoothscore.errors import InputError

__all__ = ["StoredArray", "read_pickle"]

TYPES = ("u1", "i1", "i2", "i4", "i8", "f4", "f8")


class StoredType:
    """What a pickle says of a numpy type: its code, and the byte order in its state."""

    def __init__(self, code: str | bytes, *flags: Any) -> None:
        self.code = code.decode("ascii") if isinstance(code, bytes) else code
        if self.code not in TYPES:
            raise pickle.UnpicklingError(f"an array of type {self.code!r}")
        self.order: str = "|"

    def __setstate__(self, state: tuple[Any, ...]) -> None:
        order = state[1].decode("ascii") if isinstance(state[1], bytes) else state[1]
        if order not in ("<", ">", "|", "="):
            raise pickle.UnpicklingError(f"the byte order {order!r}")
        self.order = order


class StoredArray:
    """What a pickle says of a numpy array; its ``values`` come with the state."""

    values: npt.NDArray[Any]

    def __setstate__(self, state: tuple[Any, ...]) -> None:
        _, shape, stored, fortran, data = state
        if not isinstance(stored, StoredType) or not isinstance(data, bytes):
            raise pickle.UnpicklingError("an array of objects")
        values = np.frombuffer(data, dtype=stored.order + stored.code)
        self.values = values.reshape(shape, order="F" if fortran else "C")


def _reconstruct(kind: Any, shape: Any, code: Any) -> StoredArray:
    return StoredArray()


def _encode(text: str, encoding: str) -> bytes:
    """Bytes as protocol 2 of Python 3 spells them."""
    if encoding not in ("latin1", b"latin1"):
        raise pickle.UnpicklingError(f"the encoding {encoding!r}")
    return text.encode("latin1")


KNOWN: dict[tuple[str, str], Any] = {
    ("numpy.core.multiarray", "_reconstruct"): _reconstruct,
    ("numpy._core.multiarray", "_reconstruct"): _reconstruct,
    ("numpy", "ndarray"): StoredArray,
    ("numpy", "dtype"): StoredType,
    ("_codecs", "encode"): _encode,
}


class _Reader(pickle.Unpickler):
    def find_class(self, module: str, name: str) -> Any:
        if (module, name) not in KNOWN:
            raise pickle.UnpicklingError(f"it names {module}.{name}")
        return KNOWN[module, name]


def read_pickle(data: bytes, title: str) -> Any:
    """The value in a pickle, every array in it as a :class:`StoredArray`.

    Raises InputError for a damaged pickle and for one that holds anything but plain data.
    """
    try:
        return _Reader(io.BytesIO(data), encoding="bytes").load()
    except Exception as problem:  # foreign opcodes can fail in any way
        raise InputError(f"{title} is damaged, or no pickle of plain data ({problem}); it is not read.") from problem
