"""Writing: lossless, in order, atomic, and never over something."""

import json
import re
import zipfile
from pathlib import Path

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from hypothesis.extra import numpy as hnp

from smoothscore.data import ImageSet, load_images, to_images, write_images
from smoothscore.errors import InputError

PIXELS = np.random.default_rng(0).integers(0, 256, (12, 3, 5, 7), dtype=np.uint8)

names = st.text(st.sampled_from("ab1/.\\-_ é:*\n"), max_size=8)


@given(
    hnp.arrays(np.uint8, st.tuples(st.integers(1, 6), st.sampled_from([1, 3]), st.integers(1, 6), st.integers(1, 6))),
    st.booleans(),
    st.booleans(),
    st.data(),
)
@settings(max_examples=25, deadline=None)
def test_round_trip_whatever_the_names(
    tmp_path_factory: pytest.TempPathFactory,
    pixels: np.ndarray,
    labelled: bool,
    zipped: bool,
    data: st.DataObject,
) -> None:
    count = len(pixels)
    labels = np.arange(count)[::-1] * 3 - 1 if labelled else None
    given_names = data.draw(st.none() | st.lists(names, min_size=count, max_size=count))
    images = ImageSet.from_array(pixels, labels, given_names)
    out = write_images(images, tmp_path_factory.mktemp("out") / ("a.zip" if zipped else "a"))
    back = load_images(out)
    assert back.fingerprint == images.fingerprint
    assert (back.labels is None) == (labels is None)
    if labels is not None:
        np.testing.assert_array_equal(back.labels, labels)


@pytest.mark.parametrize("out", ["folder", "a.zip"])
def test_names_and_classes_stay_where_order_allows(tmp_path: Path, out: str) -> None:
    images = ImageSet.from_array(PIXELS, np.arange(12) % 2, [f"cls{i % 2}/{i:02d}.jpg" for i in range(12)])
    ordered = images[np.argsort(images.names)]
    ordered.class_names = ["cls0", "cls1"]
    back = load_images(write_images(ordered, tmp_path / out))
    assert back.names == [name.replace("jpg", "png") for name in ordered.names]
    assert back.class_names == ["cls0", "cls1"]
    shuffled = load_images(write_images(images, tmp_path / f"shuffled {out}"))
    assert shuffled.names[:2] == ["00000/img00000000.png", "00000/img00000001.png"]
    assert shuffled.fingerprint == images.fingerprint
    assert shuffled.labels.tolist() == images.labels.tolist()


def test_the_zip_is_what_edm_reads_and_equal_sets_give_equal_bytes(tmp_path: Path) -> None:
    images = ImageSet.from_array(PIXELS, np.arange(12))
    first, second = (write_images(images, tmp_path / name) for name in ("a.zip", "b.zip"))
    assert first.read_bytes() == second.read_bytes()
    with zipfile.ZipFile(first) as archive:
        listing = json.loads(archive.read("dataset.json"))
        assert dict(listing["labels"]) == {f"{i:06d}.png": i for i in range(12)}
        assert sorted(archive.namelist())[:-1] == [name for name, _ in listing["labels"]]


@pytest.mark.parametrize(
    "clash", [["A", "a"], ["a.png", "a.png/b"], ["a" * 150, "b"], ["../a", "b"], ["a.jpg", "a.png"]]
)
def test_names_that_would_clash_give_way_to_numbers(tmp_path: Path, clash: list[str]) -> None:
    images = ImageSet.from_array(PIXELS[:2], names=clash)
    assert load_images(write_images(images, tmp_path / "a")).names == [f"00000/img0000000{i}.png" for i in (0, 1)]


def test_a_tensor_is_rounded_as_to_images_does(tmp_path: Path) -> None:
    values = torch.rand(4, 1, 6, 6, generator=torch.Generator().manual_seed(0)) * 2.2 - 1.1
    assert load_images(write_images(values, tmp_path / "a")).fingerprint == to_images(values).fingerprint


def test_nothing_is_overwritten(tmp_path: Path) -> None:
    images = ImageSet.from_array(PIXELS)
    (tmp_path / "full").mkdir()
    (tmp_path / "full" / "mine.txt").write_text("mine")
    (tmp_path / "a.zip").write_text("mine")
    (tmp_path / "b.zip").mkdir()
    for out in ("full", "a.zip", "b.zip"):
        with pytest.raises(InputError, match=f"{re.escape(out)} exists already"):
            write_images(images, tmp_path / out)
    assert (tmp_path / "a.zip").read_text() == (tmp_path / "full" / "mine.txt").read_text() == "mine"
    (tmp_path / "empty").mkdir()
    assert len(load_images(write_images(images, tmp_path / "empty"))) == 12
    assert len(load_images(write_images(images, tmp_path / "new" / "deep"))) == 12


@pytest.mark.parametrize("out", ["folder", "a.zip"])
def test_a_failure_half_way_leaves_nothing(tmp_path: Path, out: str, monkeypatch: pytest.MonkeyPatch) -> None:
    calls = iter(range(5))
    real = write_images.__globals__["picture_of"]
    monkeypatch.setitem(write_images.__globals__, "picture_of", lambda pixels: (next(calls), real(pixels))[1])
    with pytest.raises(RuntimeError):
        write_images(ImageSet.from_array(PIXELS), tmp_path / out)
    assert list(tmp_path.iterdir()) == []


def test_two_channels_are_refused(tmp_path: Path) -> None:
    with pytest.raises(InputError, match="2 channels"):
        write_images(ImageSet.from_array(PIXELS[:, :2]), tmp_path / "a")
