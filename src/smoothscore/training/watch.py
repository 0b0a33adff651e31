r"""Looks for copies while a network trains.

Every look draws samples from the weights as they are and from each average, for an average hides early copying, and
measures for each

- the share whose nearest training image is less than 2/3 as far as the second nearest
  (:mod:`smoothscore.memorization.copies`), beside the same share among held-out images, and the share below 1/3,
- the Frechet distances in pixels to the training and to the held-out images,
- the denoising error :math:`\mathrm E\|D(y+\sigma n)-y\|^2/d` on training and on held-out images, level by level: where
  the two part, the network has learned the images rather than their kind.

Images, noise and levels are the same in every look.
"""

from collections.abc import Mapping
from pathlib import Path
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor, nn

from smoothscore import schedules
from smoothscore.config import TrainConfig
from smoothscore.data import ImageSet, to_images
from smoothscore.encoders import PIXEL
from smoothscore.memorization import LOOSE, STRICT, CopyTest, Rate, frechet_distance, moments
from smoothscore.networks import Preconditioning
from smoothscore.report import image_grid
from smoothscore.report.result import plain
from smoothscore.report.write import write_bytes
from smoothscore.sampling import draw
from smoothscore.scores import NetworkScore

__all__ = ["LEVELS", "Watch"]

LEVELS = 8  # at which the denoising error is measured
POINTS = 64  # images noised at each
STEPS = 18  # of Heun's method
FLOOR = 0.02  # smallest level where the network finds it itself
REFERENCE = 2048  # most images in a Frechet distance
SHOWN, COLUMNS = 40, 10  # samples in a picture


class Watch:
    """Looks at one run.

    Args:
        train, held_out: the images, the latter None where there are none.
        config: of the run.
        form: how the network becomes a denoiser.
    """

    def __init__(
        self, train: Tensor | ImageSet, held_out: Tensor | ImageSet | None, config: TrainConfig, form: Preconditioning
    ) -> None:
        self.config, self.form = config, form
        self.test = CopyTest(train, PIXEL)
        self.sets = {"train": train} | ({} if held_out is None else {"held_out": held_out})
        self.levels = schedules.log_uniform(LEVELS, max(config.sigma_min, 0.05), min(config.sigma_max, 20.0)).tolist()
        some = {name: _some(images, REFERENCE) for name, images in self.sets.items()}
        self.moments = {name: moments(images.flatten(1).numpy()) for name, images in some.items() if len(images) > 1}
        self.points = {name: images[:POINTS] for name, images in some.items()}
        self.control = None if held_out is None else _rate(self.test(some["held_out"]).ratio)

    def look(
        self, step: int, network: nn.Module, averages: Mapping[str, Mapping[str, Tensor]], run: Path
    ) -> list[dict[str, Any]]:
        """Looks at the network's weights ("raw") and at its averages by name, each with a picture in ``run``."""
        raw = {name: value.detach().clone() for name, value in network.state_dict().items()}
        looks = []
        for name, state in {"raw": raw, **averages}.items():
            network.load_state_dict(state)
            look, samples = self(step, name, network)
            self.keep(run, look, samples)
            looks.append(look)
        network.load_state_dict(raw)
        return looks

    def __call__(self, step: int, weights: str, network: nn.Module) -> tuple[dict[str, Any], Tensor]:
        """What one set of weights has learned, in JSON's own types, and its samples."""
        was_training = network.training
        score = NetworkScore(network, self.form, class_=0 if self.config.method == "dummy" else None)
        samples = self._samples(score)
        look: dict[str, Any] = {"step": step, "weights": weights, "samples": len(samples)}
        finite = bool(samples.isfinite().all())
        if finite:
            ratio = self.test(samples).ratio
            look |= {"memorized": _rate(ratio), "memorized_strictly": _rate(ratio, STRICT)}
            look |= {"mean_ratio": ratio.mean(), "min_ratio": ratio.min()}
            drawn = moments(samples.flatten(1).numpy()) if len(samples) > 1 else None
            for name, reference in self.moments.items():
                look[f"frechet_{name}"] = None if drawn is None else frechet_distance(drawn, reference)
        look |= {"held_out": self.control, "sigmas": self.levels}
        for name, images in self.points.items():
            look[f"error_{name}"] = self._errors(score, images)
        network.train(was_training)
        result: dict[str, Any] = plain(look)
        return result, samples

    def _samples(self, score: NetworkScore) -> Tensor:
        """Drawn with 35 evaluations an image: by Heun's method, or by the level in the image where none is given."""
        low, high = self.config.sigma_min, self.config.sigma_max
        if score.noise_conditional:
            sampler, levels = "heun", schedules.karras(STEPS, low, high)
        else:
            sampler, levels = "true-level", schedules.log_uniform(2 * STEPS - 1, max(low, FLOOR), high)
        return draw(score, self.config.watch_samples, sampler, sigmas=levels, seed=self.config.seed).images

    def keep(self, run: Path, look: dict[str, Any], samples: Tensor) -> None:
        """Write the first samples of a look as ``RUN/samples/000001000-raw.png``."""
        if samples.ndim != 4 or samples.shape[1] not in (1, 3) or not samples.isfinite().all():
            return
        (run / "samples").mkdir(exist_ok=True)
        pixels = to_images(samples[:SHOWN].cpu()).take(range(min(SHOWN, len(samples))))
        write_bytes(run / "samples" / f"{look['step']:09d}-{look['weights']}.png", image_grid(pixels, COLUMNS))

    def _errors(self, score: NetworkScore, images: Tensor) -> list[float]:
        """The denoising error at each level."""
        device = next(score.parameters()).device
        noise = torch.randn(images.shape, generator=torch.Generator().manual_seed(self.config.seed))
        clean, noise = (each.to(device) for each in (images, noise))
        with torch.no_grad():
            return [
                float((score.denoise(clean + level * noise, level) - clean).square().mean()) for level in self.levels
            ]


def _rate(ratio: NDArray[np.float64], threshold: float = LOOSE) -> Rate:
    return Rate(int((ratio < threshold).sum()), len(ratio))


def _some(images: Tensor | ImageSet, most: int) -> Tensor:
    """At most that many images, evenly spaced in the set, in float32."""
    rows = np.linspace(0, len(images) - 1, min(most, len(images))).round().astype(np.int64)
    return images[rows].tensor() if isinstance(images, ImageSet) else images[rows].float().cpu()
