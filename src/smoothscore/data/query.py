"""Data sources with options in one text: ``"mnist-5k?limit=1000&seed=1"``."""

from collections.abc import Sequence
from pathlib import Path
from typing import Any
from urllib.parse import parse_qsl

from smoothscore.errors import InputError

__all__ = ["parse_source"]

OPTIONS = ("split", "limit", "seed", "resolution", "class_", "max_bad")


def parse_source(text: str, extra: Sequence[str] = ()) -> tuple[dict[str, Any], dict[str, str]]:
    """The arguments of :func:`smoothscore.load_images` that a text names, and the options named in ``extra``.

    ``"DATA?limit=1000&class_=cat"`` gives ``{"source": "DATA", "limit": 1000, "class_": "cat"}``. A path that
    exists is taken as it stands, question mark and all.

    Raises:
        InputError: an option that is neither, that stands twice, or that is no number where one is needed.
    """
    source, mark, query = text.partition("?")
    if not mark or Path(text).exists():
        return {"source": text}, {}
    pairs = parse_qsl(query, keep_blank_values=True)
    given = dict(pairs)
    known = (*OPTIONS, *extra)
    wrong = [name for name in given if name not in known]
    if wrong or len(given) < len(pairs) or not given:
        what = f"the option {wrong[0]!r}" if wrong else "no option or the same one twice"
        raise InputError(f"{text!r} has {what}; after the question mark goes NAME=VALUE with {', '.join(known)}.")
    options: dict[str, Any] = {name: given[name] for name in OPTIONS if name in given}
    for name in ("limit", "seed", "resolution"):
        if name in options:
            if not options[name].isdecimal():
                raise InputError(f"{name}={options[name]} in {text!r} is no whole number.")
            options[name] = int(options[name])
    if "max_bad" in options:
        options["max_bad"] = _share(options["max_bad"], text)
    return {"source": source} | options, {name: given[name] for name in extra if name in given}


def _share(given: str, text: str) -> float:
    try:
        share = float(given)
    except ValueError:
        share = -1.0
    if not 0 <= share <= 1:
        raise InputError(f"max_bad={given} in {text!r} is no share from 0 to 1.")
    return share
