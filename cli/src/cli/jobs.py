"""`trustlens recompute`, `sweep` and `jobs`: long work that the services do, and how far it is."""

import asyncio
import time
from collections.abc import Callable
from typing import Annotated
from uuid import UUID

import asyncpg
import typer
from rich.console import Console
from rich.markup import escape
from rich.progress import BarColumn, MofNCompleteColumn, Progress, TextColumn, TimeElapsedColumn, TimeRemainingColumn
from rich.table import Table

from cli import api, database, stack_env, store_results
from cli.answers import Job
from cli.api import Api
from cli.explanation import plain

SCHEMAS = ("api", "scorer", "rule_engine", "dispatcher")
"""In which jobs lie."""
POLL_SECONDS = 0.5
LINE_SECONDS = 5.0
_COUNTED = {
    "recompute": "customers",
    "categories": "orders",
    "history_categories": "orders",
    "replay": "deliveries",
    "backtest": "events",
    "sync": "orders, products and coupons",
}
"""What the number of each kind of job counts."""

app = typer.Typer(help="Long work that the services do in the background.", no_args_is_help=True)


async def read(api: Api, job_id: str) -> Job:
    return Job.model_validate(await api.get(f"/jobs/{job_id}"))


async def follow(api: Api, job_id: str, show: Callable[[Job], None], *, poll: float = POLL_SECONDS) -> Job:
    """Show a job again and again until it has ended."""
    while True:
        job = await read(api, job_id)
        show(job)
        if job.ended:
            return job
        await asyncio.sleep(poll)


class LogLines:
    """A line every few seconds, for logs and pipes."""

    def __init__(self, console: Console, *, every: float = LINE_SECONDS) -> None:
        self._console, self._every = console, every
        self._due = time.monotonic() + every

    def show(self, job: Job) -> None:
        if job.ended or time.monotonic() < self._due:
            return
        self._due = time.monotonic() + self._every
        self._console.print(f"{job.kind}: {extent(job)}{waiting(job)}", highlight=False, markup=False)


def extent(job: Job) -> str:
    """How far a job is, in words."""
    return f"{job.done:,}" if job.total is None else f"{job.done:,} of {job.total:,}"


def waiting(job: Job) -> str:
    """Why it does not get on just now, in words; empty where it does."""
    return f" ({plain(job.error)})" if job.error and not job.ended else ""


def left_out(skipped: int) -> str:
    """What a replay does not make, in words; empty where there is none."""
    return f"{skipped:,} more are left out: their endpoints are off." if skipped else ""


def ending(job: Job) -> str:
    """The last sentence about a job that has ended."""
    if job.state == "done" and job.kind == "connect":  # its webhooks are shown one by one
        return "connect is done."
    if job.state == "done":
        done = f"{job.kind} is done: {job.done:,} {_COUNTED.get(job.kind, 'rows')}."
        return f"{done} {left_out(job.skipped or 0)}".rstrip()
    why = f": {plain(job.error).removesuffix('.')}" if job.error else ""
    end = "was cancelled" if job.state == "cancelled" else job.state
    after = f" after {extent(job)}" if job.done else ""
    return f"{job.kind} {end}{after}{why}."


async def watch(api: Api, job_id: str, console: Console) -> Job:
    """Follow a job with a bar on a terminal, with lines elsewhere."""
    if not console.is_terminal:
        return await follow(api, job_id, LogLines(console).show)
    columns = (
        TextColumn("{task.description}"),
        BarColumn(),
        MofNCompleteColumn(),
        TimeElapsedColumn(),
        TimeRemainingColumn(),
    )
    with Progress(*columns, console=console, transient=True) as bar:
        task = bar.add_task("waiting", total=None)
        return await follow(
            api,
            job_id,
            lambda job: bar.update(
                task, description=escape(f"{job.kind}{waiting(job)}"), completed=job.done, total=job.total
            ),
        )


def watched(job_id: str, *, on_stderr: bool = False) -> Job:
    """As `followed`. Exit code 1: it failed or was cancelled."""
    job = followed(job_id, on_stderr=on_stderr)
    if job.state != "done":
        raise typer.Exit(1)
    return job


def followed(job_id: str, *, on_stderr: bool = False) -> Job:
    """Show a job to its end, and say how it ended. Ctrl-C ends the watching, not the job."""
    console = Console(stderr=on_stderr)
    try:
        job = api.run(lambda api: watch(api, job_id, console))
    except KeyboardInterrupt:
        typer.echo(
            f"It goes on without us; `trustlens jobs show {job_id}` says how far it is,"
            f" `trustlens jobs cancel {job_id}` ends it.",
            err=on_stderr,
        )
        raise typer.Exit(130) from None
    typer.echo(ending(job), err=on_stderr)
    return job


def recompute() -> None:
    """Compute every customer's score anew from what is stored, and wait for it."""
    answer = api.run(lambda api: api.post("/store/recompute"))
    watched(answer["job_id"])


def sweep() -> None:
    """Mark the customers whose scores change by time alone; they are scored in the background."""
    answer = api.run(lambda api: api.post("/store/sweep"))
    typer.echo(swept(answer["due"]))


def swept(due: int) -> str:
    """What a sweep found, in words."""
    match due:
        case 0:
            return "Time alone has changed no score."
        case 1:
            return "1 customer is due for a new score; it is being computed."
        case _:
            return f"{due:,} customers are due for new scores; they are being computed."


@app.command()
def show(job_id: Annotated[UUID, typer.Argument(metavar="ID")]) -> None:
    """Print how far a job is."""
    job = api.run(lambda api: read(api, str(job_id)))
    grid = Table.grid(padding=(0, 2))
    grid.add_row("job", str(job.id))
    grid.add_row("kind", job.kind)
    grid.add_row("state", job.state)
    grid.add_row("done", extent(job))
    if job.error:
        grid.add_row("error", plain(job.error))
    if job.skipped:
        grid.add_row("left out", f"{job.skipped:,}, whose endpoints are off")
    Console(markup=False, highlight=False).print(grid)
    store_results.show(job)


@app.command("list")
def list_unfinished() -> None:
    """List the jobs of all stores that are not over, the oldest first."""
    unfinished = database.run(find_unfinished, stack_env.read())
    table = Table.grid(padding=(0, 2))
    for store, job in unfinished:
        table.add_row(str(job.id), job.kind, job.state, extent(job) + waiting(job), store)
    console = Console(markup=False, highlight=False)
    console.print(table if unfinished else "No job is queued or under way.", soft_wrap=True)


async def find_unfinished(connection: asyncpg.Connection) -> list[tuple[str, Job]]:
    """With the name of its store."""
    rows = await connection.fetch(
        " UNION ALL ".join(
            "SELECT j.id, kind, state, done, total, error, j.created_at, s.name FROM "
            f"{schema}.jobs j JOIN api.stores s ON s.id = store_id WHERE state IN ('queued', 'running')"
            for schema in SCHEMAS
        )
        + " ORDER BY created_at, id"
    )
    return [(row["name"], Job.model_validate(dict(row))) for row in rows]


@app.command()
def cancel(job_id: Annotated[UUID, typer.Argument(metavar="ID")]) -> None:
    """End a job where it is; what it did stays done."""
    job = api.run(lambda api: cancelled(api, str(job_id)))
    typer.echo(ending(job))


async def cancelled(api: Api, job_id: str) -> Job:
    """The job as it ended, which may have been before."""
    await api.delete(f"/jobs/{job_id}")
    return await read(api, job_id)
