r"""Smoothing any score by a Gaussian kernel.

With :math:`K_h=N(0,h^2I)` the mollified score is a gradient again, that of the smoothed *log*-density,

.. math::
    s_h(x;\sigma)=(K_h*s)(x;\sigma)=\nabla\big(K_h*\log p_\sigma\big)(x)
    =\frac{\mathrm E_z[D(x+hz;\sigma)]-x}{\sigma^2},

so a softmax over training images turns into an average of many, each seen from a slightly different point.
The density :math:`\exp(K_h*\log p_\sigma)/Z` is the LED-KDE when p is a kernel density estimate. Directions
normal to a linear data manifold keep their variance :math:`\sigma^2`; only the data along it are smoothed.

The "larger time" approximation moves the average inside the softmax,
:math:`\mathrm E_z[D(x+hz;\sigma)]\approx D(x;\sqrt{\sigma^2+h^2})`. For an empirical score it is the
temperature :math:`T=1+h^2/\sigma^2` at the same level. It costs one evaluation and can be far off when
:math:`h>\sigma`.
"""

from collections.abc import Callable, Iterator
from typing import Literal

import torch
from torch import Tensor

from smoothscore.errors import InputError
from smoothscore.mixture import node_averages
from smoothscore.scores.base import Score, Sigma
from smoothscore.scores.empirical import EmpiricalScore
from smoothscore.scores.mollified_empirical import average_denoiser, average_log_density
from smoothscore.scores.shifts import averaged, normal_pairs, shifted

__all__ = ["MollifiedScore"]

Bandwidth = float | Callable[[Tensor], Tensor]


class MollifiedScore(Score):
    """The average of a score over Gaussian shifts of the image, with a fixed set of shifts.

    The shifts come in pairs (z, -z), drawn once from ``seed``: the same seed gives the same field, which is
    the exact gradient of ``log_density``, and scores that are linear in x are reproduced without error. What
    is averaged is the denoiser; the term -x / sigma^2 passes through.

    Cost: ``samples`` evaluations of ``score`` (one for ``approximation="larger-time"``); for an
    :class:`EmpiricalScore` all shifts share one distance computation. Memory: samples * d values.

    Args:
        score: any score, closed-form or a network.
        bandwidth: standard deviation h of the shifts in the units of the data; or a function of sigma
            (batch,) that returns (batch,).
        samples: number of shifts, even, at least 2.
        seed: of the shifts.
        nodes: ``"gaussian"`` draws, or ``"sobol"``: a scrambled low-discrepancy sequence, more accurate in
            few dimensions.
        approximation: ``"larger-time"`` for the closed approximation; ``samples``, ``seed`` and ``nodes`` are
            then not used.

    Raises:
        InputError: a negative bandwidth, an odd or non-positive number of samples, an unknown option.

    Source: Kernel-smoothed scores, Definition 1 and appendix A.8, form (b): exact along normal directions.
    """

    shifts: Tensor

    def __init__(
        self,
        score: Score,
        bandwidth: Bandwidth,
        samples: int = 64,
        seed: int = 0,
        nodes: Literal["gaussian", "sobol"] = "gaussian",
        approximation: Literal["larger-time"] | None = None,
    ) -> None:
        if not isinstance(score, Score):
            raise InputError(f"score is a {type(score).__name__}; give a Score, e.g. EmpiricalScore(images).")
        super().__init__(score.shape)
        if not isinstance(samples, int) or samples < 2 or samples % 2:
            raise InputError(f"samples is {samples!r}; shifts come in pairs, so give an even number of at least 2.")
        if approximation not in (None, "larger-time"):
            raise InputError(f"approximation is {approximation!r}; take 'larger-time' or None.")
        self.inner = score
        self.bandwidth = bandwidth
        if not callable(bandwidth):
            self._width(torch.ones(1))
        self.nodes = nodes
        self.approximation = approximation
        self.noise_conditional = score.noise_conditional or callable(bandwidth) or approximation is not None
        self.register_buffer("shifts", normal_pairs(nodes, samples, self.dim, seed).reshape(samples, *self.shape))

    def score(self, x: Tensor, sigma: Sigma | None = None) -> Tensor:
        """The average of the inner score over the shifts; same shape as ``x`` (batch, *shape).

        ``sigma`` may be left out where the inner score needs none and the bandwidth is one number.
        """
        if sigma is not None or self.noise_conditional:
            return super().score(x, sigma)
        x, level = self.check(x, 1.0)
        return averaged(lambda y, _: self.inner.score(y), x, level, self.shifts, self._width(level))

    def denoise(self, x: Tensor, sigma: Sigma) -> Tensor:
        """The average of the inner denoiser over the shifts; same shape as ``x`` (batch, *shape)."""
        x, level = self.check(x, sigma)
        width = self._width(level)
        if self.approximation:
            return self.inner.denoise(x, (level**2 + width**2).sqrt())
        if isinstance(self.inner, EmpiricalScore):
            return average_denoiser(x, self.inner.centers, level, self.shifts, width)
        return averaged(self.inner.denoise, x, level, self.shifts, width)

    def log_density(self, x: Tensor, sigma: Sigma | None = None) -> Tensor:
        """The average of the inner log-density over the shifts, (batch,): the log-density up to a constant.

        The constant is the same for all x at one level and bandwidth, and is not known in closed form.
        """
        x, level = self.check(x, sigma if self.noise_conditional else 1.0)
        width = self._width(level)
        if self.approximation:
            larger = level**2 + width**2
            return larger / level**2 * self.inner.log_density(x, larger.sqrt())
        if isinstance(self.inner, EmpiricalScore):
            return average_log_density(x, self.inner.centers, level, self.shifts, width)
        return averaged(self.inner.log_density, x, level, self.shifts, width)

    def standard_error(self, x: Tensor, sigma: Sigma) -> Tensor:
        """How far ``denoise`` is from the average over all shifts, (batch,).

        The root of the expected squared 2-norm, estimated from the spread between the pairs of shifts;
        divided by sigma^2 it is that of ``score``.

        Raises:
            InputError: fewer than two pairs, or shifts that are not independent draws.
        """
        if self.nodes != "gaussian" or self.approximation or len(self.shifts) < 4:
            raise InputError("standard_error needs independent pairs: nodes='gaussian', 4 samples or more.")
        x, level = self.check(x, sigma)
        total = torch.zeros(len(x), self.dim, dtype=torch.float64, device=x.device)
        squares = torch.zeros(len(x), dtype=torch.float64, device=x.device)
        for pairs in self._pairs(x, level, self._width(level)):
            total += pairs.sum(0)
            squares += (pairs**2).sum((0, 2))
        count = len(self.shifts) / 2
        variance = (squares - (total**2).sum(1) / count) / (count - 1)
        return (variance.clamp(min=0) / count).sqrt().to(x.dtype)

    def _pairs(self, x: Tensor, level: Tensor, width: Tensor) -> Iterator[Tensor]:
        """The average of the inner denoiser over each pair of shifts: (n, batch, d) float64."""
        if isinstance(self.inner, EmpiricalScore):
            shifts, groups = self.shifts.flatten(1), len(self.shifts) // 2
            yield node_averages(x.double(), self.inner.centers, level, shifts, width, groups).mean
            return
        for values in shifted(self.inner.denoise, x, level, self.shifts, width):
            yield values.double().reshape(-1, 2, len(x), self.dim).mean(1)

    def check(self, x: Tensor, sigma: Sigma | None) -> tuple[Tensor, Tensor]:
        """As every score does, and as the inner score does."""
        return self.inner.check(*super().check(x, sigma))

    def _width(self, level: Tensor) -> Tensor:
        """The bandwidth at each level, (batch,)."""
        width = self.bandwidth(level) if callable(self.bandwidth) else self.bandwidth
        try:
            width = torch.as_tensor(width, dtype=level.dtype, device=level.device)
        except (TypeError, ValueError, RuntimeError):
            raise InputError(f"The bandwidth is {width!r}; give a number, or a function of sigma.") from None
        if width.shape not in ((), level.shape) or not (torch.isfinite(width).all() and (width >= 0).all()):
            raise InputError("The bandwidth must be one number at every noise level, 0 or more and finite.")
        return width.expand(len(level))
