r"""How strongly a softmax over centers is flattened.

Log weights are divided by a temperature T: at T = 1 the softmax is the exact posterior, at large T many centers
share the weight and no single image is copied. One temperature holds for all centers of a query; it is a rule of
the noise level :math:`\sigma` at which the query stands.

========================  ==============================================================
``"5/sigma"``             :math:`T=\max(5/\sigma,1)`
``"1/sigma^2"``           :math:`T=\max(1/\sigma^2,1)`
``"sqrt(d)"``             :math:`T=\sqrt d`
``"collapse:0.8"``        :math:`T=\max(\sigma_c/\sigma,1)` with :math:`\sigma_c=0.8`
``"collapse"``            the same with :math:`\sigma_c` from the centers (:func:`collapse_level`)
``"perplexity:20"``       the T at least 1 at which 20 centers effectively contribute
========================  ==============================================================

Source: Smoothing the score function, section 3.2 and eq. 11. The perplexity rule is not in the papers.
"""

import math
import re
from collections.abc import Callable, Sequence

import torch
from torch import Tensor

from smoothscore.data import ImageSet
from smoothscore.errors import InputError
from smoothscore.neighbors import Search

__all__ = ["Rule", "collapse_level", "collapse_of", "perplexity_of", "perplexity_temperature", "temperature_rule"]

Rule = Callable[[Tensor], Tensor]
"""From noise levels (n,) to temperatures (n,)."""

NUMBER = r"(?P<value>\d+(?:\.\d*)?(?:e[+-]?\d+)?)"


def temperature_rule(
    temperature: float | Sequence[float] | Tensor | str | Rule, sigmas: Tensor, dim: int, collapse: Callable[[], float]
) -> Rule:
    """The temperature as a function of the noise level.

    Args:
        temperature: a positive number; (N,) one for each of ``sigmas`` (a query takes that of the level nearest to
            its own in ratio); a string of the table above except ``"perplexity:P"``; or a function of sigma (n,).
        sigmas: (N,) noise levels in any order.
        dim: number of values in one image.
        collapse: gives the level for the bare rule ``"collapse"``.

    Raises:
        InputError: an unknown rule, a temperature that is not positive, or a vector of another length.
    """
    if callable(temperature):
        return lambda sigma: _positive(temperature(sigma), sigma)
    if isinstance(temperature, str):
        return _named(temperature.replace(" ", ""), dim, collapse)
    try:
        if isinstance(temperature, bool):
            raise TypeError
        values = torch.as_tensor(temperature, dtype=torch.float64).detach().cpu()
    except (TypeError, ValueError, RuntimeError):
        raise InputError(f"temperature is {temperature!r}; give a number, one for each level, or a rule.") from None
    if values.shape not in ((), sigmas.shape) or not (torch.isfinite(values).all() and (values > 0).all()):
        raise InputError(
            f"temperature must be positive and finite: one number, or one for each of the {len(sigmas)} levels."
        )
    if values.ndim == 0:
        return lambda sigma: values.to(sigma).expand_as(sigma)
    sigmas, order = sigmas.sort()
    values, edges = values[order], (sigmas[1:] * sigmas[:-1]).sqrt()
    return lambda sigma: values.to(sigma)[torch.bucketize(sigma, edges.to(sigma))]


def _positive(temperature: Tensor, sigma: Tensor) -> Tensor:
    """What a function gave for levels (n,)."""
    if temperature.shape != sigma.shape or not (torch.isfinite(temperature).all() and (temperature > 0).all()):
        raise InputError("The function temperature must give one positive, finite number for each noise level.")
    return temperature


def _named(text: str, dim: int, collapse: Callable[[], float]) -> Rule:
    if text == "sqrt(d)":
        return lambda sigma: torch.full_like(sigma, math.sqrt(dim))
    if match := re.fullmatch(NUMBER + r"/sigma(?P<power>\^2)?", text):
        power = 2 if match["power"] else 1
    elif match := re.fullmatch(r"collapse(?::" + NUMBER + ")?", text):
        power = 1
    else:
        raise InputError(
            f"temperature {text!r} is not a rule; take a number, '5/sigma', '1/sigma^2', 'sqrt(d)', 'collapse', "
            "'collapse:0.8' or 'perplexity:20'."
        )
    level = float(match["value"]) if match["value"] else collapse()
    if match["value"] and not 0 < level < math.inf:
        raise InputError(f"temperature {text!r} has a number that is not positive and finite; give one that is.")
    return lambda sigma: (level / sigma**power).clamp(min=1)


def collapse_level(distances: Tensor, count: int, failure: float = 0.01) -> float:
    r"""The noise level up to which the center that a noisy image came from is still its nearest.

    For a center at distance :math:`\Delta` from the nearest other one this holds with probability at least
    :math:`1-\delta` while :math:`\sigma\le\Delta/(2\Phi^{-1}(1-\delta/(M-1)))`; here for the median center.

    Args:
        distances: (n,) distances of some centers to the nearest other one.
        count: number M of centers.
        failure: :math:`\delta`, in (0, 1).
    """
    if count < 3:
        return 0.0
    tail = torch.special.ndtri(torch.tensor(failure / (count - 1), dtype=torch.float64))
    return float(distances.median()) / (-2 * float(tail))


def collapse_of(centers: Tensor | ImageSet) -> float:
    """:func:`collapse_level` from at most 1,000 of the centers (M, *shape), evenly spaced among them."""
    if len(centers) < 3:
        return 0.0
    some = torch.linspace(0, len(centers) - 1, min(len(centers), 1000)).long()
    return collapse_level(Search(centers)(centers[some], 2).distances[:, 1], len(centers))


def perplexity_of(temperature: object) -> float | None:
    """P of ``"perplexity:P"``; None for every other temperature.

    Raises:
        InputError: P below 1.
    """
    if not isinstance(temperature, str):
        return None
    match = re.fullmatch(r"perplexity:" + NUMBER, temperature.replace(" ", ""))
    if match is None:
        return None
    if not 1 <= float(match["value"]) < math.inf:
        raise InputError(f"temperature is {temperature!r}; a perplexity is a number of centers, at least 1.")
    return float(match["value"])


def perplexity_temperature(log_weights: Tensor, perplexity: float) -> Tensor:
    """For each row, the temperature at which the entropy of its softmax is ``log(perplexity)``: (B,).

    Never below 1: a query that sees more centers than that is left as it is. Where fewer centers than
    ``perplexity`` have any weight it is 2^60, at which they all have the same.

    Args:
        log_weights: (B, n) float64, at temperature 1; ``-inf`` for centers that never count.
        perplexity: effective number of centers, at least 1.

    Cost: about ten passes over ``log_weights`` (Newton steps on log T, kept inside a bisection bracket).
    """
    target = math.log(perplexity)
    logits = (log_weights - log_weights.amax(1, keepdim=True)).clamp(min=-1e150)
    low = logits.new_zeros(len(logits))
    high = torch.full_like(low, 60 * math.log(2))
    entropy, slope = _entropy(logits, low)
    high = torch.where(entropy >= target, low, high)
    guess = low
    for _ in range(100):
        step = guess + (target - entropy) / slope
        inside = (step > low) & (step < high)
        settled = ((entropy - target).abs() < 1e-10) | (high - low < 1e-12)
        if settled.all():
            break
        guess = torch.where(settled, guess, torch.where(inside, step, (low + high) / 2))
        entropy, slope = _entropy(logits, guess)
        low, high = torch.where(entropy < target, guess, low), torch.where(entropy < target, high, guess)
    return guess.exp()


def _entropy(logits: Tensor, log_temperature: Tensor) -> tuple[Tensor, Tensor]:
    """The entropy of the tempered softmax, (B,), and its derivative in the log-temperature."""
    tempered = logits / log_temperature.exp()[:, None]
    total = torch.logsumexp(tempered, 1)
    weights = (tempered - total[:, None]).exp()
    mean = (weights * tempered).sum(1)
    return total - mean, (weights * (tempered - mean[:, None]) ** 2).sum(1)
