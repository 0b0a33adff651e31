"""The application, the options that several commands share, and how a command ends."""

import os
from collections.abc import Callable
from pathlib import Path
from typing import Annotated, TypeVar

import typer
from rich.console import Console

import smoothscore
from smoothscore import progress
from smoothscore.errors import InputError
from smoothscore.report import Result

__all__ = ["HeldOut", "Html", "Json", "Seed", "app", "check_folder", "finish"]

Some = TypeVar("Some", bound=Result)

app = typer.Typer(
    name="smoothscore",
    help="Where a diffusion model memorizes its training images, why, and samples that are no copies.",
    epilog="DATA is a folder or zip of images, an .npy, .npz, .pt, parquet, Arrow, IDX or CIFAR file, or a built-in "
    "set (digits, mnist-5k, fashion-mnist); choose images with "
    "'DATA?limit=1000&seed=0&split=test&resolution=32&class_=3'.",
    no_args_is_help=True,
    add_completion=False,
    pretty_exceptions_enable=False,
    rich_markup_mode=None,
    context_settings={"help_option_names": ["-h", "--help"]},
)

Html = Annotated[Path | None, typer.Option("--html", help="Write the report, one self-contained HTML page, here.")]
Json = Annotated[Path | None, typer.Option("--json", help="Write every number of the result here.")]
Seed = Annotated[int, typer.Option(help="The same seed and options give the same result.")]
HeldOut = Annotated[
    str | None,
    typer.Option("--held-out", help="DATA of the same kind that was not trained on, as the control."),
]


def _print_version(wanted: bool) -> None:
    if wanted:
        print(f"smoothscore {smoothscore.__version__}")
        raise typer.Exit


@app.callback()
def _options(
    version: Annotated[
        bool,
        typer.Option("--version", callback=_print_version, is_eager=True, help="Print the version and stop."),
    ] = False,
    debug: Annotated[bool, typer.Option("--debug", help="Show the traceback of an error; goes anywhere.")] = False,
) -> None:
    pass


def check_folder(path: Path | None) -> None:
    """Refuse a file to be written into a folder that does not exist, before any work."""
    if path is not None and not path.resolve().parent.is_dir():
        raise InputError(f"Cannot write {path}: the folder {path.parent} does not exist; create it first.")


def finish(run: Callable[[], Some], html: Path | None, json: Path | None) -> Some:
    """Run a verb under a progress bar, write its files, print it; refuses a missing folder before the work.

    Of several processes the first one does the latter two. Returns the result.
    """
    check_folder(html)
    check_folder(json)
    if os.environ.get("RANK", "0") != "0":  # one of several processes; the first one shows and writes
        return run()
    with progress.shown():
        result = run()
    Console().print(result)
    if json is not None:
        result.save_json(json)
    if html is not None:
        result.save_html(html)
        print(f"Report: {html}")
    return result
