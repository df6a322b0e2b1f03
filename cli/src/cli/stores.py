"""`trustlens stores`: the shops that this installation serves."""

from typing import Annotated
from uuid import UUID

import asyncpg
import typer
from rich.console import Console
from rich.markup import escape
from rich.table import Column, Table

from api import stores
from api.store import audit
from cli import database, stack_env
from cli.keys import entry
from cli.replay import ingest_url
from shared.secrets import Vault

app = typer.Typer(help="The shops that TrustLens serves.", no_args_is_help=True)

TOPICS = ("order.created", "order.updated")
"""Without these nothing is known; docs/ingest.md has the others."""


@app.command()
def create(
    *,
    url: Annotated[str, typer.Option(help="The shop's address, as it appears in every webhook.")],
    name: Annotated[str, typer.Option(help="The shop's name, likewise.")],
) -> None:
    """Add a shop and print its secrets, this once."""
    env = stack_env.read()
    vault = Vault(stack_env.need(env, "TRUSTLENS_SECRET_KEYS"))

    async def work(connection: asyncpg.Connection) -> stores.CreatedStore:
        return await stores.create_store(connection, vault, url=url, name=name)

    _print_created(database.run(work, env), env.get("TRUSTLENS_API_URL", "https://YOUR-TRUSTLENS-HOST"))


def _print_created(store: stores.CreatedStore, api_url: str) -> None:
    table = Table.grid(padding=(0, 2))
    table.add_row("Store id", str(store.id))
    table.add_row("Admin key", store.api_key)
    table.add_row("WooCommerce secret", store.woocommerce_secret)
    table.add_row("Stripe secret", store.stripe_secret)
    table.add_row("Ingest URL", ingest_url(api_url, str(store.id)))
    table.add_row("Stripe's URL", ingest_url(api_url, str(store.id)).replace("/woocommerce/", "/stripe/"))
    # As wide as its longest line: a secret that is cut or wrapped cannot be copied.
    console = Console(width=200)
    console.print("Keep these; they are shown only now.", table, sep="\n\n", highlight=False)
    console.print(
        "\n`trustlens connect` makes the store's webhooks and takes in what it sold before. Or by hand:"
        f"\nin WooCommerce, Settings > Advanced > Webhooks, add one webhook for each of {' and '.join(TOPICS)},"
        "\nwith the ingest URL, the WooCommerce secret, and API version WP REST API v3. docs/ingest.md says what"
        "\ndeletions, products, coupons and Stripe are good for.",
        highlight=False,
    )


@app.command()
def secret(store: Annotated[UUID, typer.Argument(help="Its id, as `list` shows it.")]) -> None:
    """Make a new WooCommerce secret and print it, this once. The store's webhooks are refused until they have it."""
    env = stack_env.read()
    vault = Vault(stack_env.need(env, "TRUSTLENS_SECRET_KEYS"))

    async def work(connection: asyncpg.Connection) -> str:
        async with connection.transaction():
            made = await stores.renew_woocommerce_secret(connection, vault, store)
            await audit.begin(connection, entry(store, "PATCH /store", store, status=200))
        return made

    typer.echo(database.run(work, env))


@app.command("list")
def list_all() -> None:
    """The shops, the oldest first."""
    table = Table(Column("Id", min_width=36), "Name", "URL", "Created")
    for store in database.run(stores.list_stores, stack_env.read()):
        table.add_row(str(store.id), escape(store.name), escape(store.url), f"{store.created_at:%Y-%m-%d %H:%M}")
    console = Console()
    (console if console.is_terminal else Console(width=200)).print(table)
