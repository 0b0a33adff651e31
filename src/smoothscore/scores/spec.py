"""Scores by name: ``"empirical:DATA"``, ``"gaussian:DATA?rank=50"`` and so on.

The part before the colon names the kind of score, the part after it a data source as
:func:`smoothscore.load_images` reads it, with options after a question mark. Options that belong to the data
(``limit``, ``seed``, ``split``, ``resolution``, ``class_``) choose the images, the others the score.
"""

from collections.abc import Callable, Mapping
from pathlib import Path
from urllib.parse import parse_qsl

from torch import Tensor

from smoothscore.data import ImageSet, load_given, parse_source
from smoothscore.errors import InputError
from smoothscore.schedules import log_uniform, shell_touch
from smoothscore.scores.base import Score
from smoothscore.scores.diffusers import DiffusersScore
from smoothscore.scores.edm import EDMScore
from smoothscore.scores.empirical import EmpiricalScore
from smoothscore.scores.gaussian import GaussianScore
from smoothscore.scores.gaussian_mixture import GaussianMixtureScore
from smoothscore.scores.mollified import MollifiedScore
from smoothscore.scores.network import NetworkScore
from smoothscore.scores.unified import UnifiedScore

__all__ = ["load_score"]


def _empirical(images: ImageSet | Tensor) -> Score:
    return EmpiricalScore(images)


def _gaussian(images: ImageSet | Tensor, rank: int | None = None) -> Score:
    return GaussianScore.fit(images, rank=rank)


def _gaussian_mixture(images: ImageSet | Tensor, components: int = 10, rank: int | None = None) -> Score:
    return GaussianMixtureScore.fit(images, components=components, rank=rank)


def _mollified(images: ImageSet | Tensor, bandwidth: float, samples: int = 64) -> Score:
    return MollifiedScore(EmpiricalScore(images), bandwidth, samples=samples)


def _temperature(text: str) -> float | str:
    """A number, or a rule of :mod:`smoothscore.scores.temperature`."""
    try:
        return float(text)
    except ValueError:
        return text


def _unified(
    images: ImageSet | Tensor,
    temperature: float | str = 1.0,
    neighbors: int | None = None,
    sigma_min: float = 0.02,
    sigma_max: float = 100.0,
    levels: int | None = None,
) -> Score:
    """The levels of "Smoothing the score function", [0.01, 50] for pixels in [0, 1], unless others are given."""
    if levels is None:
        sigmas = shell_touch(sigma_min, sigma_max, images[0].numel())
    else:
        sigmas = log_uniform(levels, sigma_min, sigma_max)
    return UnifiedScore(images, sigmas, temperature, neighbors)


Reader = Callable[[str], object]

KINDS: Mapping[str, tuple[Callable[..., Score], Mapping[str, Reader]]] = {
    "empirical": (_empirical, {}),
    "gaussian": (_gaussian, {"rank": int}),
    "gmm": (_gaussian_mixture, {"components": int, "rank": int}),
    "mollified": (_mollified, {"bandwidth": float, "samples": int}),
    "unified": (
        _unified,
        {"temperature": _temperature, "neighbors": int, "sigma_min": float, "sigma_max": float, "levels": int},
    ),
}


FILES: Mapping[str, tuple[Callable[..., Score], Mapping[str, Reader]]] = {
    "run": (NetworkScore.load, {"ema": str, "step": int, "class_": int}),
    "edm": (EDMScore.load, {"class_": int}),
    "diffusers": (DiffusersScore.load, {"class_": int}),
}
"""Kinds whose part after the colon is a file or a folder; that of "run" may stand alone."""


def load_score(spec: str) -> Score:
    """The score that a text names, e.g. ``"gmm:mnist-5k?limit=1000&components=20"``.

    ===========================================  ====================================================
    ``empirical:DATA``                           :class:`EmpiricalScore`, the optimum of the training loss
    ``gaussian:DATA?rank=R``                     :class:`GaussianScore` fitted to the images
    ``gmm:DATA?components=K&rank=R``             :class:`GaussianMixtureScore` fitted to the images
    ``mollified:DATA?bandwidth=H&samples=S``     :class:`MollifiedScore` of the empirical score
    ``unified:DATA?temperature=T&neighbors=K``   :class:`UnifiedScore`: T a number or a rule such as ``5/sigma``
    ``RUN?ema=H&step=N&class_=C``                :class:`NetworkScore` of the folder of a training run
    ``edm:FILE.pkl?class_=C``                    :class:`EDMScore` of a pickle of EDM's
    ``diffusers:DIR?class_=C``                   :class:`DiffusersScore` of a pipeline's folder
    ===========================================  ====================================================

    The levels of ``unified`` run from ``sigma_min`` (0.02) to ``sigma_max`` (100): those whose shells touch, or
    ``levels`` geometric ones.

    Raises:
        InputError: an unknown kind or option, a missing or unreadable value, or data that cannot be read.
    """
    kind, colon, source = spec.partition(":")
    if Path(spec.partition("?")[0]).exists():
        kind, source = "run", spec
    if kind in FILES:
        return _from_file(spec, kind, source)
    if not colon or kind not in KINDS:
        kinds = ", ".join((*KINDS, *FILES))
        raise InputError(f"{spec!r} names no score: it is no folder of a run, nor KIND:DATA with KIND one of {kinds}.")
    build, types = KINDS[kind]
    data_options, own = parse_source(source, extra=tuple(types))
    options = {name: _value(spec, name, text, types[name]) for name, text in own.items()}
    if kind == "mollified" and "bandwidth" not in options:
        raise InputError(f"{spec!r} has no bandwidth; add ?bandwidth=H, a standard deviation in [-1, 1] units.")
    return build(load_given(**data_options), **options)


def _from_file(spec: str, kind: str, text: str) -> Score:
    load, types = FILES[kind]
    path, mark, query = text.partition("?")
    given = dict(parse_qsl(query, keep_blank_values=True))
    wrong = sorted(set(given) - set(types))
    if wrong or (mark and not given):
        what = f"the option {wrong[0]!r}" if wrong else "no option"
        raise InputError(f"{spec!r} has {what}; after the question mark goes NAME=VALUE with {', '.join(types)}.")
    return load(path, **{name: _value(spec, name, value, types[name]) for name, value in given.items()})


def _value(spec: str, name: str, text: str, kind: Reader) -> object:
    try:
        return kind(text)
    except ValueError:
        raise InputError(f"{name}={text} in {spec!r} is not a {'whole ' * (kind is int)}number.") from None
