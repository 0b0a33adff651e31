"""Every odd training set through the verb and through the command: a result with plain warnings, or one sentence."""

import json
from pathlib import Path

import numpy as np
import pytest
import torch

from smoothscore import verbs, write_images
from smoothscore.data import ImageSet
from smoothscore.errors import DataWarning, InputError
from smoothscore.schedules import log_uniform


def noise(count: int, seed: int = 0) -> np.ndarray:
    return np.random.default_rng(seed).integers(0, 256, (count, 1, 6, 6), dtype=np.uint8)


def constant(count: int) -> np.ndarray:
    """Images of one gray each, all different."""
    return np.repeat(np.linspace(10, 240, count).astype(np.uint8), 36).reshape(count, 1, 6, 6)


SETS = {
    "one": (noise(1), None, "single training image"),
    "two": (noise(2), None, None),
    "identical": (np.repeat(noise(1), 4, axis=0), noise(3, 1), "3 training images repeat"),
    "identical, nothing held out": (np.repeat(noise(1), 4, axis=0), None, "3 training images repeat"),
    "leaking": (noise(20), np.concatenate([noise(10, 1), noise(2)]), "2 of 12 held-out images are training images"),
    "all held-out leaked": (noise(20), noise(3), "3 of 3 held-out images are training images"),
    "constant": (constant(12), constant(11), "held-out images are training images"),
    "range that misses": (noise(20), noise(9, 1), "may miss the danger zone"),
}
RANGES = {"range that misses": "0.01:0.1:3"}


@pytest.fixture(autouse=True)
def _empty_place(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    monkeypatch.chdir(tmp_path)


@pytest.mark.parametrize("name", SETS)
def test_odd_sets(name: str, run, tmp_path: Path) -> None:  # type: ignore[no-untyped-def]
    pixels, other, words = SETS[name]
    write_images(ImageSet.from_array(pixels), tmp_path / "train")
    arguments = ["diagnose", "train", "--noises", "5", "--near", "--sizes", "--json", "d.json", "--html", "d.html"]
    if other is not None:
        write_images(ImageSet.from_array(other), tmp_path / "other")
        arguments += ["--held-out", "other"]
    sigmas = RANGES.get(name)
    code, out, err = run(*arguments, "--sigmas", sigmas or "0.02:50:16")
    assert code == 0, err
    assert "smoothscore train train -o RUN" in out
    assert len(out.splitlines()) <= 25
    assert "Traceback" not in err
    assert json.loads(Path("d.json").read_text())["recommended"]["quality"]["method"] in ("gap", "conditional")
    page = Path("d.html").read_text()
    assert "nan" not in page.split("</style>")[1].replace("nano", "")
    if words is None:
        assert "Warning" not in err
    else:
        assert words in err
        assert 'class="warning"' in page
        levels = log_uniform(16, 0.02, 50) if sigmas is None else log_uniform(3, 0.01, 0.1)
        with pytest.warns(DataWarning, match=words):
            verbs.diagnose("train", None if other is None else "other", sigmas=levels, noises=5)


def test_leaked_images_are_named(run, tmp_path: Path) -> None:  # type: ignore[no-untyped-def]
    write_images(ImageSet.from_array(noise(9)), tmp_path / "train")
    mixed = ImageSet.from_array(np.concatenate([noise(5, 1), noise(1)]), names=[f"scan-{i}.png" for i in range(6)])
    write_images(mixed, tmp_path / "other")
    err = run("diagnose", "train", "--held-out", "other", "--noises", "5")[2]
    assert "scan-5.png" in err


def test_points_in_the_plane() -> None:
    points = torch.randn(40, 2, generator=torch.Generator().manual_seed(0)) / 3
    found = verbs.diagnose(points, noises=20, stable=True, sizes=True)
    assert found.sensitivity is None
    assert found.stability is not None
    assert found.page().html()
    with pytest.raises(InputError, match="near duplicates need images"):
        verbs.diagnose(points, noises=5, near=True)


def test_a_file_of_points(run) -> None:  # type: ignore[no-untyped-def]
    points = np.random.default_rng(0).normal(size=(60, 2)).astype(np.float32) / 3
    np.save("train.npy", points[:40])
    np.save("other.npy", points[40:])
    for score in ("empirical", "gaussian", "gmm"):
        options = "?components=2" if score == "gmm" else ""
        arguments = "diagnose", "train.npy", "--held-out", "other.npy", "--noises", "5", "--json", "d.json"
        arguments += ("--sigmas", "0.01:3:16")
        code, out, err = run(*arguments, "--score", f"{score}:train.npy{options}")
        assert code == 0, err
        assert "40 (points of 2 values)" in out
        assert "--network mlp" in out
    levels = log_uniform(16, 0.01, 3)
    arrays = verbs.diagnose(points[:40], points[40:], sigmas=levels, noises=5).posterior_weight.mean.tolist()
    assert json.loads(Path("d.json").read_text())["posterior_weight"]["mean"] == arrays
    assert "About 11.1% of independent points of 2 values pass for copies" in Path("d.json").read_text()
    for words, message in (
        (["diagnose", "train.npy", "--near"], "near duplicates need images"),
        (["dedup", "train.npy"], "is no set of images"),
        (["diagnose", "train.npy?class_=1"], "holds points, not images; leave class_ out"),
        (["diagnose", "train.npy", "--held-out", "digits"], "held-out images have shape"),
    ):
        code, _, err = run(*words)
        assert code == 2
        assert message in err
        assert "Traceback" not in err


@pytest.mark.parametrize(
    ("words", "message"),
    [
        (["--sigmas", "low:high:3"], "--sigmas low:high:3 are no noise levels"),
        (["--sigmas", "1,-2"], "zero, negative"),
        (["--weight-level", "1.5"], "weight_level is 1.5"),
        (["--noises", "0"], "noises is 0"),
        (["--images", "-3"], "images is -3"),
        (["--near", "--encoder", "vgg"], "no encoder 'vgg'"),
        (["--score", "empirical:train"], "pass held_out="),
    ],
)
def test_mistakes_are_one_sentence(words: list[str], message: str, run, tmp_path: Path) -> None:  # type: ignore[no-untyped-def]
    write_images(ImageSet.from_array(noise(10)), tmp_path / "train")
    code, _, err = run("diagnose", "train", *words)
    assert code == 2
    assert message in err
    assert "Traceback" not in err


def test_options_of_verb_and_command_agree() -> None:
    import inspect

    from smoothscore.cli.dedup import dedup
    from smoothscore.cli.diagnose import diagnose

    for command, verb in ((diagnose, verbs.diagnose), (dedup, verbs.dedup)):
        own = {"html", "json"}
        offered = {name: p.default for name, p in inspect.signature(command).parameters.items() if name not in own}
        assert offered == {name: p.default for name, p in inspect.signature(verb).parameters.items()}
