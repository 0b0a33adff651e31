"""Looks for copies: what they log, and that they stop a run that copies."""

import json

import pytest
import torch

import smoothscore as ss
from smoothscore.memorization import Rate
from smoothscore.report.result import plain
from smoothscore.training import History, Run
from smoothscore.training import watch as watching
from smoothscore.training.checkpoints import checkpoints

SETTINGS = {"network_options": {"width": 4, "blocks": 1}, "batch_size": 8, "ema": (100.0,), "watch_samples": 6}


@pytest.fixture(scope="module")
def digits():
    return ss.load_images("digits", limit=80).split([40, 40])


def test_looks_log_copies_distances_and_errors_of_raw_and_averaged_weights(digits, tmp_path):
    config = ss.TrainConfig(steps=4, watch_every=2, checkpoint_every=2, **SETTINGS)
    run = ss.train(digits[0], config, tmp_path / "run", digits[1])
    assert [(look["step"], look["weights"]) for look in run.history.looks] == [
        (2, "raw"),
        (2, "ema-100"),
        (4, "raw"),
        (4, "ema-100"),
    ]
    look = run.history.looks[-1]
    assert {"memorized", "frechet_train", "frechet_held_out", "error_train", "error_held_out", "held_out"} <= set(look)
    assert look["memorized"]["n"] == look["memorized_strictly"]["n"] == 6
    assert look["memorized_strictly"]["value"] <= look["memorized"]["value"]
    assert len(look["error_train"]) == len(look["sigmas"])
    page = run.page().html()
    assert "Looks for copies" in page
    assert (tmp_path / "run" / "samples" / "000000004-raw.png").exists()
    assert "copies, raw" in repr(run)


def test_looks_do_not_change_the_weights(digits, tmp_path):
    seen = ss.train(digits[0], ss.TrainConfig(steps=4, watch_every=1, **SETTINGS), tmp_path / "seen")
    alone = ss.train(digits[0], ss.TrainConfig(steps=4, **SETTINGS), tmp_path / "alone")
    scores = [ss.load_score(f"{run.folder}?ema=raw") for run in (seen, alone)]
    x = torch.randn(2, *digits[0].shape)
    assert torch.equal(scores[0].denoise(x, 1.0), scores[1].denoise(x, 1.0))


def test_held_out_images_that_are_trained_on_are_left_out(digits, tmp_path):
    mixed = ss.load_images("digits", limit=80)  # the halves of which the training set is one
    settings = ss.TrainConfig(steps=1, watch_every=1, **SETTINGS)
    with pytest.warns(ss.DataWarning, match="40 of 80 held-out images are training images"):
        run = ss.train(digits[0], settings, tmp_path / "mixed", mixed)
    clean = ss.train(digits[0], settings, tmp_path / "clean", digits[1])
    known = run.history.looks[0]["held_out"]
    assert known["n"] == 40
    assert known == clean.history.looks[0]["held_out"]


def test_held_out_images_of_another_shape_are_refused(digits, tmp_path):
    with pytest.raises(ss.InputError, match=r"held-out images have shape \(1, 7, 8\)"):
        ss.train(digits[0], ss.TrainConfig(steps=1, **SETTINGS), tmp_path / "run", digits[1].tensor()[:, :, 1:])
    assert not (tmp_path / "run").exists()


def test_a_run_that_copies_stops_and_keeps_the_checkpoint_before(digits, tmp_path, monkeypatch):
    def draws(score, n, *rest, **more):
        step = len(calls)
        calls.append(step)
        images = digits[0].tensor()[:n] if step >= 2 else digits[1].tensor()[:n]
        return ss.Samples(images, 1)

    calls: list[int] = []
    monkeypatch.setattr(watching, "draw", draws)
    config = ss.TrainConfig(steps=9, watch_every=3, checkpoint_every=2, stop_on_memorization=0.5, **SETTINGS)
    run = ss.train(digits[0], config, tmp_path / "run", digits[1])
    assert run.stopped["step"] == 6
    assert run.step == 4
    assert [int(folder.name) for folder in checkpoints(run.folder)] == [0, 2, 4]
    assert "stopped" in repr(run)
    again = ss.train(digits[0], config, tmp_path / "run", digits[1])
    assert again.stopped["step"] == 6
    assert len(calls) == 4
    assert json.loads((run.folder / "run.json").read_text())["stopped"]["value"] == 1.0


def test_the_error_of_the_exact_denoiser_is_seen(digits):
    """The watch's own curve, against the posterior mean of a single point, which is that point."""
    config = ss.TrainConfig(**SETTINGS)
    watch = watching.Watch(digits[0], digits[1], config, ss.networks.preconditioning("denoiser"))

    class Zero(torch.nn.Module):
        shape = digits[0].shape
        noise_conditional = True

        def __init__(self):
            super().__init__()
            self.one = torch.nn.Parameter(torch.zeros(1))

        def forward(self, x, noise):
            return x * self.one

    look, samples = watch(1, "raw", Zero())
    mean_square = float(digits[0].tensor()[:64].square().mean())
    assert look["error_train"] == pytest.approx([mean_square] * len(look["sigmas"]), rel=1e-5)
    assert samples.abs().max() == 0


@pytest.mark.parametrize(
    ("held_out", "words"),
    [
        (Rate(5, 100), "clearly more copies than among held-out images from step 30 on (raw)"),
        (None, "copies from step 20 on (raw)"),
    ],
)
def test_a_run_says_when_its_samples_were_best_and_when_copies_began(tmp_path, held_out, words):
    """Copies of 5 in 100 samples are no more than the held-out images have; of 30 they are."""
    looks = [
        {"step": step, "weights": "raw", "samples": 100, "memorized": Rate(copies, 100), "held_out": held_out}
        | {"frechet_held_out": distance}
        for step, copies, distance in [(10, 0, 9.0), (20, 5, 4.0), (30, 30, 6.0)]
    ]
    run = Run(tmp_path, ss.TrainConfig(steps=30), 30, History(looks=plain(looks)))
    times = dict(run.summary())["times"]
    assert words in times
    assert times.startswith("the Frechet distance to held-out images was least at step 20 (4, raw); ")
    early = Run(tmp_path, run.config, 20, History(looks=plain(looks[:1])))
    assert "no look found" in dict(early.summary())["times"]
