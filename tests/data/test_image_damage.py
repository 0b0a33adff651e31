"""Damaged image files are skipped and told; archives that attack are refused unread."""

import io
import os
import re
import struct
import warnings
import zipfile
import zlib
from pathlib import Path

import numpy as np
import pytest
from image_bytes import COLOR, GRAY, JPEG, encoded, folder_of, planes, png16, zip_of
from PIL import Image

from smoothscore.data import load_images
from smoothscore.errors import DataWarning, InputError


def damaged_folder(root: Path, good: int) -> Path:
    files = {f"{i:03d}.jpg": JPEG for i in range(good)} | {"050x.jpg": JPEG[: len(JPEG) // 2]}
    return folder_of(root, files)


@pytest.mark.parametrize("threads", [False, True])
def test_an_unreadable_image_is_skipped_counted_and_listed(
    tmp_path: Path, threads: bool, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("smoothscore.data.files.THREADED_BYTES", 0 if threads else 10**9)
    monkeypatch.setattr("smoothscore.data.files.BLOCK_BYTES", 5 * 64 * 64 * 3)
    damaged_folder(tmp_path, good=100)
    for _ in ("cold", "from the cache"):
        with pytest.warns(DataWarning, match=r"1 of the 101 images .* left out \(050x\.jpg: .*truncated"):
            images = load_images(tmp_path)
        assert len(images) == 100
        assert images.names == [f"{i:03d}.jpg" for i in range(100)]
        assert len(images.skipped) == 1
        assert images.skipped[0].startswith("050x.jpg")
    with Image.open(io.BytesIO(JPEG)) as picture:
        expected = planes(np.asarray(picture))
    assert (images.read(0, 100) == expected).all()


def test_labels_stay_with_their_images_when_one_is_skipped(tmp_path: Path) -> None:
    files = {"a/1.png": encoded(COLOR), "b/1.png": b"nothing", "c/1.png": encoded(255 - COLOR)}
    with pytest.warns(DataWarning):
        images = load_images(folder_of(tmp_path, files), max_bad=0.5)
    assert images.labels.tolist() == [0, 2]
    np.testing.assert_array_equal(images[1], planes(255 - COLOR))


def test_too_many_unreadable_images_fail(tmp_path: Path) -> None:
    damaged_folder(tmp_path, good=20)
    with pytest.raises(InputError, match=r"1 of the 21 images.*max_bad"):
        load_images(tmp_path)
    with warnings.catch_warnings(record=True) as caught:
        warnings.simplefilter("always", DataWarning)
        assert len(load_images(tmp_path, max_bad=0.05)) == 20
    assert len(caught) == 1


@pytest.mark.parametrize("compression", [zipfile.ZIP_STORED, zipfile.ZIP_DEFLATED])
def test_a_zip_member_with_a_wrong_checksum_is_skipped(tmp_path: Path, compression: int) -> None:
    data = encoded(COLOR)
    path = zip_of(tmp_path / "a.zip", {f"{i}.png": data for i in range(3)}, compression)
    with zipfile.ZipFile(path) as archive:
        middle = archive.infolist()[1].header_offset + 30 + len("1.png") + 60
    raw = bytearray(path.read_bytes())
    raw[middle : middle + 8] = b"\xff" * 8
    path.write_bytes(raw)
    with pytest.warns(DataWarning, match=r"1\.png"):
        assert load_images(path, max_bad=0.5).names == ["0.png", "2.png"]


def test_damage_before_gray_images_does_not_make_them_color(tmp_path: Path) -> None:
    path = zip_of(tmp_path / "a.zip", {"0.png": b"text", "1.png": encoded(GRAY), "2.png": encoded(COLOR)})
    path.write_bytes(path.read_bytes().replace(b"text", b"tent"))  # the checksum of 0.png is wrong
    with pytest.warns(DataWarning, match=r"0\.png"):
        assert load_images(path, max_bad=0.5).shape == (3, 6, 8)
    gray = folder_of(tmp_path / "gray", {"0.png": b"text", "1.png": encoded(GRAY)})
    with pytest.warns(DataWarning, match=r"0\.png"):
        assert load_images(gray, max_bad=0.5).shape == (1, 6, 8)


def test_a_listing_that_cannot_be_read(tmp_path: Path) -> None:
    path = zip_of(tmp_path / "a.zip", {"a.png": encoded(COLOR), "dataset.json": b'{"labels": null}'})
    path.write_bytes(path.read_bytes().replace(b"null", b"nuli"))
    with pytest.raises(InputError, match=r"dataset\.json in .* cannot be read"):
        load_images(path)


def test_a_link_to_nothing_is_unreadable(tmp_path: Path) -> None:
    folder_of(tmp_path, {"a.png": encoded(COLOR)})
    os.symlink(tmp_path / "nowhere", tmp_path / "b.png")
    with pytest.warns(DataWarning, match=r"b\.png"):
        assert len(load_images(tmp_path, max_bad=0.5)) == 1


def test_all_unreadable(tmp_path: Path) -> None:
    with pytest.raises(InputError, match=r"None of the 2 images .*a\.jpg: no image of a known kind"):
        load_images(folder_of(tmp_path, {"a.jpg": b"text", "b.jpg": b""}), max_bad=1.0)


@pytest.mark.parametrize("files", [{}, {"a.txt": b"hello", "b.md": b"# hello"}], ids=["empty", "texts"])
def test_nothing_there(tmp_path: Path, files: dict[str, bytes]) -> None:
    (tmp_path / "a").mkdir()
    with pytest.raises(InputError, match="holds no images"):
        load_images(folder_of(tmp_path / "a", files))
    with pytest.raises(InputError, match="holds no images"):
        load_images(zip_of(tmp_path / "a.zip", files))


def test_missing_path(tmp_path: Path) -> None:
    with pytest.raises(InputError, match=r"There is no file or folder .*nowhere") as caught:
        load_images(tmp_path / "nowhere")
    assert "\n" not in str(caught.value)


def test_a_text_or_a_broken_zip_is_no_image_file(tmp_path: Path) -> None:
    files = {"a.zip": b"PK\x03\x04 and no more", "a.txt": b"hello", "empty": b"", "a.tar.gz": b"\x1f\x8b\x08junk"}
    folder_of(tmp_path, files)
    for name in files:
        with pytest.raises(InputError, match=r"damaged zip|none of the files"):
            load_images(tmp_path / name)


@pytest.mark.parametrize("name", ["../a.png", "b/../../a.png", "/etc/a.png", "C:/a.png", "..\\a.png"])
def test_zip_names_that_leave_the_zip_are_refused(tmp_path: Path, name: str) -> None:
    path = zip_of(tmp_path / "a.zip", {"good.png": encoded(COLOR), name: encoded(COLOR)})
    with pytest.raises(InputError, match=f"unsafe name {re.escape(repr(name))}"):
        load_images(path)


def test_a_huge_declared_member_is_refused_unread(tmp_path: Path) -> None:
    data = encoded(COLOR)
    path = zip_of(tmp_path / "a.zip", {"a.png": data, "b.png": data})
    with zipfile.ZipFile(path, "a") as archive:
        archive.infolist()[1].file_size = 10 * 2**30
        archive._didModify = True  # type: ignore[attr-defined]
    with pytest.raises(InputError, match=r"b\.png in .* takes 10\.7 GB"):
        load_images(path)


def test_an_encrypted_zip_is_refused(tmp_path: Path) -> None:
    path = zip_of(tmp_path / "a.zip", {"a.png": encoded(COLOR)})
    raw = bytearray(path.read_bytes())
    raw[raw.index(b"PK\x01\x02") + 8] |= 1
    path.write_bytes(raw)
    with pytest.raises(InputError, match="encrypted"):
        load_images(path)


@pytest.mark.parametrize("side", [9_000, 12_000, 60_000])
def test_a_decompression_bomb_is_refused_by_its_header(tmp_path: Path, side: int) -> None:
    bomb = png16(np.zeros((1, 1), dtype=np.uint16)).replace(struct.pack(">II", 1, 1), struct.pack(">II", side, side))
    start = bomb.index(b"IHDR")
    bomb = bomb[: start + 17] + struct.pack(">I", zlib.crc32(bomb[start : start + 17])) + bomb[start + 21 :]
    folder_of(tmp_path, {"a.png": encoded(COLOR), "bomb.png": bomb})
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", Image.DecompressionBombWarning)
        with pytest.raises(InputError, match=r"bomb\.png in .* declares more than"):
            load_images(tmp_path)


def test_bad_arguments(tmp_path: Path) -> None:
    for wrong in ({"limit": 0}, {"resolution": 0}):
        with pytest.raises(InputError, match=next(iter(wrong))):
            load_images("digits", **wrong)
