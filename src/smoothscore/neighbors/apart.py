"""A neighbor graph made by a process of its own, which takes all that the search needs with it when it ends.

A search may load a network, and its tables fragment the heap: some hundred megabytes that a process which
trains afterwards would keep to its end. The other process is told what to do by the files of a folder,

    order.json    the options of ``NeighborGraph.build``, and what the images are
    images        their values, one after the other
    error         the sentence of an InputError, if there was one

and says on its standard output how far it is. It ends when its standard input does, that is, with its parent.
"""

import json
import os
import subprocess
import sys
import tempfile
from collections.abc import Iterator
from contextlib import ExitStack
from pathlib import Path
from threading import Thread
from typing import Any

import torch
from torch import Tensor

from smoothscore import progress
from smoothscore.data import ImageSet
from smoothscore.errors import InputError
from smoothscore.neighbors.graph import NeighborGraph

__all__ = ["build_apart", "main"]

CHUNK = 2**24  # values copied at a time
PROGRAM = (
    "import signal; signal.signal(signal.SIGINT, signal.SIG_IGN);"  # the parent hears it, and ends this process
    "from smoothscore.neighbors.apart import main; main()"
)


def build_apart(
    images: ImageSet | Tensor, k: int, space: str = "pixel", within_class: bool = False, file: Path | None = None
) -> NeighborGraph:
    """:meth:`NeighborGraph.build` in a process of its own.

    Args:
        images, k, space, within_class: as there.
        file: where the graph is kept; its folder is made. None for nowhere.

    Raises:
        InputError: as there, the images cannot be copied, or the other process was ended from outside.

    Cost: about two seconds to begin, and a copy of the images among the temporary files.
    """
    with tempfile.TemporaryDirectory(prefix="smoothscore-") as made:
        folder = Path(made)
        target = (file or folder / "graph").absolute()
        _write_images(images, folder / "images")
        labels = images.labels if isinstance(images, ImageSet) else None
        order = {
            "k": int(k),
            "space": space,
            "within_class": within_class,
            "shape": [len(images), *images.shape] if isinstance(images, ImageSet) else list(images.shape),
            "dtype": None if isinstance(images, ImageSet) else str(images.dtype).removeprefix("torch."),
            "labels": None if labels is None else labels.tolist(),
            "threads": torch.get_num_threads(),
            "file": str(target),
        }
        (folder / "order.json").write_text(json.dumps(order))
        _work(folder)
        return NeighborGraph.load(target, images)


def _work(folder: Path) -> None:
    """Run the other process to its end."""
    environment = os.environ | {"PYTHONPATH": os.pathsep.join(path or os.getcwd() for path in sys.path)}
    command = [sys.executable, "-P", "-c", PROGRAM, str(folder)]
    pipe = subprocess.PIPE
    with subprocess.Popen(command, stdin=pipe, stdout=pipe, text=True, env=environment) as process, ExitStack() as bars:
        assert process.stdout is not None
        bars.callback(process.kill)
        known: dict[int, progress.Advance] = {}
        for line in process.stdout:
            task, name, total, steps = json.loads(line)
            if task not in known:
                known[task] = bars.enter_context(progress.task(name, total))
            known[task](steps)
        code = process.wait()
    if (folder / "error").exists():
        raise InputError((folder / "error").read_text())
    if code < 0:
        raise InputError(
            f"The process that makes the neighbor graph was ended by signal {-code}, as it is where memory runs out; "
            "take fewer images or neighbors."
        )
    if code > 0:
        raise RuntimeError(f"The process that makes the neighbor graph ended with code {code}; its error stands above.")


def main() -> None:
    """The other process: makes the graph of the folder that is named on its command line."""
    folder = Path(sys.argv[1])
    channel = os.fdopen(os.dup(1), "w", buffering=1)
    os.dup2(2, 1)  # what libraries print is no news of progress
    Thread(target=_end_with_parent, daemon=True).start()
    order: dict[str, Any] = json.loads((folder / "order.json").read_text())
    torch.set_num_threads(order["threads"])
    try:
        with progress.told(lambda *news: print(json.dumps(news), file=channel)):
            graph = NeighborGraph.build(
                _read_images(order, folder / "images"), order["k"], order["space"], order["within_class"]
            )
        file = Path(order["file"])
        file.parent.mkdir(parents=True, exist_ok=True)
        graph.save(file)
    except InputError as error:
        (folder / "error").write_text(str(error))
        sys.exit(2)


def _end_with_parent() -> None:
    sys.stdin.read()
    os._exit(1)


def _write_images(images: ImageSet | Tensor, file: Path) -> None:
    """Their values in order."""
    size = images.shape.numel() if isinstance(images, ImageSet) else images[0].numel()
    try:
        with open(file, "wb") as stream:
            for chunk in _chunks(images, max(1, CHUNK // size)):
                stream.write(chunk.contiguous().view(torch.uint8).numpy().data)
    except OSError as error:
        raise InputError(
            f"The images cannot be copied to {file.parent} for the search of their neighbors ({error.strerror}); make "
            "room there, or set TMPDIR to another folder."
        ) from error


def _chunks(images: ImageSet | Tensor, step: int) -> Iterator[Tensor]:
    for start in range(0, len(images), step):
        stop = min(start + step, len(images))
        yield (
            torch.from_numpy(images.read(start, stop))
            if isinstance(images, ImageSet)
            else (images[start:stop].detach().cpu())
        )


def _read_images(order: dict[str, Any], file: Path) -> ImageSet | Tensor:
    """The images, left in the file."""
    shape = torch.Size(order["shape"])
    dtype = getattr(torch, order["dtype"] or "uint8")
    values = torch.from_file(str(file), size=shape.numel(), dtype=dtype).reshape(shape)
    return values if order["dtype"] else ImageSet.from_array(values, order["labels"])
