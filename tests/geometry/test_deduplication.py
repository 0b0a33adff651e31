"""The set without its repeated images, as a call, a verb and a command."""

import json
from pathlib import Path

import numpy as np
import pytest
import torch

from smoothscore import cli, load_images, verbs, write_images
from smoothscore.data import ImageSet
from smoothscore.errors import DataWarning, InputError
from smoothscore.geometry import deduplicate, near_duplicates


def scenes(count: int, seed: int = 0) -> np.ndarray:
    """Smooth random images, 12 x 12, that vary in 8 ways."""
    rng = np.random.default_rng(seed)
    grid = np.linspace(0, np.pi, 12)
    orders = [(0, 1), (1, 0), (1, 1), (2, 1), (1, 2), (2, 0), (0, 2), (2, 2)]
    waves = [np.cos(a * grid)[:, None] * np.cos(b * grid + b) for a, b in orders]
    values = np.tensordot(rng.normal(size=(count, 8)), np.array(waves), 1)
    return np.clip(128 + 30 * values, 0, 255).astype(np.uint8)[:, None]


@pytest.fixture
def pixels() -> np.ndarray:
    """100 scenes; then 3 and 7 again, 7 once more, and 42 mirrored with a little noise."""
    some = scenes(100)
    noise = np.random.default_rng(5).integers(-1, 2, some[42].shape)
    mirrored = np.clip(some[42, :, :, ::-1].astype(int) + noise, 0, 255).astype(np.uint8)
    return np.concatenate([some, some[[3, 7, 7]], mirrored[None]])


def test_exact_copies_go(pixels: np.ndarray) -> None:
    found = deduplicate(ImageSet.from_array(pixels))
    assert found.duplicates == [[7, 101, 102], [3, 100]]
    assert found.removed == ["000100", "000101", "000102"]
    np.testing.assert_array_equal(found.clean.read(0, 101), pixels[[*range(100), 103]])
    assert ("groups of near duplicates", "not looked for") in found.summary()


def test_near_copies_go_too(pixels: np.ndarray) -> None:
    found = deduplicate(ImageSet.from_array(pixels), near=True)
    assert [group.indices for group in found.near] == [[42, 103]]
    assert len(found.clean) == 100
    assert "p-value" in found.page().html()
    without = deduplicate(ImageSet.from_array(pixels), near=True, mirror=False)
    assert without.near == []


def test_another_space_adds_its_groups(pixels: np.ndarray) -> None:
    images = ImageSet.from_array(pixels)
    groups = near_duplicates(images, encoder="pca:6")
    assert [42, 103] in [group.indices for group in groups]
    assert {group.space for group in groups} == {"pca:6"}
    found = deduplicate(images, near=True, encoder="pca:6")
    assert {group.space for group in found.near} == {"pixel", "pca:6"}
    assert len(found.clean) == 100


def test_nothing_to_remove() -> None:
    images = ImageSet.from_array(scenes(20))
    found = deduplicate(images, near=True)
    assert found.removed == []
    assert found.clean.fingerprint == images.fingerprint
    assert found.page().html()


def test_other_labels_are_reported(pixels: np.ndarray) -> None:
    labels = np.arange(len(pixels)) % 2
    labels[100] = 1 - labels[3]
    with pytest.warns(DataWarning, match="1 removed images have another label"):
        deduplicate(ImageSet.from_array(pixels[:101], labels=labels[:101]))


def test_the_command_writes_names_labels_and_pixels(
    pixels: np.ndarray, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    labels = np.zeros(len(pixels), dtype=int)
    labels[:50] = 1
    labels[[100, 101, 102]] = 1
    names = [f"scan-{i:03}.png" for i in range(len(pixels))]
    source = write_images(ImageSet.from_array(pixels, labels=labels, names=names), tmp_path / "all")
    report = tmp_path / "groups.html"
    for out in ("clean", "clean.zip"):
        words = ["dedup", str(source), "-o", str(tmp_path / out), "--json", str(tmp_path / "d.json")]
        monkeypatch.setattr("sys.argv", ["smoothscore", *words, "--html", str(report)])
        with pytest.raises(SystemExit) as ended:
            cli.main()
        assert not ended.value.code
        clean = load_images(tmp_path / out)
        assert clean.names == [name for i, name in enumerate(names) if i not in (100, 101, 102)]
        np.testing.assert_array_equal(clean.read(0, len(clean)), np.delete(pixels, [100, 101, 102], axis=0))
        assert clean.labels is not None
        np.testing.assert_array_equal(clean.labels, np.delete(labels, [100, 101, 102]))
    assert "scan-100.png" in capsys.readouterr().out
    assert json.loads((tmp_path / "d.json").read_text())["removed"] == ["scan-100.png", "scan-101.png", "scan-102.png"]
    assert "3 equal images" in report.read_text()
    assert verbs.dedup(source).removed == ["scan-100.png", "scan-101.png", "scan-102.png"]


def test_an_existing_folder_is_left_alone(tmp_path: Path) -> None:
    with pytest.raises(InputError, match="exists already"):
        verbs.dedup(torch.zeros(3, 1, 12, 12), tmp_path)
