"""`trustlens chargebacks`: how much is disputed, beside what card networks bear."""

from collections.abc import Mapping, Sequence
from typing import Annotated, Any

import typer
from rich.console import Console
from rich.markup import escape
from rich.table import Table

from cli import api
from shared.jsontext import dumps

_LEVELS = {"ok": "ok", "warn": "[yellow]warn[/]", "limit": "[red]limit[/]", None: "too few to say"}


def command(
    *,
    months: Annotated[int, typer.Option(min=1, max=24, help="How many, this one among them.")] = 6,
    json: Annotated[bool, typer.Option("--json", help="Print what the API answers.")] = False,
) -> None:
    """Show disputes per orders, by month and card brand. Exit code 1: something is at its limit this month."""
    found: Sequence[Mapping[str, Any]] = api.run(lambda api: api.get("/chargebacks/ratio", months=str(months)))
    if json:
        typer.echo(dumps(found))
    else:
        console = Console()
        (console if console.is_terminal else Console(width=200)).print(table(found))
    if any(row["level"] == "limit" and row["month"] == found[0]["month"] for row in found):
        raise typer.Exit(1)


def table(rows: Sequence[Mapping[str, Any]]) -> Table:
    shown = Table("Month", "Card", "Disputes", "Orders", "Ratio", "Warn", "Limit", "Level")
    for row in rows:
        before = f" ({row['orders_month']})" if row["orders_month"] != row["month"] else ""
        ratio = "-" if row["ratio"] is None else f"{float(row['ratio']):.2f} %"
        shown.add_row(
            row["month"],
            escape(row["card_brand"]),
            f"{row['disputes']:,}",
            f"{row['orders']:,}{before}",
            ratio,
            f"{row['warn']} %",
            f"{row['limit']} %",
            _LEVELS.get(row["level"], escape(str(row["level"]))),
            end_section=False,
        )
    return shown
