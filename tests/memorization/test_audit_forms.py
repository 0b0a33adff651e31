"""Images in every form that a program may hold them in, given to an audit and to its filter."""

import numpy as np
import pytest
import torch

import smoothscore as ss
from smoothscore.errors import DataWarning, InputError
from smoothscore.memorization import Audit
from smoothscore.memorization.detector import Detector


@pytest.fixture(scope="module")
def digits() -> tuple[ss.ImageSet, ss.ImageSet, ss.ImageSet]:
    """60 fresh digits with ten copies in front, 300 for training, 200 held out."""
    fresh, train, held_out = ss.load_images("mnist-5k").split((60, 300, 200), seed=1)
    return ss.ImageSet.from_array(np.concatenate([train.take(range(10)), fresh.take(range(50))])), train, held_out


@pytest.fixture(scope="module")
def audit(digits: tuple[ss.ImageSet, ss.ImageSet, ss.ImageSet]) -> Audit:
    return ss.audit(*digits, tolerant=False)


FORMS = {
    "uint8 array": lambda images: images.take(range(len(images))),
    "uint8 tensor": lambda images: torch.from_numpy(images.take(range(len(images)))),
    "float array": lambda images: images.tensor().numpy(),
    "float64 tensor with a gradient": lambda images: images.tensor(torch.float64).requires_grad_(),
}


@pytest.mark.parametrize("form", FORMS)
def test_one_verdict_for_all_forms(audit, digits, form: str) -> None:
    found = ss.audit(*(FORMS[form](images) for images in digits), tolerant=False)
    np.testing.assert_array_equal(found.p_values, audit.p_values)
    np.testing.assert_array_equal(found.flagged, audit.flagged)
    assert audit.flag(FORMS[form](digits[0])).tolist() == audit.flag(digits[0]).tolist()


def test_bfloat16_of_all_sets(digits, tmp_path) -> None:
    """Rounded samples of a rounded training set are still copies of it."""
    found = ss.audit(*(images.tensor().bfloat16() for images in digits), tolerant=False)
    assert set(range(10)) <= set(found.identical)
    assert found.save_json(tmp_path / "a.json").exists()
    assert found.save_html(tmp_path / "a.html").exists()


@pytest.mark.parametrize(
    ("samples", "message"),
    [
        (None, "NoneType is no set of images"),
        (7, "int is no set of images"),
        ([torch.zeros(1, 28, 28)], "list is no set of images"),
        (torch.zeros(5), r"tensor of type torch.float32 and shape \(5,\)"),
        (torch.zeros(1, 28, 28), r"samples have shape \(28, 28\)"),
        (np.zeros((2, 28, 28, 1), dtype=np.uint8), r"samples have shape \(28, 28, 1\)"),
        (np.zeros((2, 1, 28, 28), dtype=np.int64), "pass uint8 values"),
        (torch.zeros(2, 1, 28, 28) > 0, "pass uint8 values"),
        (np.full((2, 1, 28, 28), np.nan), "NaN"),
    ],
)
def test_what_is_no_set_of_images(digits, samples: object, message: str) -> None:
    with pytest.raises(InputError, match=message):
        ss.audit(samples, *digits[1:])  # type: ignore[arg-type]


def test_the_filter_names_what_is_wrong_with_a_batch(audit, digits) -> None:
    values = digits[0].tensor()
    assert audit.flag(values[:0]).tolist() == []
    assert audit.flag(values[:1]).tolist() == [True]
    for wrong, message in (
        (values[0], r"images of the batch have shape \(28, 28\)"),
        (values[..., :20], r"images of the batch have shape \(1, 28, 20\)"),
        (values * torch.nan, "images of the batch have NaN"),
        ("nowhere", "no file or folder"),
    ):
        with pytest.raises(InputError, match=message):
            audit.flag(wrong)


def test_vectors_of_one_value_are_told_from_single_values() -> None:
    values = torch.rand(3, 40, 1)
    assert ss.audit(*values).ratio.shape == (40,)
    with pytest.raises(InputError, match=r"training images are a tensor .* shape \(40,\)"):
        ss.audit(*values[..., 0])


def test_the_samples_are_the_held_out_set(digits) -> None:
    _, train, held_out = digits
    for other in (held_out, held_out.tensor()):
        with pytest.warns(DataWarning, match="The samples are the held-out set itself"):
            found = ss.audit(other, train, other, tolerant=False)
        assert "held-out set itself" in repr(found)


def test_a_control_that_is_the_training_set_is_refused_before_any_search(digits, monkeypatch) -> None:
    samples, train, _ = digits
    monkeypatch.setattr(Detector, "__init__", None)
    for same in (train, train.tensor()):
        with pytest.raises(InputError, match="Every held-out image is a training image"):
            ss.audit(samples, same, same)


def test_flagged_samples_and_their_training_images_are_named(audit, tmp_path) -> None:
    samples, train = audit.samples, audit.train
    stored = audit.to_dict()
    assert stored["flagged_names"] == [samples.names[index] for index in stored["flagged"]]
    assert stored["setting"]["seed"] == 0
    assert stored["setting"]["reading"]["train"]
    page = audit.save_html(tmp_path / "a.html").read_text()
    for index in range(10):
        assert f"sample {samples.names[index]}, training image {train.names[audit.matches[index]]}" in page
    assert "by other tests: ratio 2/3, ratio 1/3" in page
    assert "crops and changes of brightness" not in page
