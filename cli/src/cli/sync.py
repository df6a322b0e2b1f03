"""`trustlens sync`: a store's old orders, from its REST API or from a file; and whether nothing was missed since."""

from collections.abc import Mapping
from datetime import tzinfo
from pathlib import Path
from typing import Annotated
from zoneinfo import ZoneInfo, ZoneInfoNotFoundError

import typer

from cli import api, jobs, stack_env, store_results, sync_file
from cli.answers import Job, Synced, SyncState
from cli.api import Api
from cli.explanation import counted, plain
from cli.order_exports import ExportFile, FileError, Sheet, is_csv, refuse_list, sheet
from cli.posting import PATIENCE_SECONDS

NEVER = "never"


def command(
    *,
    after: Annotated[str, typer.Option(help="Only orders made after this time, as in 2026-01-31.")] = "",
    before: Annotated[str, typer.Option(help="Only orders made before it.")] = "",
    status: Annotated[bool, typer.Option("--status", help="Only say when the store was last heard of.")] = False,
    file: Annotated[
        Path | None, typer.Option(exists=True, dir_okay=False, help="From this file: NDJSON or CSV; also .gz, .xz.")
    ] = None,
    encoding: Annotated[str, typer.Option(help="Of a CSV that is not UTF-8, as windows-1252.")] = "",
    timezone: Annotated[str, typer.Option(help="Of a CSV's times that name none, as Europe/Berlin.")] = "UTC",
    patience: Annotated[float, typer.Option(help="Seconds to try to send before giving up.")] = PATIENCE_SECONDS,
    resume: Annotated[bool, typer.Option(help="Continue where the last run of this file stopped.")] = False,
) -> None:
    """Take in all that the store sold before, quietly: it is scored, and nobody is told.

    Without --file the store is asked, as `trustlens connect` made it known. What came before changes nothing.
    Exit code 1: something was skipped, the work failed or was cancelled, or the books do not balance. 2: the file
    cannot be read as it is. 3: the stack stayed away; continue with --resume. 130: interrupted.
    """
    if file and (after or before or status):
        raise typer.BadParameter(
            "takes no --after, --before or --status: all of a file is taken in", param_hint="--file"
        )
    if file:
        raise typer.Exit(_from_file(file, encoding=encoding, zone=_zone(timezone), patience=patience, resume=resume))
    if status:
        typer.echo(told(api.run(state)))
        return
    given = {name: time for name, time in (("after", after), ("before", before)) if time}
    from_store(given)


async def state(api: Api) -> SyncState:
    return SyncState.model_validate((await api.get("/store"))["sync"])


def told(state: SyncState) -> str:
    """When the store was last heard of, line by line."""
    gaps = f"{counted(state.gaps, 'order')}, the last at {state.last_gap_at} UTC" if state.gaps else "none"
    lines = {
        "last webhook": _time(state.last_webhook_at),
        "last poll": _time(state.last_poll_at)
        + (f", failed: {plain(state.last_poll_error or '')}" if state.last_poll_error else ""),
        "missed by webhooks": gaps,
        "known up to": _time(state.watermark),
    }
    return "\n".join(f"{name:<20}{value}" for name, value in lines.items())


def _time(told: str | None) -> str:
    return f"{told} UTC" if told else NEVER


# From the store -------------------------------------------------------------------------------------------------------


def from_store(given: Mapping[str, str]) -> None:
    """Ask for it, watch it, print its books. Ctrl-C ends the watching, not the work."""
    answer = api.run(lambda api: api.post("/store/sync", dict(given)))
    job = jobs.followed(answer["job_id"])
    store_results.show(job)
    if job.state != "done" or is_skipped(job):
        raise typer.Exit(1)


def is_skipped(job: Job) -> bool:
    return bool(job.result and Synced.model_validate(job.result).orders.skipped)


# From a file ----------------------------------------------------------------------------------------------------------


def _from_file(path: Path, *, encoding: str, zone: tzinfo, patience: float, resume: bool) -> int:
    env = stack_env.read()
    try:
        columns = _columns(path, encoding=encoding, zone=zone)
    except FileError as error:
        typer.echo(str(error), err=True)
        return 2
    if columns and columns.header.passed_over:
        typer.echo(passed_over(columns), err=True)
    store = api.run(lambda api: api.get("/store"))["id"]
    mark = sync_file.bookmark(path, stack_env.need(env, "TRUSTLENS_API_URL"), store)
    tally = sync_file.Import(before=mark.load() if resume else 0)
    return sync_file.run(ExportFile(path, columns, skip=tally.before), tally, mark, patience=patience, env=env)


def _columns(path: Path, *, encoding: str, zone: tzinfo) -> Sheet | None:
    """None: it is no spreadsheet.

    Raises:
        FileError: it cannot be read as it is.
    """
    if is_csv(path):
        return sheet(path, encoding=encoding, zone=zone)
    refuse_list(path)
    return None


def passed_over(sheet: Sheet) -> str:
    return plain(f"Columns that are not read: {', '.join(sheet.header.passed_over)}.")


def _zone(name: str) -> tzinfo:
    try:
        return ZoneInfo(name)
    except (ZoneInfoNotFoundError, ValueError, OSError):
        raise typer.BadParameter(
            f"there is no time zone {name}; one is Europe/Berlin", param_hint="--timezone"
        ) from None
