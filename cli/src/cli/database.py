"""Connections for one command."""

import asyncio
from collections.abc import Awaitable, Callable, Coroutine, Mapping
from typing import Any, TypeVar

import asyncpg
import typer

from cli import stack_env

T = TypeVar("T")
W = TypeVar("W")


def run(work: Callable[[asyncpg.Connection], Awaitable[T]], env: Mapping[str, str]) -> T:
    """What `work` returns; a refusal, or a database that does not answer, ends the command with one sentence."""
    return _run(_connected, work, env)


def run_pooled(work: Callable[[asyncpg.Pool], Awaitable[T]], env: Mapping[str, str]) -> T:
    """As `run`, for what services do, who take connections as they need them."""
    return _run(_pooled, work, env)


def _run(connected: Callable[[str, W], Coroutine[Any, Any, T]], work: W, env: Mapping[str, str]) -> T:
    url = stack_env.need(env, "TRUSTLENS_DATABASE_URL")
    try:
        return asyncio.run(connected(url, work))
    except OSError as error:
        typer.echo(f"Postgres at TRUSTLENS_DATABASE_URL does not answer: {error}", err=True)
        raise typer.Exit(1) from error
    except (ValueError, LookupError) as error:  # what was asked for cannot be
        typer.echo(str(error), err=True)
        raise typer.Exit(1) from error


async def _pooled(url: str, work: Callable[[asyncpg.Pool], Awaitable[T]]) -> T:
    async with asyncpg.create_pool(url, min_size=1, max_size=2) as pool:
        return await work(pool)


async def _connected(url: str, work: Callable[[asyncpg.Connection], Awaitable[T]]) -> T:
    connection = await asyncpg.connect(url)
    try:
        return await work(connection)
    finally:
        await connection.close()
