"""From a diagnosis to a trained score: the settings that ``recommend`` gives, as they are, for a few steps."""

from dataclasses import replace

import pytest
import torch

import smoothscore as ss


def shortened(config, steps):
    """The settings themselves, but for what makes a run long."""
    options = {"width": 8, "blocks": 1} if config.network == "tiny" else {}
    return replace(config, steps=steps, network_options=options, watch_every=steps // 2, watch_samples=16)


def trains(train, held_out, goal, steps, folder):
    config = shortened(ss.diagnose(train, held_out).recommend(goal), steps)
    run = ss.train(train, config, folder, held_out)
    assert run.step == steps or run.stopped
    first, last = run.history.steps[0]["loss"], run.history.steps[-1]["loss"]
    assert last < first
    x = held_out.tensor()[:4]
    assert ss.load_score(str(folder)).denoise(x + 0.5 * torch.randn_like(x), 0.5).isfinite().all()
    assert "Why these settings" in run.page().html()
    return run


@pytest.mark.parametrize(("goal", "method"), [("quality", ("gap", "conditional")), ("privacy", ("temperature",))])
def test_digits(goal, method, tmp_path):
    run = trains(*ss.load_images("digits").split([200, 200], seed=0), goal, 200, tmp_path / "run")
    assert run.config.method in method


@pytest.mark.parametrize("goal", ["quality", "privacy"])
@pytest.mark.slow
def test_colour_images(goal, tmp_path, cifar_train, cifar_test):
    train = ss.load_images(cifar_train, class_=1, limit=200)
    held_out = ss.load_images(cifar_test, class_=1, limit=200)
    trains(train, held_out, goal, 200, tmp_path / "run")
