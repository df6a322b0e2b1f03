"""`trustlens secrets`: what is sealed in the database, brought under the first of the keys."""

import json
from collections.abc import Callable, Sequence
from dataclasses import dataclass

import asyncpg
import typer

from cli import database, stack_env
from shared.secrets import NoKeyError, Vault

app = typer.Typer(help="Secrets at rest.", no_args_is_help=True)

PAGE = 500
"""Rows of one statement; each is a transaction of its own."""


@dataclass(frozen=True, slots=True)
class Sealed:
    """A column of tokens; NULL where there is nothing to keep."""

    table: str
    column: str
    as_json: bool = False
    """A JSON text, as answers are kept, and not bytes."""

    def __str__(self) -> str:
        return f"{self.table}.{self.column}"


SEALED = (
    *(
        Sealed("api.stores", it)
        for it in ("hash_key", "woocommerce_secret", "stripe_secret", "smtp", "woocommerce_api")
    ),
    *(Sealed("dispatcher.endpoints", column) for column in ("secret", "next_secret", "headers")),
    *(Sealed("rule_engine.targets", column) for column in ("secret", "headers")),
    Sealed("api.idempotency", "answer"),
    *(Sealed(f"{schema}.commands_seen", "answer", as_json=True) for schema in ("scorer", "rule_engine", "dispatcher")),
)


@app.command()
def reseal() -> None:
    """Seal everything anew under the first of TRUSTLENS_SECRET_KEYS: after this the others are needed no more.

    May run beside the services, and again: what changes meanwhile is left as it is then.
    """
    env = stack_env.read()
    vault = Vault(stack_env.need(env, "TRUSTLENS_SECRET_KEYS"))

    async def work(connection: asyncpg.Connection) -> dict[str, int]:
        return {str(sealed): await renew(connection, vault, sealed) for sealed in SEALED}

    for name, count in database.run(work, env).items():
        typer.echo(f"{count:9,} {name}")


async def renew(connection: asyncpg.Connection, vault: Vault, sealed: Sealed) -> int:
    """How many tokens of a column are under the first key now.

    Raises:
        NoKeyError: one is under none of the keys; those before it are done.
    """
    done, last = 0, None
    anew = _in_json(vault.renew) if sealed.as_json else vault.renew
    while rows := await _page(connection, sealed, after=last):
        try:
            renewed = [anew(row["token"]) for row in rows]
        except NoKeyError as error:
            raise NoKeyError(f"{sealed}: {error}; {done:,} of its rows are done") from None
        await _replace(connection, sealed, rows, renewed)
        done, last = done + len(rows), rows[-1]["id"]
    return done


async def _page(connection: asyncpg.Connection, sealed: Sealed, *, after: object) -> list[asyncpg.Record]:
    """The next rows by id. Of answers only tokens, which are JSON strings: an owner without a vault keeps them open."""
    tokens = f"AND json_typeof({sealed.column}) = 'string'" if sealed.as_json else ""
    found: list[asyncpg.Record] = await connection.fetch(
        f"SELECT id, {sealed.column} AS token FROM {sealed.table} WHERE {sealed.column} IS NOT NULL {tokens}"
        " AND ($1::uuid IS NULL OR id > $1) ORDER BY id LIMIT $2",
        after,
        PAGE,
    )
    return found


async def _replace(
    connection: asyncpg.Connection, sealed: Sealed, rows: list[asyncpg.Record], renewed: Sequence[bytes | str]
) -> None:
    """Where it is still the token that was read: who wrote another has sealed it already."""
    kind, cast = ("text", "::text") if sealed.as_json else ("bytea", "")
    await connection.execute(
        f"UPDATE {sealed.table} AS t SET {sealed.column} = n.renewed{'::json' if sealed.as_json else ''}"
        f" FROM unnest($1::uuid[], $2::{kind}[], $3::{kind}[]) AS n (id, token, renewed)"
        f" WHERE t.id = n.id AND t.{sealed.column}{cast} = n.token",
        [row["id"] for row in rows],
        [row["token"] for row in rows],
        renewed,
    )


def _in_json(anew: Callable[[bytes], bytes]) -> Callable[[str], str]:
    return lambda token: json.dumps(anew(json.loads(token).encode()).decode())
