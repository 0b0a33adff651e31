"""Recommended settings: they follow from the curves, are complete, and their command gives them back."""

import re
import shlex

import numpy as np
import pytest
import torch

from smoothscore import cli, verbs
from smoothscore.config import TrainConfig
from smoothscore.data import ImageSet
from smoothscore.errors import DataWarning, InputError
from smoothscore.geometry import Diagnosis, diagnose
from smoothscore.geometry.model import by_chance
from smoothscore.geometry.recommendation import command, in_lines
from smoothscore.scores import EmpiricalScore


def images(count: int, seed: int = 0) -> ImageSet:
    pixels = np.random.default_rng(seed).integers(0, 256, (count, 1, 8, 8), dtype=np.uint8)
    return ImageSet.from_array(pixels)


@pytest.fixture(scope="module")
def found() -> Diagnosis:
    return diagnose(images(80), images(60, 1), noises=30)


def test_quality_leaves_the_zone_out(found: Diagnosis) -> None:
    config = found.recommend()
    assert config == found.recommend("quality")
    assert config.method == "gap"
    ((low, high),) = config.gaps
    assert found.zone is not None
    assert low <= found.zone.low < found.zone.high <= high
    assert (found.zone.low - low) / low < 0.01
    assert (high - found.zone.high) / high < 0.01


def test_privacy_softens_as_far_as_it_says(found: Diagnosis) -> None:
    """At the zone's low end the softened posterior has the weight that the formula promises: one half."""
    config = found.recommend("privacy")
    assert config.method == "temperature"
    match = re.fullmatch(r"([\d.]+)/sigma", str(config.temperature))
    assert match
    assert found.zone is not None
    low, train = found.zone.low, images(80)
    softened = float(np.sqrt(float(match[1]) * low))  # a temperature at one level is a larger level
    generator = torch.Generator().manual_seed(1)
    clean = train.tensor(dtype=torch.float64)
    noisy = clean + softened * torch.randn(clean.shape, generator=generator, dtype=torch.float64)
    weight = EmpiricalScore(train).weights(noisy, softened).amax(1).mean()
    assert float(weight) == pytest.approx(0.5, abs=0.08)
    plain = EmpiricalScore(train).weights(clean + low * (noisy - clean) / softened, low).amax(1).mean()
    assert float(plain) > 0.9
    assert config.sigma_collapse is not None
    assert found.posterior_weight.at(config.sigma_collapse) == pytest.approx(0.1, abs=0.01)
    assert 10 <= config.neighbors <= 80


@pytest.mark.parametrize("goal", ["quality", "privacy"])
def test_every_setting_that_is_chosen_has_a_reason(found: Diagnosis, goal: str) -> None:
    config = found.recommend(goal)  # type: ignore[arg-type]
    default = TrainConfig()
    changed = [name for name in config.to_dict() if getattr(config, name) != getattr(default, name)]
    for name in changed:
        if name != "reasons":
            assert config.reasons[name].endswith(".")
            assert ". " not in config.reasons[name]
    assert TrainConfig.from_dict(config.to_dict()) == config


@pytest.mark.parametrize("goal", ["quality", "privacy"])
def test_the_command_gives_the_same_settings(
    found: Diagnosis, goal: str, monkeypatch: pytest.MonkeyPatch, tmp_path: object
) -> None:
    config = found.recommend(goal)  # type: ignore[arg-type]
    words = shlex.split(command(config, "my images?limit=9", str(tmp_path)))
    assert words[:3] == ["smoothscore", "train", "my images?limit=9"]
    assert shlex.split(in_lines(command(config, "my images?limit=9", str(tmp_path))).replace("\\\n", " ")) == words
    seen: list[TrainConfig] = []

    class Stop(Exception):
        pass

    def train(data: str, settings: TrainConfig, *rest: object, **more: object) -> None:
        seen.append(settings)
        raise Stop

    monkeypatch.setattr(verbs, "train", train)
    monkeypatch.setattr("sys.argv", words)
    with pytest.raises(Stop):
        cli.main()
    assert seen == [config]


def test_an_unknown_goal(found: Diagnosis) -> None:
    with pytest.raises(InputError, match="quality, privacy"):
        found.recommend("fast")  # type: ignore[arg-type]


def test_there_is_always_an_answer() -> None:
    with pytest.warns(DataWarning, match="may miss"):
        narrow = diagnose(images(30), images(20, 1), sigmas=[0.01, 0.1], noises=5)
    assert narrow.recommend().method == narrow.recommend("privacy").method == "conditional"
    assert "no danger zone" in narrow.recommend().reasons["method"]
    with pytest.warns(DataWarning, match="single"):
        one = diagnose(images(1), noises=3)
    assert "held-out" in one.recommend("privacy").reasons["method"]
    points = diagnose(torch.randn(50, 2, generator=torch.Generator().manual_seed(0)), noises=20)
    assert points.recommend().network == "mlp"


def test_no_run_of_points_is_stopped_by_copies_of_chance() -> None:
    """In the plane one in nine independent points passes the copy test; in 36 dimensions none does."""
    generator = torch.Generator().manual_seed(0)
    train, fresh = torch.rand(4000, 2, generator=generator).double(), torch.rand(4000, 2, generator=generator).double()
    first, second = torch.cdist(fresh, train).topk(2, largest=False).values.unbind(1)
    share = float((first < second / 3).double().mean())
    assert share == pytest.approx(by_chance(2), abs=4 * (by_chance(2) / 4000) ** 0.5)
    points = diagnose(train[:50], noises=5)
    for goal in ("quality", "privacy"):
        config = points.recommend(goal)  # type: ignore[arg-type]
        assert config.stop_on_memorization is None
        assert "11.1%" in config.reasons["stop_on_memorization"]
    many = diagnose(torch.randn(50, 36, generator=generator), noises=5)
    assert many.recommend().stop_on_memorization == 0.05
