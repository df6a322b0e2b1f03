"""What a command is doing now: a spinner on a terminal, a line every few seconds elsewhere."""

import threading
import time
from collections.abc import Iterator
from contextlib import contextmanager

from rich.console import Console

LINE_SECONDS = 5.0


@contextmanager
def step(text: str) -> Iterator[None]:
    """Shown while it lasts; when it is done, one line says how long it took."""
    console, began = Console(), time.monotonic()
    with console.status(f"{text} …") if console.is_terminal else _lines(text, console, began):
        yield
    console.print(f"{text}: {_since(began)}", highlight=False)


@contextmanager
def _lines(text: str, console: Console, began: float) -> Iterator[None]:
    done = threading.Event()

    def report() -> None:
        while not done.wait(LINE_SECONDS):
            console.print(f"{text} … {_since(began)}", highlight=False)

    reporter = threading.Thread(target=report, name="progress", daemon=True)
    reporter.start()
    try:
        yield
    finally:
        done.set()
        reporter.join()


def _since(began: float) -> str:
    return f"{time.monotonic() - began:.1f} s"
