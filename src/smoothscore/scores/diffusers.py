r"""Unconditional image models of diffusers, as scores.

A scheduler's timesteps are one-to-one with noise levels of ``x = y + sigma n``. For schedulers with
``alphas_cumprod`` :math:`\bar\alpha_t` (DDPM, DDIM, DPM-Solver, ...)

.. math:: \sigma_t=\sqrt{(1-\bar\alpha_t)/\bar\alpha_t},\qquad x_t=\alpha x,\qquad \alpha=1/\sqrt{1+\sigma_t^2},

and between two timesteps :math:`t` is linear in :math:`\log\sigma`; beyond the first and the last it stays. Then

============  ===================  ========================  ====================  ========================
prediction    :math:`c_{skip}`     :math:`c_{out}`           :math:`c_{in}`        :math:`c_{noise}`
============  ===================  ========================  ====================  ========================
epsilon       1                    :math:`-\sigma`           :math:`\alpha`        :math:`t(\sigma)`
v_prediction  :math:`\alpha^2`     :math:`-\alpha\sigma`     :math:`\alpha`        :math:`t(\sigma)`
sample        0                    1                         :math:`\alpha`        :math:`t(\sigma)`
flow          :math:`1-s`          :math:`-s`                :math:`1-s`           :math:`N s`
============  ===================  ========================  ====================  ========================

where a flow runs from images to noise along :math:`(1-s)\,y+s\,n`, :math:`s=\sigma/(1+\sigma)`, in N timesteps.
Schedulers of the EDM kind have :class:`EDM`'s functions, with the sign of :math:`c_{out}` turned for v_prediction.
"""

import json
import os
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, ClassVar

import torch
from torch import Tensor, nn

from smoothscore.errors import InputError
from smoothscore.networks import EDM, Preconditioning
from smoothscore.networks.form import Coefficients
from smoothscore.scores.network import NetworkScore

__all__ = ["DiffusersScore"]


class DiffusersScore(NetworkScore):
    """The score of a ``UNet2DModel`` and the scheduler that it was trained with.

    Cost and memory: one evaluation of the model a call, in the dtype of its parameters.

    Args:
        model: a ``diffusers.UNet2DModel``, or any module called like one.
        scheduler: its scheduler: one with ``alphas_cumprod``, of the EDM kind, or of flow matching. It is asked for
            its settings only; sampling is this library's.
        shape: (C, H, W); None takes it from the model's configuration.
        class_: of a class-conditional model, the class.

    Raises:
        InputError: a scheduler or a prediction of another kind, no shape, or no class where one is needed.
    """

    def __init__(
        self, model: nn.Module, scheduler: Any, shape: Sequence[int] | None = None, class_: int | None = None
    ) -> None:
        network = _Model(model, shape)
        if network.classes and class_ is None:
            raise InputError(f"The model has {network.classes} classes; say which with class_.")
        super().__init__(network, _form(scheduler), class_=class_)

    @classmethod
    def load(cls, path: str | os.PathLike[str], class_: int | None = None) -> "DiffusersScore":  # type: ignore[override]
        """From a folder that ``DiffusionPipeline.save_pretrained`` wrote, with ``unet`` and ``scheduler`` in it.

        Nothing is downloaded, and weights are read from safetensors only.

        Raises:
            InputError: diffusers is not installed, no such folder, a text-conditional model, or unreadable files.
        """
        try:
            import diffusers
        except ImportError:
            raise InputError("Models of diffusers need diffusers; install smoothscore[diffusers].") from None
        place = Path(path)
        kinds = {part: _class_name(place, part, file) for part, file in FILES.items()}
        if kinds["unet"] != "UNet2DModel":
            raise InputError(f"The model in {path} is a {kinds['unet']}; only unconditional UNet2DModels have a score.")
        if not kinds["scheduler"].endswith("Scheduler") or not hasattr(diffusers, kinds["scheduler"]):
            raise InputError(
                f"diffusers has no scheduler {kinds['scheduler']!r}, which {path} names; install a newer one."
            )
        try:
            read: Any = diffusers.UNet2DModel.from_pretrained
            model = read(place / "unet", local_files_only=True, use_safetensors=True)
        except (OSError, ValueError, RuntimeError) as error:
            raise InputError(f"The model in {path} cannot be read: {str(error).splitlines()[0]}") from None
        scheduler = getattr(diffusers, kinds["scheduler"]).from_pretrained(place / "scheduler", local_files_only=True)
        return cls(model, scheduler, class_=class_)


FILES = {"unet": "config.json", "scheduler": "scheduler_config.json"}


def _class_name(place: Path, part: str, file: str) -> str:
    try:
        return str(json.loads((place / part / file).read_text())["_class_name"])
    except (OSError, ValueError, KeyError, TypeError):
        raise InputError(
            f"{place} has no readable {part}/{file}; give a folder that a pipeline's save_pretrained wrote."
        ) from None


class _Model(nn.Module):
    """A ``UNet2DModel`` in the terms of our networks."""

    noise_conditional = True

    def __init__(self, model: nn.Module, shape: Sequence[int] | None) -> None:
        super().__init__()
        config: Any = model.config
        self.model = model
        self.classes: int = getattr(config, "num_class_embeds", None) or 0
        if shape is None:
            if config.sample_size is None:
                raise InputError("The model does not say the size of its images; give shape=(C, H, W).")
            size = config.sample_size
            shape = (config.in_channels, *((size, size) if isinstance(size, int) else size))
        self.shape = torch.Size(shape)

    def forward(self, x: Tensor, timestep: Tensor, class_labels: Tensor | None = None) -> Tensor:
        """The prediction, without the variance that some models append to it."""
        labels = {} if class_labels is None else {"class_labels": class_labels.argmax(dim=1)}
        return self.model(x, timestep, **labels).sample[:, : self.shape[0]]  # type: ignore[no-any-return]


@dataclass(frozen=True)
class Timesteps(Preconditioning):
    """The forms of schedulers with ``alphas_cumprod``.

    Args:
        prediction: "epsilon", "v_prediction" or "sample".
        log_sigmas: logarithms of the levels of timesteps 0, 1, ..., ascending.
    """

    name: ClassVar[str] = "timesteps"
    prediction: str
    log_sigmas: tuple[float, ...]

    def coefficients(self, sigma: Tensor) -> Coefficients:
        """The four functions at levels ``sigma``."""
        scale = (1 + sigma**2).rsqrt()
        skip, out = {
            "epsilon": (torch.ones_like(sigma), -sigma),
            "v_prediction": (scale**2, -sigma * scale),
            "sample": (torch.zeros_like(sigma), torch.ones_like(sigma)),
        }[self.prediction]
        return Coefficients(skip, out, scale, self.timestep(sigma))

    def timestep(self, sigma: Tensor) -> Tensor:
        """The fractional timestep of each level."""
        table = torch.tensor(self.log_sigmas, dtype=torch.float64, device=sigma.device)
        level = sigma.double().log().clamp(table[0], table[-1])
        above = torch.searchsorted(table, level).clamp(1, len(table) - 1)
        low, high = table[above - 1], table[above]
        return (above - 1 + (level - low) / (high - low)).to(sigma.dtype)


@dataclass(frozen=True)
class Flow(Preconditioning):
    """The form of flow matching, with the velocity from images to noise."""

    name: ClassVar[str] = "flow"
    timesteps: int

    def coefficients(self, sigma: Tensor) -> Coefficients:
        """The four functions at levels ``sigma``. Two calm ends and the wild middle, eq. 23."""
        images, noise = 1 / (1 + sigma), sigma / (1 + sigma)
        return Coefficients(images, -noise, images, self.timesteps * noise)


@dataclass(frozen=True)
class TurnedEDM(EDM):
    """EDM's form with the other sign of the output."""

    name: ClassVar[str] = "edm-v"

    def coefficients(self, sigma: Tensor) -> Coefficients:
        """The four functions at levels ``sigma``."""
        skip, out, scale, noise = super().coefficients(sigma)
        return Coefficients(skip, -out, scale, noise)


def _form(scheduler: Any) -> Preconditioning:
    """What a scheduler's settings say of the form of its model."""
    kind, config = type(scheduler).__name__, scheduler.config
    prediction = getattr(config, "prediction_type", "epsilon")
    if kind.startswith("FlowMatch"):
        return Flow(config.num_train_timesteps)
    if hasattr(config, "sigma_data") and prediction in ("epsilon", "v_prediction"):
        return (EDM if prediction == "epsilon" else TurnedEDM)(config.sigma_data)
    if hasattr(scheduler, "alphas_cumprod") and prediction in ("epsilon", "v_prediction", "sample"):
        alphas = torch.as_tensor(scheduler.alphas_cumprod, dtype=torch.float64)
        alphas = alphas[alphas > 0]  # a last level of pure noise has no sigma
        return Timesteps(prediction, tuple((((1 - alphas) / alphas).log() / 2).tolist()))
    raise InputError(
        f"A {kind} that predicts {prediction!r} has no known noise levels; take a scheduler with alphas_cumprod, "
        "an EDM or a flow-matching one."
    )
