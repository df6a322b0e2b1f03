"""`python -m bench.faults`: one run. Exit code 1: something was lost, or nothing explains it."""

import secrets
import sys
from collections.abc import Mapping
from datetime import UTC, datetime
from typing import Annotated, cast

import typer
import uvloop
from rich.console import Console

from bench import scenarios
from bench.faults import ledger, report
from bench.faults.chaos import KINDS, Kind
from bench.faults.report import Run
from bench.faults.run import Options, run
from bench.faults.site import FOLDER, servers
from local_stack.errors import StackError

RESULTS = FOLDER.path.parent
app = typer.Typer(add_completion=False, pretty_exceptions_enable=False)


@app.command()
def faults(
    *,
    seed: Annotated[int | None, typer.Option(help="Repeats the run that told it. Default: another each time.")] = None,
    kills: Annotated[int, typer.Option(min=0, help="Processes that end without warning.")] = 100,
    minutes: Annotated[float, typer.Option(min=0.25, max=600, help="Of load and faults.")] = 8,
    rate: Annotated[float, typer.Option(min=1, max=1000, help="Webhooks a second.")] = 20,
    settle: Annotated[float, typer.Option(min=0, help="Seconds to wait at the end until all is done.")] = 600,
    only: Annotated[str, typer.Option(help=f"Some of {', '.join(KINDS)}, with commas.")] = "",
) -> None:
    """Break everything in a random order while a shop sends its webhooks, and count what was lost."""
    kinds = only.split(",") if only else KINDS
    if unknown := set(kinds) - set(KINDS):
        raise typer.BadParameter(f"there is no fault {', '.join(sorted(unknown))}", param_hint="--only")
    options = Options(
        seed=secrets.randbelow(1_000_000) if seed is None else seed,
        kills=kills,
        seconds=60 * minutes,
        rate=rate,
        settle=settle,
        only=cast("tuple[Kind, ...]", tuple(kinds)),
    )
    began = datetime.now(UTC)
    with servers() as stack:
        machine = uvloop.run(scenarios.machine(stack))
        done = uvloop.run(run(stack, options))
    _keep(done, began, machine)
    _conclude(done, f"--seed {options.seed} --kills {kills} --minutes {minutes:g} --rate {rate:g}")


def _keep(done: Run, began: datetime, machine: Mapping[str, str]) -> None:
    RESULTS.mkdir(parents=True, exist_ok=True)
    told = report.as_json(done, machine=machine, began=began.isoformat(timespec="seconds"))
    for name in (f"{began:%Y%m%dT%H%M%S}.json", "latest.json"):
        (RESULTS / name).write_text(told, encoding="utf-8")
    (RESULTS / "latest.md").write_text(report.markdown(done), encoding="utf-8")
    (RESULTS / "ledger.ndjson").write_text("\n".join(ledger.lines(done.ledger)) + "\n", encoding="utf-8")


def _conclude(done: Run, again: str) -> None:
    console = Console(soft_wrap=True)
    console.print(report.table(done))
    for finding in done.verdict.findings:
        console.print(str(finding), style="red", markup=False)
    if done.verdict.findings:
        console.print(f"Again: {again}. What was posted and received, and the logs, are under {RESULTS}.", markup=False)
        raise typer.Exit(1)


if __name__ == "__main__":
    try:
        app()
    except StackError as error:
        sys.exit(str(error))
