"""One connection for one command."""

import asyncio
from collections.abc import Awaitable, Callable, Mapping
from typing import TypeVar

import asyncpg
import typer

from cli import stack_env

T = TypeVar("T")


def run(work: Callable[[asyncpg.Connection], Awaitable[T]], env: Mapping[str, str]) -> T:
    """What `work` returns; a refusal, or a database that does not answer, ends the command with one sentence."""
    url = stack_env.need(env, "TRUSTLENS_DATABASE_URL")
    try:
        return asyncio.run(_connected(url, work))
    except OSError as error:
        typer.echo(f"Postgres at TRUSTLENS_DATABASE_URL does not answer: {error}", err=True)
        raise typer.Exit(1) from error
    except (ValueError, LookupError) as error:  # what was asked for cannot be
        typer.echo(str(error), err=True)
        raise typer.Exit(1) from error


async def _connected(url: str, work: Callable[[asyncpg.Connection], Awaitable[T]]) -> T:
    connection = await asyncpg.connect(url)
    try:
        return await work(connection)
    finally:
        await connection.close()
