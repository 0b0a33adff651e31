"""The range of images given as floating-point values: judged once, for every verb."""

import numpy as np
import pytest
import torch

import smoothscore as ss
from smoothscore.data import as_given

PIXELS = torch.randint(0, 256, (12, 3, 8, 8), generator=torch.Generator().manual_seed(0))


@pytest.mark.parametrize("kind", [torch.float32, torch.float64, torch.float16, "array"])
def test_values_up_to_255_are_refused(kind, tmp_path):
    images = PIXELS.numpy().astype(np.float32) if kind == "array" else PIXELS.to(kind)
    with pytest.raises(ss.InputError, match=r"between 0 and 255 .*give them as uint8"):
        ss.train(images, ss.TrainConfig(steps=1), tmp_path / "run")
    with pytest.raises(ss.InputError, match="give them as uint8"):
        ss.diagnose(images)
    assert not (tmp_path / "run").exists()


def test_values_from_0_to_1_are_warned_of():
    with pytest.warns(ss.DataWarning, match="give 2 x - 1"):
        as_given(PIXELS / 255)


@pytest.mark.parametrize(
    "images",
    [
        PIXELS.to(torch.uint8),
        PIXELS / 127.5 - 1,
        1.3 * (PIXELS / 127.5 - 1),
        3 * torch.randn(12, 3, 8, 8),
        PIXELS[:5] / 255,
        PIXELS.double().flatten(1),
        torch.full((12, 1, 2, 2), torch.nan),
        torch.ones(12, 1, 2, 2) * 0.1,
    ],
    ids=["uint8", "in range", "beyond", "normal", "few bright ones", "points", "nan", "flat"],
)
def test_all_else_passes_without_a_word(images):
    given = as_given(images)
    values = given.tensor() if isinstance(given, ss.ImageSet) else given
    assert values.shape == images.shape
