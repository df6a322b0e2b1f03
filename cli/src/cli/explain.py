"""`trustlens explain`: why a customer has this score."""

from typing import Annotated, Any

import typer
from rich.console import Console

from cli import api
from cli.answers import Customer, Scored
from cli.api import Api
from cli.customers import looked_up
from cli.explanation import explanation
from shared.jsontext import dumps

HISTORY = 40
"""Entries of the score history: as many as a line of the trend holds."""


async def fetch(api: Api, email: str) -> tuple[Any, Any]:
    """The customer and the last of the score history, as the API answers them."""
    customer = await looked_up(api, email)
    history = await api.get(f"/customers/{customer['email_hash']}/score-history", per_page=str(HISTORY))
    return customer, history


def command(
    email: Annotated[str, typer.Argument(help="The customer's address.")],
    *,
    json: Annotated[bool, typer.Option("--json", help="Print what the API answers.")] = False,
) -> None:
    """Show a customer's score as a sum of reasons, and how it got here.

    Exit code 1: there is no such customer, or the API cannot be asked.
    """
    customer, history = api.run(lambda api: fetch(api, email))
    if json:
        typer.echo(dumps({"customer": customer, "score_history": history}))
        return
    entries = [Scored.model_validate(entry) for entry in history]
    whole = len(entries) < HISTORY
    Console(highlight=False).print(explanation(email, Customer.model_validate(customer), entries, whole=whole))
