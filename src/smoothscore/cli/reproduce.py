"""``smoothscore reproduce``: make a table or figure of a paper again."""

from typing import Annotated, Literal

import typer

from smoothscore import verbs
from smoothscore.cli.app import Html, Json, Seed, finish
from smoothscore.reproduce import names


def reproduce(
    name: Annotated[str, typer.Argument(metavar="NAME", help=f"One of {', '.join(names())}.")],
    scale: Annotated[Literal["quick", "full"], typer.Option(help="The paper's own counts, or smaller ones.")] = "full",
    data: Annotated[str | None, typer.Option(help="DATA of the images, for entries that need some.")] = None,
    score: Annotated[str | None, typer.Option(help="SCORE to measure, for entries that compare one.")] = None,
    held_out: Annotated[str | None, typer.Option(help="DATA not trained on, for entries that need some.")] = None,
    seed: Seed = 0,
    html: Html = None,
    json: Json = None,
) -> None:
    """Make a table or figure of a paper again, and print the paper's numbers beside ours."""
    finish(lambda: verbs.reproduce(name, scale, seed=seed, data=data, score=score, held_out=held_out), html, json)
