"""`trustlens shop`: the demo's shop as a file, for whom a stack runs elsewhere."""

import json
from datetime import UTC, datetime
from pathlib import Path
from typing import Annotated

import typer

from cli.shop import order_events

SEED = 1


def command(
    file: Annotated[Path, typer.Argument(dir_okay=False, help="Where to write it.")],
    *,
    seed: Annotated[int, typer.Option(help="Another seed is another shop.")] = SEED,
) -> None:
    """Write 18 months of a made-up shop's order webhooks to a file, for `trustlens replay`."""
    events = order_events(now=datetime.now(UTC), seed=seed)
    with file.open("w", encoding="utf-8") as lines:
        for event in events:
            lines.write(json.dumps({"topic": event.topic, "order": event.order}) + "\n")
    typer.echo(f"{len(events):,} webhooks are in {file}.")
