r"""The noise that is in an image: its level, when nobody says which.

A score without a noise level moves an image by its position only, and what step it can take follows from the noise that
is really in it, :math:`\sigma_*` (*Smoothing the score function*, section 5 and appendix B.4.3):

``nearest``
    the distance of the nearest training image over :math:`\sqrt d`; exact on a shell, and it needs the images
``residual``
    :math:`\sqrt d/\|s(x)\|`, the level at which the score points :math:`\sqrt d\,\sigma_*` far; it needs nothing, and
    goes wrong below the lowest level of the score, where the score falls to zero
``network``
    what the network itself says (``estimate_sigma``)
"""

import math
from collections.abc import Callable

import torch
from torch import Tensor

from smoothscore.data import ImageSet
from smoothscore.errors import InputError
from smoothscore.neighbors import Search
from smoothscore.scores import Score

__all__ = ["LEVELS", "LevelRule", "level_rule", "nearest_level", "residual_level"]

LevelRule = Callable[[Tensor], Tensor]
"""Images (batch, *shape) to the noise levels (batch,) that are in them."""

LEVELS = ("auto", "nearest", "network", "residual")


def nearest_level(images: Tensor | ImageSet) -> LevelRule:
    """The distance to the nearest of ``images`` over the root of their dimension; one exact search a call."""
    search = Search(images)

    def level(x: Tensor) -> Tensor:
        found = search(x.cpu(), 1).distances[:, 0]
        level: Tensor = found / math.sqrt(x[0].numel())
        return level.clamp(min=1e-6).to(x)

    return level


def residual_level(score: Tensor) -> Tensor:
    """The level (batch,) that the length of the score (batch, *shape) shows."""
    norm: Tensor = torch.linalg.vector_norm(score.flatten(1), dim=1)
    return math.sqrt(score[0].numel()) / norm.clamp(min=torch.finfo(score.dtype).tiny)


def level_rule(score: Score, rule: str | LevelRule) -> LevelRule | None:
    """The rule of that name for a score; ``None`` is the residual's, which needs the score's value.

    ``auto`` is the network's own, else the nearest center's, else the residual.

    Raises:
        InputError: there is no such rule, or the score does not have it.
    """
    if not isinstance(rule, str):
        return rule
    network, nearest = getattr(score, "estimate_sigma", None), getattr(score, "level", None)
    if rule == "residual" or (rule == "auto" and network is None and nearest is None):
        return None
    found: LevelRule | None = {"network": network, "nearest": nearest, "auto": network or nearest}.get(rule)
    if rule not in LEVELS:
        raise InputError(f"There is no rule {rule!r} for the noise level; take one of {', '.join(LEVELS)}.")
    if found is None:
        raise InputError(
            f"{type(score).__name__} has no noise level by {rule!r}; take 'residual', which needs nothing."
        )
    return found
