"""`trustlens migrate`: the database's tables as this version needs them."""

import typer

from cli import stack_env
from shared.migrations.run import upgrade


def migrate() -> None:
    """Bring the database to the newest revision. Does nothing if it is there; run it before a new version starts."""
    url = stack_env.need(stack_env.read(), "TRUSTLENS_DATABASE_URL")
    try:
        upgrade(url)
    except OSError as error:
        typer.echo(f"Postgres at TRUSTLENS_DATABASE_URL does not answer: {error}", err=True)
        raise typer.Exit(1) from error
