"""CIFAR as published: the pickles of Python 2 and 3, the binary files, and hostile pickles."""

import codecs
import pickle
import struct
from pathlib import Path

import numpy as np
import pytest

from smoothscore.data import load_images
from smoothscore.data.pickles import StoredArray, read_pickle
from smoothscore.errors import InputError

RNG = np.random.default_rng(0)
ROWS = RNG.integers(0, 256, (30, 3072), dtype=np.uint8)
LABELS = RNG.integers(0, 10, 30)
RECONSTRUCT = np.zeros(1).__reduce__()[0]
IMAGES = ROWS.reshape(30, 3, 32, 32)
NAMES = ["airplane", "automobile", "bird", "cat", "deer", "dog", "frog", "horse", "ship", "truck"]


def text2(text: bytes) -> bytes:
    """A str of Python 2, as cPickle spelled it."""
    return b"U" + bytes([len(text)]) + text if len(text) < 256 else b"T" + struct.pack("<i", len(text)) + text


def python2_batch(rows: np.ndarray, labels: list[int], names: list[bytes]) -> bytes:
    """The opcodes of the published data_batch files: protocol 2, with an array whose state holds a str."""
    array = (
        b"cnumpy.core.multiarray\n_reconstruct\ncnumpy\nndarray\nK\x00\x85" + text2(b"b") + b"\x87R"
        b"(K\x01" + b"M" + struct.pack("<H", len(rows)) + b"M\x00\x0c\x86"
        b"cnumpy\ndtype\n" + text2(b"u1") + b"K\x00K\x01\x87R"
        b"(K\x03" + text2(b"|") + b"NNNJ\xff\xff\xff\xffJ\xff\xff\xff\xffK\x00tb"
        b"\x89" + text2(rows.tobytes()) + b"tb"
    )
    listed = b"](" + b"".join(b"K" + bytes([label]) for label in labels) + b"e"
    named = b"](" + b"".join(map(text2, names)) + b"e"
    return b"\x80\x02}(" + text2(b"data") + array + text2(b"labels") + listed + text2(b"filenames") + named + b"u."


def cifar10_folder(root: Path, kind: str) -> Path:
    """Two training batches of ten images, a test batch of ten, and the class names."""
    root.mkdir()
    parts = {"data_batch_1": slice(0, 10), "data_batch_2": slice(10, 20), "test_batch": slice(20, 30)}
    for name, part in parts.items():
        rows, labels = ROWS[part], LABELS[part].tolist()
        if kind == "python 2":
            files = [f"{i}.png".encode() for i in range(10)]
            (root / name).write_bytes(python2_batch(rows, labels, files))
        elif kind == "python 3":
            (root / name).write_bytes(pickle.dumps({"data": rows, "labels": labels}, protocol=4))
        else:
            (root / f"{name}.bin").write_bytes(np.column_stack([LABELS[part].astype(np.uint8), rows]).tobytes())
    if kind == "binary":
        (root / "batches.meta.txt").write_text("\n".join(NAMES) + "\n\n")
    else:
        (root / "batches.meta").write_bytes(pickle.dumps({b"label_names": [n.encode() for n in NAMES]}, protocol=2))
    (root / "readme.html").write_text("<html>")
    return root


@pytest.mark.parametrize("kind", ["python 2", "python 3", "binary"])
def test_cifar10(tmp_path: Path, kind: str) -> None:
    root = cifar10_folder(tmp_path / "cifar", kind)
    with pytest.raises(InputError, match="several splits"):
        load_images(root)
    train, test = load_images(root, split="train"), load_images(root, split="test")
    np.testing.assert_array_equal(train.read(0, 20), IMAGES[:20])
    np.testing.assert_array_equal(test.read(0, 10), IMAGES[20:])
    np.testing.assert_array_equal(train.labels, LABELS[:20])
    assert train.class_names == NAMES
    assert len(load_images(root, split="train", class_="dog")) == (LABELS[:20] == 5).sum()
    if kind == "python 2":
        assert test.names[3] == "3.png"
    one = next(root.glob("data_batch_2*"))
    np.testing.assert_array_equal(load_images(one).read(0, 10), IMAGES[10:20])


@pytest.mark.parametrize("kind", ["python", "binary"])
def test_cifar100_has_its_fine_classes(tmp_path: Path, kind: str) -> None:
    fine = LABELS * 9 + 3
    for name in ("train", "test"):
        if kind == "python":
            entries = {b"data": ROWS, b"coarse_labels": LABELS.tolist(), b"fine_labels": fine.tolist()}
            (tmp_path / name).write_bytes(pickle.dumps(entries, protocol=2))
        else:
            rows = np.column_stack([LABELS.astype(np.uint8), fine.astype(np.uint8), ROWS])
            (tmp_path / f"{name}.bin").write_bytes(rows.tobytes())
    if kind == "python":
        meta = {b"coarse_label_names": [b"x"] * 20, b"fine_label_names": [b"f%d" % i for i in range(100)]}
        (tmp_path / "meta").write_bytes(pickle.dumps(meta, protocol=2))
    else:
        (tmp_path / "fine_label_names.txt").write_text("\n".join(f"f{i}" for i in range(100)))
    images = load_images(tmp_path, split="test")
    np.testing.assert_array_equal(images.read(0, 30), IMAGES)
    np.testing.assert_array_equal(images.labels, fine)
    assert images.class_names[fine[0]] == f"f{fine[0]}"


@pytest.mark.parametrize("order", ["C", "F"])
@pytest.mark.parametrize("dtype", ["u1", "<i8", ">i4", "<f4"])
@pytest.mark.parametrize("protocol", [2, 3, 4])
def test_arrays_come_out_of_pickles_as_numpy_put_them_in(order: str, dtype: str, protocol: int) -> None:
    array = np.asarray(RNG.integers(0, 200, (3, 4, 5)), dtype=dtype, order=order)
    found = read_pickle(pickle.dumps({"a": [array, (1, "x", None)]}, protocol), "here")
    stored, rest = found["a"]
    assert isinstance(stored, StoredArray)
    np.testing.assert_array_equal(stored.values, array)
    assert rest == (1, "x", None)


class Calls:
    """A pickle that calls a function when it is read, and hands a state to what it gives."""

    def __init__(self, call: object, *arguments: object, state: object = None) -> None:
        self.reduced = (call, arguments, state)

    def __reduce__(self) -> object:
        return self.reduced


@pytest.mark.parametrize("protocol", [2, 4])
@pytest.mark.parametrize("place", ["whole", "entry", "array of objects", "meta"])
def test_a_hostile_pickle_is_refused_and_does_nothing(tmp_path: Path, place: str, protocol: int) -> None:
    target = tmp_path / "ran"
    hostile = Calls(open, str(target), "w")
    good = {b"data": ROWS, b"labels": LABELS.tolist()}
    bad: object = {
        "whole": hostile,
        "entry": good | {b"batch_label": hostile},
        "array of objects": good | {b"data": np.array([hostile], dtype=object)},
        "meta": good,
    }[place]
    root = tmp_path / "cifar"
    root.mkdir()
    (root / "data_batch_1").write_bytes(pickle.dumps(bad, protocol))
    (root / "batches.meta").write_bytes(pickle.dumps({b"label_names": hostile}, protocol))
    for source, split in ((root, "train"), (root / "data_batch_1", None)):
        with pytest.raises(InputError, match=r"not read|no pickle of plain data"):
            load_images(source, split=split)
    assert not target.exists()
    pickle.loads(pickle.dumps(hostile))
    assert target.exists()  # the test could have failed


@pytest.mark.parametrize(
    "value",
    [
        Calls(eval, "1"),
        Calls(getattr, [], "append"),
        Calls(np.load, "x"),
        Calls(np.frombuffer, b"x"),
        Calls(bytearray, 2**40),
        np.dtype("O"),
        np.array(["text"]),
        np.datetime64("2020-01-01"),
        Path("x"),
        {1, 2}.__class__,
        Calls(codecs.encode, "x", "idna"),
        Calls(np.dtype, "u1", False, True, state=(3, "(9,)", None, None, None, -1, -1, 0)),
        Calls(RECONSTRUCT, np.ndarray, (0,), b"b", state=(1, (2,), np.dtype("u1"), False, [1, 2])),
        Calls(RECONSTRUCT, np.ndarray, (0,), b"b", state=(1, (3,), np.dtype("u1"), False, b"12")),
    ],
    ids=lambda value: type(value).__name__,
)
@pytest.mark.parametrize("protocol", [2, 4])
def test_all_but_plain_data_is_refused(value: object, protocol: int) -> None:
    with pytest.raises(InputError, match="no pickle of plain data"):
        read_pickle(pickle.dumps({"data": value}, protocol), "here")


@pytest.mark.parametrize("cut", [1, 40, 3000])
def test_a_truncated_pickle_is_refused(tmp_path: Path, cut: int) -> None:
    data = pickle.dumps({b"data": ROWS[:1], b"labels": [1]}, protocol=2)
    (tmp_path / "a").write_bytes(data[:-cut])
    with pytest.raises(InputError, match="damaged"):
        load_images(tmp_path / "a")


@pytest.mark.parametrize(
    "entries",
    [
        [1, 2],
        {"data": [1, 2], "labels": [1]},
        {"data": ROWS[:, :100], "labels": [1]},
        {"data": ROWS.astype(np.int64), "labels": [1]},
        {"data": ROWS},
    ],
)
def test_another_pickle_is_no_batch(tmp_path: Path, entries: object) -> None:
    (tmp_path / "a").write_bytes(pickle.dumps(entries, protocol=2))
    with pytest.raises(InputError, match="not of CIFAR images"):
        load_images(tmp_path / "a")


def test_labels_of_another_length(tmp_path: Path) -> None:
    (tmp_path / "a").write_bytes(pickle.dumps({"data": ROWS, "labels": [1, 2]}, protocol=2))
    with pytest.raises(InputError, match=r"30 images but labels of shape \(2,\)"):
        load_images(tmp_path / "a")
