"""`trustlens keys`: access to one shop's data. Straight in the database: whoever has it needs no key to make one."""

from collections.abc import Sequence
from datetime import UTC, datetime
from typing import Annotated
from uuid import UUID

import asyncpg
import typer
from rich.console import Console
from rich.markup import escape
from rich.table import Column, Table

from api import stores
from api.paging import Page
from api.schemas import ApiKey
from api.store import audit
from api.store.audit import Entry
from cli import database, stack_env
from shared.ids import uuid7

app = typer.Typer(help="API keys.", no_args_is_help=True)

MAX_LISTED = 1000

Store = Annotated[UUID, typer.Option("--store", help="Store id, as `trustlens stores list` shows it.")]


@app.command()
def create(
    *,
    store: Store,
    name: Annotated[str, typer.Option(help="What the key is for.")],
    scopes: Annotated[str, typer.Option(help="Comma-separated: read, write, ingest, pii, admin.")] = "read",
) -> None:
    """Make a key and print it, this once: only its SHA-256 is kept."""
    wanted = [scope.strip() for scope in scopes.split(",") if scope.strip()]

    async def work(connection: asyncpg.Connection) -> stores.CreatedKey:
        async with connection.transaction():
            made = await stores.create_key(connection, store, name=name, scopes=wanted)
            await audit.begin(connection, entry(store, "POST /keys", made.id, status=201))
        return made

    typer.echo(database.run(work, stack_env.read()).key)


@app.command("list")
def list_all(*, store: Store) -> None:
    """The keys of a shop, the newest first, also those that were revoked; never a key itself."""

    async def work(connection: asyncpg.Connection) -> Sequence[ApiKey]:
        return (await stores.list_keys(connection, store, Page(size=MAX_LISTED)))[0]

    table = Table(Column("Id", min_width=36), "Begins", "Name", "Scopes", "Created", "Last used", "Revoked")
    for key in database.run(work, stack_env.read()):
        scopes, times = ", ".join(key.scopes), map(_time, (key.created_at, key.last_used_at, key.revoked_at))
        table.add_row(str(key.id), key.prefix, escape(key.name), scopes, *times)
    console = Console()
    (console if console.is_terminal else Console(width=200)).print(table)


@app.command()
def revoke(
    key: Annotated[str, typer.Argument(metavar="KEY", help="Its id, or how it begins, as `list` shows them.")],
    *,
    store: Store,
) -> None:
    """End a key within a second. Also the last one with the scope admin: another can be made here."""

    async def work(connection: asyncpg.Connection) -> None:
        key_id = await stores.find_key_id(connection, store, key)
        if key_id is None:
            raise LookupError(f"the store has no such key: `trustlens keys list --store {store}` shows those there are")
        async with connection.transaction():
            await stores.revoke_key(connection, store, key_id, datetime.now(UTC), keep_an_admin=False)
            await audit.begin(connection, entry(store, "DELETE /keys/{id}", key_id, status=204))

    database.run(work, stack_env.read())
    typer.echo("Revoked.")


def entry(store: UUID, action: str, changed: UUID, *, status: int) -> Entry:
    """Of the audit log, in the words that the API has for it."""
    at = datetime.now(UTC)
    return Entry(uuid7(), store, at, actor="cli", action=action, objects=[str(changed)], status=status)


def _time(at: datetime | None) -> str:
    return f"{at:%Y-%m-%d %H:%M}" if at else "-"
