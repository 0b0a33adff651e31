"""The diagnosis as a whole: its edges, its files, and the numbers of CIFAR-10."""

import json
from pathlib import Path

import numpy as np
import pytest
import torch

from smoothscore.data import ImageSet, load_images
from smoothscore.errors import DataWarning, InputError
from smoothscore.geometry import diagnose, posterior_weight, weight_thresholds
from smoothscore.scores import EmpiricalScore


def images(count: int, seed: int = 0) -> ImageSet:
    pixels = np.random.default_rng(seed).integers(0, 256, (count, 1, 6, 6), dtype=np.uint8)
    return ImageSet.from_array(pixels, names=[f"{seed}-{i}.png" for i in range(count)])


def test_a_plain_run(tmp_path: Path) -> None:
    found = diagnose(images(60), images(40, 1), noises=30)
    assert found.danger_zone is not None
    low, high = found.danger_zone
    assert 0.002 < low < high < 80
    assert found.shell_coverage is not None
    assert found.posterior_weight.at(high) == pytest.approx(0.9, abs=1e-6)
    assert found.shell_coverage.at(low) == pytest.approx(0.9, abs=1e-6)
    np.testing.assert_array_equal(
        found.posterior_weight.mean, posterior_weight(images(60), found.sigmas, noises=30).mean
    )
    assert found.alerts == found.notes == []
    found.save_json(tmp_path / "d.json")
    saved = json.loads((tmp_path / "d.json").read_text())
    assert saved["danger_zone"] == [low, high]
    assert saved["posterior_weight"]["mean"] == found.posterior_weight.mean.tolist()
    assert saved["setting"]["training set"] == images(60).fingerprint
    found.save_html(tmp_path / "d.html")
    page = (tmp_path / "d.html").read_text()
    assert f"{low:.3g} to {high:.3g}" in page
    assert "danger zone" in repr(found)
    assert len(found.summary()) <= 25


def test_same_seed_same_result() -> None:
    runs = [
        diagnose(images(20), images(10, 1), sigmas=np.geomspace(0.5, 2, 5), noises=5, seed=seed).to_dict()
        for seed in (3, 3, 4)
    ]
    assert runs[0] == runs[1]
    assert runs[0] != runs[2]


def test_leaked_images_are_named_and_left_out() -> None:
    train, fresh = images(30), images(20, 1)
    mixed = ImageSet.from_array(
        np.concatenate([fresh.read(0, 20), train.read(4, 6)]),
        names=[*fresh.names, "copy-a.png", "copy-b.png"],
    )
    with pytest.warns(DataWarning, match=r"2 of 22 held-out images are training images \(copy-a.png, copy-b.png\)"):
        found = diagnose(train, mixed, sigmas=np.geomspace(0.1, 3, 10), noises=10)
    assert found.leaked == [20, 21]
    clean = diagnose(train, fresh, sigmas=np.geomspace(0.1, 3, 10), noises=10)
    assert found.shell_coverage is not None
    assert clean.shell_coverage is not None
    np.testing.assert_array_equal(found.shell_coverage.mean, clean.shell_coverage.mean)


def test_repeated_images_are_grouped_worst_first() -> None:
    pixels = images(10).read(0, 10)
    train = ImageSet.from_array(pixels[[0, 1, 2, 1, 3, 2, 2]])
    with pytest.warns(DataWarning, match="3 training images repeat others exactly"):
        found = diagnose(train, images(10, 1), sigmas=[0.01, 1.0], noises=5)
    assert found.duplicates == [[2, 5, 6], [1, 3]]
    # at low noise the weight is split among equal images: 2 of weight 1, 2 of 1/2, 3 of 1/3
    assert found.posterior_weight.mean[0] == pytest.approx((2 + 1 + 1) / 7, abs=1e-9)
    page = found.page().html()
    assert "Repeated images" in page


def test_everything_that_can_be_asked_for(tmp_path: Path) -> None:
    pixels = images(32).read(0, 32)
    pixels[31] = np.clip(pixels[5].astype(int) + 1, 0, 255)
    train, held_out = ImageSet.from_array(pixels), images(40, 1)
    found = diagnose(train, held_out, EmpiricalScore(train), np.geomspace(9, 0.3, 24), noises=60, sizes=True, near=True)
    assert found.near is not None
    assert [group.indices for group in found.near] == [[5, 31]]
    assert found.model is not None
    np.testing.assert_allclose(found.model.cosine.mean, 1, atol=1e-6)
    assert found.forecast is not None
    assert len(found.summary()) <= 25
    saved = json.loads(found.save_json(tmp_path / "d.json").read_text())
    assert {"zone", "far_field", "model", "forecast", "near"} <= saved.keys()
    page = found.page().html()
    for title in ("Far field", "The score under examination", "How many images", "Repeated images"):
        assert title in page


def test_a_score_needs_held_out_images() -> None:
    with pytest.raises(InputError, match="pass held_out="):
        diagnose(images(5), score=EmpiricalScore(images(5)))


def test_one_image() -> None:
    with pytest.warns(DataWarning, match="single training image"):
        found = diagnose(images(1), noises=3)
    assert found.shell_coverage is None
    assert found.danger_zone is None
    np.testing.assert_allclose(found.posterior_weight.mean, 1)
    assert found.page().html()


def test_two_images_and_points() -> None:
    points = torch.tensor([[0.0, 0.0], [1.0, 0.5]])
    found = diagnose(points, sigmas=np.geomspace(0.01, 10, 19), noises=50)
    assert found.shell_coverage is not None
    assert found.shell_coverage.mean[0] == 0
    assert found.shell_coverage.mean[-1] > 0.95
    assert found.page().html()


def test_identical_images() -> None:
    same = ImageSet.from_array(np.full((5, 1, 4, 4), 77, dtype=np.uint8))
    with pytest.warns(DataWarning, match="4 training images repeat"):
        found = diagnose(same, ImageSet.from_array(np.zeros((3, 1, 4, 4), dtype=np.uint8)), noises=5)
    np.testing.assert_allclose(found.posterior_weight.mean, 1 / 5)
    assert found.danger_zone is None


def test_range_that_misses_or_cuts_the_zone() -> None:
    train, held_out = images(60), images(40, 1)
    with pytest.warns(DataWarning, match="may miss the danger zone"):
        assert diagnose(train, held_out, sigmas=[0.01, 0.1], noises=10).danger_zone is None
    low = (diagnose(train, held_out, sigmas=np.geomspace(9, 0.3, 12), noises=10).danger_zone or (0, 0))[0]
    with pytest.warns(DataWarning, match="widen sigmas"):
        diagnose(train, held_out, sigmas=np.geomspace(low * 1.1, 80, 20), noises=10)


def test_the_risk_is_unknown_where_the_levels_cannot_tell() -> None:
    """One curve high at all levels, on either side, or both passing their level between two levels far apart."""
    train, held_out = images(60), images(40, 1)
    for levels, words in (
        ([0.01, 0.1], "may miss the danger zone"),
        ([30.0, 80.0], "may miss the danger zone"),
        ([0.01, 0.1, 30.0, 80.0], "between 0.1 and 30"),
    ):
        with pytest.warns(DataWarning, match=words):
            found = diagnose(train, held_out, sigmas=levels, noises=10)
        assert found.danger_zone is None
        assert dict(found.summary())["risk of copying"].startswith("unknown: ")
        assert found.lead().startswith("The risk of copying is unknown: ")
    assert dict(diagnose(train, held_out, noises=10).summary())["risk of copying"].startswith("high: ")


def test_other_shapes_are_refused() -> None:
    with pytest.raises(InputError, match=r"held-out images have shape .*resolution="):
        diagnose(images(5), torch.zeros(3, 1, 5, 5))
    with pytest.raises(InputError, match="the score's images have shape"):
        diagnose(images(5), images(5, 1), score=EmpiricalScore(torch.zeros(3, 1, 5, 5)))


def test_cifar_thousand(cifar_train: Path, cifar_test: Path) -> None:
    """The thresholds that the danger zone rule gave on 1,000 CIFAR-10 images (JPEG copies: a few percent)."""
    train = load_images(cifar_train)[:1000]
    held_out = load_images(cifar_test).subset(250, 0)
    found = diagnose(train, held_out, sigmas=np.geomspace(18, 0.7, 32), noises=40, images=250)
    weight, coverage = found.posterior_weight, found.shell_coverage
    assert coverage is not None
    own = {6.59: 0.421, 4.37: 0.826, 2.82: 0.986}
    printed = own, {3.59: 0.95, 4.13: 0.9, 6.92: 0.5, 13.1: 0.1}, {2.08: 0.95, 1.81: 0.9, 1.27: 0.5, 0.84: 0.05}
    for curve, table in zip((found.own_weight, weight, coverage), printed, strict=True):
        for sigma, level in table.items():
            error = np.interp(-sigma, -curve.sigmas, curve.stderr)
            assert float(curve.at(sigma)) == pytest.approx(level, abs=0.03 + 3 * error)
    assert found.danger_zone == pytest.approx((1.81, 4.13), rel=0.1)


def test_cifar_thresholds(cifar_train: Path) -> None:
    """Remark 4.3's averages over images, and the sharper second threshold."""
    train = load_images(cifar_train)[:1000]
    for p, delta, low, high in ((0.95, 0.05, 2.15, None), (0.95, 0.01, 2.02, None), (0.05, 0.05, None, 46)):
        concentrated, spread = weight_thresholds(train, p, delta)
        if low:
            assert concentrated.mean() == pytest.approx(low, rel=0.05)
        if high:
            assert spread.mean() == pytest.approx(high, rel=0.05)
