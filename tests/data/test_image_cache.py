"""The cache: warm equals cold, damage is mended, any change is seen, and two processes may build at once."""

import os
import subprocess
import sys
import time
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from smoothscore.data import load_images
from smoothscore.data.cache import cache_folder
from smoothscore.errors import InputError

PIXELS = np.random.default_rng(0).integers(0, 256, (200, 3, 16, 16), dtype=np.uint8)


@pytest.fixture
def cache(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    monkeypatch.setenv("SMOOTHSCORE_CACHE", str(tmp_path / "cache"))
    return cache_folder()


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    root = tmp_path / "images"
    for i, pixels in enumerate(PIXELS):
        (root / f"{i % 4}").mkdir(parents=True, exist_ok=True)
        Image.fromarray(pixels.transpose(1, 2, 0)).save(root / f"{i % 4}" / f"{i:03d}.png")
    return root


def only_entry(cache: Path) -> Path:
    (entry,) = cache.iterdir()
    return entry


def test_warm_equals_cold_without_reading_the_images(
    cache: Path, folder: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    cold = load_images(folder)
    monkeypatch.setattr("smoothscore.data.files.decode", None)
    warm = load_images(folder)
    for kept in ("fingerprint", "names", "class_names", "notes", "skipped", "shape"):
        assert getattr(warm, kept) == getattr(cold, kept)
    np.testing.assert_array_equal(warm.labels, cold.labels)
    np.testing.assert_array_equal(warm.read(0, 200), cold.read(0, 200))
    np.testing.assert_array_equal(warm.take([0]), PIXELS[:1])
    assert warm.fingerprint == warm[:].fingerprint  # the stored one is that of the pixels


def test_resolution_and_subsets_share_or_part_as_they_should(cache: Path, folder: Path) -> None:
    load_images(folder)
    load_images(folder, limit=10, class_="2")
    assert len(list(cache.iterdir())) == 1
    assert load_images(folder, resolution=8).shape == (3, 8, 8)
    assert len(list(cache.iterdir())) == 2


def test_writing_into_what_was_read_does_not_reach_the_disk(cache: Path, folder: Path) -> None:
    before = (only_entry(cache) if load_images(folder) else cache).joinpath("pixels").read_bytes()
    load_images(folder).read(0, 5)[:] = 0
    assert (only_entry(cache) / "pixels").read_bytes() == before


DAMAGE = {
    "truncated pixels": lambda entry: os.truncate(entry / "pixels", 1000),
    "no pixels": lambda entry: (entry / "pixels").unlink(),
    "other pixels": lambda entry: (entry / "pixels").write_bytes(bytes(PIXELS.size)),
    "one wrong byte": lambda entry: flip(entry / "pixels", 5000),
    "truncated index": lambda entry: os.truncate(entry / "index", 300),
    "empty index": lambda entry: os.truncate(entry / "index", 0),
    "no index": lambda entry: (entry / "index").unlink(),
    "a wrong byte in the index": lambda entry: flip(entry / "index", 400),
    "binary index": lambda entry: (entry / "index").write_bytes(b"\xff\xfe\n\x00"),
}


def flip(path: Path, position: int) -> None:
    with path.open("r+b") as file:
        file.seek(position)
        byte = file.read(1)[0]
        file.seek(position)
        file.write(bytes([byte ^ 1]))


@pytest.mark.parametrize("damage", list(DAMAGE))
def test_a_damaged_entry_is_built_anew(cache: Path, folder: Path, damage: str) -> None:
    fingerprint = load_images(folder).fingerprint
    DAMAGE[damage](only_entry(cache))
    images = load_images(folder)
    assert images.fingerprint == images[:].fingerprint == fingerprint
    np.testing.assert_array_equal(images.labels, np.repeat(np.arange(4), 50))
    assert only_entry(cache).name


def test_a_copied_cache_is_used_after_a_check(cache: Path, folder: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    images = load_images(folder)
    os.utime(only_entry(cache) / "pixels", ns=(1, 1))
    monkeypatch.setattr("smoothscore.data.files.decode", None)
    assert load_images(folder).fingerprint == images.fingerprint


def test_every_change_of_the_source_is_seen(cache: Path, folder: Path) -> None:
    seen = [load_images(folder).fingerprint]
    victim = folder / "0" / "000.png"
    about = victim.stat()
    time.sleep(0.02)  # the clock of the file system ticks
    Image.fromarray(255 - PIXELS[0].transpose(1, 2, 0)).save(victim)
    os.utime(victim, ns=(about.st_atime_ns, about.st_mtime_ns))  # as copying tools do
    seen.append(load_images(folder).fingerprint)
    victim.rename(folder / "3" / "999.png")
    seen.append(load_images(folder).fingerprint)
    (folder / "3" / "999.png").unlink()
    seen.append(load_images(folder).fingerprint)
    assert len(set(seen)) == 4
    (folder / "dataset.json").write_text('{"labels": null}')
    assert load_images(folder).labels is None


def test_a_failed_build_leaves_nothing(cache: Path, folder: Path) -> None:
    Image.fromarray(PIXELS[0].transpose(1, 2, 0)[:8]).save(folder / "3" / "zzz.png")
    with pytest.raises(InputError, match="mixes sizes"):
        load_images(folder)
    assert list(cache.iterdir()) == []


def test_leftovers_of_killed_processes_are_swept_after_a_day(cache: Path, folder: Path) -> None:
    load_images(folder)
    entry = only_entry(cache)
    old, young = cache / f"{entry.name}.old", cache / f"{entry.name}.young"
    for left in (old, young):
        left.mkdir()
        (left / "pixels").touch()
    two_days_ago = time.time() - 2 * 86_400
    os.utime(old, (two_days_ago, two_days_ago))
    (entry / "index").unlink()
    load_images(folder)
    assert not old.exists()
    assert young.exists()


def test_a_cache_that_cannot_be_written_is_told(tmp_path: Path, folder: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    (tmp_path / "file").touch()
    monkeypatch.setenv("SMOOTHSCORE_CACHE", str(tmp_path / "file"))
    with pytest.raises(InputError, match="SMOOTHSCORE_CACHE"):
        load_images(folder)


RACER = """
import sys, time
from pathlib import Path
from smoothscore.data import load_images
root, me = Path(sys.argv[1]), sys.argv[2]
for turn in "12":
    (root / f"ready {turn} {me}").touch()
    while not (root / f"go {turn}").exists():
        time.sleep(0.0005)
    images = load_images(root / "images")
    print(images.fingerprint, images[:].fingerprint, len(images))
"""


def test_two_processes_may_build_at_once(tmp_path: Path, cache: Path, folder: Path) -> None:
    racers = [
        subprocess.Popen([sys.executable, "-c", RACER, str(tmp_path), me], stdout=subprocess.PIPE, text=True)
        for me in "ab"
    ]
    for turn in "12":
        while not all((tmp_path / f"ready {turn} {me}").exists() for me in "ab"):
            assert all(racer.poll() is None for racer in racers)
            time.sleep(0.01)
        if turn == "2":  # the first time nothing is there, the second time something damaged
            DAMAGE["one wrong byte"](only_entry(cache))
        (tmp_path / f"go {turn}").touch()
    told = [racer.communicate(timeout=300)[0].splitlines() for racer in racers]
    assert [racer.returncode for racer in racers] == [0, 0]
    mine = load_images(folder)
    assert told[0] == told[1] == [f"{mine.fingerprint} {mine[:].fingerprint} 200"] * 2
    assert only_entry(cache).is_dir()
