"""`trustlens up`, `down`, `status`, `logs`: the local stack of this checkout."""

import os
from typing import Annotated

import typer
from rich.console import Console
from rich.table import Table

from cli import progress
from local_stack.stack import Stack

STYLES = {"ready": "green", "yours": "green", "not ready": "yellow", "down": "red"}


def up() -> None:
    """Start what is down and wait until everything is ready."""
    stack = Stack()
    stack.up(progress.step)
    env = os.path.relpath(stack.folder.stack_env)
    typer.echo(f"The API answers at {stack.api_url}. Addresses, key and secrets are in {env}.")


def down() -> None:
    """Stop what `up` started; the data stays."""
    Stack().down(progress.step)


def status() -> None:
    """Show what runs. Exit code 1: something is not ready."""
    table = Table("", "state", "process", "address", box=None)
    statuses = Stack().status()
    for one in statuses:
        table.add_row(one.name, f"[{STYLES[one.state]}]{one.state}", str(one.pid or ""), one.address)
    Console().print(table)
    if not all(one.state in {"ready", "yours"} for one in statuses):
        raise typer.Exit(1)


def logs(
    service: Annotated[str, typer.Argument(help="scorer, rule-engine, dispatcher, api, postgres or rabbitmq.")] = "",
    *,
    follow: Annotated[bool, typer.Option("--follow", "-f", help="Go on with what comes (Ctrl-C ends it).")] = False,
    lines: Annotated[int, typer.Option(min=0, help="How many of the last lines.")] = 50,
) -> None:
    """Show the last lines of one log, or of all."""
    paths = Stack().logs(service or None)
    os.execvp("tail", ["tail", f"--lines={lines}", *(["-F"] if follow else []), "--", *map(str, paths)])  # noqa: S606, S607 - tail is everywhere
