"""``smoothscore sample``: draw images."""

from pathlib import Path
from typing import Annotated

import typer

from smoothscore import verbs
from smoothscore.cli.app import Html, Json, Seed, finish
from smoothscore.report import Result, write_bytes
from smoothscore.sampling import SAMPLERS


def sample(
    score: Annotated[
        str,
        typer.Argument(
            metavar="SCORE",
            help="empirical:DATA, gaussian:DATA?rank=R, gmm:DATA?components=K or mollified:DATA?bandwidth=H.",
        ),
    ],
    n: Annotated[int, typer.Option("-n", "--n", help="How many images.")],
    out: Annotated[Path, typer.Option("-o", "--out", help="A new folder, or a .zip, for the PNG images.")],
    sampler: Annotated[str, typer.Option(help=f"One of {', '.join(SAMPLERS)}.")] = "heun",
    steps: Annotated[int | None, typer.Option(help="Noise levels of the schedule; 18 when absent.")] = None,
    seed: Seed = 0,
    batch_size: Annotated[int, typer.Option(help="Images that are drawn together.")] = 256,
    grid: Annotated[Path | None, typer.Option(help="Write the first 100 images as one PNG here.")] = None,
    html: Html = None,
    json: Json = None,
) -> None:
    """Draw images from a score and write them as PNG."""

    def run() -> Result:
        samples = verbs.sample(score, n, sampler=sampler, steps=steps, seed=seed, batch_size=batch_size)
        samples.save_images(out)
        if grid is not None:
            write_bytes(grid, samples.grid(100))
        return samples

    finish(run, html, json)
