"""Near duplicates in the control: found by a rule that does not look at the samples, and what leaving them out does."""

from pathlib import Path

import numpy as np
import pytest
import torch

from smoothscore.data import ImageSet, load_images
from smoothscore.errors import DataWarning, InputError
from smoothscore.memorization import audit
from smoothscore.memorization.conformal import p_values
from smoothscore.memorization.detector import Detector, largest
from smoothscore.memorization.leaks import leaks, near_leaks

Sets = tuple[ImageSet, ImageSet, ImageSet]


@pytest.fixture(scope="module")
def sets() -> Sets:
    """500 training digits, 300 held out, and 150 fresh."""
    train, held_out, fresh = load_images("mnist-5k").split((500, 300, 150), seed=4)
    return train, held_out, fresh


def planted(train: ImageSet, held_out: ImageSet) -> torch.Tensor:
    """Held-out images of which 0 and 1 are training images, 2 to 7 noisy ones, 8 to 13 mirrored, 14 to 19 shifted."""
    values = held_out.tensor()
    copies = train[:20].tensor()
    values[:2] = copies[:2]
    values[2:8] = copies[2:8] + 0.02 * torch.randn_like(copies[2:8])
    values[8:14] = copies[8:14].flip(-1)
    values[14:20] = copies[14:20].roll((1, 2), (2, 3))
    return values


def test_near_duplicates_are_found_and_few_others(sets: Sets) -> None:
    train, held_out, _fresh = sets
    values = planted(train, held_out)
    found = Detector(train, ("pixel",), tolerant=True).find(values)
    near = near_leaks(found, ("pixel",))
    assert np.isin(range(8), near).all()
    assert np.isin(range(8, 20), near).mean() > 0.7
    assert (near >= 20).sum() <= 3
    with pytest.warns(DataWarning, match=r"2 of 300 held-out images are training images and were left out"):
        assert leaks(values, found, ("pixel",), "identical")[0].tolist() == [0, 1]
    with pytest.warns(DataWarning, match=r"held-out images are training images or near duplicates of them and were"):
        left, kept = leaks(values, found, ("pixel",), "near")
    np.testing.assert_array_equal(left, near)
    assert len(left) + len(kept) == 300
    with pytest.raises(InputError, match="Every held-out image"):
        leaks(values[:2], {name: m.at(np.arange(2)) for name, m in found.items()}, (), "identical")


def test_leaks_hide_copies_until_they_are_left_out(sets: Sets) -> None:
    train, held_out, fresh = sets
    values = planted(train, held_out)
    copies = train[100:110].tensor()
    samples = torch.cat([copies + 0.05 * torch.randn_like(copies), fresh.tensor()])
    with pytest.warns(DataWarning, match="held-out images"):
        kept = audit(samples, train, values)
    with pytest.warns(DataWarning, match="near duplicates"):
        out = audit(samples, train, values, leaks="near")
    assert kept.flagged is not None
    assert out.flagged is not None
    assert np.isin(range(10), kept.flagged).mean() < 0.5
    assert np.isin(range(10), out.flagged).all()
    assert (out.flagged >= 10).sum() <= 3
    assert len(kept.near_leaks) > 10
    assert len(out.near_leaks) == 0
    assert len(out.leaked) > 12
    assert out.to_dict()["setting"]["leaks"] == "near"
    assert "near duplicates of them; they were left out" in repr(out)
    with pytest.raises(InputError, match="leaks is 'all'"):
        audit(samples, train, values, leaks="all")  # type: ignore[arg-type]


def test_samples_that_the_rule_spares_keep_valid_p_values(sets: Sets) -> None:
    """Both sides cut by the same rule: over many draws, p-values of new images are not smaller than uniform ones."""
    train, held_out, fresh = sets
    detector = Detector(train, ("pixel",), tolerant=True)
    everything = detector.find(torch.cat([held_out.tensor(), fresh.tensor()]))
    spared = np.setdiff1d(np.arange(450), near_leaks(everything, ()))
    surprise = largest(detector.surprise(everything))[spared]
    rng = np.random.default_rng(0)
    below = []
    for _ in range(2000):
        drawn = rng.permutation(len(surprise))
        below.append(p_values(surprise[drawn[:1]], surprise[drawn[1:200]])[0] <= 0.05)
    assert np.mean(below) <= 0.05 + 4 * np.sqrt(0.05 * 0.95 / 2000)


@pytest.mark.slow
def test_near_duplicates_across_cifar(cifar_train: Path) -> None:
    """CIFAR-10 holds near duplicates (Barz and Denzler, 2020: 3 % of the test set among all training images)."""
    train, held_out = load_images(cifar_train, limit=6000).split((5000, 1000), seed=0)
    detector = Detector(train, ("pixel",), tolerant=True)
    found = detector.find(held_out)
    near = near_leaks(found, ())
    assert 0 < len(near) < 20
    top = np.argsort(-largest(detector.surprise(found)))[:40]
    assert np.isin(near, top).mean() > 0.7
