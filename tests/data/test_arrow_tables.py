"""Arrow and parquet tables, written by the ``datasets`` library and by pyarrow."""

import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest
from image_bytes import RNG, encoded
from PIL import Image

from smoothscore.data import load_images
from smoothscore.errors import DataWarning, InputError

datasets = pytest.importorskip("datasets")
import pyarrow as pa  # noqa: E402
from pyarrow import ipc, parquet  # noqa: E402

PIXELS = RNG.integers(0, 256, (23, 6, 5, 3), dtype=np.uint8)
LABELS = RNG.integers(0, 3, 23)
NAMES = ["cat", "dog", "eel"]


@pytest.fixture
def table() -> "datasets.Dataset":
    features = datasets.Features({"image": datasets.Image(), "label": datasets.ClassLabel(names=NAMES)})
    rows = {"image": [Image.fromarray(pixels) for pixels in PIXELS], "label": LABELS.tolist()}
    return datasets.Dataset.from_dict(rows, features=features)


def check(images: "object", keep: slice = slice(None)) -> None:
    np.testing.assert_array_equal(images.read(0, len(images)), PIXELS[keep].transpose(0, 3, 1, 2))
    np.testing.assert_array_equal(images.labels, LABELS[keep])


def test_parquet_of_several_row_groups(table: "datasets.Dataset", tmp_path: Path) -> None:
    table.to_parquet(tmp_path / "set.parquet", batch_size=7)
    assert parquet.ParquetFile(tmp_path / "set.parquet").num_row_groups == 4
    images = load_images(tmp_path / "set.parquet")
    check(images)
    assert images.class_names == NAMES
    assert len(load_images(tmp_path / "set.parquet", class_="dog")) == (LABELS == 1).sum()


def test_a_folder_that_save_to_disk_made(table: "datasets.Dataset", tmp_path: Path) -> None:
    table.save_to_disk(tmp_path / "saved", num_shards=3)
    check(load_images(tmp_path / "saved"))


def test_splits_are_never_mixed(table: "datasets.Dataset", tmp_path: Path) -> None:
    parts = {"train": table.select(range(15)), "test": table.select(range(15, 23))}
    datasets.DatasetDict(parts).save_to_disk(tmp_path / "saved")
    (tmp_path / "hub" / "data").mkdir(parents=True)
    for split, part in parts.items():
        part.to_parquet(tmp_path / "hub" / "data" / f"{split}-00000-of-00001.parquet")
    for root in (tmp_path / "saved", tmp_path / "hub"):
        check(load_images(root, split="train"), slice(15))
        check(load_images(root, split="test"), slice(15, None))
        with pytest.raises(InputError, match="several splits"):
            load_images(root)


def test_plain_bytes_in_the_file_format(tmp_path: Path) -> None:
    rows = pa.table({"x": [encoded(pixels) for pixels in PIXELS], "y": LABELS})
    with ipc.new_file(tmp_path / "plain.arrow", rows.schema) as file:
        file.write_table(rows)
    check(load_images(tmp_path / "plain.arrow"))


def test_a_damaged_image_is_left_out(tmp_path: Path) -> None:
    cells = [encoded(pixels) for pixels in PIXELS]
    cells[4] = cells[4][:20]
    parquet.write_table(pa.table({"image": cells, "label": LABELS}), tmp_path / "set.parquet")
    with pytest.warns(DataWarning, match="1 of the 23 images"):
        images = load_images(tmp_path / "set.parquet", max_bad=0.1)
    assert len(images) == 22
    assert images.skipped[0].startswith("row 4")
    np.testing.assert_array_equal(images.labels, np.delete(LABELS, 4))


@pytest.mark.parametrize(
    ("columns", "message"),
    [
        ({"text": ["a"]}, "not one alone holds encoded images"),
        ({"left": [b"a"], "right": [b"b"]}, "not one alone"),
        ({"image": pa.array([], pa.binary())}, "without rows"),
        ({"image": [{"bytes": None, "path": "/etc/hostname"}]}, "None of the 1 images"),
    ],
)
def test_refusals(columns: dict[str, list[object]], message: str, tmp_path: Path) -> None:
    parquet.write_table(pa.table(columns), tmp_path / "odd.parquet")
    with pytest.raises(InputError, match=message):
        load_images(tmp_path / "odd.parquet")


def test_a_truncated_file_and_one_of_another_kind(table: "datasets.Dataset", tmp_path: Path) -> None:
    table.to_parquet(tmp_path / "set.parquet")
    whole = (tmp_path / "set.parquet").read_bytes()
    for data in (whole[:-50], b"no table at all", b""):
        (tmp_path / "set.parquet").write_bytes(data)
        with pytest.raises(InputError, match="cannot be read as a table"):
            load_images(tmp_path / "set.parquet")


def test_without_pyarrow_the_extra_is_named(tmp_path: Path) -> None:
    parquet.write_table(pa.table({"image": [encoded(PIXELS[0])]}), tmp_path / "set.parquet")
    code = (
        "import sys; sys.modules['pyarrow'] = None\n"
        "import smoothscore as ss\n"
        f"try: ss.load_images({str(tmp_path / 'set.parquet')!r})\n"
        "except ss.InputError as error: print(error)"
    )
    told = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True).stdout
    assert "smoothscore[datasets]" in told
