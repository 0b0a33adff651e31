"""Files that are either the old one or the new one, never half of one."""

import os
import secrets
from pathlib import Path

from smoothscore.errors import InputError

__all__ = ["sweep", "write_bytes", "write_text"]

TEMPORARY = ".smoothscore-{}.tmp"


def write_bytes(path: str | os.PathLike[str], data: bytes) -> Path:
    """Write ``data`` under a temporary name in the folder of ``path``, then rename; returns the path.

    A symbolic link is followed, so its target is what changes. Whatever interrupts the writing, ``path`` still
    holds what it held before.

    Raises:
        InputError: the folder is missing, the place cannot be written, or the disk is full.
    """
    target = Path(path).resolve()
    if os.path.isdir(target):
        raise InputError(f"{path} is a folder; give the name of a file to write.")
    temporary = target.with_name(TEMPORARY.format(secrets.token_hex(8)))
    try:
        try:
            with open(temporary, "xb") as stream:
                stream.write(data)
                stream.flush()
                os.fsync(stream.fileno())
            os.replace(temporary, target)
        finally:
            temporary.unlink(missing_ok=True)
    except FileNotFoundError:
        raise InputError(f"Cannot write {path}: the folder {target.parent} does not exist; create it first.") from None
    except OSError as error:
        raise InputError(
            f"Cannot write {path}: {error.strerror or error}; free or open that place, or choose another path."
        ) from error
    return target


def write_text(path: str | os.PathLike[str], text: str) -> Path:
    """Write ``text`` as UTF-8 like :func:`write_bytes`; bytes of file names that are no text become ``\\udcXX``."""
    return write_bytes(path, text.encode("utf-8", errors="backslashreplace"))


def sweep(folder: Path) -> None:
    """Delete what writers that were killed have left in and below a folder in which nobody else writes."""
    for left in folder.rglob(TEMPORARY.format("*")):
        left.unlink(missing_ok=True)
