r"""The one object: a score.

A score at noise level :math:`\sigma` is :math:`s(x;\sigma)=\nabla_x\log p_\sigma(x)` with
:math:`x=y+\sigma n` (variance exploding). Tweedie's formula ties it to the denoiser,

.. math:: D(x;\sigma)=\mathrm{E}[y\mid x]=x+\sigma^2 s(x;\sigma),

so a subclass implements whichever of the two is exact for it and inherits the other.
"""

import torch
from torch import Tensor, nn

from smoothscore.errors import InputError
from smoothscore.scores.jacobian import Jacobian, JvpJacobian

__all__ = ["Score", "Sigma"]

Sigma = float | Tensor


class Score(nn.Module):
    """A score of images of one shape.

    Args:
        shape: shape of one image, e.g. ``(3, 32, 32)``; points of dimension d have shape ``(d,)``.

    Attributes:
        shape: as given, a ``torch.Size``.
        noise_conditional: ``False`` when ``score(x)`` needs no ``sigma``.

    Subclasses override ``score`` or ``denoise`` (at least one), and ``log_density`` where they have one.
    """

    noise_conditional: bool = True

    def __init__(self, shape: torch.Size | tuple[int, ...]) -> None:
        super().__init__()
        self.shape = torch.Size(shape)

    @property
    def dim(self) -> int:
        """Number of values in one image."""
        return self.shape.numel()

    def score(self, x: Tensor, sigma: Sigma | None = None) -> Tensor:
        """The gradient of the log-density at ``x`` (batch, *shape); same shape as ``x``.

        ``sigma`` is a positive float or a (batch,) tensor, in the units of the data ([-1, 1] for images).
        """
        x, sigma = self.check(x, sigma)
        return (self.denoise(x, sigma) - x) / self.expand(sigma) ** 2

    def denoise(self, x: Tensor, sigma: Sigma) -> Tensor:
        """The posterior mean of the clean image given ``x`` (batch, *shape) at noise level ``sigma``."""
        x, sigma = self.check(x, sigma)
        return x + self.expand(sigma) ** 2 * self.score(x, sigma)

    def log_density(self, x: Tensor, sigma: Sigma | None = None) -> Tensor:
        """Log-density of ``x`` (batch, *shape) at noise level ``sigma``, in nats: (batch,)."""
        raise InputError(f"{type(self).__name__} has no log-density; take a score that is a density's gradient.")

    def jacobian(self, x: Tensor, sigma: Sigma | None = None) -> Jacobian:
        """The Jacobian of the score at ``x`` (batch, *shape), as products and extreme eigenvalues.

        Here by forward-mode differentiation of :meth:`score`: one evaluation a product, d for the trace. Scores
        with a closed form override it.
        """
        x, _ = self.check(x, sigma if self.noise_conditional else 1.0)
        return JvpJacobian(lambda y: self.score(y, sigma), x)

    def forward(self, x: Tensor, sigma: Sigma | None = None) -> Tensor:
        """The same as :meth:`score`."""
        return self.score(x, sigma)

    def check(self, x: Tensor, sigma: Sigma | None) -> tuple[Tensor, Tensor]:
        """``x`` and ``sigma`` as a (batch,) tensor like ``x``, refused by name where they cannot be used.

        Raises:
            InputError: ``x`` has another shape or dtype, is empty or not finite; ``sigma`` is missing, not
                positive, not finite, or has another length than ``x``.
        """
        if not isinstance(x, Tensor):
            raise InputError(f"x is a {type(x).__name__}; pass a tensor of images scaled to [-1, 1].")
        if x.shape[1:] != self.shape or x.ndim == 0:
            raise InputError(
                f"x has shape {tuple(x.shape)}; {type(self).__name__} takes (batch, {', '.join(map(str, self.shape))})."
            )
        if not len(x):
            raise InputError(f"x holds no images (its shape is {tuple(x.shape)}); pass one or more.")
        if not x.is_floating_point():
            raise InputError(f"x has dtype {x.dtype}; pass floating-point images scaled to [-1, 1].")
        if not torch.isfinite(x).all():
            raise InputError("x has NaN or infinite values; mend or drop those images first.")
        if sigma is None:
            raise InputError(f"{type(self).__name__} needs sigma, the noise level of x.")
        try:
            level = torch.as_tensor(sigma, dtype=x.dtype, device=x.device)
        except (TypeError, ValueError, RuntimeError):
            raise InputError(f"sigma is {sigma!r}; give one number or one for each of the {len(x)} images.") from None
        if level.ndim > 1 or (level.ndim == 1 and len(level) != len(x)):
            raise InputError(
                f"sigma has shape {tuple(level.shape)}; give one number or one for each of the {len(x)} images."
            )
        level = level.expand(len(x))
        if not (torch.isfinite(level).all() and (level > 0).all()):
            raise InputError("sigma must be positive and finite.")
        return x, level

    def expand(self, sigma: Tensor) -> Tensor:
        """A (batch,) tensor of levels, shaped to multiply a batch of images."""
        return sigma.reshape(-1, *(1,) * len(self.shape))
