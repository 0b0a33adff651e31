"""Scores by name: ``"empirical:DATA"``, ``"gaussian:DATA?rank=50"`` and so on.

The part before the colon names the kind of score, the part after it a data source as
:func:`smoothscore.load_images` reads it, with options after a question mark. Options that belong to the data
(``limit``, ``seed``, ``split``, ``resolution``, ``class_``) choose the images, the others the score.
"""

from collections.abc import Callable, Mapping

from smoothscore.data import ImageSet, load_images, parse_source
from smoothscore.errors import InputError
from smoothscore.scores.base import Score
from smoothscore.scores.empirical import EmpiricalScore
from smoothscore.scores.gaussian import GaussianScore
from smoothscore.scores.gaussian_mixture import GaussianMixtureScore
from smoothscore.scores.mollified import MollifiedScore

__all__ = ["load_score"]


def _empirical(images: ImageSet) -> Score:
    return EmpiricalScore(images)


def _gaussian(images: ImageSet, rank: int | None = None) -> Score:
    return GaussianScore.fit(images, rank=rank)


def _gaussian_mixture(images: ImageSet, components: int = 10, rank: int | None = None) -> Score:
    return GaussianMixtureScore.fit(images, components=components, rank=rank)


def _mollified(images: ImageSet, bandwidth: float, samples: int = 64) -> Score:
    return MollifiedScore(EmpiricalScore(images), bandwidth, samples=samples)


KINDS: Mapping[str, tuple[Callable[..., Score], Mapping[str, type]]] = {
    "empirical": (_empirical, {}),
    "gaussian": (_gaussian, {"rank": int}),
    "gmm": (_gaussian_mixture, {"components": int, "rank": int}),
    "mollified": (_mollified, {"bandwidth": float, "samples": int}),
}


def load_score(spec: str) -> Score:
    """The score that a text names, e.g. ``"gmm:mnist-5k?limit=1000&components=20"``.

    ========================================  ====================================================
    ``empirical:DATA``                        :class:`EmpiricalScore`, the optimum of the training loss
    ``gaussian:DATA?rank=R``                  :class:`GaussianScore` fitted to the images
    ``gmm:DATA?components=K&rank=R``          :class:`GaussianMixtureScore` fitted to the images
    ``mollified:DATA?bandwidth=H&samples=S``  :class:`MollifiedScore` of the empirical score
    ========================================  ====================================================

    Raises:
        InputError: an unknown kind or option, a missing or unreadable value, or data that cannot be read.
    """
    kind, colon, source = spec.partition(":")
    if not colon or kind not in KINDS:
        raise InputError(f"{spec!r} names no score; write KIND:DATA with KIND one of {', '.join(KINDS)}.")
    build, types = KINDS[kind]
    data_options, own = parse_source(source, extra=tuple(types))
    options = {name: _value(spec, name, text, types[name]) for name, text in own.items()}
    if kind == "mollified" and "bandwidth" not in options:
        raise InputError(f"{spec!r} has no bandwidth; add ?bandwidth=H, a standard deviation in [-1, 1] units.")
    return build(load_images(**data_options), **options)


def _value(spec: str, name: str, text: str, kind: type) -> int | float:
    try:
        return kind(text)  # type: ignore[no-any-return]
    except ValueError:
        raise InputError(f"{name}={text} in {spec!r} is not a number of type {kind.__name__}.") from None
