"""The search at size: over several processes, from the cache, by FAISS, and again and again in a loop."""

import json
import os
import subprocess
import sys
from pathlib import Path

import accelerate.utils
import numpy as np
import pytest
import torch
from torch.nn.functional import conv2d

from smoothscore.data import ImageSet, load_images, write_images
from smoothscore.encoders import PIXEL
from smoothscore.memorization import audit, copies, detector, sharing, windows
from smoothscore.memorization.aligned import AlignedTest
from smoothscore.memorization.copies import CopyTest
from smoothscore.neighbors import Search
from smoothscore.neighbors.approximate import Approximate
from smoothscore.sampling.store import Processes


@pytest.fixture(scope="module")
def digits() -> tuple[ImageSet, ImageSet, ImageSet]:
    """120 fresh digits, 500 for training, 200 held out."""
    fresh, train, held_out = load_images("mnist-5k").split((120, 500, 200), seed=5)
    return fresh, train, held_out


@pytest.mark.parametrize(("count", "block", "ranks"), [(1, 4, 2), (9, 4, 2), (4, 4, 3), (100, 7, 4), (64, 8, 8)])
def test_parts_of_processes_make_up_the_whole(monkeypatch, count: int, block: int, ranks: int) -> None:
    """Each process searches one part that begins and ends with blocks; together they are one process's answer."""
    asked, mine = [], []

    def search(rows):
        asked.append(rows)
        return rows[:, None] * 2, rows[:, None] / 2

    monkeypatch.setattr(accelerate.utils, "gather_object", lambda part: mine.append(part) or [(np.empty((0, 1)),) * 2])
    for rank in range(ranks):
        monkeypatch.setattr(sharing, "processes", lambda rank=rank: Processes(rank, ranks))
        with sharing.together():
            sharing.shared(count, block, search)
    np.testing.assert_array_equal(np.concatenate(asked), np.arange(count))
    assert all(rows[0] % block == 0 for rows in asked)
    assert len(mine) == ranks
    everything = [part for parts in mine for part in parts]
    monkeypatch.setattr(accelerate.utils, "gather_object", lambda _: everything)
    with sharing.together():
        indices, distances = sharing.shared(count, block, search)
    np.testing.assert_array_equal(indices[:, 0], 2 * np.arange(count))
    np.testing.assert_array_equal(distances[:, 0], np.arange(count) / 2)
    asked.clear()
    sharing.shared(count, block, search)
    np.testing.assert_array_equal(asked[0], np.arange(count))


def test_neighbors_are_the_same_in_parts_to_the_bit(digits, monkeypatch) -> None:
    """What two processes find, one after the other here, is what one finds."""
    fresh, train, _ = digits
    first = np.arange(len(train))
    tests = {"pixel": CopyTest(train, PIXEL, first=first), "aligned": AlignedTest(train, first)}
    for name, test in tests.items():
        monkeypatch.setattr(sys.modules[type(test).__module__], "BLOCK", 32)
        whole = test(fresh)
        parts = []
        for rank in range(2):
            monkeypatch.setattr(sharing, "processes", lambda rank=rank: Processes(rank, 2))
            monkeypatch.setattr(
                accelerate.utils, "gather_object", lambda mine, parts=parts: parts.extend(mine) or parts
            )
            with sharing.together():
                test(fresh)
        indices, distances = (np.concatenate(part) for part in zip(*parts, strict=True))
        np.testing.assert_array_equal(first[indices], whole.indices, err_msg=name)
        np.testing.assert_array_equal(distances, whole.distances, err_msg=name)


@pytest.mark.slow
def test_two_processes_give_the_audit_of_one(tmp_path: Path, digits) -> None:
    fresh, train, held_out = digits
    mixed = ImageSet.from_array(np.concatenate([train.take(range(10)), train.take(range(10, 20))[..., ::-1],
                                                fresh.take(range(100))]))  # fmt: skip
    named = {"samples": mixed, "train": train, "held": held_out}
    folders = {name: str(write_images(images, tmp_path / f"{name}.zip")) for name, images in named.items()}
    options = ["audit", folders["samples"], "--train", folders["train"], "--held-out", folders["held"]]
    options += ["--encoder", "pca:10", "--json"]
    launcher = ["-m", "torch.distributed.run", "--nproc_per_node", "2"]
    found = []
    for name, before in {"one": [], "two": launcher}.items():
        cache = {"SMOOTHSCORE_CACHE": str(tmp_path / f"cache {name}"), "OMP_NUM_THREADS": "1"}
        command = [sys.executable, *before, "-m", "smoothscore", *options, str(tmp_path / f"{name}.json")]
        for _ in range(2):  # the second time from the cache
            done = subprocess.run(command, env=os.environ | cache, capture_output=True, text=True, check=False)
            assert done.returncode == 0, done.stderr
            assert done.stdout.count("protocol") == 1
            found.append(json.loads((tmp_path / f"{name}.json").read_text()))
    assert all(one == found[0] for one in found[1:])
    assert set(range(10)) <= set(found[0]["flagged"])


def test_the_cache_forgets_what_other_code_found(digits, monkeypatch) -> None:
    fresh, train, held_out = digits
    searched = []
    whole = Search.__call__
    monkeypatch.setattr(Search, "__call__", lambda *a: searched.append(len(a[1])) or whole(*a))
    audit(fresh, train, held_out, tolerant=False)
    once = len(searched)
    audit(fresh, train, held_out, tolerant=False)
    assert len(searched) == once
    monkeypatch.setattr(detector, "_rules", lambda: "other code")
    audit(fresh, train, held_out, tolerant=False)
    assert len(searched) == 2 * once


def test_a_damaged_entry_of_the_cache_is_searched_again(digits, tmp_path: Path, monkeypatch) -> None:
    monkeypatch.setenv("SMOOTHSCORE_CACHE", str(tmp_path))
    fresh, train, held_out = digits
    first = audit(fresh, train, held_out, tolerant=False)
    files = sorted((tmp_path / "matches").glob("*.safetensors"))
    assert len(files) == 3
    for file, content in zip(files, (b"", b"nonsense", files[2].read_bytes()[:-20]), strict=True):
        file.write_bytes(content)
    again = audit(fresh, train, held_out, tolerant=False)
    np.testing.assert_array_equal(first.p_values, again.p_values)


def test_beyond_a_size_faiss_searches_and_says_what_it_misses(digits, monkeypatch, tmp_path: Path) -> None:
    pytest.importorskip("faiss", reason="faiss-cpu is not installed")
    fresh, train, held_out = digits
    samples = fresh.tensor()
    samples[:20] = train.tensor()[:20] + 0.02 * torch.randn(20, *train.shape)
    exact = audit(samples, train, held_out, tolerant=False)
    monkeypatch.setattr(copies, "LARGE", 100)
    found = audit(samples, train, held_out, tolerant=False)
    recall = found.detector.recall["pixel"]
    assert 0.95 <= recall <= 1
    assert exact.detector.recall == {"pixel": 1.0}
    assert found.to_dict()["setting"]["recall"] == {"pixel": recall}
    assert ("FAISS" in found.save_html(tmp_path / "a.html").read_text()) == (recall < 1)
    same = found.neighbors[:, 0] == exact.neighbors[:, 0]
    assert same.mean() > 0.9
    np.testing.assert_allclose(found.distances[same, 0], exact.distances[same, 0], rtol=1e-12)
    assert (found.distances[:, 0] >= exact.distances[:, 0] - 1e-9).all()
    assert set(range(20)) <= set([] if found.flagged is None else found.flagged)


def test_approximate_neighbors_of_new_images(digits) -> None:
    pytest.importorskip("faiss", reason="faiss-cpu is not installed")
    fresh, train, _ = digits
    for queries, centers in ((fresh, train), (torch.randn(50, 20), torch.randn(3000, 20))):
        search = Approximate(centers)
        found, true = search(queries, 7), Search(centers)(queries, 7)
        share = np.mean([np.isin(a, b).mean() for a, b in zip(true.indices, found.indices, strict=True)])
        assert share > 0.85
        assert search.recall >= 0.95
        assert (found.distances.diff(dim=1) >= 0).all()
        assert found.indices.shape == (len(queries), 7)
        assert (found.distances >= true.distances - 1e-9).all()
    everything = Approximate(torch.randn(30, 3))(torch.randn(2, 3), 30)
    assert all(len(set(row)) == 30 for row in everything.indices.tolist())


def test_flag_prepares_nothing_again(digits, monkeypatch) -> None:
    fresh, train, held_out = digits
    found = audit(fresh, train, held_out)
    once = found.flag(fresh[:8])

    def refuse(*_: object, **__: object) -> None:
        raise AssertionError("prepared again")

    monkeypatch.setattr(AlignedTest, "__init__", refuse)
    monkeypatch.setattr(CopyTest, "__init__", refuse)
    monkeypatch.setattr(Search, "__init__", refuse)
    monkeypatch.setattr(ImageSet, "distinct", refuse)
    assert (found.flag(fresh[:8]) == once).all()
    assert (found.flag(fresh[:8].tensor()) == once).all()


def test_correlations_by_frequency_are_those_by_windows(monkeypatch) -> None:
    """With all frequencies of odd sides the first look is exact: every correlation, by direct sums."""
    monkeypatch.setattr(windows, "FREQUENCIES", 99)
    x, pool = torch.rand(3, 2, 15, 13) * 2 - 1, torch.rand(4, 2, 15, 13) * 2 - 1
    index = torch.tensor([[0, 1], [2, 3], [3, 0]])
    for way in windows.templates(15, 13):
        found, place = windows._Look(way, x, pool, windows._sums(pool)).best(windows._spectrum(pool)[index], index)
        for b in range(3):
            sides = [way.of(image[None]).double() for image in (x[b], x[b].flip(-1))]
            for j in range(2):
                y = pool[index[b, j]][None].double()
                ones = torch.ones_like(sides[0])
                mean = conv2d(y, ones) / ones.numel()
                spread = (conv2d(y.square(), ones) - ones.numel() * mean.square()).sqrt()
                units = [(side - side.mean()) / (side - side.mean()).norm() for side in sides]
                all_c = torch.cat([(conv2d(y, one) / spread).flatten() for one in units])
                assert abs(float(all_c.max() - found[b, j])) < 1e-5
                assert int(all_c.argmax()) == int(place[b, j])


def test_equal_windows_have_distance_0_and_flat_ones_none() -> None:
    x = torch.rand(2, 3, 32, 32) * 2 - 1
    pool = torch.cat([x.flip(-1).roll((2, -3), (2, 3)), torch.full((1, 3, 32, 32), 0.3)])
    index = torch.tensor([[0, 2], [1, 2]])
    which, apart = windows.best_windows(x, pool, index, windows.templates(32, 32), 2)
    assert (apart.gather(1, which.argsort(1))[:, 0] < 1e-7).all()
    np.testing.assert_allclose(apart.gather(1, which.argsort(1))[:, 1], np.sqrt(2), atol=1e-6)
    flat = torch.full((1, 3, 32, 32), 0.3)
    np.testing.assert_allclose(
        windows.best_windows(flat, pool, torch.tensor([[2]]), windows.templates(32, 32), 1)[1], np.sqrt(2), atol=1e-6
    )
