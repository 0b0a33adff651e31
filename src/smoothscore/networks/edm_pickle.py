"""EDM's network pickles, read without running anything that they name.

Such a file spells every module as a call with the source text of its class. Here that call makes a :class:`Part`, which
keeps the module's attributes and forgets the text. Every name that a pickle may use stands in one table, for a function
or a class of this file or for a plain container; any other name ends the reading. Tensors are cut from the bytes of
their storages with bounds checked, and the bytes, a pickle again, are read in the same way.
"""

import io
import math
import os
import pickle
import pickletools
import struct
from collections import OrderedDict
from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any

import torch
from torch import Tensor

from smoothscore.errors import InputError

__all__ = ["Part", "read_edm_pickle"]

NETWORKS = ("ema", "net", "model")
"""Keys under which a file may hold its network, in the order of preference."""
STORAGES = {
    "FloatStorage": torch.float32,
    "DoubleStorage": torch.float64,
    "HalfStorage": torch.float16,
    "BFloat16Storage": torch.bfloat16,
    "LongStorage": torch.int64,
    "IntStorage": torch.int32,
    "ShortStorage": torch.int16,
    "CharStorage": torch.int8,
    "ByteStorage": torch.uint8,
    "BoolStorage": torch.bool,
}
TABLES = ("_parameters", "_buffers", "_modules", "_init_kwargs")
"""Attributes of a module that are dictionaries."""
PLACES = ("PUT", "LONG_BINPUT")
"""Opcodes that choose a place in a pickle's memo."""
MAGIC = 0x1950A86A20F9469CFC6C


class Part:
    """A module or another object of a pickle: the name of its class, and its attributes."""

    def __init__(self, *arguments: Any) -> None:
        meta = arguments[0] if arguments and isinstance(arguments[0], Mapping) else {}
        self.kind = str(meta.get("class_name", ""))
        self.attributes: dict[str, Any] = {}
        self.__setstate__(meta.get("state") or {})

    def __setstate__(self, state: Any) -> None:
        self.attributes = dict(state)
        if not all(isinstance(self.attributes.get(name) or {}, Mapping) for name in TABLES):
            raise pickle.UnpicklingError("a module without its tables")

    def tensors(self, prefix: str = "") -> Iterator[tuple[str, Tensor]]:
        """The parameters and buffers of a module and all its modules, with their names."""
        own = {**(self.attributes.get("_parameters") or {}), **(self.attributes.get("_buffers") or {})}
        yield from ((prefix + name, value) for name, value in own.items() if isinstance(value, Tensor))
        for name, part in (self.attributes.get("_modules") or {}).items():
            if isinstance(part, Part):
                yield from part.tensors(f"{prefix}{name}.")


class _Plain(dict[str, Any]):
    """EDM's dictionaries with attributes, without the attributes."""

    def __setstate__(self, state: Any) -> None:
        pass


class _Forgotten:
    """A value that no network needs: a number of numpy's own type, and that type."""

    def __init__(self, *arguments: Any) -> None:
        pass

    def __setstate__(self, state: Any) -> None:
        pass


class _Function:
    """A function that a pickle may call; its attributes cannot be set."""

    def __init__(self, function: Any) -> None:
        self.function = function

    def __call__(self, *arguments: Any) -> Any:
        return self.function(*arguments)

    def __setstate__(self, state: Any) -> None:
        raise pickle.UnpicklingError("it changes a function")


def _storage(data: bytes) -> Tensor:
    """The values of a storage (n,), from the bytes that ``torch.save`` made of it before it used zip files."""
    stream = io.BytesIO(data)
    magic, _, _, storage, keys = (_Reader(stream).load() for _ in range(5))
    if magic != MAGIC or not isinstance(storage, _Storage) or list(keys) != [storage.key]:
        raise pickle.UnpicklingError("the bytes of a tensor are no storage")
    (count,) = struct.unpack("<q", stream.read(8))
    rest = bytearray(stream.read())
    if count != storage.count or len(rest) != count * storage.dtype.itemsize:
        raise pickle.UnpicklingError("a storage has another length than it says")
    return torch.frombuffer(rest, dtype=storage.dtype) if rest else torch.empty(0, dtype=storage.dtype)


def _tensor(storage: Tensor, offset: int, size: Sequence[int], stride: Sequence[int], *_: Any) -> Tensor:
    if not isinstance(storage, Tensor) or math.prod(size) > storage.numel():
        raise pickle.UnpicklingError("a tensor beyond its storage")
    return torch.as_strided(storage, tuple(size), tuple(stride), offset).clone()


def _bytes(text: str, encoding: str) -> bytes:
    """Bytes as old protocols spell them."""
    if encoding != "latin1":
        raise pickle.UnpicklingError(f"the encoding {encoding!r}")
    return text.encode("latin1")


def _parameter(value: Tensor, *_: Any) -> Tensor:
    return value


class _Storage:
    """What a pickle says of a storage: its type, its key and its number of values."""

    def __init__(self, dtype: torch.dtype, key: str, count: int) -> None:
        self.dtype, self.key, self.count = dtype, key, count

    def __setstate__(self, state: Any) -> None:
        raise pickle.UnpicklingError("it changes a storage")


KNOWN: Mapping[tuple[str, str], Any] = {
    ("torch_utils.persistence", "_reconstruct_persistent_obj"): Part,
    **{("torch.nn.modules.container", name): Part for name in ("ModuleDict", "ModuleList", "Sequential")},
    ("dnnlib.util", "EasyDict"): _Plain,
    ("collections", "OrderedDict"): OrderedDict,
    ("builtins", "set"): set,
    ("__builtin__", "set"): set,
    ("torch", "Size"): tuple,
    ("numpy", "dtype"): _Forgotten,
    ("numpy.core.multiarray", "scalar"): _Forgotten,
    ("numpy._core.multiarray", "scalar"): _Forgotten,
    ("_codecs", "encode"): _Function(_bytes),
    ("torch.storage", "_load_from_bytes"): _Function(_storage),
    ("torch._utils", "_rebuild_tensor_v2"): _Function(_tensor),
    ("torch._utils", "_rebuild_parameter"): _Function(_parameter),
}


class _Reader(pickle.Unpickler):
    def __init__(self, stream: io.BytesIO) -> None:
        """A stream at whose place a pickle begins; none of its memo's places may be beyond what it can fill."""
        begin = stream.tell()
        places = [int(place or 0) for code, place, _ in pickletools.genops(stream) if code.name in PLACES]
        if max(places, default=0) > stream.tell() - begin:
            raise pickle.UnpicklingError("a memo larger than the file")
        stream.seek(begin)
        super().__init__(stream)

    def find_class(self, module: str, name: str) -> Any:
        if module == "torch" and name in STORAGES:
            return name
        if (module, name) not in KNOWN:
            raise pickle.UnpicklingError(f"it names {module}.{name}")
        return KNOWN[module, name]

    def persistent_load(self, key: Any) -> Any:
        match key:
            case ("storage", str(kind), str(name), _, int(count), None) if kind in STORAGES:
                return _Storage(STORAGES[kind], name, count)
        raise pickle.UnpicklingError("a storage of an unknown form")


def read_edm_pickle(path: str | os.PathLike[str]) -> tuple[Part, dict[str, Tensor]]:
    """The preconditioned network in a pickle of EDM's, averaged where the file has that, and its tensors by name.

    Raises:
        InputError: no such file, a damaged one, one that names anything but tensors, containers and EDM's own modules,
            or one without a network.
    """
    try:
        data = Path(path).read_bytes()
    except OSError as error:
        raise InputError(f"Cannot read {path}: {error.strerror}.") from None
    try:
        content = _Reader(io.BytesIO(data)).load()
        found = [content, *(content.get(name) for name in NETWORKS)] if isinstance(content, dict) else [content]
        networks = [part for part in found if isinstance(part, Part) and part.attributes.get("_modules")]
        tensors = dict(networks[0].tensors()) if networks else {}
    except Exception as problem:  # foreign opcodes can fail in any way
        raise InputError(
            f"{path} is damaged, or holds more than a network of EDM's ({problem}); it is not read."
        ) from problem
    if not networks:
        raise InputError(f"{path} holds no network; it should be one, or have it as 'ema', 'net' or 'model'.")
    return networks[0], tensors
