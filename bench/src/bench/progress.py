"""How far a long phase is: a bar on a terminal, a line every few seconds elsewhere."""

import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager

from rich.console import Console
from rich.progress import BarColumn, Progress, TextColumn, TimeElapsedColumn

LINE_SECONDS = 5.0

Show = Callable[[float], None]
"""Called with how many of all are done."""


@contextmanager
def counted(text: str, total: float) -> Iterator[Show]:
    """Shown while it lasts; when it is done, one line says how long it took."""
    console, began = Console(stderr=True), time.monotonic()
    with _bar(text, total, console) if console.is_terminal else _lines(text, total, console, began) as show:
        yield show
    console.print(f"{text}: {time.monotonic() - began:.1f} s", highlight=False)


@contextmanager
def _bar(text: str, total: float, console: Console) -> Iterator[Show]:
    columns = (TextColumn("{task.description}"), BarColumn(), TextColumn("{task.completed:,.0f}"), TimeElapsedColumn())
    with Progress(*columns, console=console, transient=True) as progress:
        task = progress.add_task(text, total=total)
        yield lambda done: progress.update(task, completed=done)


@contextmanager
def _lines(text: str, total: float, console: Console, began: float) -> Iterator[Show]:
    due = began + LINE_SECONDS

    def show(done: float) -> None:
        nonlocal due
        now = time.monotonic()
        if now >= due:
            due = now + LINE_SECONDS
            console.print(f"{text} … {done:,.0f} of {total:,.0f}, {now - began:.0f} s", highlight=False)

    yield show
