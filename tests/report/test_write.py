import os
import resource
import stat
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import pytest

from smoothscore.errors import InputError
from smoothscore.report import write_bytes, write_text


@contextmanager
def files_of_at_most(size: int) -> Iterator[None]:
    """The kernel refuses to let a file grow past ``size`` bytes, half way through a write."""
    soft, hard = resource.getrlimit(resource.RLIMIT_FSIZE)
    resource.setrlimit(resource.RLIMIT_FSIZE, (size, hard))
    try:
        yield
    finally:
        resource.setrlimit(resource.RLIMIT_FSIZE, (soft, hard))


def test_writes_and_replaces(tmp_path: Path) -> None:
    path = tmp_path / "a.json"
    assert write_text(path, "first σ") == path.resolve()
    write_text(path, "second σ")
    assert path.read_bytes() == "second σ".encode()
    assert os.listdir(tmp_path) == ["a.json"]


def test_a_write_that_fails_half_way_leaves_the_old_file_and_nothing_else(tmp_path: Path) -> None:
    path = tmp_path / "a.bin"
    write_bytes(path, b"old")
    with files_of_at_most(1000), pytest.raises(InputError, match=r"Cannot write .*a\.bin: .+; .+\.$"):
        write_bytes(path, bytes(100_000))
    assert path.read_bytes() == b"old"
    assert os.listdir(tmp_path) == ["a.bin"]


def test_an_interrupt_leaves_the_old_file_and_nothing_else(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    path = tmp_path / "a.bin"
    write_bytes(path, b"old")

    def interrupted(*_: object) -> None:
        raise KeyboardInterrupt

    monkeypatch.setattr(os, "replace", interrupted)
    with pytest.raises(KeyboardInterrupt):
        write_bytes(path, b"new")
    assert path.read_bytes() == b"old"
    assert os.listdir(tmp_path) == ["a.bin"]


@pytest.mark.parametrize(
    ("name", "complaint"),
    [
        ("missing/a.html", r"the folder .*missing does not exist; create it first\.$"),
        (".", r"is a folder; give the name of a file to write\.$"),
        ("file/a.html", r"Cannot write .*; free or open that place, or choose another path\.$"),
        ("n" * 300, r"Cannot write .*; free or open that place, or choose another path\.$"),
    ],
)
def test_a_place_that_cannot_be_written_is_named_in_one_sentence(tmp_path: Path, name: str, complaint: str) -> None:
    (tmp_path / "file").write_text("in the way")
    with pytest.raises(InputError, match=complaint) as caught:
        write_text(tmp_path / name, "text")
    assert "\n" not in str(caught.value)
    assert os.listdir(tmp_path) == ["file"]


@pytest.mark.skipif(os.geteuid() == 0, reason="root may write everywhere")
def test_a_folder_without_permission_is_named(tmp_path: Path) -> None:
    tmp_path.chmod(0o500)
    with pytest.raises(InputError, match="Permission denied"):
        write_text(tmp_path / "a.html", "text")


def test_the_mode_follows_the_umask(tmp_path: Path) -> None:
    before = os.umask(0o027)
    try:
        path = write_text(tmp_path / "a.html", "text")
    finally:
        os.umask(before)
    assert stat.S_IMODE(path.stat().st_mode) == 0o640


def test_a_symbolic_link_stays_and_its_target_changes(tmp_path: Path) -> None:
    target, link = tmp_path / "target", tmp_path / "link"
    target.write_text("old")
    link.symlink_to(target)
    write_text(link, "new")
    assert link.is_symlink()
    assert target.read_text() == "new"


def test_file_names_that_are_no_text_do_not_stop_a_report(tmp_path: Path) -> None:
    name = os.fsdecode(b"caf\xe9.png")
    assert write_text(tmp_path / "a", name).read_text() == "caf\\udce9.png"
