"""`trustlens replay`: a file of orders, posted to the stack as a WooCommerce store would post it."""

import asyncio
import json
import time
from collections import Counter
from collections.abc import Callable, Iterable, Iterator
from dataclasses import dataclass, field
from pathlib import Path
from typing import Annotated

import aiohttp
import typer
import uvloop
from rich.console import Console
from rich.progress import BarColumn, Progress, TaskProgressColumn, TextColumn, TimeRemainingColumn
from rich.table import Table

from cli import stack_env
from cli.order_lines import BadLine, OrderFile, OrderLine
from cli.posting import CONCURRENCY, PATIENCE_SECONDS, Posted, Poster, Result, Target, UnavailableError, post_all

SHOWN_REJECTIONS = 5
TICK_SECONDS = 0.5
LOG_SECONDS = 5.0


@dataclass(frozen=True, slots=True)
class Bookmark:
    """Where a replay of this file to this URL has come: every line up to `lines_done` has its answer."""

    path: Path
    file: str
    size: int
    url: str

    def load(self) -> int:
        """Lines done; 0 if there is no bookmark, or it belongs to another file or store."""
        try:
            saved = json.loads(self.path.read_text(encoding="utf-8"))
        except (FileNotFoundError, ValueError):
            return 0
        return int(saved["lines_done"]) if saved == self._content(saved.get("lines_done")) else 0

    def save(self, lines_done: int) -> None:
        self.path.parent.mkdir(parents=True, exist_ok=True)
        fresh = self.path.with_suffix(".new")
        fresh.write_text(json.dumps(self._content(lines_done)), encoding="utf-8")
        fresh.replace(self.path)

    def _content(self, lines_done: object) -> dict[str, object]:
        return {"file": self.file, "size": self.size, "url": self.url, "lines_done": lines_done}


def bookmark(file: Path, url: str, *, state: Path | None = None) -> Bookmark:
    """Under `.local` of the checkout if there is one, else beside the file."""
    env = stack_env.find()
    folder = env.parent / "replay" if env else file.resolve().parent
    path = state or folder / f"{file.name}.{url.rsplit('/', 1)[-1]}.replay.json"
    return Bookmark(path, file.name, file.stat().st_size, url)


@dataclass
class Unanswered:
    """The lines of a file that were taken up and have no answer yet. `done`: every line up to it has one."""

    last: int = 0
    """Taken up."""
    _lines: dict[int, None] = field(default_factory=dict)  # a dict keeps their order

    def add(self, line: int) -> None:
        self._lines[line] = None
        self.last = line

    def remove(self, line: int) -> None:
        del self._lines[line]

    @property
    def done(self) -> int:
        return next(iter(self._lines), self.last + 1) - 1


@dataclass
class Run:
    """One replay as it goes: what was answered, and up to which line everything is."""

    skipped: int = 0
    started: float = field(default_factory=time.monotonic)
    results: Counter[Result] = field(default_factory=Counter)
    rejections: list[Posted] = field(default_factory=list)
    _unanswered: Unanswered = field(init=False)

    def __post_init__(self) -> None:
        self._unanswered = Unanswered(self.skipped)

    def watch(self, lines: Iterable[OrderLine | BadLine]) -> Iterator[OrderLine | BadLine]:
        for line in lines:
            self._unanswered.add(line.number)
            yield line

    def note(self, posted: Posted) -> None:
        self._unanswered.remove(posted.line.number)
        self.results[posted.result] += 1
        if posted.result is Result.REJECTED and len(self.rejections) < SHOWN_REJECTIONS:
            self.rejections.append(posted)

    @property
    def lines_done(self) -> int:
        return self._unanswered.done

    @property
    def posted(self) -> int:
        return self.results.total()

    @property
    def seconds(self) -> float:
        return time.monotonic() - self.started

    @property
    def rate(self) -> float:
        return self.posted / max(self.seconds, 1e-9)


async def replay(
    file: OrderFile,
    poster: Poster,
    run: Run,
    *,
    mark: Bookmark,
    concurrency: int = CONCURRENCY,
    show: Callable[[Run], None],
) -> None:
    """Post the file, noting progress in `run` and in the bookmark, which is right however this ends."""
    ticker = asyncio.create_task(_tick(run, mark, show), name="replay-progress")
    try:
        await post_all(run.watch(file), poster, concurrency=concurrency, on_posted=run.note)
    finally:
        ticker.cancel()
        mark.save(run.lines_done)
        show(run)


async def _tick(run: Run, mark: Bookmark, show: Callable[[Run], None]) -> None:
    while True:
        await asyncio.sleep(TICK_SECONDS)
        mark.save(run.lines_done)
        show(run)


class Bar:
    """The progress bar; measured in the file's stored bytes, because nobody has counted its lines."""

    def __init__(self, file: OrderFile, console: Console) -> None:
        self._file = file
        self.progress = Progress(
            TextColumn("{task.description}"),
            BarColumn(),
            TaskProgressColumn(),
            TextColumn("{task.fields[posted]:,} posted"),
            TextColumn("{task.fields[rate]:,.0f}/s"),
            TimeRemainingColumn(),
            console=console,
        )
        self._task = self.progress.add_task(file.path.name, total=file.size, posted=0, rate=0.0)

    def show(self, run: Run) -> None:
        self.progress.update(self._task, completed=self._file.read, posted=run.posted, rate=run.rate)


class LogLines:
    """A line every few seconds, for logs and pipes."""

    def __init__(self, file: OrderFile, console: Console, *, every: float = LOG_SECONDS) -> None:
        self._file, self._console, self._every = file, console, every
        self._due = 0.0

    def show(self, run: Run) -> None:
        if run.seconds < self._due:
            return
        self._due = run.seconds + self._every
        percent = 100 * self._file.read / max(self._file.size, 1)
        self._console.print(
            f"replay.progress read={percent:.0f}% posted={run.posted} rate={run.rate:.0f}/s"
            f" rejected={run.results[Result.REJECTED]} seconds={run.seconds:.0f}",
            soft_wrap=True,
        )


def print_summary(run: Run, console: Console) -> None:
    for posted in run.rejections:
        console.print(f"line {posted.line.number}: {posted.detail}", markup=False, soft_wrap=True)
    if (more := run.results[Result.REJECTED] - len(run.rejections)) > 0:
        console.print(f"… and {more:,} more rejected")
    table = Table.grid(padding=(0, 2))
    table.add_row("posted", f"{run.posted:,}")
    table.add_row("accepted (202)", f"{run.results[Result.ACCEPTED]:,}")
    table.add_row("duplicate (200)", f"{run.results[Result.DUPLICATE]:,}")
    table.add_row("rejected", f"{run.results[Result.REJECTED]:,}")
    table.add_row("seconds", f"{run.seconds:.1f}")
    table.add_row("events/s", f"{run.rate:,.0f}")
    console.print(table)


async def _play(
    file: OrderFile, run: Run, mark: Bookmark, target: Target, *, patience: float, concurrency: int
) -> None:
    console = Console(stderr=True)
    connector = aiohttp.TCPConnector(limit=concurrency)
    timeout = aiohttp.ClientTimeout(total=60)
    async with aiohttp.ClientSession(connector=connector, timeout=timeout) as session:
        poster = Poster(session=session, target=target, patience=patience)
        if not console.is_terminal:
            await replay(file, poster, run, mark=mark, concurrency=concurrency, show=LogLines(file, console).show)
            return
        bar = Bar(file, console)
        with bar.progress:
            await replay(file, poster, run, mark=mark, concurrency=concurrency, show=bar.show)


def ingest_url(api_url: str, store_id: str) -> str:
    return f"{api_url.rstrip('/')}/wp-json/trustlens/v1/ingest/woocommerce/{store_id}"


def command(
    file: Annotated[Path, typer.Argument(exists=True, dir_okay=False, help='NDJSON of {"topic","order"}; .gz, .xz.')],
    *,
    store: Annotated[str, typer.Option(help="Store id; else TRUSTLENS_STORE_ID.")] = "",
    secret: Annotated[str, typer.Option(help="Its WooCommerce secret; else TRUSTLENS_WOOCOMMERCE_SECRET.")] = "",
    api_url: Annotated[str, typer.Option(help="Else TRUSTLENS_API_URL.")] = "",
    source: Annotated[str, typer.Option(help="The shop's address, as X-WC-Webhook-Source.")] = "https://shop.example/",
    concurrency: Annotated[int, typer.Option(min=1, max=1000, help="Posts in flight.")] = CONCURRENCY,
    patience: Annotated[float, typer.Option(help="Seconds to try one line before giving up.")] = PATIENCE_SECONDS,
    resume: Annotated[bool, typer.Option(help="Continue where the last run of this file stopped.")] = False,
    state: Annotated[Path | None, typer.Option(help="Keep the place to resume from in this file.")] = None,
) -> None:
    """Post a file of orders as correctly signed WooCommerce webhooks.

    An answer of 429 or 5xx, or none, is waited out; other refusals are counted and the first ones shown.
    Exit code 1: something was rejected. 3: the stack stayed away; continue with --resume.
    """
    env = stack_env.read()
    target = Target(
        ingest_url(
            api_url or stack_env.need(env, "TRUSTLENS_API_URL"), store or stack_env.need(env, "TRUSTLENS_STORE_ID")
        ),
        secret or stack_env.need(env, "TRUSTLENS_WOOCOMMERCE_SECRET"),
        source,
    )
    mark = bookmark(file, target.url, state=state)
    run = Run(skipped=mark.load() if resume else 0)
    lines = OrderFile(file, skip=run.skipped)
    console = Console()
    try:
        uvloop.run(_play(lines, run, mark, target, patience=patience, concurrency=concurrency))
    except UnavailableError as error:
        console.print(f"Gave up after {patience:.0f} s: {error}. Continue with --resume.", markup=False)
        code = 3
    except KeyboardInterrupt:
        console.print(f"Interrupted after line {run.lines_done:,}. Continue with --resume.")
        code = 130
    else:
        code = 1 if run.results[Result.REJECTED] else 0
    print_summary(run, console)
    raise typer.Exit(code)
