"""The command line: parses, calls the verbs, writes files, prints; one file a command."""

import sys
import warnings

from rich.console import Console
from rich.markup import escape

from smoothscore.cli.app import app
from smoothscore.cli.audit import audit
from smoothscore.cli.dedup import dedup
from smoothscore.cli.demo import demo
from smoothscore.cli.diagnose import diagnose
from smoothscore.cli.reproduce import reproduce
from smoothscore.cli.sample import sample
from smoothscore.cli.train import TrainCommand, train
from smoothscore.errors import DataWarning, InputError

__all__ = ["main"]

for command in (diagnose, dedup, train, sample, audit, reproduce, demo):
    app.command(cls=TrainCommand if command is train else None)(command)


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
