"""``smoothscore diagnose``: diagnose a training set."""

from typing import Annotated

import typer

from smoothscore import verbs
from smoothscore.cli.app import HeldOut, Html, Json, Seed, finish
from smoothscore.errors import InputError
from smoothscore.schedules import log_uniform


def diagnose(
    train: Annotated[str, typer.Argument(metavar="DATA", help="The training images.")],
    held_out: HeldOut = None,
    score: Annotated[str | None, typer.Option(help="SCORE to examine level by level; needs --held-out.")] = None,
    sigmas: Annotated[
        str | None,
        typer.Option(metavar="LOW:HIGH:COUNT", help="Noise levels, or a list such as 0.5,1,2; EDM's 40 if absent."),
    ] = None,
    seed: Seed = 0,
    noises: Annotated[int, typer.Option(help="Noise vectors, shared by all images.")] = 100,
    images: Annotated[int | None, typer.Option(help="Images that are noised at most; chosen if absent.")] = None,
    weight_level: Annotated[float, typer.Option(help="Least posterior weight of the danger zone.")] = 0.9,
    coverage_level: Annotated[float, typer.Option(help="Least shell coverage of the danger zone.")] = 0.9,
    sizes: Annotated[
        bool, typer.Option("--sizes", help="Forecast how many images would close the danger zone.")
    ] = False,
    near: Annotated[bool, typer.Option("--near", help="Look for near duplicates.")] = False,
    encoder: Annotated[str, typer.Option(help="Where near duplicates are near: pixel, pca:DIM, an encoder.")] = "pixel",
    stable: Annotated[bool, typer.Option("--stable", help="Measure expansiveness and Jacobian spectra.")] = False,
    html: Html = None,
    json: Json = None,
) -> None:
    """At which noise levels a model of these images can only copy them, and how to train one that does not."""
    levels = None if sigmas is None else _levels(sigmas)
    finish(
        lambda: verbs.diagnose(
            train,
            held_out,
            score=score,
            sigmas=levels,
            seed=seed,
            noises=noises,
            images=images,
            weight_level=weight_level,
            coverage_level=coverage_level,
            sizes=sizes,
            near=near,
            encoder=encoder,
            stable=stable,
        ),
        html,
        json,
    )


def _levels(text: str) -> list[float]:
    """Noise levels from ``LOW:HIGH:COUNT``, evenly in the logarithm, or from a list with commas."""
    try:
        if ":" in text:
            low, high, count = text.split(":")
            levels: list[float] = log_uniform(int(count), float(low), float(high)).tolist()
            return levels
        return [float(part) for part in text.split(",")]
    except InputError:
        raise
    except ValueError:
        raise InputError(
            f"--sigmas {text} are no noise levels; give LOW:HIGH:COUNT or a list such as 0.5,1,2."
        ) from None
