"""`trustlens up`, `down`, `status`: the local stack of this checkout."""

import os

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
