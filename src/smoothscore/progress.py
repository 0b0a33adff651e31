"""Progress bars that the command line shows and the library only feeds.

Library code reports its work with :func:`task`; nothing is drawn unless a caller has entered :func:`shown`.
"""

from collections.abc import Callable, Iterator
from contextlib import contextmanager
from contextvars import ContextVar
from typing import TYPE_CHECKING, Protocol, cast

if TYPE_CHECKING:
    from rich.console import Console
    from rich.progress import Progress

__all__ = ["Advance", "shown", "task", "told"]


class Advance(Protocol):
    """Says that so many more steps are done, and in ``note`` how it goes."""

    def __call__(self, steps: int, note: str = "") -> None:
        """Called with the number of steps."""


_display: "ContextVar[Progress | None]" = ContextVar("smoothscore_progress", default=None)


@contextmanager
def shown(console: "Console | None" = None) -> Iterator[None]:
    """Draw the tasks that run inside this block, on standard error unless a console is given."""
    from rich.console import Console
    from rich.progress import (
        BarColumn,
        Progress,
        TaskProgressColumn,
        TextColumn,
        TimeElapsedColumn,
        TimeRemainingColumn,
    )

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


class _Teller:
    """What :func:`task` feeds instead of bars."""

    def __init__(self, tell: Callable[[int, str, int | None, int], object]) -> None:
        self._tell = tell
        self.tasks: list[object] = []
        self._named: list[tuple[str, int | None]] = []

    def add_task(self, description: str, total: int | None) -> int:
        self._named.append((description, total))
        return len(self._named) - 1

    def update(self, handle: int, advance: int = 0, **others: object) -> None:
        self._tell(handle, *self._named[handle], advance)


@contextmanager
def told(tell: Callable[[int, str, int | None, int], object]) -> Iterator[None]:
    """Call ``tell(task, description, total, steps)`` for all that is done inside this block, for bars elsewhere."""
    token = _display.set(cast("Progress", _Teller(tell)))
    try:
        yield
    finally:
        _display.reset(token)


@contextmanager
def task(description: str, total: int | None = None) -> Iterator[Advance]:
    """Announce a piece of work of ``total`` steps; yields a function that says how many more are done.

    Tasks nest: the bar of one that ran inside another goes when it is done.
    """
    display = _display.get()
    if display is None:
        yield lambda steps, note="": None
        return
    inner = any(not running.finished for running in display.tasks)
    handle = display.add_task(description, total=total)

    def advance(steps: int, note: str = "") -> None:
        text = f"{description} ({note})" if note else None
        display.update(handle, advance=steps, description=text)

    yield advance
    if inner:
        display.remove_task(handle)
    else:
        display.update(handle, total=total or 1, completed=total or 1)
