"""``smoothscore dedup``: a copy of a set without its repeated images."""

from pathlib import Path
from typing import Annotated

import typer

from smoothscore import verbs
from smoothscore.cli.app import Html, Json, finish


def dedup(
    data: Annotated[str, typer.Argument(metavar="DATA", help="The images.")],
    out: Annotated[
        Path | None, typer.Option("-o", "--out", help="A new folder, or a .zip, for the images that stay.")
    ] = None,
    near: Annotated[bool, typer.Option("--near", help="Remove near duplicates, too.")] = False,
    encoder: Annotated[
        str, typer.Option(help="Also look for near duplicates in this space: pca:DIM, efficientnet-lite0, ...")
    ] = "pixel",
    alpha: Annotated[float, typer.Option(help="Expected share of false ones among near duplicates.")] = 0.05,
    mirror: Annotated[bool, typer.Option(help="Compare mirror images.")] = True,
    shift: Annotated[
        int | None, typer.Option(help="Largest shift tried, in pixels each way; 1 or 2 if absent.")
    ] = None,
    html: Html = None,
    json: Json = None,
) -> None:
    """Find images that repeat others, and write the set without them; without -o they are only listed."""
    finish(lambda: verbs.dedup(data, out, near, encoder, alpha, mirror, shift), html, json)
