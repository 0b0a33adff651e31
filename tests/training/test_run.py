"""Runs: the folder they leave, what refuses to go on, and what stops them."""

import json
import os
import subprocess
import sys
from dataclasses import replace

import pytest
import torch

import smoothscore as ss
from smoothscore.networks.store import read_weights
from smoothscore.training import Averages, Objective
from smoothscore.training.checkpoints import checkpoints, lock

TINY = {"network_options": {"width": 4, "blocks": 1}, "batch_size": 8, "ema": (100.0, 1000.0), "warmup": 2}


def config(**settings):
    return ss.TrainConfig(**{"steps": 6, "checkpoint_every": 3, **TINY, **settings})


@pytest.fixture(scope="module")
def images():
    return ss.load_images("digits", limit=40)


def test_a_run_leaves_a_score_and_its_description(images, tmp_path):
    run = ss.train(images, config(), tmp_path / "run")
    assert run.step == 6
    assert [row["step"] for row in run.history.steps] == [3, 6]
    description = json.loads((tmp_path / "run" / "run.json").read_text())
    assert description["fingerprints"]["train"] == images.fingerprint
    assert ss.TrainConfig.from_dict(description["config"]) == config()
    assert {"torch", "numpy", "python"} <= set(description["versions"])
    x = torch.randn(2, *images.shape)
    raw, short, longest = (ss.load_score(f"{tmp_path / 'run'}{end}") for end in ("?ema=raw", "?ema=100", ""))
    assert not torch.equal(raw.denoise(x, 1.0), short.denoise(x, 1.0))
    assert longest.denoise(x, 1.0).shape == x.shape
    again = ss.Run.load(tmp_path / "run")
    assert again.to_dict() == run.to_dict()


def test_the_same_command_goes_on_where_the_run_stopped(images, tmp_path):
    whole = ss.train(images, config(), tmp_path / "whole")
    ss.train(images, config(steps=3), tmp_path / "parts")
    parts = ss.train(images, config(), tmp_path / "parts")
    for name in ("network", "ema-100", "ema-1000", "optimizer"):
        first, second = (
            read_weights(run.folder / "checkpoints" / "000000006" / f"{name}.safetensors") for run in (whole, parts)
        )
        assert first.keys() == second.keys()
        assert all(torch.equal(first[key], second[key]) for key in first)
    assert [row["loss"] for row in whole.history.steps] == [row["loss"] for row in parts.history.steps]
    assert whole.history.levels == parts.history.levels


def test_dropout_goes_on_too(images, tmp_path):
    dropped = config(network_options={"width": 4, "blocks": 1, "dropout": 0.5})
    ss.train(images, dropped, tmp_path / "whole")
    ss.train(images, ss.TrainConfig.from_dict(dropped.to_dict() | {"steps": 3}), tmp_path / "parts")
    ss.train(images, dropped, tmp_path / "parts")
    first, second = (
        read_weights(tmp_path / name / "checkpoints" / "000000006" / "network.safetensors")
        for name in ("whole", "parts")
    )
    assert all(torch.equal(first[key], second[key]) for key in first)


def test_other_images_and_other_settings_are_refused(images, tmp_path):
    ss.train(images, config(), tmp_path / "run")
    with pytest.raises(ss.InputError, match="other training images"):
        ss.train(images[:30], config(), tmp_path / "run")
    with pytest.raises(ss.InputError, match=r"learning_rate was 0\.0002"):
        ss.train(images, config(learning_rate=1e-3), tmp_path / "run")
    with pytest.raises(ss.InputError, match="no run"):
        ss.train(images, config(), tmp_path / "other", resume=True)
    longer = ss.train(images, None, tmp_path / "run", resume=True)
    assert longer.step == 6


def test_other_held_out_images_are_refused_and_none_are_not(images, tmp_path):
    """Not either after the run went on without any."""
    others = ss.load_images("digits", limit=60, seed=5)
    ss.train(images, config(steps=2), tmp_path / "run")
    ss.train(images, config(steps=3), tmp_path / "run", held_out=others[:20])
    ss.train(images, config(steps=4), tmp_path / "run")
    with pytest.raises(ss.InputError, match="begun with 20 other held-out images"):
        ss.train(images, config(), tmp_path / "run", held_out=others[20:])
    assert ss.train(images, config(), tmp_path / "run", held_out=others[:20]).step == 6


def test_a_run_goes_on_in_the_form_it_was_begun_with(images, tmp_path):
    """Where the configuration leaves the form to the library, a later choice of the library's does not change a run."""
    path = tmp_path / "run" / "network.json"
    blind = config(method="unconditional", steps=3)
    ss.train(images, blind, tmp_path / "run")
    description = json.loads(path.read_text())
    assert description["preconditioning"]["name"] == "scaled-noise"
    path.write_text(json.dumps(description | {"preconditioning": {"name": "noise"}}))
    ss.train(images, ss.TrainConfig.from_dict(blind.to_dict() | {"steps": 6}), tmp_path / "run")
    assert json.loads(path.read_text())["preconditioning"]["name"] == "noise"


def test_a_second_process_is_refused(images, tmp_path):
    (tmp_path / "run").mkdir()
    code = (
        "import fcntl, sys, time; file = open(sys.argv[1] + '/.lock', 'a'); fcntl.flock(file, fcntl.LOCK_EX)\n"
        "print('held', flush=True); time.sleep(60)"
    )
    command = [sys.executable, "-c", code, str(tmp_path / "run")]
    with subprocess.Popen(command, stdout=subprocess.PIPE, text=True) as other:
        assert other.stdout.readline() == "held\n"
        with pytest.raises(ss.InputError, match="Another process"):
            ss.train(images, config(), tmp_path / "run")
        other.kill()
    with lock(tmp_path / "run"):
        pass


def test_old_checkpoints_go(images, tmp_path):
    ss.train(images, config(checkpoint_every=1, keep=2), tmp_path / "run")
    assert [int(folder.name) for folder in checkpoints(tmp_path / "run")] == [5, 6]


def test_a_loss_that_is_no_number_ends_the_run_and_keeps_the_checkpoint(images, tmp_path, monkeypatch):
    ss.train(images, config(steps=3), tmp_path / "run")
    honest = Objective.losses

    def broken(*arguments):
        losses = honest(*arguments)
        losses.loss.data.fill_(float("nan"))
        return losses

    monkeypatch.setattr(Objective, "losses", broken)
    with pytest.raises(ss.InputError, match="checkpoint of step 3 is whole"):
        ss.train(images, config(), tmp_path / "run")
    assert [int(folder.name) for folder in checkpoints(tmp_path / "run")] == [3]


def test_a_gradient_that_is_no_number_is_not_kept_in_a_checkpoint(images, tmp_path, monkeypatch):
    """The loss of that step is a number still; the weights after it would not be."""
    honest = Objective.losses

    def steep(*arguments):
        losses = honest(*arguments)
        return replace(losses, head=losses.head + (0 * losses.loss.sum()).sqrt())  # 0, with an infinite slope

    monkeypatch.setattr(Objective, "losses", steep)
    with pytest.raises(ss.InputError, match="gradient nan"):
        ss.train(images, config(checkpoint_every=1), tmp_path / "run")
    assert not checkpoints(tmp_path / "run")


def test_a_full_disk_loses_nothing(images, tmp_path, monkeypatch):
    ss.train(images, config(steps=3), tmp_path / "run")

    rename = os.replace

    def full(source, target):
        if "checkpoints" in str(target):
            raise OSError(28, "No space left on device")
        rename(source, target)

    monkeypatch.setattr("smoothscore.report.write.os.replace", full)
    with pytest.raises(ss.InputError, match=r"checkpoint of step 6 .*\(No space left on device\); nothing .* is lost"):
        ss.train(images, config(), tmp_path / "run")
    monkeypatch.undo()
    assert ss.train(images, config(), tmp_path / "run").step == 6


@pytest.mark.parametrize(
    "error",
    [
        RuntimeError("[enforce fail at alloc_cpu.cpp] . DefaultCPUAllocator: can't allocate memory"),
        torch.OutOfMemoryError("no words"),
        MemoryError(),
    ],
)
def test_memory_that_runs_out_is_said(images, tmp_path, monkeypatch, error):
    def greedy(*arguments):
        raise error

    monkeypatch.setattr(Objective, "losses", greedy)
    with pytest.raises(ss.InputError, match="batch_size 8"):
        ss.train(images, config(), tmp_path / "run")


def test_other_errors_pass(images, tmp_path, monkeypatch):

    def other(*arguments):
        raise RuntimeError("CUDA error: an illegal memory access was encountered")

    monkeypatch.setattr(Objective, "losses", other)
    with pytest.raises(RuntimeError, match="illegal memory access"):
        ss.train(images, config(), tmp_path / "run")


@pytest.mark.parametrize("text", ["{", "[]", "{}", '{"config": 3, "images": {}, "fingerprints": {}}'])
def test_a_damaged_description_is_named(images, tmp_path, text):
    (tmp_path / "run.json").write_text(text)
    for read in (lambda: ss.train(images, config(), tmp_path), lambda: ss.Run.load(tmp_path)):
        with pytest.raises(ss.InputError, match=r"run\.json is damaged"):
            read()


def test_averages_are_those_of_the_formula():
    network = torch.nn.Linear(1, 1, bias=False)
    averages = Averages(network, (100.0,))
    value = expected = float(network.weight.detach())
    for step in range(1, 40):
        with torch.no_grad():
            network.weight.fill_(value + step)
        averages.update(step * 10, 10)
        decay = 0.5 ** (10 / min(100.0, 0.05 * step * 10))
        expected = decay * expected + (1 - decay) * (value + step)
    assert float(averages.state(100.0)["weight"]) == pytest.approx(expected, rel=1e-5)


@pytest.mark.parametrize(
    "settings",
    [
        {"method": "unconditional"},
        {"method": "temperature", "neighbors": 5, "space": "pca:4", "flips": True},
        {"method": "temperature", "neighbors": 2, "within_class": True, "temperature": "perplexity:1.5"},
        {"method": "temperature", "neighbors": 5, "preconditioning": "edm"},
        {"method": "gap", "gaps": ((0.5, 1.0),), "precision": "bfloat16"},
        {"method": "dummy"},
        {"linear_bypass": True, "noise": "shell-touch"},
        {"augment": 0.2, "noise": "log-uniform", "deduplicate": True},
    ],
)
def test_every_method_trains_to_a_score(images, tmp_path, settings):
    run = ss.train(images, config(**settings), tmp_path / "run")
    score = ss.load_score(str(run.folder))
    x = torch.randn(2, *images.shape)
    assert score.denoise(x, 0.7).isfinite().all()


@pytest.mark.parametrize(
    ("settings", "words"),
    [
        ({"method": "temperature", "neighbors": 41}, "neighbors is 41"),
        ({"method": "temperature", "neighbors": 40}, "neighbors is 40; with 40 training images give 2 to 39"),
        ({"method": "temperature", "neighbors": 5, "temperature": "perplexity:6"}, "6 images in a target that 5 share"),
        ({"network_options": {"classes": 5}}, "network_options has 'classes'"),
        ({"method": "unconditional", "preconditioning": "edm"}, "needs the noise level"),
        ({"method": "unconditional", "linear_bypass": True}, "linear_bypass needs"),
        ({"network": "huge"}, "no network 'huge'"),
        ({"network_options": {"wdth": 3}}, "wdth"),
        ({"network_options": {"width": 3}}, "width of a U-Net is 3"),
        ({"network_options": {"width": 5}}, "width of a U-Net is 5; .* even"),
        ({"method": "temperature", "neighbors": 9, "within_class": True}, "neighbors is 9; with . images of class"),
        ({"network": "mlp", "flips": True, "network_options": {"width": 7}}, "even width"),
        ({"method": "temperature", "temperature": "5/s"}, "not a rule"),
        ({"network_options": {"shape": (1, 8, 8)}}, "network_options has 'shape'"),
    ],
)
def test_settings_that_do_not_fit_are_refused_before_anything_is_written(images, tmp_path, settings, words):
    with pytest.raises(ss.InputError, match=words):
        ss.train(images, config(**settings), tmp_path / "run")
    assert not (tmp_path / "run").exists()


def test_fewer_steps_than_were_trained_are_refused(images, tmp_path):
    ss.train(images, config(steps=4), tmp_path / "run")
    with pytest.raises(ss.InputError, match="at step 4 already, and steps is 2"):
        ss.train(images, config(steps=2), tmp_path / "run")
    assert ss.Run.load(tmp_path / "run").config.steps == 4


def test_what_a_killed_writer_left_is_cleared_away(images, tmp_path):
    ss.train(images, config(steps=2), tmp_path / "run")
    left = tmp_path / "run" / ".smoothscore-0123456789abcdef.tmp"
    left.write_text("half")
    ss.train(images, config(steps=3), tmp_path / "run")
    assert not left.exists()


def test_a_network_larger_than_memory_is_said(images, tmp_path):
    with pytest.raises(ss.InputError, match="'tiny' with its options does not fit into memory"):
        ss.train(images, config(network_options={"width": 2**22}), tmp_path / "run")


def test_a_configuration_is_a_train_config(images, tmp_path):
    with pytest.raises(ss.InputError, match="config is a dict"):
        ss.train(images, {"steps": 3}, tmp_path / "run")


def test_a_file_in_the_place_of_the_run_is_named_before_any_work(images, tmp_path):
    place = tmp_path / "run"
    place.write_text("a file")
    for folder in (place, place / "within"):
        with pytest.raises(ss.InputError, match=f"{place} is no folder that can be written to"):
            ss.train(images, config(method="temperature", neighbors=5), folder)
