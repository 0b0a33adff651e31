r"""What a sampler sees of a score: counted evaluations, each image's own noise, and a constraint.

A constraint P acts on the denoised image, so that it holds at every noise level: with
:math:`D_P(x;\sigma)=P(D(x;\sigma))` the score is :math:`(D_P-x)/\sigma^2`, and the last step, a denoise, returns an
image that obeys it.
"""

from collections.abc import Callable, Sequence
from functools import cached_property
from typing import Any

import numpy as np
import torch
from torch import Tensor

from smoothscore.errors import InputError
from smoothscore.scores import Score
from smoothscore.scores.base import Sigma

__all__ = ["Evaluator", "Projection", "noise"]

Projection = Callable[[Tensor], Tensor]
"""Clean images (batch, *shape) to clean images that obey a constraint."""


def noise(seed: int, start: int, stop: int, shape: torch.Size) -> Tensor:
    """Standard normal noise for images ``start`` to ``stop - 1``: (stop - start, *shape), float64.

    The noise of image i depends on ``(seed, i)`` only, so neither the batch size nor the number of images
    changes a sample. Its values are numbers of float32, at every precision of the states.
    """
    return _draw([_stream(seed, i) for i in range(start, stop)], shape).double()


def _stream(seed: int, image: int) -> np.random.Generator:
    return np.random.Generator(np.random.SFC64([seed, image]))


def _draw(streams: Sequence[np.random.Generator], shape: torch.Size) -> Tensor:
    draws = np.empty((len(streams), shape.numel()), dtype=np.float32)
    for row, stream in zip(draws, streams, strict=True):
        stream.standard_normal(out=row, dtype=np.float32)
    return torch.from_numpy(draws).reshape(-1, *shape)


def device_of(score: Score) -> torch.device:
    """Where a score is: where its parameters or buffers are."""
    return next((t.device for t in (*score.parameters(), *score.buffers())), torch.device("cpu"))


class Evaluator:
    """One batch's view of a score.

    An image that is not finite stays so, and does not disturb the others: the score never sees it. Nor does it see one
    whose squares overflow, which becomes NaN.

    Args:
        score: any score.
        images: the numbers of the images in the batch, which with ``seed`` fix their noise.
        seed: of the noise.
        projection: a constraint on clean images.

    Attributes:
        evaluations: images that the score has been evaluated at, summed over calls.
    """

    def __init__(
        self, score: Score, images: Sequence[int] = (), seed: int = 0, projection: Projection | None = None
    ) -> None:
        self.score_model, self.projection = score, projection
        self.images, self.seed = images, seed
        self.evaluations = 0

    def denoise(self, x: Tensor, sigma: Sigma) -> Tensor:
        """The denoised images, constrained: same shape as ``x`` (batch, *shape)."""
        return self.project(self._safely(self.score_model.denoise, x, sigma))

    def score(self, x: Tensor, sigma: Sigma | None = None) -> Tensor:
        """The score at ``x``, that of the constrained denoiser where there is a constraint and a level."""
        if self.projection is None or sigma is None:
            return self._safely(self.score_model.score, x, sigma)
        level = torch.as_tensor(sigma, dtype=x.dtype, device=x.device).reshape(-1, *(1,) * (x.ndim - 1))
        return (self.denoise(x, sigma) - x) / level**2

    def solve(self, x: Tensor, sigma: float, sigma_next: float) -> Tensor:
        """The end of the exact flow from ``sigma`` to ``sigma_next``; counts as one evaluation.

        Raises:
            InputError: the flow of the score is not known in closed form.
        """
        flow = getattr(self.score_model, "solve", None)
        if flow is None:
            raise InputError(
                f"The flow of {type(self.score_model).__name__} is not known in closed form; take sampler 'heun'."
            )
        return self._safely(lambda y, level: flow(y, level, sigma_next), x, sigma)

    def weights(self, x: Tensor, sigma: float) -> Tensor:
        """The posterior weights of a mixture's components, (batch, K) float64; counts as one evaluation."""
        return self._safely(lambda y, level: self.score_model.weights(y, level), x.double(), sigma)  # type: ignore[operator]

    def log_density(self, x: Tensor) -> Tensor:
        """The log-density of a noise-unconditional score, (batch,); counts as one evaluation."""
        return self._safely(lambda y, _: self.score_model.log_density(y), x, None)

    def noise(self, x: Tensor) -> Tensor:
        """The next standard normal noise of each image of the batch, like ``x``."""
        return _draw(self._streams, x.shape[1:]).to(x)

    @cached_property
    def _streams(self) -> list[np.random.Generator]:
        """One for each image; 15 microseconds each."""
        return [_stream(self.seed, i) for i in self.images]

    def project(self, image: Tensor) -> Tensor:
        """Clean images (batch, *shape) as the constraint has them.

        Raises:
            InputError: the constraint returns another shape.
        """
        if self.projection is None:
            return image
        projected = self.projection(image)
        if projected.shape != image.shape:
            raise InputError(
                f"The projection made shape {tuple(projected.shape)} of {tuple(image.shape)}; it must keep the shape."
            )
        return projected.to(image)

    def _safely(self, evaluate: Callable[[Tensor, Any], Tensor], x: Tensor, sigma: Sigma | None) -> Tensor:
        self.evaluations += len(x)
        lengths = torch.linalg.vector_norm(x.flatten(1), dim=1)  # infinite where squares overflow
        broken = ~torch.isfinite(lengths)
        if not broken.any():
            return evaluate(x, sigma)
        answer = evaluate(x.masked_fill(broken.reshape(-1, *(1,) * (x.ndim - 1)), 0.0), sigma)
        answer[broken] = torch.nan
        return answer
