"""The command line as a user meets it: help, results, files, and one sentence for every mistake."""

import io
import json
import subprocess
import sys
import zipfile
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

import smoothscore as ss


@pytest.fixture(autouse=True)
def _empty_place(monkeypatch, tmp_path):
    monkeypatch.chdir(tmp_path)


@pytest.fixture
def pictures(tmp_path) -> Path:
    """A folder of eight small random pictures."""
    rng = np.random.default_rng(0)
    folder = tmp_path / "pictures"
    folder.mkdir()
    for i in range(8):
        Image.fromarray(rng.integers(0, 256, (6, 5, 3), dtype=np.uint8)).save(folder / f"{i}.png")
    return folder


def test_version_and_help(run):
    assert run("--version") == (0, f"smoothscore {ss.__version__}\n", "")
    code, out, _ = run("--help")
    assert code == 0
    for verb in ("diagnose", "sample", "audit", "demo"):
        assert verb in out
        assert "Usage: smoothscore " + verb in run(verb, "--help")[1]


def test_python_m_is_the_command():
    done = subprocess.run([sys.executable, "-m", "smoothscore", "--version"], capture_output=True, text=True)
    assert done.stdout == f"smoothscore {ss.__version__}\n"


def test_sample_audit_and_diagnose_write_what_python_gives(run, pictures, tmp_path):
    code, out, _ = run(
        "sample", f"empirical:{pictures}", "-n", 5, "-o", "out", "--steps", 6, "--seed", 3, "--grid", "grid.png"
    )
    assert code == 0
    assert "11 evaluations" in out
    expected = ss.sample(ss.load_score(f"empirical:{pictures}"), 5, steps=6, seed=3)
    written = ss.load_images("out")
    assert np.array_equal(written.take(range(5)), ss.to_images(expected.images).take(range(5)))
    assert Image.open("grid.png").format == "PNG"

    code, out, _ = run("audit", "out", "--train", pictures, "--html", "a.html", "--json", "a.json")
    assert (code, "a.html" in out) == (0, True)
    numbers = json.loads(Path("a.json").read_text())
    assert numbers["memorized_fraction"]["value"] == ss.audit(written, pictures).memorized_fraction
    assert numbers["smoothscore"] == ss.__version__
    assert "<html" in Path("a.html").read_text()

    code, out, _ = run("diagnose", pictures, "--json", "d.json")
    assert code == 0
    sigmas = json.loads(Path("d.json").read_text())["sigmas"]
    assert sigmas == pytest.approx(list(ss.diagnose(pictures).sigmas))
    assert not list(tmp_path.glob(".*"))


def _jpeg(size: int = 8) -> bytes:
    stream = io.BytesIO()
    Image.fromarray(np.arange(size * size, dtype=np.uint8).reshape(size, size)).save(stream, "JPEG")
    return stream.getvalue()


def _empty_folder(at: Path) -> None:
    at.mkdir()


def _text_folder(at: Path) -> None:
    at.mkdir()
    (at / "notes.txt").write_text("no image")


def _truncated_jpeg(at: Path) -> None:
    at.mkdir()
    (at / "half.jpg").write_bytes(_jpeg(64)[:300])


def _climbing_zip(at: Path) -> None:
    with zipfile.ZipFile(at, "w") as archive:
        archive.writestr("../outside.jpg", _jpeg())


def _nan_array(at: Path) -> None:
    with open(at, "wb") as file:
        np.save(file, np.full((3, 4, 4, 1), np.nan, dtype=np.float32))


def _wrong_labels(at: Path) -> None:
    with open(at, "wb") as file:
        np.savez(file, images=np.zeros((3, 4, 4, 1), dtype=np.uint8), labels=np.arange(5))


@pytest.mark.parametrize(
    "make", [None, _empty_folder, _text_folder, _truncated_jpeg, _climbing_zip, _nan_array, _wrong_labels]
)
def test_bad_data_is_one_sentence_and_leaves_nothing(run, tmp_path, make):
    bad = tmp_path / "bad-source"
    if make:
        make(bad)
    code, out, err = run("diagnose", bad, "--html", "page.html", "--json", "numbers.json")
    assert code == 2
    assert out == ""
    sentences = [line for line in err.splitlines() if line.startswith("Error: ")]
    assert len(sentences) == 1
    assert "bad-source" in sentences[0] or "half.jpg" in sentences[0]
    assert "Traceback" not in err
    assert not (tmp_path / "page.html").exists()
    assert not (tmp_path / "numbers.json").exists()


@pytest.mark.parametrize(
    ("arguments", "words"),
    [
        (["sample", "empirical:pictures", "-n", 0, "-o", "out"], "at least 1"),
        (["sample", "empirical:pictures", "-n", 2, "-o", "out", "--sampler", "magic"], "no sampler 'magic'"),
        (["sample", "empirical:pictures", "-n", 2, "-o", "out", "--steps", 0], "steps is 0"),
        (["sample", "nonsense:pictures", "-n", 2, "-o", "out"], "names no score"),
        (
            ["sample", "empirical:pictures", "-n", 2, "-o", "out", "--grid", "none/grid.png"],
            "folder none does not exist",
        ),
        (["sample", "pictures", "-n", 2, "-o", "out"], "no folder of a training run"),
        (["sample", "mollified:pictures", "-n", 2, "-o", "out"], "no bandwidth"),
        (["sample", "mollified:pictures?bandwidth=wide", "-n", 2, "-o", "out"], "bandwidth=wide"),
        (["sample", "gmm:pictures?componens=3", "-n", 2, "-o", "out"], "'componens'"),
        (["diagnose", "pictures?limit=many"], "limit=many"),
        (["audit", "pictures", "--train", "mnist-5k?limit=10"], "shape"),
        (["audit", "pictures", "--train", "pictures", "--threshold", 0], "threshold is 0"),
        (["audit", "pictures", "--train", "pictures", "--encoder", "magic"], "magic"),
    ],
)
def test_bad_arguments_are_one_sentence_and_leave_nothing(run, pictures, tmp_path, arguments, words):
    code, out, err = run(*arguments)
    assert code == 2
    assert out == ""
    assert err.count("Error: ") == 1
    assert words in err
    assert not (tmp_path / "out").exists()


def test_debug_shows_the_traceback_wherever_it_stands(run):
    for arguments in (["--debug", "diagnose", "missing"], ["diagnose", "missing", "--debug"]):
        with pytest.raises(ss.InputError, match="missing"):
            run(*arguments)


def test_an_occupied_place_is_not_overwritten(run, pictures):
    before = sorted(path.name for path in pictures.iterdir())
    code, _, err = run("sample", f"empirical:{pictures}", "-n", 2, "-o", pictures)
    assert code == 2
    assert "Error: " in err
    assert sorted(path.name for path in pictures.iterdir()) == before


def test_leaked_held_out_images_are_said(run, pictures):
    code, _, err = run("audit", pictures, "--train", f"{pictures}?limit=6", "--held-out", pictures)
    assert code == 0
    assert "Warning: " in err
    assert "held-out images are training images" in err
