"""Sets of samples on disk, written batch by batch.

While it grows, a set lives in a hidden folder beside its place, ``.NAME.partial``, with its plan and one record for
each finished batch; in the end it gets its manifest and its name, or is packed into a zip. The same call after an
interruption goes on from the last finished batch. Several processes (``accelerate launch``) take turns with the
batches; their bounds are part of the plan, so that the images are the same for any number of processes.
"""

import io
import json
import os
import shutil
import zipfile
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path

import numpy as np

from smoothscore import progress
from smoothscore.data import fingerprint, to_images
from smoothscore.data.resize import picture_of
from smoothscore.errors import InputError
from smoothscore.mixture import Centers
from smoothscore.report import write_text
from smoothscore.report.result import plain
from smoothscore.sampling.loop import Batch, batch_size_for, batches, check_count, per_image, report_failed
from smoothscore.sampling.plan import Plan
from smoothscore.sampling.sampleset import SampleSet, image_name

__all__ = ["Processes", "processes", "write_samples"]


@dataclass(frozen=True)
class Processes:
    """This process among those that work on one set."""

    rank: int = 0
    count: int = 1
    wait: Callable[[], None] = lambda: None


def processes() -> Processes:
    """Those of ``accelerate launch`` or ``torchrun``, or this one alone."""
    if int(os.environ.get("WORLD_SIZE", "1")) == 1:
        return Processes()
    import torch
    from accelerate import PartialState  # type: ignore[import-untyped]

    state = PartialState(cpu=not torch.cuda.is_available())
    return Processes(state.process_index, state.num_processes, state.wait_for_everyone)


def write_samples(
    made: Plan, n: int, out: str | Path, trajectory: bool = False, batch_size: int | None = None
) -> SampleSet:
    """Draw ``n`` images into a new folder of PNG files, or into a zip when ``out`` ends in ``.zip``.

    Args:
        made: what is drawn.
        n: number of images.
        out: the place; must not hold anything yet.
        trajectory: also write ``trajectory.npy``, (levels, n, *shape) float32, from noise to image.
        batch_size: as in :func:`draw`; a set that is continued keeps the one that it was begun with.

    Memory: a batch, whatever ``n``. What one image takes is written in the manifest: score, sampler, levels, seed,
    evaluations, version, and the fingerprint of the data where the score has one.

    Raises:
        InputError: ``out`` is taken or cannot be written, an unfinished set there was begun with other options, or the
            samples are no images.
    """
    check_count(n, batch_size)
    out = Path(out).expanduser()
    if len(made.score.shape) != 3 or made.score.shape[0] not in (1, 3):
        raise InputError(f"Samples of shape {tuple(made.score.shape)} are no images; draw them into memory.")
    if out.exists() and (out.suffix.lower() == ".zip" or not out.is_dir() or any(out.iterdir())):
        raise InputError(f"{out} exists already; remove it or choose another name.")
    here = processes()
    work = out.with_name(f".{out.name}.partial")
    try:
        if here.rank == 0:
            _begin(work, made, n, trajectory, batch_size or batch_size_for(made.score))
        here.wait()
        size = int(json.loads((work / "plan.json").read_text())["batch_size"])
        kept = _draw_missing(made, n, work, trajectory, size, here)
        here.wait()
        if here.rank == 0:
            _finish(work, out, made, n, size, kept)
        here.wait()
    except OSError as error:
        raise InputError(
            f"The set could not be written to {work} ({error.strerror or error}); finished batches are kept: make room "
            "and run the same command again."
        ) from error
    return SampleSet.load(out, kept)


def _begin(work: Path, made: Plan, n: int, trajectory: bool, batch_size: int) -> None:
    """Make the working folder, or check that the one there is of the same set."""
    asked = plain({"n": n, "trajectory": trajectory} | _setting(made))
    file = work / "plan.json"
    if file.exists():
        found = json.loads(file.read_text())
        found.pop("batch_size")
        if found != asked:
            wrong = next(name for name in {**found, **asked} if found.get(name) != asked.get(name))
            raise InputError(
                f"{work} holds an unfinished set with another {wrong}; finish it with its own options, or remove it."
            )
        return
    (work / "batches").mkdir(parents=True, exist_ok=True)
    if trajectory:
        shape = (len(made.walked), n, *made.score.shape)
        np.lib.format.open_memmap(work / "trajectory.npy", "w+", dtype=np.float32, shape=shape).flush()
        if hasattr(os, "posix_fallocate"):  # where the disk fills later, a mapped file kills the process without a word
            with open(work / "trajectory.npy", "r+b") as stream:
                os.posix_fallocate(stream.fileno(), 0, os.fstat(stream.fileno()).st_size)
    write_text(file, json.dumps(asked | {"batch_size": batch_size}))


def _setting(made: Plan) -> dict[str, object]:
    """What is asked for, with the fingerprint of the images that the score is made of, where it holds them."""
    for part in made.score.modules():
        if isinstance(part, Centers):
            data = part.images if part.images is not None else part.values
            return made.setting() | ({} if data is None else {"data": fingerprint(data)})
    return made.setting()


def _draw_missing(made: Plan, n: int, work: Path, trajectory: bool, size: int, here: Processes) -> int:
    """Draw this process's batches that are not there yet; the number of images that all processes found there."""
    starts = range(0, n, size)
    missing = {start for start in starts if not _record(work, start).exists()}
    here.wait()
    kept = n - sum(min(size, n - start) for start in missing)
    mine = [start for turn, start in enumerate(starts) if turn % here.count == here.rank and start in missing]
    paths = np.lib.format.open_memmap(work / "trajectory.npy", "r+") if trajectory else None
    total = sum(min(size, n - start) for start in mine) * len(made.walked)
    with progress.task("sampling", total=total) as advance:
        for start in mine:
            parts = list(batches(made, range(start, min(start + size, n)), trajectory, advance))
            for part in parts:
                _write_images(part, work)
                if paths is not None and part.trajectory is not None:
                    paths[:, part.start : part.start + len(part.images)] = part.trajectory.float().numpy()
            if paths is not None:
                paths.flush()
            failed = {number: what for part in parts for number, what in part.failed.items()}
            record = {"evaluations": sum(part.evaluations for part in parts), "failed": failed}
            write_text(_record(work, start), json.dumps(record))
    return kept


def _record(work: Path, start: int) -> Path:
    return work / "batches" / f"{start:08d}.json"


def _write_images(batch: Batch, work: Path) -> None:
    good = [row for row in range(len(batch.images)) if batch.start + row not in batch.failed]
    if not good:
        return
    for row, pixels in zip(good, to_images(batch.images[good]).take(range(len(good))), strict=True):
        file = work / image_name(batch.start + row)
        file.parent.mkdir(exist_ok=True)
        data = io.BytesIO()
        picture_of(pixels).save(data, "PNG")
        file.write_bytes(data.getvalue())


def _finish(work: Path, out: Path, made: Plan, n: int, size: int, kept: int) -> None:
    """Sum up the records, write the manifest, and give the set its name."""
    records = [json.loads(_record(work, start).read_text()) for start in range(0, n, size)]
    failed = {int(number): what for record in records for number, what in record["failed"].items()}
    evaluations = per_image(sum(record["evaluations"] for record in records), n)
    done = SampleSet(out, n, tuple(made.score.shape), evaluations, failed, _setting(made) | {"batch_size": size}, kept)
    done.save_json(work / "manifest.json")
    write_text(work / "dataset.json", json.dumps({"labels": None, "class_names": None}))
    finished = out.with_name(f".{out.name}.finished")
    if out.suffix.lower() == ".zip":
        with zipfile.ZipFile(finished, "w") as archive:
            for file in sorted(path for path in work.rglob("*") if path.is_file() and path.name != "plan.json"):
                if file.parent.name != "batches":
                    _pack(archive, file, file.relative_to(work).as_posix())
        finished.rename(out)
        shutil.rmtree(work)
    else:
        if out.exists():
            out.rmdir()
        shutil.rmtree(work / "batches")
        (work / "plan.json").unlink()
        work.rename(out)
    report_failed(failed, n)


def _pack(archive: zipfile.ZipFile, file: Path, name: str) -> None:
    """Add a file with a fixed date: equal sets are equal bytes. A large one is copied in pieces."""
    info = zipfile.ZipInfo(name)
    info.file_size = file.stat().st_size
    with file.open("rb") as source, archive.open(info, "w", force_zip64=info.file_size >= 2**31) as target:
        shutil.copyfileobj(source, target, 2**20)
