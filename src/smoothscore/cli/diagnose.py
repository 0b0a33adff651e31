"""``smoothscore diagnose``: diagnose a training set."""

from typing import Annotated

import typer

from smoothscore import verbs
from smoothscore.cli.app import HeldOut, Html, Json, Seed, finish


def diagnose(
    train: Annotated[str, typer.Argument(metavar="DATA", help="The training images.")],
    held_out: HeldOut = None,
    score: Annotated[str | None, typer.Option(help="SCORE to examine level by level; needs --held-out.")] = None,
    seed: Seed = 0,
    html: Html = None,
    json: Json = None,
) -> None:
    """At which noise levels a model of these images can only copy them."""
    finish(lambda: verbs.diagnose(train, held_out, score=score, seed=seed), html, json)
