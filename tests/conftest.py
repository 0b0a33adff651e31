"""Data that several test modules read."""

import sys
from collections.abc import Callable
from pathlib import Path

import pytest
import torch

from smoothscore import cli

SHARED_DATA = Path(__file__).resolve().parents[2] / "shared" / "data"


def _shared(name: str) -> Path:
    path = SHARED_DATA / name
    if not path.exists():
        pytest.skip(f"{name} is not at hand beside this checkout")
    return path


@pytest.fixture(scope="session")
def cifar_train() -> Path:
    """CIFAR-10's training images as an image zip with labels."""
    return _shared("cifar10-train.zip")


@pytest.fixture(scope="session")
def cifar_test() -> Path:
    """CIFAR-10's test images as an image zip with labels."""
    return _shared("cifar10-test.zip")


@pytest.fixture(autouse=True)
def _own_cache(tmp_path_factory: pytest.TempPathFactory, monkeypatch: pytest.MonkeyPatch) -> None:
    """Keep the tests' image caches out of the user's cache, new in every run, shared between its processes."""
    base = tmp_path_factory.getbasetemp()
    run = base.parent if base.name.startswith("popen-") else base
    monkeypatch.setenv("SMOOTHSCORE_CACHE", str(run / "cache"))


@pytest.fixture(autouse=True)
def _same_noise() -> None:
    """Draws without a generator of their own are the same in every run."""
    torch.manual_seed(0)


@pytest.fixture
def run(monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]) -> Callable[..., tuple[int, str, str]]:
    """Run a command in this process: (exit code, standard output, standard error)."""
    monkeypatch.setenv("COLUMNS", "200")

    def command(*arguments: object) -> tuple[int, str, str]:
        monkeypatch.setattr(sys, "argv", ["smoothscore", *map(str, arguments)])
        try:
            cli.main()
            code = 0
        except SystemExit as stop:
            code = int(stop.code or 0)
        out, err = capsys.readouterr()
        return code, out, err

    return command
