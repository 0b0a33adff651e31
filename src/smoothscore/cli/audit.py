"""``smoothscore audit``: test generated images for copies."""

from typing import Annotated, Literal

import typer

from smoothscore import verbs
from smoothscore.cli.app import HeldOut, Html, Json, finish
from smoothscore.errors import InputError


def audit(
    samples: Annotated[str, typer.Argument(metavar="SAMPLES", help="DATA of the generated images.")],
    train: Annotated[str, typer.Option("--train", help="DATA of the training images.")],
    held_out: HeldOut = None,
    encoder: Annotated[
        list[str] | None,
        typer.Option(help="A space to look into beside pixels (pca:DIM, efficientnet-lite0, ...); give it repeatedly."),
    ] = None,
    threshold: Annotated[
        float,
        typer.Option(help="A sample is memorized when nearest / second nearest distance is below this."),
    ] = 2 / 3,
    alpha: Annotated[float, typer.Option(help="False-discovery rate of the flagged list.")] = 0.05,
    tolerant: Annotated[
        bool, typer.Option(help="Look for mirrored, shifted, cropped and brightened copies and for copied parts, too.")
    ] = True,
    leaks: Annotated[
        Literal["identical", "near"],
        typer.Option(help="Held-out images to leave out: those identical to a training image, or near duplicates too."),
    ] = "identical",
    fail_above: Annotated[
        float | None,
        typer.Option(help="Exit with code 1 when the lower end of an excess over real images is above this share."),
    ] = None,
    html: Html = None,
    json: Json = None,
) -> None:
    """Which generated images are copies of training images."""
    if fail_above is not None and not 0 <= fail_above < 1:
        raise InputError(f"--fail-above is {fail_above}; give a share from 0 to below 1.")
    found = finish(
        lambda: verbs.audit(
            samples,
            train,
            held_out,
            encoder=encoder or "pixel",
            threshold=threshold,
            alpha=alpha,
            tolerant=tolerant,
            leaks=leaks,
        ),
        html,
        json,
    )
    if fail_above is not None:
        lows = [excess.low for excess in (found.excess, found.tail_excess) if excess is not None]
        if not lows:
            raise InputError("--fail-above needs a control; give --held-out DATA.")
        if max(lows) > fail_above:
            print(f"Failed: at least {max(lows):.2%} more copies than among real images; {fail_above:.2%} are allowed.")
            raise typer.Exit(1)
