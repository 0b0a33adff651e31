"""The loops are compiled once, where they are missing or old, and a failure is one sentence."""

import os
from pathlib import Path

import pytest

from smoothscore import compilation, loops
from smoothscore.errors import InputError

COMPILER = """#!/bin/sh
# Stands in for a compiler: writes what it was asked for, or fails.
while [ "$1" != -o ]; do shift; done
{fails} && {{ echo "loops.cpp:1: error: no" >&2; echo half > "$2"; exit 1; }}
echo "$@" > "$2"
"""


@pytest.fixture
def compiler(tmp_path, monkeypatch):
    def use(fails=False):
        script = tmp_path / "cxx"
        script.write_text(COMPILER.format(fails="true" if fails else "false"))
        script.chmod(0o755)
        monkeypatch.setenv("CXX", str(script))

    use()
    return use


def test_only_missing_and_old_libraries_are_made(tmp_path, compiler):
    folder = tmp_path / "loops"
    compilation.build(folder)
    made = compilation.libraries(folder)
    assert sorted(folder.iterdir()) == sorted(made.values())
    sources = made["any"].read_text()
    assert all(str(path) in sources for path in compilation.sources() if path.suffix == ".cpp")
    for path in made.values():
        path.write_text("kept")
    os.utime(made["any"], (0, 0))
    compilation.build(folder)
    assert made["any"].read_text() == sources
    assert all(path.read_text() == "kept" for kind, path in made.items() if kind != "any")


@pytest.mark.parametrize("missing", [False, True])
def test_a_failure_leaves_nothing_and_says_why(tmp_path, compiler, monkeypatch, missing):
    compiler(fails=True)
    if missing:
        monkeypatch.setenv("CXX", "no-such-compiler")
    with pytest.raises(RuntimeError, match=r"no-such-compiler: No such file" if missing else r"loops.cpp:1: error: no"):
        compilation.build(tmp_path / "loops")
    assert list((tmp_path / "loops").iterdir()) == []


def test_a_package_without_libraries_compiles_into_the_cache(tmp_path, compiler, monkeypatch):
    monkeypatch.setenv("SMOOTHSCORE_CACHE", str(tmp_path / "cache"))
    folder = loops._compiled()
    assert folder.parent == tmp_path / "cache"
    assert all(path.exists() for path in compilation.libraries(folder).values())


def test_without_a_compiler_it_is_one_sentence(tmp_path, monkeypatch):
    monkeypatch.setenv("SMOOTHSCORE_CACHE", str(tmp_path))
    monkeypatch.setenv("CXX", "no-such-compiler")
    monkeypatch.setattr(loops, "libraries", lambda folder: {"any": Path(tmp_path / "nowhere")})
    loops._library.cache_clear()
    try:
        with pytest.raises(InputError, match="install a C\\+\\+ compiler, or name it in CXX"):
            loops.constant("sums_block")
    finally:
        loops._library.cache_clear()


def test_arrays_have_to_be_contiguous():
    import numpy as np

    with pytest.raises(ValueError, match="not contiguous"):
        loops.loop("neighbors_ordered")(0, 1, np.zeros((2, 4), np.int64)[:, ::2], np.zeros((2, 2)), 2)
