"""Arrays on disk: every layout and range that can be told comes back exactly, and every other is refused."""

import io
import pickle
import re
import zipfile
from pathlib import Path

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from hypothesis.extra import numpy as hnp

from smoothscore.data import ImageSet, load_images, write_images
from smoothscore.errors import InputError

RNG = np.random.default_rng(0)


def random_pixels(*shape: int) -> np.ndarray:
    pixels = RNG.integers(0, 256, shape, dtype=np.uint8)
    pixels.flat[:2] = 0, 255  # every range in full
    return pixels


PIXELS = random_pixels(7, 3, 5, 6)


def saved(path: Path, array: np.ndarray) -> Path:
    np.save(path, array, allow_pickle=True)
    return path


LAYOUTS = {
    "NCHW": lambda a: a,
    "NHWC": lambda a: a.transpose(0, 2, 3, 1),
    "NHWC in Fortran order": lambda a: np.asfortranarray(a.transpose(0, 2, 3, 1)),
    "NHW": lambda a: a[:, 0],
}
RANGES = {
    "uint8": lambda a: a,
    "int64": lambda a: a.astype(np.int64),
    "uint16": lambda a: a.astype(">u2"),
    "float64 in [0, 1]": lambda a: a / 255,
    "float32 in [0, 1]": lambda a: (a / 255).astype(np.float32),
    "float16 in [0, 1]": lambda a: (a / 255).astype(np.float16),
    "float64 in [-1, 1]": lambda a: a / 127.5 - 1,
    "float32 in [-1, 1]": lambda a: (a / 127.5 - 1).astype(np.float32),
    "float32 in [0, 255]": lambda a: a.astype(np.float32),
}


@given(
    st.tuples(st.integers(1, 9), st.sampled_from([1, 3]), st.integers(4, 9), st.integers(4, 9)),
    st.sampled_from(list(LAYOUTS)),
    st.sampled_from(list(RANGES)),
    st.sampled_from(["npy", "npz", "pt"]),
    st.data(),
)
@settings(max_examples=25, deadline=None)
def test_every_layout_and_range_round_trips(
    tmp_path_factory: pytest.TempPathFactory,
    shape: tuple[int, ...],
    layout: str,
    values: str,
    kind: str,
    data: st.DataObject,
) -> None:
    if layout == "NHW":
        shape = (shape[0], 1, *shape[2:])
    pixels = data.draw(hnp.arrays(np.uint8, shape))
    pixels.flat[:2] = 0, 255
    array = LAYOUTS[layout](RANGES[values](pixels))
    if layout == "NHW" and shape[0] == 3:
        return  # three images, or the channels of one: tested below
    path = tmp_path_factory.mktemp("arrays") / "a.file"
    with path.open("wb") as file:
        if kind == "npy":
            np.save(file, array)
        elif kind == "npz":
            np.savez_compressed(file, array)
        else:
            torch.save(torch.from_numpy(array.astype(array.dtype.newbyteorder("="))), file)
    images = load_images(path)
    np.testing.assert_array_equal(images.read(0, len(images)), pixels)
    assert images.labels is None
    assert len(images.notes) == (0 if values == "uint8" else 1)
    if " in " in values:
        assert f"taken as {values.split(' in ')[1]} and rounded" in images.notes[0]


def test_bool_is_black_and_white(tmp_path: Path) -> None:
    images = load_images(saved(tmp_path / "a.npy", PIXELS > 127))
    np.testing.assert_array_equal(images.read(0, 7), (PIXELS > 127).astype(np.uint8) * 255)
    assert "black" in images.notes[0]


def test_values_between_levels_go_to_the_nearest(tmp_path: Path) -> None:
    values = RNG.uniform(-1, 1, (4, 1, 8, 8))
    images = load_images(saved(tmp_path / "a.npy", values))
    assert np.abs(images.tensor(torch.float64).numpy() - values).max() <= 1 / 255 * (1 + 1e-9)


def test_blocks_do_not_matter(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("smoothscore.data.arrays.BLOCK_BYTES", 200)
    images = load_images(saved(tmp_path / "a.npy", PIXELS / 255))
    np.testing.assert_array_equal(images.read(0, 7), PIXELS)


def test_arrays_are_resized_as_pictures_are(tmp_path: Path) -> None:
    array = load_images(saved(tmp_path / "a.npy", PIXELS), resolution=4)
    files = load_images(write_images(ImageSet.from_array(PIXELS), tmp_path / "png"), resolution=4)
    assert array.shape == (3, 4, 4)
    assert array.fingerprint == files.fingerprint
    assert array.notes == files.notes
    assert array.notes[0].startswith("7 images resized to 4x4")


@pytest.mark.parametrize("bfloat16", [False, True])
def test_saved_tensors_with_labels(tmp_path: Path, bfloat16: bool) -> None:
    tensor = torch.from_numpy(PIXELS // 255 * 255).float() / 255
    labels = torch.arange(7)
    pair = (tensor.bfloat16() if bfloat16 else tensor, labels)
    for i, content in enumerate((pair, dict(zip(("data", "targets"), pair, strict=True)))):
        torch.save(content, tmp_path / f"{i}.pt", _use_new_zipfile_serialization=bool(i))
        images = load_images(tmp_path / f"{i}.pt")
        np.testing.assert_array_equal(images.read(0, 7), PIXELS // 255 * 255)
        assert images.labels.tolist() == labels.tolist()


@pytest.mark.parametrize(
    "names",
    [("x_train", "y_train", "x_test", "y_test"), ("train_images", "train_labels", "test_images", "test_labels")],
)
def test_splits_by_name(tmp_path: Path, names: tuple[str, ...]) -> None:
    held_out = random_pixels(4, 3, 5, 6)
    arrays = (PIXELS, np.arange(7)[:, None], held_out, np.arange(4)[:, None])
    np.savez(tmp_path / "a.npz", **dict(zip(names, arrays, strict=True)))
    with pytest.raises(InputError, match="several splits"):
        load_images(tmp_path / "a.npz")
    train, test = (load_images(tmp_path / "a.npz", split=split) for split in ("train", "test"))
    np.testing.assert_array_equal(train.read(0, 7), PIXELS)
    np.testing.assert_array_equal(test.read(0, 4), held_out)
    assert (train.labels.tolist(), test.labels.tolist()) == (list(range(7)), list(range(4)))


def test_labels_that_are_no_classes_are_left_out_and_said_so(tmp_path: Path) -> None:
    np.savez(tmp_path / "a.npz", images=PIXELS, labels=np.zeros((7, 14)))
    images = load_images(tmp_path / "a.npz")
    assert images.labels is None
    assert "labels of shape (7, 14)" in images.notes[0]


@pytest.mark.parametrize(
    ("array", "message"),
    [
        (np.where(PIXELS == 7, np.nan, PIXELS / 255), "NaN or infinite"),
        (np.where(PIXELS == 7, np.inf, PIXELS / 255), "NaN or infinite"),
        (PIXELS / 255 * 1.2, "from 0 to 1.2, which is not clearly"),
        (PIXELS / 127.5 * 1.1 - 1, "which is not clearly"),
        (np.zeros((4, 1, 8, 8)), "from 0 to 0, which is not clearly"),
        (PIXELS.astype(np.int32) // 16, "from 0 to 15, which is not clearly"),
        (PIXELS.astype(np.uint16) * 257, "from 0 to 65535, which is not clearly"),
        (PIXELS * 1j, "complex128"),
        (random_pixels(9, 3, 8, 3), "cannot be told"),
        (random_pixels(9, 4, 8, 8), "cannot be told"),
        (random_pixels(9, 8, 8, 4), "cannot be told"),
        (random_pixels(3, 8, 8), "cannot be told"),
        (random_pixels(8, 8, 3), "cannot be told"),
        (random_pixels(9, 64), "cannot be told"),
        (np.zeros((0, 8, 8), np.uint8), "no pixels"),
        (np.array([None, {}]), "plain arrays"),
    ],
)
def test_what_cannot_be_told_is_refused(tmp_path: Path, array: np.ndarray, message: str) -> None:
    with pytest.raises(InputError, match=re.escape(message)) as caught:
        load_images(saved(tmp_path / "a.npy", array))
    assert "\n" not in str(caught.value)


@pytest.mark.parametrize(
    ("arrays", "message"),
    [
        ({"images": PIXELS, "labels": np.arange(6)}, "labels of shape (6,)"),
        ({"images": PIXELS, "labels": np.arange(7) + 0.5}, "not integers"),
        ({"images": PIXELS, "x": PIXELS}, "several arrays"),
        ({"weights": PIXELS, "bias": PIXELS}, "no images among its arrays weights, bias"),
    ],
)
def test_npz_contents_that_are_refused(tmp_path: Path, arrays: dict[str, np.ndarray], message: str) -> None:
    np.savez(tmp_path / "a.npz", **arrays)
    with pytest.raises(InputError, match=re.escape(message)):
        load_images(tmp_path / "a.npz")


def test_a_single_array_needs_no_name_and_text_is_no_array(tmp_path: Path) -> None:
    np.savez(tmp_path / "a.npz", faces=PIXELS)
    np.testing.assert_array_equal(load_images(tmp_path / "a.npz").read(0, 7), PIXELS)
    torch.save("text", tmp_path / "a.pt")
    with pytest.raises(InputError, match="holds a str"):
        load_images(tmp_path / "a.pt")


def test_truncated_array_files(tmp_path: Path) -> None:
    np.savez_compressed(tmp_path / "a.npz", PIXELS)
    saved(tmp_path / "a.npy", PIXELS)
    torch.save(torch.from_numpy(PIXELS), tmp_path / "a.pt")
    for name in ("a.npz", "a.npy", "a.pt"):
        path = tmp_path / name
        path.write_bytes(path.read_bytes()[:-40])
        with pytest.raises(InputError, match=r"cannot be read as plain arrays|damaged zip") as caught:
            load_images(path)
        assert "\n" not in str(caught.value)


def test_a_damaged_member_of_an_npz(tmp_path: Path) -> None:
    np.savez(tmp_path / "a.npz", PIXELS)
    raw = bytearray((tmp_path / "a.npz").read_bytes())
    raw[300] ^= 255
    (tmp_path / "a.npz").write_bytes(raw)
    with pytest.raises(InputError, match="plain arrays"):
        load_images(tmp_path / "a.npz")


class Hostile:
    """Unpickling it would make a file."""

    def __init__(self, target: Path) -> None:
        self.target = target

    def __reduce__(self) -> tuple[object, tuple[str]]:
        return (exec, (f"open({str(self.target)!r}, 'w')",))


@pytest.mark.parametrize("kind", ["npy", "npz", "pt", "old pt", "zip of a pickle"])
def test_code_in_array_files_is_not_run(tmp_path: Path, kind: str) -> None:
    target = tmp_path / "ran"
    hostile = Hostile(target)
    path = tmp_path / "a.file"
    with path.open("wb") as file:
        if kind == "npy":
            np.save(file, np.array([hostile], dtype=object), allow_pickle=True)
        elif kind == "npz":
            np.savez(file, images=np.array([hostile], dtype=object))
        elif kind == "zip of a pickle":
            inside = io.BytesIO()
            torch.save(hostile, inside)
            with zipfile.ZipFile(file, "w") as archive:
                archive.writestr("data.pkl", inside.getvalue())
        else:
            torch.save({"images": hostile}, file, _use_new_zipfile_serialization=kind == "pt")
    with pytest.raises(InputError):
        load_images(path)
    assert not target.exists()
    pickle.loads(pickle.dumps(hostile))
    assert target.exists()  # the test could have failed
