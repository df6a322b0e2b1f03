"""`python -m bench`: all scenarios, or some, one after the other."""

import sys
import time
from collections.abc import Mapping
from dataclasses import asdict, replace
from datetime import UTC, datetime
from pathlib import Path
from typing import Annotated

import typer
import uvloop
from rich.console import Console

from bench import scenarios
from bench.report import Result, as_json, table
from bench.stack import FOLDER, site
from local_stack.errors import StackError
from shared import log

RESULTS = FOLDER.path.parent
app = typer.Typer(add_completion=False, pretty_exceptions_enable=False)


@app.command()
def bench(
    only: Annotated[str, typer.Option(help=f"Some of {', '.join(scenarios.NAMES)}, with commas.")] = "",
    orders: Annotated[Path | None, typer.Option(exists=True, help="Order webhooks to score, NDJSON.")] = None,
    keep: Annotated[Path | None, typer.Option("--json", help="Where to write the figures, too.")] = None,
    *,
    full: Annotated[bool, typer.Option("--full", help="The large sizes: a million customers.")] = False,
    scale: Annotated[float, typer.Option(min=0.001, max=1, help="Smaller sizes, to try the bench itself.")] = 1,
) -> None:
    """Measure the whole system and each service on servers of the bench's own. Exit code 1: a bound was missed."""
    began = datetime.now(UTC)
    log.configure("bench", level="warning")
    usual = [name for name in scenarios.NAMES if full or name not in scenarios.FOR_LONG]
    wanted = only.split(",") if only else usual
    if unknown := set(wanted) - set(scenarios.NAMES):
        raise typer.BadParameter(f"there is no scenario {', '.join(sorted(unknown))}", param_hint="--only")
    sizes = scenarios.sizes(full=full, scale=scale)
    results: list[Result] = []
    with site() as where:
        machine = uvloop.run(scenarios.machine(where.stack))
        for name in wanted:
            since = time.monotonic()
            result = uvloop.run(scenarios.measure(name, where, sizes, orders))
            results.append(replace(result, seconds=time.monotonic() - since))
            Console().print(table(results[-1:]))
            _keep(as_json(results, where=machine, began=began, sizes=asdict(sizes)), began, keep)
    _conclude(results, machine, asdict(sizes))


def _keep(told: str, began: datetime, also: Path | None) -> None:
    for path in (RESULTS / f"{began:%Y%m%dT%H%M%S}.json", RESULTS / "latest.json", also):
        if path:
            path.write_text(told, encoding="utf-8")


def _conclude(results: list[Result], machine: Mapping[str, str], sizes: Mapping[str, float]) -> None:
    console = Console()
    for named in (machine, sizes):
        console.print(", ".join(f"{name} {value}" for name, value in named.items()), highlight=False)
    console.print(table(results))
    for result in results:
        for note in result.notes:
            console.print(f"{result.scenario}: {note}", markup=False, soft_wrap=True)
    if any(result.missed for result in results):
        raise typer.Exit(1)


if __name__ == "__main__":
    try:
        app()
    except StackError as error:
        sys.exit(str(error))
