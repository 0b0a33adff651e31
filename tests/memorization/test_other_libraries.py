"""The measures of quality on given features, as torch-fidelity and torchmetrics compute them from such.

Both import torchvision, which their formulas do not need; where it is missing, an empty stand-in takes its place.
"""

import importlib.machinery
import importlib.util
import sys
from types import ModuleType
from unittest.mock import MagicMock

import numpy as np
import pytest
import torch
from torch import Tensor

from smoothscore.data import ImageSet
from smoothscore.encoders import encoder
from smoothscore.errors import InputError
from smoothscore.memorization import audit, frechet_distance, kernel_distance, moments, prdc


@pytest.fixture
def _torchvision(monkeypatch: pytest.MonkeyPatch) -> None:
    if importlib.util.find_spec("torchvision") is None:
        for name in ("", ".datasets", ".models", ".transforms", ".transforms.functional"):
            stand_in = MagicMock(spec_set=None)
            stand_in.__spec__ = importlib.machinery.ModuleSpec("torchvision" + name, None)
            monkeypatch.setitem(sys.modules, "torchvision" + name, stand_in)


@pytest.fixture
def features() -> tuple[Tensor, Tensor]:
    rng = np.random.default_rng(0)
    mix = rng.normal(size=(24, 24))
    return torch.from_numpy(rng.normal(size=(600, 24)) @ mix), torch.from_numpy(rng.normal(size=(600, 24)) @ mix + 0.3)


@pytest.mark.usefixtures("_torchvision")
def test_torch_fidelity(features: tuple[Tensor, Tensor]) -> None:
    pytest.importorskip("torch_fidelity")
    from torch_fidelity import metric_fid, metric_kid, metric_prc

    a, b = features
    statistics = [metric_fid.fid_features_to_statistics(x) for x in features]
    fid = metric_fid.fid_statistics_to_metric(*statistics, False)["frechet_inception_distance"]
    assert frechet_distance(moments(a.numpy()), moments(b.numpy())) == pytest.approx(fid, rel=1e-8)
    options = {"kid_kernel": "poly", "kid_kernel_poly_degree": 3, "kid_kernel_poly_gamma": None}
    kid = metric_kid.kernel_mmd(a.numpy(), b.numpy(), **options, kid_kernel_poly_coef0=1)
    assert kernel_distance(a.numpy(), b.numpy()) == pytest.approx(float(kid), rel=1e-9)
    precision, recall = metric_prc.calculate_precision_recall_full(a, b, 5)
    found = prdc(b.numpy(), a.numpy(), 5)
    assert found["precision"] == pytest.approx(precision, abs=2 / 600)
    assert found["recall"] == pytest.approx(recall, abs=2 / 600)


@pytest.mark.usefixtures("_torchvision")
def test_torchmetrics(features: tuple[Tensor, Tensor]) -> None:
    pytest.importorskip("torchmetrics")
    from torchmetrics.image.fid import _compute_fid
    from torchmetrics.image.kid import poly_mmd

    a, b = features
    fid = _compute_fid(a.mean(0), a.T.cov(), b.mean(0), b.T.cov())
    assert frechet_distance(moments(a.numpy()), moments(b.numpy())) == pytest.approx(float(fid), rel=1e-8)
    kid = poly_mmd(a, b)
    assert kernel_distance(a.numpy(), b.numpy()) == pytest.approx(float(kid), rel=1e-9)


class Port(torch.nn.Module):
    """Stands in for torch-fidelity's Inception: which pixels it is given, and what it answers."""

    def __init__(self, name: str, wanted: list[str]) -> None:
        super().__init__()
        assert (name, wanted) == ("inception-v3-compat", ["2048"])
        self.seen: list[Tensor] = []

    def forward(self, pixels: Tensor) -> tuple[Tensor]:
        assert pixels.dtype == torch.uint8
        assert pixels.shape[1] == 3
        return (pixels.float().mean((2, 3)) @ torch.ones(3, 7) + pixels.float()[:, 0, 0, :7],)


def test_the_fid_is_the_frechet_distance_of_inception_features(monkeypatch: pytest.MonkeyPatch) -> None:
    port = ModuleType("torch_fidelity.feature_extractor_inceptionv3")
    port.FeatureExtractorInceptionV3 = Port  # type: ignore[attr-defined]
    monkeypatch.setitem(sys.modules, "torch_fidelity", ModuleType("torch_fidelity"))
    monkeypatch.setitem(sys.modules, port.__name__, port)
    pixels = np.random.default_rng(0).integers(0, 256, (180, 1, 8, 8), dtype=np.uint8)
    sets = [ImageSet.from_array(part) for part in (pixels[:60], pixels[60:120], pixels[120:])]
    given = torch.from_numpy(pixels[:60]).expand(-1, 3, -1, -1)
    torch.testing.assert_close(encoder("inception")(sets[0]), Port("inception-v3-compat", ["2048"])(given)[0])
    found = audit(*sets, encoder="inception")
    assert found.frechet["space"] == "inception"
    mine, train = (moments(encoder("inception")(images).numpy()) for images in sets[:2])
    assert found.frechet["to_train"] == pytest.approx(frechet_distance(mine, train), rel=1e-6)
    assert found.literature.informed_frechet is not None


def test_without_torch_fidelity_the_error_says_what_to_install(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(sys.modules, "torch_fidelity.feature_extractor_inceptionv3", None)
    with pytest.raises(InputError, match=r"smoothscore\[fid\]"):
        encoder("inception")
