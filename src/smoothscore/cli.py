"""The command line: parses, calls the verbs, writes files, prints."""

import sys
import warnings
from collections.abc import Callable
from pathlib import Path
from typing import Annotated, Literal

import typer
from rich.console import Console
from rich.markup import escape

import smoothscore
from smoothscore import demo as demonstration
from smoothscore import progress, verbs
from smoothscore.errors import DataWarning, InputError
from smoothscore.report import Result, write_bytes
from smoothscore.reproduce import names
from smoothscore.sampling import SAMPLERS

__all__ = ["main"]

app = typer.Typer(
    name="smoothscore",
    help="Where a diffusion model memorizes its training images, why, and samples that are no copies.",
    epilog="DATA is a folder or zip of images, an .npy, .npz, .pt, IDX or CIFAR file, or a built-in set (digits, "
    "mnist-5k, fashion-mnist); choose images with 'DATA?limit=1000&seed=0&split=test&resolution=32&class_=3'.",
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


@app.command()
def diagnose(
    train: Annotated[str, typer.Argument(metavar="DATA", help="The training images.")],
    held_out: HeldOut = None,
    score: Annotated[str | None, typer.Option(help="SCORE to examine level by level; needs --held-out.")] = None,
    seed: Seed = 0,
    html: Html = None,
    json: Json = None,
) -> None:
    """At which noise levels a model of these images can only copy them."""
    _finish(lambda: verbs.diagnose(train, held_out, score=score, seed=seed), html, json)


@app.command()
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

    _finish(run, html, json)


@app.command()
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
    _finish(
        lambda: verbs.audit(samples, train, held_out, encoder=encoder, threshold=threshold, alpha=alpha),
        html,
        json,
    )


@app.command()
def reproduce(
    name: Annotated[str, typer.Argument(metavar="NAME", help=f"One of {', '.join(names())}.")],
    scale: Annotated[Literal["quick", "full"], typer.Option(help="The paper's own counts, or smaller ones.")] = "full",
    data: Annotated[str | None, typer.Option(help="DATA of the images, for entries that need some.")] = None,
    score: Annotated[str | None, typer.Option(help="SCORE to measure, for entries that compare one.")] = None,
    seed: Seed = 0,
    html: Html = None,
    json: Json = None,
) -> None:
    """Make a table or figure of a paper again, and print the paper's numbers beside ours."""
    _finish(lambda: verbs.reproduce(name, scale, seed=seed, data=data, score=score), html, json)


@app.command()
def demo(
    out: Annotated[Path, typer.Option("-o", "--out", help="Folder for the report and its numbers.")] = Path("demo-out"),
    seed: Seed = 0,
) -> None:
    """Diagnose, sample and audit 1,000 real digits; under a minute on two idle cores."""
    try:
        out.mkdir(parents=True, exist_ok=True)
    except OSError as error:
        raise InputError(f"Cannot make the folder {out}: {error.strerror}; choose another with -o.") from None
    _finish(lambda: demonstration.run(seed=seed), out / "report.html", out / "report.json")


def _finish(run: Callable[[], Result], html: Path | None, json: Path | None) -> None:
    """Run a verb under a progress bar, write its files, print it; refuses a missing folder before the work."""
    for path in (html, json):
        if path is not None and not path.resolve().parent.is_dir():
            raise InputError(f"Cannot write {path}: the folder {path.parent} does not exist; create it first.")
    with progress.shown():
        result = run()
    Console().print(result)
    if json is not None:
        result.save_json(json)
    if html is not None:
        result.save_html(html)
        print(f"Report: {html}")


def main() -> None:
    """Entry point: a user's mistake is one sentence on standard error and exit code 2."""
    arguments = [argument for argument in sys.argv[1:] if argument != "--debug"]
    debug = len(arguments) < len(sys.argv) - 1
    errors = Console(stderr=True, soft_wrap=True, highlight=False)
    with warnings.catch_warnings():
        warnings.simplefilter("always", DataWarning)
        show = warnings.showwarning

        def say(message: Warning | str, category: type[Warning], *rest: object, **more: object) -> None:
            if issubclass(category, DataWarning):
                errors.print(f"[yellow]Warning:[/yellow] {escape(str(message))}")
            else:
                show(message, category, *rest, **more)  # type: ignore[arg-type]

        warnings.showwarning = say
        try:
            app(args=arguments, prog_name="smoothscore")
        except InputError as error:
            if debug:
                raise
            errors.print(f"[red]Error:[/red] {escape(str(error))}")
            sys.exit(2)
        except KeyboardInterrupt:
            errors.print("Stopped.")
            sys.exit(130)


if __name__ == "__main__":
    main()
