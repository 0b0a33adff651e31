"""From what the user named to the reader that fits its content, whatever the name of the file."""

import zipfile
from pathlib import Path

from smoothscore.data import arrays, arrow, builtin, cifar, files, idx
from smoothscore.data.decode import is_image
from smoothscore.data.source import Content, Source, choose_split, file_key
from smoothscore.errors import InputError

__all__ = ["locate"]

TORCH_BEFORE_ZIP = b"\x80\x02\x8a\nl\xfc\x9cF\xf9 j\xa8P\x19."
BATCH_SUFFIXES = ("", ".gz", ".bin", ".idx1-ubyte", ".idx3-ubyte")


def locate(source: str | Path, split: str | None) -> Source:
    """The source of images that a built-in's name or a path stands for; pixels are not read yet."""
    if source in builtin.NAMES:
        return builtin.builtin_source(str(source), split)
    path, title = Path(source).expanduser(), str(source)
    if not path.exists():
        raise InputError(f"There is no file or folder {title}; give a path, or one of {', '.join(builtin.NAMES)}.")
    try:
        return _folder(path, title, split) if path.is_dir() else _file(path, title, split)
    except OSError as problem:
        raise InputError(f"{title} cannot be read ({problem.strerror}); mend its permissions.") from problem


def _folder(root: Path, title: str, split: str | None) -> Source:
    """CIFAR batches or IDX files where these lie in the folder itself, else the tables or image files under it."""
    candidates = [path for path in sorted(root.iterdir()) if path.suffix in BATCH_SUFFIXES and path.is_file()]
    for is_batch, folder_source in ((cifar.is_cifar, cifar.folder_source), (idx.is_idx, idx.folder_source)):
        batches = [path for path in candidates if is_batch(path)]
        if batches:
            return folder_source(batches, title, split)
    tables = [path for path in sorted(root.rglob("*")) if arrow.is_table(path)]
    return arrow.folder_source(root, tables, title, split) if tables else files.folder_source(root, title, split)


def _file(path: Path, title: str, split: str | None) -> Source:
    with path.open("rb") as file:
        start = file.read(16)
    if start.startswith((b"\x93NUMPY", TORCH_BEFORE_ZIP, b"PK")) or zipfile.is_zipfile(path):
        key = f"{file_key(path)}, {split}"
        return Source(title, key, lambda resolution: _open(path, start, title, split, resolution))
    if split is not None:
        choose_split((), split, title)
    if is_image(start):
        return Source(title, file_key(path), lambda resolution: files.open_image(path, title, resolution))
    if arrow.is_table(path):
        return arrow.table_source([path], title)
    if cifar.is_cifar(path):
        return cifar.cifar_source([path], title)
    if idx.is_idx(path):
        return idx.idx_source(path, title)
    raise InputError(
        f"{title} is none of the files that can be read: a zip of images, .npy, .npz, .pt, parquet, Arrow, IDX or a "
        "CIFAR batch (an archive of another kind must be unpacked first)."
    )


def _open(path: Path, start: bytes, title: str, split: str | None, resolution: int | None) -> Content:
    """Arrays, or a zip: of images, of numpy arrays (.npz) or of saved tensors (.pt)."""
    if start.startswith(b"\x93NUMPY"):
        return arrays.open_npy(path, title, split)
    if start.startswith(TORCH_BEFORE_ZIP):
        return arrays.open_pt(path, title, split)
    try:
        with zipfile.ZipFile(path) as archive:
            names = archive.namelist()
    except (zipfile.BadZipFile, NotImplementedError) as problem:
        raise InputError(f"{title} is a damaged zip ({problem}); fetch it anew.") from problem
    if any(name.endswith("data.pkl") for name in names):
        return arrays.open_pt(path, title, split)
    if names and all(name.endswith(".npy") for name in names):
        return arrays.open_npz(path, title, split)
    return files.open_zip(path, title, split, resolution)
