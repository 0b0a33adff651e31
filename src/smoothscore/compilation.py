"""Compiles the C++ loops of this package: when it is installed, and else where they are first needed.

One library for every processor and, for x86-64, one more with vectors of 32 bytes, all from the same sources. A C++
compiler is needed, ``c++`` or what the environment variable CXX names. Imports nothing that has to be installed, since
it runs while the package is being installed.
"""

import os
import platform
import shlex
import subprocess
import sys
from pathlib import Path

__all__ = ["build", "libraries", "sources"]

PACKAGE = Path(__file__).resolve().parent
FLAGS = ["-std=c++17", "-O3", "-fno-math-errno", "-fno-trapping-math", "-fopenmp-simd", "-falign-loops=64"]
LINK = ["-fvisibility=hidden", "-fPIC", "-shared", "-Wall", "-Wno-psabi"]
WIDE = ["-mavx2", "-mfma"]


def sources() -> list[Path]:
    """What is compiled, headers included."""
    return sorted([*PACKAGE.rglob("*.cpp"), *PACKAGE.rglob("*.hpp"), Path(__file__)])


def libraries(folder: Path) -> dict[str, Path]:
    """Where in a folder the libraries lie, by the processors that run them: of all kinds, the fastest last."""
    wide = ["avx2"] if platform.machine().lower() in ("x86_64", "amd64") else []
    return {kind: folder / f"loops-{kind}.so" for kind in ["any", *wide]}


def build(folder: Path) -> None:
    """Make the libraries that are missing in a folder, or older than their sources.

    Raises:
        RuntimeError: there is no compiler, or it failed; what it had to say is in the message.
    """
    folder.mkdir(parents=True, exist_ok=True)
    newest = max(path.stat().st_mtime for path in sources())
    old = {kind: path for kind, path in libraries(folder).items() if not path.exists() or path.stat().st_mtime < newest}
    compiler = shlex.split(os.environ.get("CXX", "c++"))
    code = [path for path in sources() if path.suffix == ".cpp"]
    partial = {kind: path.with_name(f"{path.name}.{os.getpid()}.partial") for kind, path in old.items()}
    try:
        running = {
            kind: subprocess.Popen(
                [*compiler, *FLAGS, *(WIDE if kind == "avx2" else []), *LINK, "-o", path, *code],
                stderr=subprocess.PIPE,
                text=True,
            )
            for kind, path in partial.items()
        }
        said = {kind: process.communicate()[1] for kind, process in running.items()}  # all have ended
        for kind, process in running.items():
            if process.returncode:
                raise RuntimeError(said[kind].strip() or f"{compiler[0]} ended with {process.returncode}")
            partial[kind].replace(old[kind])
    except OSError as error:
        raise RuntimeError(f"{compiler[0]}: {error.strerror}") from error
    finally:
        for path in partial.values():
            path.unlink(missing_ok=True)


if __name__ == "__main__":
    try:
        build(PACKAGE)
    except RuntimeError as error:
        sys.exit(f"The loops of smoothscore could not be compiled; install a C++ compiler, or name it in CXX. {error}")
