"""`trustlens sync --file`: old orders from a file, sent quietly, and waited for until all are scored."""

import asyncio
import re
import time
from collections import Counter
from collections.abc import Callable, Iterable, Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass, field
from pathlib import Path

import aio_pika.exceptions
import aiormq.exceptions
import asyncpg
import uvloop
from aiohttp import ClientSession, ClientTimeout
from rich.console import Console
from rich.progress import BarColumn, Progress, TaskProgressColumn, TextColumn, TimeRemainingColumn
from rich.table import Table

from cli import api, books, stack_env
from cli.books import Books
from cli.event_posting import Answered, EventPoster, post_all
from cli.explanation import plain
from cli.order_exports import Event, ExportFile
from cli.order_lines import BadLine
from cli.posting import Result, UnavailableError
from cli.replay import Bookmark, Unanswered

TICK_SECONDS = 0.5
LINE_SECONDS = 5.0
SETTLE_SECONDS = 60.0
"""For what follows the last order: neighbours' scores, sums, what else the system does."""
SHOWN_LINES = 10
SHOWN_REASONS = 10


@dataclass
class Reason:
    count: int = 0
    lines: list[int] = field(default_factory=list)
    """The first few."""


@dataclass
class Import:
    """One import as it goes: what was answered, and up to which line everything is. `before`: by an earlier run."""

    before: int = 0
    started: float = field(default_factory=time.monotonic)
    results: Counter[Result] = field(default_factory=Counter)
    reasons: dict[str, Reason] = field(default_factory=dict)
    sent: float = 0
    """Seconds until the last answer."""
    _unanswered: Unanswered = field(init=False)

    def __post_init__(self) -> None:
        self._unanswered = Unanswered(self.before)

    def watch(self, lines: Iterable[Event | BadLine]) -> Iterator[Event | BadLine]:
        for line in lines:
            self._unanswered.add(line.number)
            yield line

    def note(self, answered: Answered, *, name: Callable[[str], str] = str) -> None:
        """`name`: a field of wc/v3 as the file calls it."""
        self._unanswered.remove(answered.number)
        self.results[answered.result] += 1
        self.sent = self.seconds
        if answered.result is Result.REJECTED:
            reason = self.reasons.setdefault(_words(answered, name), Reason())
            reason.count += 1
            reason.lines += [answered.number] if len(reason.lines) < SHOWN_LINES else []

    @property
    def lines_done(self) -> int:
        return self._unanswered.done

    @property
    def seen(self) -> int:
        return self.results.total()

    @property
    def seconds(self) -> float:
        return time.monotonic() - self.started


def _words(answered: Answered, name: Callable[[str], str]) -> str:
    """Without positions in lists, so that the same fault of many orders is one reason."""
    path = re.sub(r"\.[0-9]+(?=\.|$)", "", answered.field)
    if path == "occurred_at":  # which we made of it
        path = "date_modified_gmt"
    return plain(f"{name(path)} {answered.why}" if path else answered.why)


# Sending --------------------------------------------------------------------------------------------------------------

Show = Callable[[int, int, str], None]
"""(how much, of how much, in words)"""


async def send(file: ExportFile, poster: EventPoster, run: Import, *, mark: Bookmark, show: Show) -> None:
    """Post the file, noting progress in `run` and in the bookmark, which is right however this ends."""

    def tell() -> None:
        mark.save(run.lines_done)
        show(file.read, file.size, f"{run.seen:,} orders, {run.seen / max(run.seconds, 1e-9):,.0f}/s")

    ticker = asyncio.create_task(_every_tick(tell), name="sync-progress")
    try:
        await post_all(run.watch(file), poster, on_answered=lambda answered: run.note(answered, name=file.field))
    finally:
        ticker.cancel()
        tell()


async def _every_tick(tell: Callable[[], None]) -> None:
    while True:
        await asyncio.sleep(TICK_SECONDS)
        tell()


# Waiting --------------------------------------------------------------------------------------------------------------


async def scored(database_url: str, amqp_url: str, run: Import, *, prefix: str, show: Show) -> Books:
    """The books once the scorer has all, and they balance; or as they are a minute after it took the last."""
    new = run.results[Result.ACCEPTED]
    while waiting := await books.backlog(database_url, amqp_url, prefix):
        show(max(new - waiting, 0), new, f"{waiting:,} to go")
        await asyncio.sleep(TICK_SECONDS)
    show(new, new, "balancing the books")
    return await books.settled(database_url, amqp_url, within=SETTLE_SECONDS, prefix=prefix)


@contextmanager
def showing(what: str, console: Console) -> Iterator[Show]:
    """A bar with the time left on a terminal, a line every few seconds elsewhere."""
    if not console.is_terminal:
        yield _lines(what, console)
        return
    columns = (TextColumn("{task.description}"), BarColumn(), TaskProgressColumn(), TextColumn("{task.fields[words]}"))
    with Progress(*columns, TimeRemainingColumn(), console=console, transient=True) as bar:
        task = bar.add_task(what, total=None, words="")
        yield lambda done, total, words: bar.update(task, completed=done, total=total, words=words)


def _lines(what: str, console: Console) -> Show:
    due = time.monotonic() + LINE_SECONDS

    def show(done: int, total: int, words: str) -> None:
        nonlocal due
        if time.monotonic() >= due:
            due = time.monotonic() + LINE_SECONDS
            console.print(f"{what}: {100 * done // max(total, 1)} %, {words}", highlight=False, soft_wrap=True)

    return show


# The whole ------------------------------------------------------------------------------------------------------------


@dataclass(frozen=True, slots=True)
class Ended:
    """How an import ended: what to exit with, and what to say before the books."""

    code: int
    why: str = ""


def bookmark(file: Path, url: str, store: str) -> Bookmark:
    """Under `.local` of the checkout if there is one, else beside the file."""
    env = stack_env.find()
    folder = env.parent / "sync" if env else file.resolve().parent
    return Bookmark(folder / f"{file.name}.{store}.sync.json", file.name, file.stat().st_size, f"{url} {store}")


def run(file: ExportFile, tally: Import, mark: Bookmark, *, patience: float, env: Mapping[str, str]) -> int:
    """Send the file, wait until it is scored, print the books. The exit code, as `trustlens sync --help` tells it."""
    console = Console(stderr=True)
    ended = _sent(file, tally, mark, patience=patience, env=env, console=console)
    balance = None
    if ended.code in {0, 1} and tally.results[Result.ACCEPTED]:
        ended, balance = _scored(tally, env, console, ended)
    print_books(tally, Console(highlight=False), balance)
    if ended.why:
        console.print(ended.why, highlight=False, markup=False, soft_wrap=True)
    return ended.code


def _sent(
    file: ExportFile, tally: Import, mark: Bookmark, *, patience: float, env: Mapping[str, str], console: Console
) -> Ended:
    url = stack_env.need(env, "TRUSTLENS_API_URL").rstrip("/") + api.NAMESPACE
    headers = {"X-TrustLens-API-Key": stack_env.need(env, "TRUSTLENS_API_KEY")}

    async def work() -> None:
        async with ClientSession(headers=headers, timeout=ClientTimeout(total=60)) as session:
            poster = EventPoster(session=session, url=url, patience=patience)
            with showing(file.path.name, console) as show:
                await send(file, poster, tally, mark=mark, show=show)

    try:
        uvloop.run(work())
    except UnavailableError as error:
        return Ended(3, f"Gave up after {patience:.0f} s: {error}. Continue with --resume.")
    except KeyboardInterrupt:
        return Ended(130, f"Interrupted after line {tally.lines_done:,}. Continue with --resume.")
    return Ended(1 if tally.results[Result.REJECTED] else 0)


def _scored(tally: Import, env: Mapping[str, str], console: Console, ended: Ended) -> tuple[Ended, Books | None]:
    urls = env.get("TRUSTLENS_DATABASE_URL"), env.get("TRUSTLENS_AMQP_URL")
    if not all(urls):
        told = "All is sent and being scored. `trustlens books`, run where TrustLens is, says when it is done."
        return Ended(ended.code, told), None
    try:
        with showing("scoring", console) as show:
            balance = uvloop.run(
                scored(str(urls[0]), str(urls[1]), tally, prefix=env.get("TRUSTLENS_NAME_PREFIX", ""), show=show)
            )
    except KeyboardInterrupt:
        return Ended(130, "All is sent; scoring goes on without us. `trustlens books` says when it is done."), None
    except (OSError, aio_pika.exceptions.AMQPError, aiormq.exceptions.AMQPError, asyncpg.PostgresError) as error:
        told = f"All is sent, but the books cannot be read ({type(error).__name__}): see `trustlens books`."
        return Ended(1, told), None
    return (ended if balance.balanced else Ended(1, "The books do not balance: see `trustlens books`.")), balance


def print_books(tally: Import, console: Console, balance: Books | None) -> None:
    for line in skipped(tally.reasons):
        console.print(line, markup=False, soft_wrap=True)
    table = Table.grid(padding=(0, 2))
    if tally.before:
        table.add_row("lines of an earlier run", f"{tally.before:,}")
    table.add_row("orders seen", f"{tally.seen:,}")
    table.add_row("  new", f"{tally.results[Result.ACCEPTED]:,}")
    table.add_row("  unchanged", f"{tally.results[Result.DUPLICATE]:,}")
    table.add_row("  skipped", f"{tally.results[Result.REJECTED]:,}")
    table.add_row("sent in", _pace(tally.seen, tally.sent))
    if balance:
        table.add_row("scored in", _pace(tally.results[Result.ACCEPTED], tally.seconds))
        table.add_row("books", "balanced" if balance.balanced else "NOT balanced")
    console.print(table)


def _pace(orders: int, seconds: float) -> str:
    return f"{seconds:,.1f} s, {orders / max(seconds, 1e-9):,.0f} orders/s"


def skipped(reasons: Mapping[str, Reason]) -> list[str]:
    """A line for each reason, the most frequent first."""
    by_count = sorted(reasons.items(), key=lambda reason: -reason[1].count)
    shown = [
        f"skipped {reason.count:,}: {words} (line{'s' if reason.count > 1 else ''} {_listed(reason)})"
        for words, reason in by_count[:SHOWN_REASONS]
    ]
    more = len(by_count) - SHOWN_REASONS
    return [*shown, *([f"… and {more:,} more reasons"] if more > 0 else [])]


def _listed(reason: Reason) -> str:
    return ", ".join(map(str, reason.lines)) + (", …" if reason.count > len(reason.lines) else "")
