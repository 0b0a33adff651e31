"""Networks as encoders: batch by batch, their features of image sets kept in the cache."""

import hashlib
from collections.abc import Callable

import torch
from safetensors import SafetensorError
from safetensors.torch import load_file, save
from torch import Tensor, nn

from smoothscore import progress
from smoothscore.data import ImageSet
from smoothscore.data.cache import cache_folder
from smoothscore.encoders.base import Encoder, values
from smoothscore.errors import InputError
from smoothscore.report.write import write_bytes

__all__ = ["FeatureNetwork", "frozen", "last_line"]

Network = Callable[[Tensor], Tensor]

BATCH = 4  # of 8 on, the memory of large layers goes back to the system each time, and getting it anew takes longest


class FeatureNetwork(Encoder):
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
        """The features (n, f); InputError where the network does not take images of this shape."""
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
                batch = values(images[start : start + BATCH])
                parts.append(self._flat(batch))
                advance(len(batch))
        return torch.cat(parts).clone()

    def _flat(self, batch: Tensor) -> Tensor:
        """The features (n, f) of some images (n, C, H, W)."""
        try:
            found = self._network(batch)
        except (RuntimeError, ValueError) as error:
            shape = tuple(batch.shape[1:])
            raise InputError(
                f"The encoder {self.name} fails on images of shape {shape}: {last_line(error)}."
            ) from error
        if not isinstance(found, Tensor) or found.ndim < 2 or len(found) != len(batch):
            raise InputError(f"The encoder {self.name} does not give one tensor of features (n, ...) for n images.")
        return found.flatten(1).float().cpu()


def frozen(name: str, model: nn.Module, network: Network) -> Encoder:
    """The encoder of a model, known by its weights."""
    model.eval().requires_grad_(False)
    digest = hashlib.sha256(name.encode())
    for key, value in model.state_dict().items():
        digest.update(key.encode())
        digest.update(value.contiguous().flatten().view(torch.uint8).numpy().data)
    return FeatureNetwork(name, network, digest.digest())


def last_line(error: Exception) -> str:
    """What an error says at its end, where torch has the cause, without the rest."""
    lines = str(error).strip().splitlines() or [type(error).__name__]
    return lines[-1].partition(". ")[0].rstrip(".")
