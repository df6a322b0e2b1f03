"""Where the commands find the stack: the environment first, then `.local/stack.env` of this checkout."""

import os
import shlex
from collections.abc import Mapping
from pathlib import Path

import typer


def find(start: Path | None = None) -> Path | None:
    """The nearest `.local/stack.env`, looking from `start` (the working directory) upwards."""
    start = start or Path.cwd()
    candidates = (folder / ".local" / "stack.env" for folder in (start, *start.parents))
    return next((path for path in candidates if path.is_file()), None)


def parse(text: str) -> dict[str, str]:
    """`NAME=value` lines as a shell would read them: quotes, `export` and comments allowed."""
    words = (word for line in text.splitlines() for word in shlex.split(line, comments=True))
    return dict(word.split("=", 1) for word in words if "=" in word)


def read(environ: Mapping[str, str] = os.environ, start: Path | None = None) -> dict[str, str]:
    """Every TRUSTLENS_* setting there is; what the environment says wins over the file."""
    path = find(start)
    values = parse(path.read_text(encoding="utf-8")) if path else {}
    return values | {name: value for name, value in environ.items() if name.startswith("TRUSTLENS_")}


def need(values: Mapping[str, str], name: str) -> str:
    """The setting `name`, or a clear end of the command."""
    if value := values.get(name):
        return value
    typer.echo(f"{name} is not set. Set it, or start the local stack (`make up`), which writes it.", err=True)
    raise typer.Exit(2)
