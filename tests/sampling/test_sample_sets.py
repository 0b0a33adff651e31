"""Sets on disk: what an interrupted call leaves, how it goes on, walks that fail, and several processes."""

import json
import os
import subprocess
import sys
import warnings
import zipfile
from pathlib import Path

import numpy as np
import pytest
import torch

import smoothscore as ss
from smoothscore.sampling import SampleSet, draw, store

SHAPE = (1, 6, 5)


@pytest.fixture
def score():
    return ss.EmpiricalScore(torch.rand(9, *SHAPE) * 2 - 1)


class Failing(ss.Score):
    """Gaussian data; the walk of some images leaves the finite numbers below level 1."""

    def __init__(self, bad=()):
        super().__init__(SHAPE)
        self.bad, self.rows = set(bad), None

    def denoise(self, x, sigma):
        x, level = self.check(x, sigma)
        clean = 0.5 * x / (0.5 + self.expand(level) ** 2)
        if float(level[0]) < 1 and self.bad:
            marked = x.flatten(1)[:, 0] > x.flatten(1)[:, 1]
            clean[marked] = torch.nan
        return clean


def files(folder):
    return {path.relative_to(folder).as_posix(): path.read_bytes() for path in folder.rglob("*") if path.is_file()}


def test_a_set_is_what_memory_holds(score, tmp_path):
    drawn = ss.sample(score, 7, steps=5, seed=2, trajectory=True)
    written = ss.sample(score, 7, steps=5, seed=2, trajectory=True, batch_size=3, out=tmp_path / "a")
    assert isinstance(written, SampleSet)
    assert np.array_equal(written.images.take(range(7)), ss.to_images(drawn.images).take(range(7)))
    trajectory = np.load(tmp_path / "a" / "trajectory.npy")
    np.testing.assert_allclose(trajectory, drawn.trajectory.numpy(), atol=1e-5)
    manifest = json.loads((tmp_path / "a" / "manifest.json").read_text())
    assert manifest["smoothscore"] == ss.__version__
    assert (manifest["n"], manifest["evaluations"]) == (7, 9)
    assert manifest["setting"]["seed"] == 2
    assert manifest["setting"]["sampler"] == "heun"
    assert manifest["setting"]["data"] == ss.data.fingerprint(score.centers.values)
    assert sorted(os.listdir(tmp_path)) == ["a"]
    assert "<html" in Path(written.save_html(tmp_path / "a.html")).read_text()


def test_a_zip_holds_the_same_files_and_equal_sets_are_equal_bytes(score, tmp_path):
    ss.sample(score, 5, steps=4, out=tmp_path / "a", batch_size=2)
    for name in ("b.zip", "c.zip"):
        zipped = ss.sample(score, 5, steps=4, out=tmp_path / name, batch_size=2)
    with zipfile.ZipFile(tmp_path / "b.zip") as archive:
        assert {name: archive.read(name) for name in archive.namelist()} == files(tmp_path / "a")
    assert (tmp_path / "b.zip").read_bytes() == (tmp_path / "c.zip").read_bytes()
    assert len(zipped.images) == 5
    assert zipped.first(2)[0] == [0, 1]


@pytest.mark.parametrize("name", ["a", "a.zip"])
def test_an_interrupted_set_is_continued(score, tmp_path, monkeypatch, name):
    whole = ss.sample(score, 8, steps=4, batch_size=2, out=tmp_path / "whole")
    calls = []
    walk = store.batches

    def stop_at_the_third(made, images, *rest):
        calls.append(images)
        if len(calls) == 3:
            raise KeyboardInterrupt
        return walk(made, images, *rest)

    monkeypatch.setattr(store, "batches", stop_at_the_third)
    with pytest.raises(KeyboardInterrupt):
        ss.sample(score, 8, steps=4, batch_size=2, out=tmp_path / name)
    assert not (tmp_path / name).exists()
    with pytest.raises(ss.InputError, match="another seed"):
        ss.sample(score, 8, steps=4, seed=1, out=tmp_path / name)
    again = ss.sample(score, 8, steps=4, out=tmp_path / name)
    assert [images.start for images in calls[3:]] == [4, 6]
    assert again.kept == 4
    assert "4 images were there already" in repr(again)
    assert np.array_equal(again.images.take(range(8)), whole.images.take(range(8)))
    assert sorted(os.listdir(tmp_path)) == sorted(["whole", name])


@pytest.mark.parametrize("when", ["trajectory", "images"])
def test_a_full_disk_is_said_and_the_set_goes_on_with_room(score, tmp_path, monkeypatch, when):
    whole = ss.sample(score, 6, steps=4, batch_size=2, trajectory=True, out=tmp_path / "whole")
    written = []

    def full(*arguments):
        written.append(arguments)
        if when == "trajectory" or len(written) > 2:
            raise OSError(28, "No space left on device")

    if when == "trajectory":
        monkeypatch.setattr(os, "posix_fallocate", full)
    else:
        write = store._write_images
        monkeypatch.setattr(store, "_write_images", lambda *arguments: (full(), write(*arguments)))
    with pytest.raises(ss.InputError, match=r"\(No space left on device\); finished batches are kept"):
        ss.sample(score, 6, steps=4, batch_size=2, trajectory=True, out=tmp_path / "a")
    monkeypatch.undo()
    again = ss.sample(score, 6, steps=4, batch_size=2, trajectory=True, out=tmp_path / "a")
    assert again.kept == (0 if when == "trajectory" else 4)
    assert files(tmp_path / "a") == files(whole.path)


def test_a_taken_place_is_refused_before_any_work(score, tmp_path):
    (tmp_path / "a").mkdir()
    (tmp_path / "a" / "x").write_text("")
    with pytest.raises(ss.InputError, match="exists already"):
        ss.sample(score, 2, out=tmp_path / "a")
    with pytest.raises(ss.InputError, match="no images"):
        ss.sample(ss.EmpiricalScore(torch.zeros(2, 3)), 2, out=tmp_path / "b")
    with pytest.raises(ss.InputError, match="manifest"):
        SampleSet.load(tmp_path / "a")


def test_a_failed_walk_is_named_and_the_others_go_on(tmp_path):
    good = draw(Failing(), 8, "heun")
    with pytest.warns(
        ss.DataWarning, match=r"of 8 images became NaN.*image \d, at step \d+ \(sigma 1\.\d+ to 0\.\d+\)"
    ):
        mixed = draw(Failing(bad=[1]), 8, "heun", trajectory=True)
    failed = list(mixed.failed)
    assert 0 < len(failed) < 8
    assert torch.isnan(mixed.images[failed]).all()
    kept = [i for i in range(8) if i not in failed]
    torch.testing.assert_close(mixed.images[kept], good.images[kept])
    assert len(mixed.finite) == len(kept)
    assert mixed.to_dict()["failed"].keys() == {str(i) for i in failed}
    with pytest.warns(ss.DataWarning, match="left out"):
        written = ss.sample(Failing(bad=[1]), 8, out=tmp_path / "a", batch_size=3)
    assert len(written) == len(written.images) == len(kept)
    assert written.failed == mixed.failed
    with pytest.warns(ss.DataWarning, match="8 of 8|left out"):
        draw(Failing(bad=[1]), 8, "rk45")


def test_a_batch_too_large_for_the_device_is_halved(score, monkeypatch):
    from smoothscore.sampling import loop

    walk, sizes = loop._walk, []

    def small_memory(made, images, *rest):
        sizes.append(len(images))
        if len(images) > 2:
            raise torch.OutOfMemoryError
        return walk(made, images, *rest)

    monkeypatch.setattr(loop, "_walk", small_memory)
    halved = draw(score, 5, steps=4, batch_size=5)
    monkeypatch.undo()
    assert max(sizes[1:]) <= 3
    torch.testing.assert_close(halved.images, draw(score, 5, steps=4).images, rtol=0, atol=1e-6)


def test_the_batch_is_sized_by_the_image_and_the_memory(monkeypatch):
    small, large = ss.GaussianScore(torch.zeros(3), torch.eye(3)), Failing()
    large.shape = torch.Size((3, 4096, 4096))
    assert draw(small, 2).evaluations == 35
    assert ss.sampling.loop.batch_size_for(small) == 256
    assert 1 <= ss.sampling.loop.batch_size_for(large) < 16
    monkeypatch.setattr(os, "sysconf_names", {})  # a system that does not say
    assert ss.sampling.loop.batch_size_for(small) == 256


@pytest.mark.slow
def test_two_processes_write_the_files_of_one(tmp_path, cifar_test):
    command = ["smoothscore", "sample", f"empirical:{cifar_test}?limit=50", "-n", "9", "--steps", "5", "--batch-size",
               "2", "--trajectory", "-o"]  # fmt: skip
    one, two = tmp_path / "one", tmp_path / "two"
    environment = os.environ | {"OMP_NUM_THREADS": "1"}
    subprocess.run([sys.executable, "-m", *command, str(one)], check=True, env=environment)
    launcher = [sys.executable, "-m", "torch.distributed.run", "--nproc_per_node", "2", "-m"]
    subprocess.run([*launcher, *command, str(two)], check=True, env=environment)
    assert files(one) == files(two)
    assert len(ss.load_images(two)) == 9


def test_schedules_by_name():
    score = ss.GaussianScore(torch.zeros(12), torch.eye(12))

    def levels(**options):
        return draw(score, 1, **options).options["sigmas"]

    assert levels(schedule="karras", steps=5) == ss.schedules.karras(5).tolist()
    assert levels(schedule="log-uniform:0.1:10", steps=4) == ss.schedules.log_uniform(4, 0.1, 10).tolist()
    assert levels(schedule="shell-touch:0.1:10") == ss.schedules.shell_touch(0.1, 10, 12).tolist()
    found = levels(schedule="vp", steps=3)
    assert (found[0], found[-1]) == tuple(ss.schedules.vp().variance_exploding[[0, -1]].tolist())
    for wrong in ("cosine", "karras:1", "karras:a:b", "vp:1:2"):
        with pytest.raises(ss.InputError):
            levels(schedule=wrong)
    with pytest.raises(ss.InputError, match="leave out steps"):
        levels(schedule="shell-touch", steps=3)
    with pytest.raises(ss.InputError, match="either"):
        levels(schedule="karras", sigmas=[1.0])
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        levels()
