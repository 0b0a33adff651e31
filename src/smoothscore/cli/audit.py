"""``smoothscore audit``: test generated images for copies."""

from typing import Annotated

import typer

from smoothscore import verbs
from smoothscore.cli.app import HeldOut, Html, Json, finish


def audit(
    samples: Annotated[str, typer.Argument(metavar="SAMPLES", help="DATA of the generated images.")],
    train: Annotated[str, typer.Option("--train", help="DATA of the training images.")],
    held_out: HeldOut = None,
    encoder: Annotated[str, typer.Option(help="The space of the Frechet distance: pixel or pca:DIM.")] = "pixel",
    threshold: Annotated[
        float,
        typer.Option(help="A sample is memorized when nearest / second nearest distance is below this."),
    ] = 2 / 3,
    alpha: Annotated[float, typer.Option(help="False-discovery rate of the flagged list.")] = 0.05,
    html: Html = None,
    json: Json = None,
) -> None:
    """Which generated images are copies of training images."""
    finish(
        lambda: verbs.audit(samples, train, held_out, encoder=encoder, threshold=threshold, alpha=alpha),
        html,
        json,
    )
