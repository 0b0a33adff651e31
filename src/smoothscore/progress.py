"""Progress bars that the command line shows and the library only feeds.

Library code reports its work with :func:`task`; nothing is drawn unless a caller has entered :func:`shown`.
"""

from collections.abc import Callable, Iterator
from contextlib import contextmanager
from contextvars import ContextVar

from rich.console import Console
from rich.progress import (
    BarColumn,
    Progress,
    TaskProgressColumn,
    TextColumn,
    TimeElapsedColumn,
    TimeRemainingColumn,
)

__all__ = ["shown", "task"]

_display: ContextVar[Progress | None] = ContextVar("smoothscore_progress", default=None)


@contextmanager
def shown(console: Console | None = None) -> Iterator[None]:
    """Draw the tasks that run inside this block, on standard error unless a console is given."""
    columns = (
        TextColumn("{task.description}"),
        BarColumn(),
        TaskProgressColumn(),
        TimeElapsedColumn(),
        TextColumn("left"),
        TimeRemainingColumn(),
    )
    with Progress(*columns, console=console or Console(stderr=True)) as display:
        token = _display.set(display)
        try:
            yield
        finally:
            _display.reset(token)


@contextmanager
def task(description: str, total: int | None = None) -> Iterator[Callable[[int], None]]:
    """Announce a piece of work of ``total`` steps; yields a function that says how many more are done.

    Tasks nest: the bar of one that ran inside another goes when it is done.
    """
    display = _display.get()
    if display is None:
        yield lambda steps: None
        return
    inner = any(not running.finished for running in display.tasks)
    handle = display.add_task(description, total=total)
    yield lambda steps: display.advance(handle, steps)
    if inner:
        display.remove_task(handle)
    else:
        display.update(handle, total=total or 1, completed=total or 1)
