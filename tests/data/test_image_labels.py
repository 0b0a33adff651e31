"""Folders and zips of image files: order, labels, splits, and what counts as an image."""

import json
import os
from pathlib import Path

import numpy as np
import pytest
from image_bytes import COLOR, encoded, folder_of, planes, zip_of

from smoothscore.data import ImageSet, load_images
from smoothscore.errors import InputError


@pytest.mark.parametrize("zipped", [False, True], ids=["folder", "zip"])
@pytest.mark.parametrize("root", ["", "wrapped/in/"])
def test_subfolders_are_classes(tmp_path: Path, zipped: bool, root: str) -> None:
    files = {f"{root}{name}": encoded(COLOR) for name in ("dog/2.png", "cat/x/1.png", "dog/1.png", "ant/9.png")}
    files |= {f"{root}dog/notes.txt": b"hello", "__MACOSX/cat/._1.png": b"x", ".hidden/a.png": b"x"}
    source = zip_of(tmp_path / "a.zip", files) if zipped else folder_of(tmp_path / "a", files)
    images = load_images(source)
    assert images.names == [f"{root}{name}" for name in ("ant/9.png", "cat/x/1.png", "dog/1.png", "dog/2.png")]
    assert images.labels.tolist() == [0, 1, 2, 2]
    assert images.class_names == ["ant", "cat", "dog"]
    assert load_images(source, class_="dog").names == [f"{root}dog/1.png", f"{root}dog/2.png"]
    assert load_images(source, class_=2).names == load_images(source, class_="2").names == images.names[2:]
    for wrong in (3, "bird"):
        with pytest.raises(InputError, match="choose one of ant, cat, dog"):
            load_images(source, class_=wrong)


def test_a_class_called_by_a_number_is_found_by_that_name(tmp_path: Path) -> None:
    folder_of(tmp_path, {f"{name}/a.png": encoded(COLOR) for name in ("1", "10", "2")})
    assert load_images(tmp_path, class_="10").names == ["10/a.png"]
    assert load_images(tmp_path, class_=2).names == ["2/a.png"]
    assert load_images(tmp_path, class_=1).names == ["10/a.png"]


def test_images_beside_each_other_have_no_labels(tmp_path: Path) -> None:
    folder_of(tmp_path, {"b.png": encoded(COLOR), "a.png": encoded(COLOR), "more/c.png": encoded(COLOR)})
    images = load_images(tmp_path)
    assert images.names == ["a.png", "b.png", "more/c.png"]
    assert images.labels is None
    with pytest.raises(InputError, match="no labels"):
        load_images(tmp_path, class_=0)


@pytest.mark.parametrize("zipped", [False, True], ids=["folder", "zip"])
def test_train_and_test_are_splits(tmp_path: Path, zipped: bool) -> None:
    names = ["Train/cat/1.png", "Train/dog/1.png", "test/cat/1.png", "test/dog/2.png", "test/dog/3.png"]
    files = {name: encoded(COLOR) for name in names}
    source = zip_of(tmp_path / "a.zip", files) if zipped else folder_of(tmp_path / "a", files)
    with pytest.raises(InputError, match="several splits; choose one of split='test', split='train'"):
        load_images(source)
    with pytest.raises(InputError, match="no split 'val'"):
        load_images(source, split="val")
    images = load_images(source, split="test")
    assert images.names == names[2:]
    assert images.labels.tolist() == [0, 1, 1]
    assert images.source.endswith("split test")
    assert load_images(source, split="train").names == names[:2]


def test_a_split_that_is_not_there_is_refused(tmp_path: Path) -> None:
    with pytest.raises(InputError, match="has no splits"):
        load_images(folder_of(tmp_path, {"a.png": encoded(COLOR)}), split="test")


LISTED = {"00000/a.png": encoded(COLOR), "00001/b.png": encoded(COLOR)}


@pytest.mark.parametrize("zipped", [False, True], ids=["folder", "zip"])
def test_dataset_json_outranks_folders(tmp_path: Path, zipped: bool) -> None:
    def load(listing: object, name: str) -> ImageSet:
        files = LISTED | {"dataset.json": listing if isinstance(listing, bytes) else json.dumps(listing).encode()}
        path = tmp_path / name
        return load_images(zip_of(path, files) if zipped else folder_of(path, files))

    assert load({"labels": None}, "none").labels is None
    listed = load({"labels": [["00001/b.png", 7], ["00000\\a.png", -1]]}, "listed")
    assert listed.labels.tolist() == [-1, 7]
    for wrong in ([["00000/a.png", 7]], [["00000/a.png", 7], ["00001/b.png", 0.5]]):
        with pytest.raises(InputError, match=r"no integer label for 1 of the 2 images \(00001/b\.png"):
            load({"labels": wrong}, f"wrong{len(wrong)}")
    with pytest.raises(InputError, match="not JSON"):
        load(b"{", "broken")
    with pytest.raises(InputError, match='has no "labels"'):
        load([], "list")
    with pytest.raises(InputError, match="pairs"):
        load({"labels": [1, 2]}, "pairs")


def test_content_decides_not_the_name(tmp_path: Path) -> None:
    files = {"photo.jpg": encoded(COLOR), "0f3a": encoded(COLOR), "README": b"text", "b.txt": encoded(COLOR)}
    images = load_images(folder_of(tmp_path / "a", files))
    assert images.names == ["0f3a", "photo.jpg"]
    archive = zip_of(tmp_path / "images.data", {"a.png": encoded(COLOR)})
    np.testing.assert_array_equal(load_images(archive)[0], planes(COLOR))
    picture = tmp_path / "one"
    picture.write_bytes(encoded(COLOR))
    assert len(load_images(picture)) == 1


def test_links_are_followed_once(tmp_path: Path) -> None:
    folder_of(tmp_path, {"real/cat/a.png": encoded(COLOR), "real/dog/b.png": encoded(COLOR)})
    (tmp_path / "set").mkdir()
    for name in ("cat", "dog"):
        os.symlink(tmp_path / "real" / name, tmp_path / "set" / name)
    os.symlink(tmp_path / "set", tmp_path / "set" / "cat" / "loop")
    assert load_images(tmp_path / "set").names == ["cat/a.png", "dog/b.png"]
