"""Graphs made by a process of their own, and how that process ends."""

import os
import signal
import subprocess
import sys
import threading
import time

import pytest
import torch

import smoothscore as ss
from smoothscore.neighbors import NeighborGraph, apart
from smoothscore.neighbors.apart import build_apart


@pytest.fixture(scope="module")
def digits():
    """A view with labels whose rows are not those of the file."""
    return ss.load_images("digits", limit=400, seed=3)


def test_it_is_the_graph_made_here(digits, tmp_path):
    there = build_apart(digits, 5, "pca:8", True, tmp_path / "new" / "graph")
    here = NeighborGraph.build(digits, 5, "pca:8", True)
    for name in ("indices", "distances", "group"):
        assert torch.equal(getattr(there, name), getattr(here, name))
    assert (there.space, there.within_class, there.fingerprint) == ("pca:8", True, digits.fingerprint)
    assert torch.equal(NeighborGraph.load(tmp_path / "new" / "graph", digits).indices, here.indices)
    points = torch.randn(300, 7, dtype=torch.float64)
    assert torch.equal(build_apart(points, 3).distances, NeighborGraph.build(points, 3).distances)


def test_mistakes_come_back_as_the_same_sentence(digits, tmp_path):
    with pytest.raises(ss.InputError) as there:
        build_apart(digits, 500, file=tmp_path / "new" / "graph")
    with pytest.raises(ss.InputError) as here:
        NeighborGraph.build(digits, 500)
    assert str(there.value) == str(here.value)
    assert not (tmp_path / "new").exists()


@pytest.mark.parametrize(
    ("program", "error", "words"),
    [("import os; os.kill(os.getpid(), 9)", ss.InputError, "signal 9"), ("raise OSError", RuntimeError, "code 1")],
)
def test_a_process_that_fails_is_reported(digits, monkeypatch, program, error, words):
    monkeypatch.setattr(apart, "PROGRAM", program)
    with pytest.raises(error, match=words):
        build_apart(digits, 5)


def test_an_interruption_ends_both(digits, monkeypatch, tmp_path):
    """The other process, which does not hear of it by itself, is gone at once."""
    note = tmp_path / "pid"
    monkeypatch.setattr(
        apart, "PROGRAM", f"import os, time; open({str(note)!r}, 'w').write(str(os.getpid())); time.sleep(60)"
    )

    def interrupt():
        while not (note.exists() and note.read_text()):
            time.sleep(0.05)
        os.kill(os.getpid(), signal.SIGINT)

    thread = threading.Thread(target=interrupt)
    thread.start()
    before = signal.signal(signal.SIGINT, signal.default_int_handler)  # a shell's job in the background ignores it
    try:
        with pytest.raises(KeyboardInterrupt):
            build_apart(digits, 5)
    finally:
        signal.signal(signal.SIGINT, before)
    thread.join()
    with pytest.raises(ProcessLookupError):
        os.kill(int(note.read_text()), 0)


def test_it_does_not_outlive_its_parent(tmp_path):
    ended = subprocess.run([sys.executable, "-c", apart.PROGRAM, str(tmp_path)], stdin=subprocess.DEVNULL, check=False)
    assert ended.returncode == 1


def test_no_room_for_the_copy_of_the_images_is_one_sentence(digits, monkeypatch):
    monkeypatch.setattr(apart, "_chunks", lambda *_: (_ for _ in ()).throw(OSError(28, "No space left on device")))
    with pytest.raises(ss.InputError, match="make room there, or set TMPDIR"):
        build_apart(digits, 5)
