"""A cache of these tests' own: an entry that an earlier reader wrote must not pass for this one's work."""

import pytest


@pytest.fixture(autouse=True)
def _new_cache(_own_cache: None, tmp_path_factory: pytest.TempPathFactory, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("SMOOTHSCORE_CACHE", str(tmp_path_factory.getbasetemp() / "cache"))
