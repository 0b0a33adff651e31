"""``smoothscore demo``: the whole path on real digits."""

from pathlib import Path
from typing import Annotated

import typer

from smoothscore import demo as demonstration
from smoothscore.cli.app import Seed, finish
from smoothscore.errors import InputError


def demo(
    out: Annotated[Path, typer.Option("-o", "--out", help="Folder for the report and its numbers.")] = Path("demo-out"),
    seed: Seed = 0,
) -> None:
    """Diagnose, sample and audit 1,000 real digits; under a minute on two idle cores."""
    try:
        out.mkdir(parents=True, exist_ok=True)
    except OSError as error:
        raise InputError(f"Cannot make the folder {out}: {error.strerror}; choose another with -o.") from None
    finish(lambda: demonstration.run(seed=seed), out / "report.html", out / "report.json")
