"""Image files: every pixel as it was, or a refusal by name; sizes and resizing."""

import io
import json
import zipfile
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest
from image_bytes import COLOR, GRAY, encoded, folder_of, planes, png16
from PIL import Image

from smoothscore.data import load_images
from smoothscore.errors import InputError


def only(root: Path, data: bytes, name: str = "a.png") -> np.ndarray:
    """The pixels (C, H, W) of a folder with one image."""
    return load_images(folder_of(root, {name: data}))[0].numpy()


def test_cifar_zip_against_pillow_and_its_own_json(cifar_test: Path) -> None:
    images = load_images(cifar_test)
    assert (len(images), images.shape) == (10_000, (3, 32, 32))
    with zipfile.ZipFile(cifar_test) as archive:
        labels = dict(json.loads(archive.read("dataset.json"))["labels"])
        for i in (0, 1, 4_999, 9_999):
            with Image.open(io.BytesIO(archive.read(images.names[i]))) as picture:
                np.testing.assert_array_equal(images[i], planes(np.asarray(picture)))
    assert images.names == sorted(labels)
    assert images.labels.tolist() == [labels[name] for name in images.names]
    cats = load_images(cifar_test, class_=3, limit=50, seed=1)
    assert (len(cats), set(cats.labels.tolist())) == (50, {3})


@pytest.mark.parametrize("kind", ["PNG", "BMP", "TIFF", "PPM"])
@pytest.mark.parametrize("picture", [GRAY, COLOR], ids=["gray", "color"])
def test_lossless_kinds_come_back_exactly(tmp_path: Path, kind: str, picture: np.ndarray) -> None:
    np.testing.assert_array_equal(only(tmp_path, encoded(picture, kind), f"a.{kind.lower()}"), planes(picture))


@pytest.mark.parametrize("kind", ["JPEG", "WEBP"])
def test_lossy_kinds_are_decoded_as_pillow_does(tmp_path: Path, kind: str) -> None:
    data = encoded(COLOR, kind)
    with Image.open(io.BytesIO(data)) as picture:
        expected = np.asarray(picture.convert("RGB"))
    np.testing.assert_array_equal(only(tmp_path, data, f"a.{kind.lower()}"), planes(expected))


def test_palette_bilevel_and_opaque_alpha_lose_nothing(tmp_path: Path) -> None:
    few = COLOR // 100 * 100
    palette = Image.fromarray(few).quantize(64)
    np.testing.assert_array_equal(only(tmp_path / "p", encoded(palette)), planes(np.asarray(palette.convert("RGB"))))
    gray_palette = np.repeat(GRAY[None], 3, axis=0)  # a palette is read as color, gray or not
    np.testing.assert_array_equal(only(tmp_path / "gif", encoded(GRAY, "GIF"), "a.gif"), gray_palette)
    bilevel = Image.fromarray(GRAY > 127)
    np.testing.assert_array_equal(only(tmp_path / "1", encoded(bilevel)), planes((GRAY > 127).astype(np.uint8) * 255))
    opaque = np.dstack([COLOR, np.full_like(GRAY, 255)])
    np.testing.assert_array_equal(only(tmp_path / "rgba", encoded(opaque)), planes(COLOR))
    gray_alpha = Image.merge("LA", [Image.fromarray(GRAY), Image.fromarray(np.full_like(GRAY, 255))])
    np.testing.assert_array_equal(only(tmp_path / "la", encoded(gray_alpha)), planes(GRAY))
    unused = Image.fromarray(np.maximum(GRAY, 1))
    np.testing.assert_array_equal(only(tmp_path / "t", encoded(unused, transparency=0)), planes(np.maximum(GRAY, 1)))


def test_gray_among_color_becomes_color_and_alone_stays_gray(tmp_path: Path) -> None:
    mixed = load_images(folder_of(tmp_path / "mixed", {"a.png": encoded(GRAY), "b.png": encoded(COLOR)}))
    assert mixed.shape == (3, 6, 8)
    np.testing.assert_array_equal(mixed[0], np.repeat(GRAY[None], 3, axis=0))
    np.testing.assert_array_equal(mixed[1], planes(COLOR))
    assert load_images(folder_of(tmp_path / "gray", {"a.png": encoded(GRAY)})).shape == (1, 6, 8)


@pytest.mark.parametrize("orientation", range(1, 9))
@pytest.mark.parametrize("kind", ["PNG", "TIFF"])
def test_exif_orientation_is_applied(tmp_path: Path, orientation: int, kind: str) -> None:
    exif = Image.Exif()
    exif[0x0112] = orientation
    upright: Callable[[np.ndarray], np.ndarray] = {
        1: lambda a: a,
        2: np.fliplr,
        3: lambda a: np.rot90(a, 2),
        4: np.flipud,
        5: lambda a: a.T,
        6: lambda a: np.rot90(a, -1),
        7: lambda a: np.rot90(a, 2).T,
        8: np.rot90,
    }[orientation]
    pixels = only(tmp_path, encoded(GRAY, kind, exif=exif), f"a.{kind.lower()}")
    np.testing.assert_array_equal(pixels, planes(upright(GRAY)))


def test_sixteen_bits_are_taken_where_eight_hold_them(tmp_path: Path) -> None:
    np.testing.assert_array_equal(only(tmp_path / "png", png16(GRAY.astype(np.uint16) * 257)), planes(GRAY))
    tiff = encoded(Image.fromarray(GRAY.astype(np.uint16) * 257), "TIFF")
    np.testing.assert_array_equal(only(tmp_path / "tiff", tiff, "a.tif"), planes(GRAY))


def test_the_main_picture_of_a_phone_is_read(tmp_path: Path) -> None:
    data = encoded(Image.fromarray(COLOR), "MPO", save_all=True, append_images=[Image.fromarray(255 - COLOR)])
    with Image.open(io.BytesIO(data)) as picture:
        expected = np.asarray(picture)
    np.testing.assert_array_equal(only(tmp_path, data, "a.jpg"), planes(expected))


@pytest.mark.parametrize(
    ("data", "message"),
    [
        (encoded(np.dstack([COLOR, GRAY])), "transparent"),
        (encoded(Image.fromarray(GRAY), transparency=int(GRAY[0, 0])), "transparent"),
        (encoded(Image.fromarray(COLOR).quantize(8), transparency=0), "transparent"),
        (png16(GRAY.astype(np.uint16) * 256), "16-bit"),
        (png16(np.dstack([COLOR, 255 - GRAY]).astype(np.uint16)), "16-bit"),
        (png16(COLOR.astype(np.uint16) * 257), "16-bit"),
        (png16(np.dstack([GRAY, GRAY]).astype(np.uint16) * 257), "16-bit"),
        (b"P6 1 1 65535\n" + bytes(6), "16-bit"),
        (encoded(Image.fromarray(COLOR).convert("CMYK"), "TIFF"), "CMYK"),
        (encoded(Image.fromarray(GRAY.astype(np.float32)), "TIFF"), "type F"),
        (encoded(Image.fromarray(COLOR), save_all=True, append_images=[Image.fromarray(255 - COLOR)]), "frames"),
    ],
    ids=lambda value: value if isinstance(value, str) else "file",
)
def test_what_eight_bits_cannot_hold_is_refused_by_name(tmp_path: Path, data: bytes, message: str) -> None:
    folder_of(tmp_path, {f"{i}.png": encoded(COLOR) for i in range(3)} | {"odd.png": data})
    with pytest.raises(InputError, match=rf"^odd\.png in .*{message}"):
        load_images(tmp_path)


def test_mixed_sizes_ask_for_a_resolution(tmp_path: Path) -> None:
    folder_of(tmp_path, {"a.png": encoded(COLOR), "b.png": encoded(COLOR[:, :4])})
    with pytest.raises(InputError, match=r"a\.png is 8x6, b\.png is 4x6.*resolution=6"):
        load_images(tmp_path)
    images = load_images(tmp_path, resolution=4)
    assert images.shape == (3, 4, 4)
    assert images.notes == ("2 images resized to 4x4 (center crop to a square, Lanczos filter with antialiasing)",)
    expected = Image.fromarray(COLOR[:, 1:7]).resize((4, 4), Image.Resampling.LANCZOS)
    np.testing.assert_array_equal(images[0], planes(np.asarray(expected)))


def test_an_image_of_the_right_size_is_not_touched(tmp_path: Path) -> None:
    folder_of(tmp_path, {"a.png": encoded(COLOR[:, :6]), "b.png": encoded(COLOR)})
    images = load_images(tmp_path, resolution=6)
    np.testing.assert_array_equal(images[0], planes(COLOR[:, :6]))
    np.testing.assert_array_equal(images[1], planes(COLOR[:, 1:7]))  # cropped, not resampled
    assert images.notes[0].startswith("1 images resized")


def test_resizing_is_antialiased(tmp_path: Path) -> None:
    stripes = np.tile(np.array([0, 255], dtype=np.uint8), (64, 32))
    pixels = only(tmp_path, encoded(stripes)).astype(int)
    assert set(np.unique(pixels)) == {0, 255}
    small = load_images(tmp_path, resolution=16)[0].numpy().astype(int)
    assert np.abs(small[:, 2:-2, 2:-2] - 127.5).max() < 3
