"""The audit as a command, given what people give it by mistake."""

import json
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from smoothscore.data import ImageSet, load_images, write_images


@pytest.fixture(autouse=True)
def _empty_place(monkeypatch, tmp_path):
    monkeypatch.chdir(tmp_path)


@pytest.fixture
def sets(tmp_path) -> dict[str, Path]:
    """Folders: 120 training digits of 8 x 8 pixels, 80 held-out ones and 40 fresh ones."""
    parts = zip(("train", "held-out", "fresh"), load_images("digits").split((120, 80, 40), seed=0), strict=True)
    return {name: write_images(images, tmp_path / name) for name, images in parts}


def test_samples_that_are_the_training_files(run, sets) -> None:
    code, out, err = run("audit", sets["train"], "--train", sets["train"], "--held-out", sets["held-out"])
    assert code == 0
    assert "The samples are the training set itself" in err
    assert "120 of them identical" in out
    code, out, _ = run("audit", sets["train"], "--train", sets["train"], "--fail-above", 0.5)
    assert code == 1
    assert "Failed" in out


def test_a_held_out_set_equal_to_the_training_set(run, sets) -> None:
    code, out, err = run(
        "audit", sets["fresh"], "--train", sets["train"], "--held-out", sets["train"], "--html", "a.html"
    )
    assert (code, out) == (2, "")
    assert err.count("Error: ") == 1
    assert "Every held-out image is a training image" in err
    assert not Path("a.html").exists()


def test_ten_training_images(run, sets) -> None:
    few = f"{sets['train']}?limit=10"
    code, out, _ = run("audit", sets["fresh"], "--train", few, "--held-out", sets["held-out"])
    assert code == 0
    assert "flagged" in out
    code, out, _ = run("audit", sets["fresh"], "--train", few)
    assert code == 0
    assert "no control" in out
    code, _, err = run("audit", sets["fresh"], "--train", few, "--fail-above", 0.1)
    assert code == 2
    assert "--fail-above needs a control" in err


def test_one_sample_and_no_held_out_images(run, sets) -> None:
    code, out, _ = run("audit", f"{sets['fresh']}?limit=1", "--train", sets["train"])
    assert code == 0
    assert "0 at a false discovery rate of 5%" in out


def test_mixed_modes(run, sets) -> None:
    """Gray, color, palette and transparent files of one size: read as color or refused, in a sentence."""
    files = sorted(sets["fresh"].rglob("*.png"))
    for file, mode in zip(files, ("RGB", "RGBA", "P", "LA"), strict=False):
        with Image.open(file) as image:
            image.convert("RGB").convert(mode).save(file)
    code, out, err = run("audit", sets["fresh"], "--train", sets["train"])
    assert code == 2
    assert err.count("Error: ") == 1
    assert out == ""


def test_a_broken_file_in_the_middle_of_ten_thousand(run, tmp_path) -> None:
    """Skipped, named in the JSON file, and the others are audited."""
    pixels = np.random.default_rng(0).integers(0, 256, (10_000, 1, 4, 4), dtype=np.uint8)
    many = write_images(ImageSet.from_array(pixels), tmp_path / "many")
    train = write_images(ImageSet.from_array(pixels[:50]), tmp_path / "small")
    broken = sorted(many.rglob("*.png"))[5000]
    broken.write_bytes(broken.read_bytes()[:40])
    code, out, err = run("audit", many, "--train", train, "--no-tolerant", "--json", "a.json")
    assert code == 0
    assert "1 of the 10000 images" in err.replace(",", "")
    stored = json.loads(Path("a.json").read_text())
    assert stored["setting"]["images"]["samples"] == 9999
    assert broken.name in stored["setting"]["skipped_files"][0]
    assert "50 of them identical" in out


def test_an_unknown_choice_of_leaks(run, sets) -> None:
    code, _, err = run("audit", sets["fresh"], "--train", sets["train"], "--leaks", "all")
    assert code == 2
    assert "near" in err
