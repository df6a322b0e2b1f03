"""`trustlens logs`: what the local stack's processes write, for people to read or for programs."""

import heapq
import re
import sys
import time
from collections.abc import Iterator, Sequence
from contextlib import ExitStack
from dataclasses import dataclass
from datetime import UTC, date, datetime, timedelta
from itertools import islice, takewhile
from typing import Annotated

import typer

from cli.explanation import plain
from cli.log_files import Followed, Line
from local_stack.stack import Stack
from shared.log import LEVELS, Terminal

LAST = 50
"""Lines that are shown where nobody says how many."""
LOOK_EVERY = 0.2
"""Seconds between looks for new lines: at once, for a person."""
_UNITS = {"s": "seconds", "m": "minutes", "h": "hours", "d": "days"}


@dataclass(frozen=True, slots=True)
class Wanted:
    """Which lines are to be shown. Ids, hashes and events match by their beginnings."""

    endpoint: str = ""
    customer: str = ""
    event: str = ""
    level: str = "debug"
    since: datetime | None = None

    def has(self, line: Line) -> bool:
        # One without a level may belong to the traceback of what one looks for.
        if line.level and LEVELS.get(line.level, LEVELS["error"]) < LEVELS[self.level]:
            return False
        told = line.told or {}
        customer = str(told.get("customer", ""))
        return (
            _hex(str(told.get("endpoint", ""))).startswith(_hex(self.endpoint))
            and customer.startswith(self.customer.lower()[: len(customer) or None])  # lines have its first digits
            and any(str(told.get(key, "")).startswith(self.event) for key in ("event", "event_type"))
        )

    def is_recent(self, line: Line) -> bool:
        return self.since is None or (line.at is not None and line.at >= self.since)


def _hex(written: str) -> str:
    return written.replace("-", "").lower()


def moment(text: str, now: datetime) -> datetime:
    """10m, 2h, 1d ago; or a time: 2026-06-05, 2026-06-05T14:20, in UTC where it names no zone.

    Raises:
        BadParameter: neither.
    """
    if ago := re.fullmatch(r"(\d{1,6})([smhd])", text):
        return now - timedelta(**{_UNITS[ago[2]]: int(ago[1])})
    try:
        at = datetime.fromisoformat(text)
    except ValueError:
        raise typer.BadParameter("give 30s, 10m, 2h or 1d, or a time: 2026-06-05T14:20") from None
    return at if at.tzinfo else at.replace(tzinfo=UTC)


def shown(line: Line, terminal: Terminal, today: date) -> str:
    """For people, in their own time; with the day, if it is another than today."""
    if line.told is None or line.at is None:
        return plain(line.text.replace("\t", "    "))
    local = line.at.astimezone()
    stamp = local.strftime("%H:%M:%S" if local.date() == today else "%m-%d %H:%M:%S")
    told = {
        key: plain(value) if isinstance(value, str) and key != "trace" else value for key, value in line.told.items()
    }
    try:
        return terminal(None, "", {**told, "timestamp": stamp})
    except (KeyError, TypeError, ValueError):  # another version's, with other keys
        return plain(line.text)


def logs(
    service: Annotated[
        str, typer.Argument(help="scorer, rule-engine, dispatcher, api, sync, postgres or rabbitmq.")
    ] = "",
    *,
    follow: Annotated[bool, typer.Option("--follow", "-f", help="Go on with what comes (Ctrl-C ends it).")] = False,
    lines: Annotated[
        int | None, typer.Option(min=0, help=f"How many of the last lines: {LAST}, or with --since all.")
    ] = None,
    endpoint: Annotated[str, typer.Option(help="Only of this endpoint: its id, or how it begins.")] = "",
    customer: Annotated[str, typer.Option(help="Only of this customer: the hash, or how it begins.")] = "",
    event: Annotated[str, typer.Option(help="Only these: delivery.attempt, delivery, score_updated.")] = "",
    level: Annotated[str, typer.Option(help="Only this or worse: debug, info, warning, error.")] = "debug",
    failed: Annotated[
        bool, typer.Option("--failed", help="Only what went wrong, attempts first of all: warnings and errors.")
    ] = False,
    since: Annotated[str, typer.Option(help="Only what came since: 30s, 10m, 2h, 1d ago, or a time.")] = "",
    as_json: Annotated[
        bool, typer.Option("--json", help="As it is written, for jq; what is not JSON goes to stderr.")
    ] = False,
) -> None:
    """Show the last lines of one log, or of all."""
    if level not in LEVELS:
        raise typer.BadParameter(f"there are {', '.join(LEVELS)}", param_hint="--level")
    worst = max(level, "warning" if failed else "debug", key=lambda name: LEVELS[name])
    begin = moment(since, datetime.now(UTC)) if since else None
    wanted = Wanted(endpoint, customer, event, worst, begin)
    count = lines if lines is not None else None if since else LAST
    terminal = None if as_json else Terminal(colours=sys.stdout.isatty())
    with ExitStack() as opened:
        files = [opened.enter_context(Followed(path)) for path in Stack().logs(service or None)]
        _print(last(files, wanted, count), terminal)
        try:
            while follow:
                _print(new(files, wanted), terminal)
                time.sleep(LOOK_EVERY)
        except KeyboardInterrupt:
            return


def last(files: Sequence[Followed], wanted: Wanted, count: int | None) -> list[Line]:
    """The last lines of all, in the order of their times; no file is read further back than that takes."""
    found = [_matching(file, wanted) for file in files]
    together = heapq.merge(*found, key=_when, reverse=True)
    return list(islice(together, count))[::-1]


def _matching(file: Followed, wanted: Wanted) -> Iterator[Line]:
    return filter(wanted.has, takewhile(wanted.is_recent, file.backwards()))


def new(files: Sequence[Followed], wanted: Wanted) -> list[Line]:
    """Those that were written since the last look."""
    return sorted((line for file in files for line in file.new_lines() if wanted.has(line)), key=_when)


def _when(line: Line) -> datetime:
    return line.at or datetime.min.replace(tzinfo=UTC)


def _print(lines: Sequence[Line], terminal: Terminal | None) -> None:
    today = datetime.now().astimezone().date()
    for line in lines:
        if terminal:
            print(shown(line, terminal, today))
        else:
            print(line.text, file=sys.stderr if line.told is None else sys.stdout)
    sys.stdout.flush()
