"""``smoothscore sample``: draw images."""

from pathlib import Path
from typing import Annotated

import typer

from smoothscore import verbs
from smoothscore.cli.app import Html, Json, Seed, check_folder, finish
from smoothscore.report import Result, write_bytes
from smoothscore.sampling import SAMPLERS, SCHEDULES, processes


def sample(
    score: Annotated[
        str,
        typer.Argument(
            metavar="SCORE",
            help="A run folder, empirical:DATA, unified:DATA, gaussian:DATA?rank=R, gmm:DATA?components=K, "
            "mollified:DATA?bandwidth=H, diffusers:DIR or edm:FILE.",
        ),
    ],
    n: Annotated[int, typer.Option("-n", "--n", help="How many images.")],
    out: Annotated[
        Path,
        typer.Option(
            "-o", "--out", help="A new folder, or a .zip, for the PNG images. The same command continues it if stopped."
        ),
    ],
    sampler: Annotated[str, typer.Option(help=f"One of {', '.join(SAMPLERS)}.")] = "heun",
    steps: Annotated[
        int | None, typer.Option(help="Noise levels of the schedule; the sampler's own number if absent.")
    ] = None,
    schedule: Annotated[
        str | None, typer.Option(metavar="NAME[:LOW:HIGH]", help=f"Noise levels: {', '.join(SCHEDULES)}.")
    ] = None,
    teleport: Annotated[
        str | None,
        typer.Option(
            metavar="auto|SIGMA", help="Begin at this level, reached in closed form along the flow of a Gaussian."
        ),
    ] = None,
    moments: Annotated[
        str | None,
        typer.Option(
            help="DATA, or gaussian:DATA?rank=R, whose mean and covariance --teleport uses; SCORE's own if absent."
        ),
    ] = None,
    seed: Seed = 0,
    batch_size: Annotated[int | None, typer.Option(help="Images that are drawn together; chosen if absent.")] = None,
    trajectory: Annotated[
        bool, typer.Option("--trajectory", help="Also write trajectory.npy, (levels, n, C, H, W), from noise to image.")
    ] = False,
    grid: Annotated[Path | None, typer.Option(help="Write the first 100 images as one PNG here.")] = None,
    html: Html = None,
    json: Json = None,
) -> None:
    """Draw images from a score and write them as PNG, on one process or under accelerate launch."""
    check_folder(grid)

    def run() -> Result:
        samples = verbs.sample(
            score,
            n,
            sampler=sampler,
            steps=steps,
            teleport=teleport,
            seed=seed,
            trajectory=trajectory,
            schedule=schedule,
            moments=moments,
            batch_size=batch_size,
            out=out,
        )
        if grid is not None and len(samples) and processes().rank == 0:
            write_bytes(grid, samples.grid(100))
        return samples

    if processes().rank == 0:
        finish(run, html, json)
    else:
        run()
