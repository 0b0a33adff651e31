import json
from pathlib import Path

import numpy as np
import pytest
import torch
from sklearn.neighbors import NearestNeighbors

from smoothscore.data import ImageSet, load_images
from smoothscore.errors import DataWarning, InputError
from smoothscore.memorization import Audit, audit
from smoothscore.memorization.patches import PARTS

Sets = tuple[ImageSet, ImageSet, ImageSet]


@pytest.fixture(scope="module")
def digits() -> Sets:
    """200 fresh digits, 1,000 for training, 600 held out."""
    fresh, train, held_out = load_images("mnist-5k").split((200, 1000, 600), seed=3)
    return fresh, train, held_out


@pytest.fixture(scope="module")
def planted(digits: Sets) -> Audit:
    """Samples 0 to 9 are exact copies, 10 to 19 noisy ones, the others fresh digits."""
    fresh, train, held_out = digits
    samples = fresh.tensor()
    samples[:10] = train.tensor()[100:110]
    noise = 0.02 * torch.randn(10, *fresh.shape, generator=torch.Generator().manual_seed(0))
    samples[10:20] = train.tensor()[110:120] + noise
    return audit(samples, train, held_out)


def noise_images(seed: int, n: int, shape: tuple[int, int, int] = (1, 6, 6)) -> ImageSet:
    return ImageSet.from_array(np.random.default_rng(seed).integers(0, 256, (n, *shape), dtype=np.uint8))


def test_planted_copies_are_found_and_named(planted: Audit) -> None:
    assert planted.memorized[:20].all()
    assert (planted.neighbors[:20, 0] == np.arange(100, 120)).all()
    assert (planted.ratio[:10] == 0).all()
    assert planted.flagged is not None
    assert set(range(20)) <= set(planted.flagged)
    assert planted.memorized_fraction == planted.memorized.mean()
    excess = planted.excess
    assert excess is not None
    assert excess.low > 0.02
    assert excess.value == pytest.approx(planted.memorized.mean() - float(planted.held_out_fraction or 0))


def test_real_images_in_place_of_samples_show_no_excess(digits: Sets) -> None:
    fresh, train, held_out = digits
    found = audit(fresh, train, held_out)
    assert found.excess is not None
    assert found.excess.low <= 0 <= found.excess.high
    assert found.flagged is not None
    assert len(found.flagged) <= 2
    assert found.p_values is not None
    assert abs(found.p_values.mean() - 0.5) < 4 * np.sqrt(1 / 12 * (1 / 200 + 1 / 600))


def test_ratios_agree_with_scikit_learn(digits: Sets) -> None:
    fresh, train, _ = digits
    peer = NearestNeighbors(n_neighbors=2, algorithm="brute").fit(train.tensor(torch.float64).flatten(1))
    distances, indices = peer.kneighbors(fresh.tensor(torch.float64).flatten(1))
    found = audit(fresh, train, tolerant=False)
    np.testing.assert_allclose(found.ratio, distances[:, 0] / distances[:, 1], rtol=1e-9)
    np.testing.assert_array_equal(found.neighbors[:, :2], indices)


def test_a_repeated_training_image_does_not_hide_its_copy() -> None:
    pixels = noise_images(0, 50).take(np.arange(50))
    train = ImageSet.from_array(np.concatenate([pixels[:20], pixels[7:8], pixels[20:], pixels[7:8]]))
    found = audit(train[[20]], train)
    assert found.ratio.item() == 0
    assert found.memorized.item()
    assert found.neighbors[0, 0] == 7
    assert not {20, 51} & set(found.neighbors[0])
    noisy = train.tensor()[[7]] + 0.01
    assert audit(noisy, train).memorized.item()
    assert audit(noisy, train.tensor()).memorized.item()


def test_duplicates_in_the_training_set_change_no_ratio(digits: Sets) -> None:
    fresh, train, _ = digits
    doubled = train[np.repeat(np.arange(1000), 2)]
    np.testing.assert_array_equal(
        audit(fresh, train, tolerant=False).ratio, audit(fresh, doubled, tolerant=False).ratio
    )


def test_leaked_held_out_images_are_removed_and_named(digits: Sets) -> None:
    fresh, train, held_out = digits
    both = ImageSet.from_array(
        np.concatenate([held_out.take(np.arange(50)), train.take([5, 6])]),
        names=[*(f"held-{i}.png" for i in range(50)), "train-5.png", "train-6.png"],
    )
    with pytest.warns(DataWarning, match=r"2 of 52 held-out images are training images.*train-5\.png, train-6\.png"):
        found = audit(fresh, train, both, tolerant=False)
    assert found.leaked.tolist() == [50, 51]
    clean = audit(fresh, train, held_out[:50], tolerant=False)
    assert clean.p_values is not None
    np.testing.assert_array_equal(found.p_values, clean.p_values)
    assert found.held_out_fraction == clean.held_out_fraction
    with pytest.raises(InputError, match="Every held-out image is a training image"):
        audit(fresh, train, train[:10])


def test_without_held_out_images_halves_calibrate(digits: Sets) -> None:
    fresh, train, _ = digits
    samples = fresh.tensor()
    samples[:40] = train.tensor()[100:140] + 0.02 * torch.randn(40, *fresh.shape)
    found = audit(samples, train, tolerant=False)
    assert found.held_out_fraction is None
    assert found.excess is None
    assert found.p_values is not None
    assert found.flagged is not None
    assert set(range(40)) <= set(found.flagged)
    assert len(found.flagged) <= 46
    assert (found.p_values[:40] <= 4 / 501).all()
    assert found.p_values[40:].mean() > 0.5 - 4 * np.sqrt(1 / 12 * (1 / 160 + 1 / 1000))
    assert (found.matches[:40] == np.arange(100, 140)).all()
    assert "compared with the other half" in found.lead()
    assert found.control is not None
    assert len(found.control) == 1000


def test_too_few_training_images_to_calibrate_claim_nothing() -> None:
    found = audit(noise_images(0, 5), noise_images(1, 5))
    assert found.p_values is None
    assert found.flagged is None
    assert found.tail_excess is None
    assert "cannot be said" in found.lead()
    assert found.to_dict()["p_values"] is None
    with_control = audit(noise_images(0, 5), noise_images(1, 5), noise_images(2, 50))
    assert with_control.p_values is not None
    assert audit(noise_images(0, 5), noise_images(1, 20)).p_values is not None


def test_float_samples_are_compared_unrounded(digits: Sets) -> None:
    _, train, _ = digits
    samples = train.tensor(torch.float64)[:3]
    samples[:, 0, 0, 0] += 1e-5
    np.testing.assert_allclose(audit(samples, train).distances[:, 0], 1e-5, rtol=1e-7)


def test_points_in_the_plane_show_the_literatures_false_positives() -> None:
    """Fresh independent points: 43 % at 2/3 and 12 % at 1/3 for d = 2, none for d = 64, and so held-out points too.

    For a uniform density near a point, d1^d / d2^d is uniform, so P(r < t) = t^d: 4/9 and 1/9 in the plane.
    """
    generator = torch.Generator().manual_seed(0)
    for dim, threshold, expected in ((2, 2 / 3, 4 / 9), (2, 1 / 3, 1 / 9), (64, 2 / 3, 0.0)):
        samples, train, held_out = torch.rand(3, 1200, dim, generator=generator) * 2 - 1
        found = audit(samples, train, held_out, threshold=threshold)
        assert abs(found.memorized_fraction - expected) < 0.01 + 4 * np.sqrt(0.25 / 1200)
        assert found.excess is not None
        assert found.excess.low <= 0 <= found.excess.high


def test_flag_filters_a_batch(planted: Audit, digits: Sets) -> None:
    fresh, train, held_out = digits
    batch = torch.cat([train.tensor()[:3], fresh.tensor()[50:55]])
    assert planted.flagged is not None
    assert planted.flag(batch).tolist() == [True] * 3 + np.isin(range(50, 55), planted.flagged).tolist()
    assert not planted.flag(fresh[50:]).all()
    clean = audit(fresh, train, held_out)
    assert clean.flag(train.tensor()[:3] + 0.02 * torch.randn(3, *train.shape)).all()
    assert float(clean.flag(held_out).float().mean()) <= (clean.false_alarms or 0) <= 0.01


def test_more_neighbors_than_training_images() -> None:
    found = audit(noise_images(1, 4), noise_images(2, 3))
    assert found.neighbors.shape == (4, 3)


def test_one_sample(digits: Sets) -> None:
    fresh, train, held_out = digits
    found = audit(fresh[:1], train, held_out)
    assert found.frechet["to_train"] is None
    assert found.frechet["reference"] is not None
    assert "Frechet" in repr(found)


@pytest.mark.parametrize(
    ("samples", "train", "held_out", "message"),
    [
        (noise_images(0, 3), noise_images(1, 3, (3, 6, 6)), None, "samples have shape"),
        (noise_images(0, 3), noise_images(1, 3), noise_images(1, 3, (1, 7, 7)), "held-out images have shape"),
        (torch.zeros(0, 1, 6, 6), noise_images(1, 3), None, "no samples"),
        (noise_images(0, 3), noise_images(1, 1), None, "fewer than two distinct"),
        (noise_images(0, 3), noise_images(1, 1)[[0, 0, 0]], None, "fewer than two distinct"),
        (torch.full((2, 1, 6, 6), torch.nan), noise_images(1, 3), None, "NaN"),
    ],
)
def test_refusals(samples: ImageSet, train: ImageSet, held_out: ImageSet | None, message: str) -> None:
    with pytest.raises(InputError, match=message):
        audit(samples, train, held_out)


@pytest.mark.parametrize(
    "options",
    [{"threshold": 0.0}, {"threshold": 1.5}, {"alpha": 0}, {"alpha": 1.0}, {"encoder": "no"}, {"encoder": []}],
)
def test_refused_options(options: dict[str, float]) -> None:
    with pytest.raises(InputError):
        audit(noise_images(0, 3), noise_images(1, 9), **options)  # type: ignore[arg-type]


def test_changed_copies_are_found_when_tolerant(digits: Sets) -> None:
    fresh, train, held_out = digits
    copies = train.tensor()[:40]
    samples = torch.cat([copies.flip(-1)[:20], copies.roll((2, -1), (2, 3))[20:], fresh.tensor()[:100]])
    found = audit(samples, train, held_out)
    assert found.flagged is not None
    assert np.isin(range(20), found.flagged).mean() > 0.9
    assert np.isin(range(20, 40), found.flagged).mean() > 0.5
    assert np.isin(range(40, 140), found.flagged).sum() <= 4
    hits = np.isin(range(40), found.flagged)
    assert (found.matches[:40][hits] == np.arange(40)[hits]).all()
    blind = audit(samples, train, held_out, tolerant=False)
    assert blind.flagged is not None
    assert np.isin(range(40), blind.flagged).mean() < 0.1
    assert found.tail_excess is not None
    assert abs(found.tail_excess.value - np.isin(range(40), found.flagged).sum() / 140) < 0.08
    assert found.tail_excess.low > 0


def test_sources_say_what_is_copied_and_how_often() -> None:
    pixels = noise_images(0, 60).take(np.arange(60))
    train = ImageSet.from_array(np.concatenate([pixels, pixels[[7]]]), labels=[0] * 30 + [1] * 31)
    samples = ImageSet.from_array(np.concatenate([pixels[[7, 7, 40]], noise_images(5, 10).take(np.arange(10))]))
    found = audit(samples, train, noise_images(6, 60))
    assert [(source.index, source.copies, source.repeats) for source in found.sources] == [(7, [0, 1], 2), (40, [2], 1)]
    assert [source.label for source in found.sources] == [0, 1]
    classes = {row["label"]: row for row in found.classes}
    assert (classes[0]["flagged"], classes[0]["sources"], classes[1]["flagged"]) == (2, 1, 1)
    assert sum(row["samples"] for row in classes.values()) == 13


def test_several_spaces_take_part(digits: Sets) -> None:
    fresh, train, held_out = digits
    found = audit(fresh, train, held_out, encoder=["pca:20", "pca:50"])
    assert set(found.surprise_by_space) == {"pixel", "pca:20", "pca:50", "aligned", *PARTS}
    np.testing.assert_array_equal(found.surprise, np.max(list(found.surprise_by_space.values()), axis=0))
    assert found.frechet["space"] == "pca:20"
    assert "extraction confirmed" in found.literature.votes
    assert found.literature.informed_frechet is not None
    assert found.p_values is not None
    assert abs(found.p_values.mean() - 0.5) < 4 * np.sqrt(1 / 12 * (1 / 200 + 1 / 600))


def test_an_interrupted_audit_goes_on_from_the_cache(digits: Sets, monkeypatch: pytest.MonkeyPatch) -> None:
    fresh, train, held_out = (images[::2] for images in digits)
    from smoothscore.memorization import aligned, copies

    def stop(*_: object) -> None:
        raise KeyboardInterrupt

    with monkeypatch.context() as broken:
        broken.setattr(aligned.AlignedTest, "leave_one_out", stop)
        with pytest.raises(KeyboardInterrupt):
            audit(fresh, train, held_out)
    searched = []
    whole = copies.Search.__call__
    monkeypatch.setattr(copies.Search, "__call__", lambda *a: searched.append(len(a[1])) or whole(*a))
    first = audit(fresh, train, held_out)
    assert 500 + 1 not in searched
    asked = len(searched)
    again = audit(fresh, train, held_out)
    assert len(searched) == asked, "nothing is searched twice"
    np.testing.assert_array_equal(first.p_values, again.p_values)


def test_mistakes_with_whole_sets_are_named(digits: Sets) -> None:
    fresh, train, held_out = digits
    with pytest.warns(DataWarning, match="the training set itself"):
        found = audit(train[:50], train[:50])
    assert found.flagged is not None
    assert len(found.flagged) == 50
    with pytest.raises(InputError, match="Every held-out image is a training image"):
        audit(fresh, train[:300], train[:300], tolerant=False)
    with pytest.warns(DataWarning, match=r"look like values in \[0, 1\]"):
        audit((fresh.tensor() + 1) / 2, train, held_out, tolerant=False)


def test_report_shows_the_numbers_and_the_worst_pairs(planted: Audit, tmp_path: Path) -> None:
    page = planted.save_html(tmp_path / "audit.html").read_text()
    assert "sample 0" in page
    assert "train 100" in page
    assert "held-out" in page
    assert len(page) < 2_000_000
    stored = json.loads(planted.save_json(tmp_path / "audit.json").read_text())
    assert stored["memorized_fraction"]["count"] == int(planted.memorized.sum())
    assert stored["ratio"][0] == 0
    assert stored["setting"]["images"] == {"samples": 200, "train": 1000, "held_out": 600}
    assert stored["frechet"]["space"] == "pixel"


def test_report_of_points_has_no_pictures(tmp_path: Path) -> None:
    found = audit(torch.rand(20, 2), torch.rand(30, 2), torch.rand(30, 2))
    assert "no pairs are shown" in found.save_html(tmp_path / "points.html").read_text()


def test_the_same_images_in_another_form_give_the_same_audit(digits: Sets) -> None:
    fresh, train, held_out = digits
    images = audit(fresh, train, held_out, tolerant=False)
    tensors = audit(fresh.tensor(), train.tensor(), held_out.tensor(), tolerant=False)
    np.testing.assert_array_equal(images.ratio, tensors.ratio)
    np.testing.assert_array_equal(images.neighbors, tensors.neighbors)
    assert images.frechet["to_train"] == pytest.approx(tensors.frechet["to_train"], rel=1e-5)
