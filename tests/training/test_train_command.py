"""``smoothscore train`` on the command line, and a run that is killed."""

import json
import os
import signal
import subprocess
import sys
import time

import pytest
import torch

import smoothscore as ss
from smoothscore.networks.store import read_weights

SETTINGS = {
    "network_options": {"width": 4, "blocks": 1},
    "batch_size": 8,
    "ema": [100.0],
    "steps": 300,
    "checkpoint_every": 5,
    "keep": 1000,
}


def command(*arguments):
    return [sys.executable, "-m", "smoothscore", "train", *map(str, arguments)]


@pytest.fixture
def settings(tmp_path):
    path = tmp_path / "config.json"
    path.write_text(json.dumps(SETTINGS))
    return path


def test_killed_at_any_moment_and_run_again_gives_the_same_weights(settings, tmp_path, run):
    images = "digits?limit=40"
    with subprocess.Popen(command(images, "-o", tmp_path / "killed", "--config", settings)) as process:
        while not list((tmp_path / "killed").glob("checkpoints/*[0-9]/state.json")):
            assert process.poll() is None
            time.sleep(0.02)
        time.sleep(0.1)
        os.kill(process.pid, signal.SIGKILL)
        assert process.wait() == -signal.SIGKILL
    reached = max(int(path.name) for path in (tmp_path / "killed" / "checkpoints").glob("0*") if path.name.isdigit())
    steps = reached + 5
    code, _, errors = run("train", images, "-o", tmp_path / "killed", "--config", settings, "--steps", steps)
    assert code == 0, errors
    data = ss.load_images("digits", limit=40)
    whole = ss.train(data, ss.TrainConfig.from_dict(SETTINGS | {"steps": steps}), tmp_path / "whole")
    for name in ("network", "ema-100", "optimizer"):
        first, second = (
            read_weights(tmp_path / folder / "checkpoints" / f"{steps:09d}" / f"{name}.safetensors")
            for folder in ("killed", "whole")
        )
        assert all(torch.equal(first[key], second[key]) for key in first)
    assert whole.step == steps


def test_options_gaps_and_reports(settings, tmp_path, run):
    out = tmp_path / "run"
    options = ["--steps", 2, "--gap", 0.5, 1.0, "--gap", 2, 3, "--method", "gap", "--html", tmp_path / "run.html"]
    code, shown, errors = run("train", "digits?limit=20", "-o", out, "--config", settings, *options)
    assert code == 0, errors
    assert json.loads((out / "run.json").read_text())["config"]["gaps"] == [[0.5, 1.0], [2.0, 3.0]]
    assert "Training run" in shown
    assert (tmp_path / "run.html").exists()
    code, _, errors = run("train", "digits?limit=20", "-o", out, "--resume", "--steps", 3)
    assert code == 0, errors
    assert ss.Run.load(out).step == 3


@pytest.mark.parametrize(
    ("options", "words"),
    [
        (["--gap", "0.5"], "LOW HIGH"),
        (["--gap", "0", "100"], "cover every noise level"),
        (["--temperature", "x", "--method", "temperature", "--neighbors", "5"], "not a rule"),
        (["--resume"], "There is no run in"),
        (["--config", "missing.json"], "missing.json cannot be read"),
    ],
)
def test_mistakes_are_one_sentence(tmp_path, run, options, words):
    code, _, errors = run("train", "digits?limit=20", "-o", tmp_path / "run", *options)
    assert code == 2
    assert words in errors
    assert "Traceback" not in errors


@pytest.mark.slow
def test_two_processes_have_the_loss_of_one(settings, tmp_path, run):
    launch = [sys.executable, "-m", "torch.distributed.run", "--nproc_per_node", "2", "-m", "smoothscore"]
    options = ["train", "digits?limit=40", "--config", str(settings), "--steps", "100", "--method", "temperature"]
    options += ["--neighbors", "5"]
    two = subprocess.run([*launch, *options, "-o", str(tmp_path / "two")], capture_output=True, text=True, check=False)
    assert two.returncode == 0, two.stderr
    code, _, errors = run("train", *options[1:], "-o", tmp_path / "one")
    assert code == 0, errors
    losses = [[row["loss"] for row in ss.Run.load(tmp_path / name).history.steps] for name in ("one", "two")]
    assert losses[0] == pytest.approx(losses[1], rel=1e-3)
    first, second = (ss.load_score(str(tmp_path / name)) for name in ("one", "two"))
    x = torch.randn(4, 1, 8, 8)
    torch.testing.assert_close(first.denoise(x, 0.5), second.denoise(x, 0.5), rtol=1e-2, atol=1e-2)
