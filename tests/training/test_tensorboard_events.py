"""TensorBoard's files, read back by TensorBoard."""

import pytest

import smoothscore as ss

accumulator = pytest.importorskip("tensorboard.backend.event_processing.event_accumulator")


def test_events_are_the_run_s_history(tmp_path):
    images = ss.load_images("digits", limit=40)
    config = ss.TrainConfig(
        steps=6,
        checkpoint_every=2,
        batch_size=8,
        ema=(100.0,),
        network_options={"width": 4, "blocks": 1},
        watch_every=3,
        watch_samples=4,
    )
    run = ss.train(images, config, tmp_path / "run", tensorboard=True)
    events = accumulator.EventAccumulator(str(run.folder / "tensorboard"))
    events.Reload()
    for name in ("loss", "gradient_norm"):
        found = [(event.step, event.value) for event in events.Scalars(name)]
        assert [step for step, _ in found] == [2, 4, 6]
        assert [value for _, value in found] == pytest.approx([row[name] for row in run.history.steps], rel=1e-6)
    for weights in ("raw", "ema-100"):
        found = [(event.step, event.value) for event in events.Scalars(f"memorized/{weights}")]
        looks = [look for look in run.history.looks if look["weights"] == weights]
        assert found == [(look["step"], pytest.approx(look["memorized"]["value"])) for look in looks]
        assert len(found) == 2
