r"""The score of a neural network.

.. math:: s_\theta(x;\sigma)=\frac{D_\theta(x;\sigma)-x}{\sigma^2}

with the denoiser :math:`D_\theta` that a preconditioning (:mod:`smoothscore.networks`) makes of the raw network. A
network without noise conditioning gives a score without a level too; the level, where the formula needs it, comes from
the sampler, from the size of what the network removes, or from the network's own estimate.
"""

import os
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import torch
from torch import Tensor, nn

from smoothscore import networks
from smoothscore.errors import InputError
from smoothscore.networks import LinearBypass, Preconditioning, SigmaHead
from smoothscore.networks.calling import inner, is_noise_conditional
from smoothscore.networks.store import read_description, read_plan, read_weights, rebuild
from smoothscore.scores.base import Score, Sigma
from smoothscore.scores.covariance import Covariance
from smoothscore.scores.gaussian import GaussianScore

__all__ = ["MOMENTS", "NetworkScore"]

MOMENTS = "moments.safetensors"
"""The Gaussian of the training images in a run's folder."""


class NetworkScore(Score):
    """A score from any network and the form in which it denoises.

    Cost and memory: one evaluation of the network a call, in the dtype of its parameters.

    Args:
        network: any module called as ``network(x, noise)``, or as ``network(x)`` for a score without noise
            conditioning, with an output of the shape of x. It is put into evaluation mode.
        preconditioning: the form of its output: "edm", "ve", "vp", "noise" (it is the unit noise),
            "scaled-noise", "score" (the score), "denoiser" (the denoised image), or an object of
            :mod:`smoothscore.networks`.
        shape: of one image; None takes ``network.shape``.
        class_: the class of which the score is, in a network with classes; None for no class.

    Attributes:
        moments: the Gaussian of the training images that a run keeps, for teleportation; None where there is none.

    Raises:
        InputError: no shape, or a class that the network does not have.
    """

    label: Tensor
    moments: GaussianScore | None

    def __init__(
        self,
        network: nn.Module,
        preconditioning: str | Mapping[str, str | float] | Preconditioning = "edm",
        shape: Sequence[int] | None = None,
        class_: int | None = None,
    ) -> None:
        about = inner(network)
        shape = getattr(about, "shape", None) if shape is None else shape
        if shape is None:
            raise InputError(f"{type(network).__name__} does not say what images it takes; give shape=(C, H, W).")
        super().__init__(torch.Size(shape))
        self.network = network.eval()
        self.preconditioning = networks.preconditioning(preconditioning)
        self.noise_conditional = is_noise_conditional(network)
        self.class_, self.moments = class_, None
        classes = getattr(about, "classes", 0)
        if class_ is not None and not 0 <= class_ < classes:
            raise InputError(f"class_ is {class_}, and the network has {classes} classes, counted from 0.")
        label = torch.zeros(1, classes)
        if class_ is not None:
            label[0, class_] = 1
        self.register_buffer("label", label, persistent=False)

    @classmethod
    def load(
        cls, path: str | os.PathLike[str], ema: str | None = None, step: int | None = None, class_: int | None = None
    ) -> "NetworkScore":
        """The network of a run folder that training wrote, or of one file of ``networks.save_network``.

        Args:
            path: the folder or the file.
            ema: of a run, "raw" for the weights themselves, or a half-life in images for their moving average; None
                takes the average with the longest half-life.
            step: of a run, the checkpoint after that many steps; None takes the last one.
            class_: of a network with classes; None takes the one noted in the file.

        Raises:
            InputError: no such folder, checkpoint or average, or damaged files.
        """
        place = Path(path)
        if place.is_dir():
            if not (place / "network.json").exists():
                raise InputError(f"{path} is no folder of a training run; give one, or KIND:DATA for a closed form.")
            description = read_description(place / "network.json")
            weights = _weights(_checkpoint(place, step), ema)
        elif ema is not None or step is not None:
            raise InputError(f"{path} is not the folder of a run, so it has no ema and no step to choose.")
        else:
            description, weights = read_plan(place), place
        network = _assemble(description, read_weights(weights), str(weights))
        score = cls(network, description["preconditioning"], class_=description["class"] if class_ is None else class_)
        if (place / MOMENTS).exists():
            score.moments = _gaussian(read_weights(place / MOMENTS), description["shape"])
        return score

    def score(self, x: Tensor, sigma: Sigma | None = None) -> Tensor:
        """The score at ``x`` (batch, *shape); without ``sigma`` at the level that :meth:`estimate_sigma` gives."""
        return super().score(x, self._level(x, sigma))

    def denoise(self, x: Tensor, sigma: Sigma | None = None) -> Tensor:
        """The denoised images, same shape as ``x``; without ``sigma`` at the level of :meth:`estimate_sigma`."""
        x, level = self.check(x, self._level(x, sigma))
        return self.preconditioning.denoise(self.network, x, level, **self._labels(x))

    def estimate_sigma(self, x: Tensor) -> Tensor:
        """The noise level of each image of ``x`` (batch, *shape): (batch,), positive.

        The size of what the network removes, where its form tells (unconditional "denoiser" and "score"), else the
        network's ``sigma_head``.

        Raises:
            InputError: the network has neither.
        """
        x, _ = self.check(x, 1.0)
        if not self.noise_conditional:
            carried = self.preconditioning.estimate_sigma(self.network, x, **self._labels(x))
            if carried is not None:
                return carried
        head = getattr(inner(self.network), "sigma_head", None)
        if not isinstance(head, SigmaHead):
            raise InputError(
                f"{type(self.network).__name__} with the form {self.preconditioning.name!r} does not tell the noise "
                "level; give sigma, or give the network a sigma_head."
            )
        return head(x).exp().to(x.dtype)  # type: ignore[no-any-return]

    def _level(self, x: Tensor, sigma: Sigma | None) -> Sigma | None:
        return self.estimate_sigma(x) if sigma is None and not self.noise_conditional else sigma

    def _labels(self, x: Tensor) -> dict[str, Tensor]:
        return {"class_labels": self.label.expand(len(x), -1)} if self.label.shape[1] else {}


def _checkpoint(run: Path, step: int | None) -> Path:
    """The folder of a step's checkpoint, or of the last one."""
    folders = (run / "checkpoints").glob("*/network.safetensors")
    found = {int(file.parent.name): file.parent for file in folders if file.parent.name.isdecimal()}
    if not found:
        raise InputError(f"{run} has no checkpoint yet; wait for the first, or train again.")
    if step is not None and step not in found:
        raise InputError(f"{run} has no checkpoint of step {step}; it has {', '.join(map(str, sorted(found)))}.")
    return found[max(found) if step is None else step]


def _weights(checkpoint: Path, ema: str | None) -> Path:
    """The file of the raw or averaged weights in a checkpoint."""
    averages = {file.stem.removeprefix("ema-"): file for file in checkpoint.glob("ema-*.safetensors")}
    files = {"raw": checkpoint / "network.safetensors", **averages}
    if ema is None:
        return files[max(averages, key=float, default="raw")]
    if ema not in files:
        raise InputError(f"{checkpoint} has no weights {ema!r}; ema is one of {', '.join(files)}.")
    return files[ema]


def _assemble(description: Mapping[str, Any], tensors: Mapping[str, Tensor], title: str) -> nn.Module:
    network = rebuild(description, tensors, title)
    if not description["linear_bypass"]:
        return network
    prefix = "gaussian."
    own = {name.removeprefix(prefix): value for name, value in tensors.items() if name.startswith(prefix)}
    return LinearBypass(network, _gaussian(own, description["shape"]))


def _gaussian(tensors: Mapping[str, Tensor], shape: Sequence[int]) -> GaussianScore:
    """The Gaussian whose buffers these are, in their dtype."""
    mean = tensors["mean"]
    covariance = Covariance(tensors["directions"].double(), tensors["variances"].double(), tensors["residual"].item())
    return GaussianScore(mean.reshape(tuple(shape)), covariance).to(mean.dtype)
