"""`trustlens keys`: access to one shop's data."""

from typing import Annotated
from uuid import UUID

import asyncpg
import typer

from api import stores
from cli import database, stack_env

app = typer.Typer(help="API keys.", no_args_is_help=True)


@app.callback()
def keys() -> None:
    """Keep `create` a subcommand while it is the only one."""


@app.command()
def create(
    *,
    store: Annotated[UUID, typer.Option(help="Store id, as `trustlens stores list` shows it.")],
    name: Annotated[str, typer.Option(help="What the key is for.")],
    scopes: Annotated[str, typer.Option(help="Comma-separated: read, write, ingest, pii, admin.")] = "read",
) -> None:
    """Make a key and print it, this once: only its SHA-256 is kept."""
    wanted = [scope.strip() for scope in scopes.split(",") if scope.strip()]

    async def work(connection: asyncpg.Connection) -> stores.CreatedKey:
        return await stores.create_key(connection, store, name=name, scopes=wanted)

    typer.echo(database.run(work, stack_env.read()).key)
