"""The audit as a command: exit codes, bad input, and what is left behind."""

import errno
import json
import os
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from smoothscore.data import load_images, write_images


@pytest.fixture(autouse=True)
def _empty_place(monkeypatch, tmp_path):
    monkeypatch.chdir(tmp_path)


@pytest.fixture
def sets(tmp_path) -> dict[str, Path]:
    """Folders: 300 training digits, 200 held-out ones, 60 fresh ones, and the same with 20 copies in them."""
    train, held_out, fresh = load_images("mnist-5k").split((300, 200, 60), seed=0)
    mixed = np.concatenate([train.take(range(20)), fresh.take(range(40))])
    made = {"train": train, "held-out": held_out, "fresh": fresh, "mixed": type(train).from_array(mixed)}
    return {name: write_images(images, tmp_path / name) for name, images in made.items()}


def test_fail_above_is_for_continuous_integration(run, sets) -> None:
    control = ("--train", sets["train"], "--held-out", sets["held-out"])
    code, out, _ = run("audit", sets["mixed"], *control, "--fail-above", 0.01, "--json", "a.json")
    assert code == 1
    assert "Failed: at least" in out
    found = json.loads(Path("a.json").read_text())
    assert found["excess"]["low"] > 0.01
    assert set(range(20)) <= set(found["flagged"])
    assert run("audit", sets["fresh"], *control, "--fail-above", 0.01)[0] == 0
    assert run("audit", sets["mixed"], *control, "--fail-above", 0.9)[0] == 0
    code, _, err = run("audit", sets["fresh"], *control, "--fail-above", 2)
    assert code == 2
    assert "--fail-above is 2" in err


def test_encoders_are_given_repeatedly(run, sets) -> None:
    code, out, _ = run("audit",
        sets["mixed"], "--train", sets["train"], "--encoder", "pca:10", "--encoder", "pca:20", "--no-tolerant",
        "--json", "a.json",
    )  # fmt: skip
    assert code == 0
    assert json.loads(Path("a.json").read_text())["setting"]["spaces"] == ["pixel", "pca:10", "pca:20"]
    assert "pca:10 space" in out


def test_a_broken_file_among_the_samples_is_listed(run, sets) -> None:
    some = sorted(sets["fresh"].rglob("*.png"))
    some[30].write_bytes(some[30].read_bytes()[:60])
    code, _, err = run("audit", sets["fresh"], "--train", sets["train"])
    assert code == 2
    assert "cannot be read" in err
    code, out, _ = run("audit", f"{sets['fresh']}?max_bad=0.1", "--train", sets["train"], "--no-tolerant")
    assert code == 0
    assert "flagged" in out
    more = sorted(sets["held-out"].rglob("*.png"))
    more[30].write_bytes(b"no picture")
    some[30].unlink()
    code, _, err = run(
        "audit", sets["fresh"], "--train", sets["train"], "--held-out", sets["held-out"], "--json", "a.json"
    )
    assert code == 0
    assert "1 of the 200 images" in err
    stored = json.loads(Path("a.json").read_text())["setting"]
    assert stored["skipped"]["held_out"] == 1
    assert more[30].name in stored["skipped_files"][0]


def test_other_sizes_and_modes_are_refused_in_one_sentence(run, sets, tmp_path) -> None:
    odd = tmp_path / "odd"
    odd.mkdir()
    for i in range(4):
        Image.new("RGB", (28, 28), (9, 9 * i, 9)).save(odd / f"{i}.png")
    code, out, err = run("audit", odd, "--train", sets["train"], "--html", "a.html")
    assert (code, out) == (2, "")
    assert err.count("Error: ") == 1
    assert "samples have shape (3, 28, 28)" in err
    assert not Path("a.html").exists()


def test_one_sample(run, sets) -> None:
    code, out, _ = run("audit", f"{sets['fresh']}?limit=1", "--train", sets["train"], "--held-out", sets["held-out"])
    assert code == 0
    assert "flagged" in out


def test_a_full_disk_leaves_the_old_report(run, sets, monkeypatch) -> None:
    Path("a.json").write_text("old")
    replace = os.replace

    def full(source, target, *rest, **more):
        if str(target).endswith("a.json"):
            raise OSError(errno.ENOSPC, "No space left on device")
        return replace(source, target, *rest, **more)

    monkeypatch.setattr(os, "replace", full)
    code, _, err = run("audit", sets["fresh"], "--train", sets["train"], "--json", "a.json")
    assert code == 2
    assert "No space left" in err
    assert Path("a.json").read_text() == "old"
    assert not list(Path().glob(".smoothscore-*"))
