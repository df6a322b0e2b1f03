"""How fast a store's past is read, page by page, and scored; beside a bare client that reads the same pages.

The store is the tests' fake one, in a process of its own, which serves as fast as it can.
"""

import asyncio
import json
import sys
import tempfile
import time
from asyncio.subprocess import PIPE
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from statistics import median

import aiohttp

from api.stores import save_settings
from bench import stack
from bench.asking import BASE
from bench.custom import ordered, patterns
from bench.ingest import body_of
from bench.metrics import cpu_seconds
from bench.progress import counted
from bench.report import Bound, Figure, Result
from bench.stack import Site
from bench.system import System, system
from local_stack.errors import StackError
from local_stack.folder import CHECKOUT
from shared.secrets import Vault

FAKE = CHECKOUT / "tests"
KEY, SECRET = "ck_fake", "cs_fake"
"""What the fake store takes."""
PAGE = 100
"""WooCommerce gives no more at once."""
PACE = {"TRUSTLENS_SYNC_RATE": "100", "TRUSTLENS_CATCH_UP_SECONDS": "86400"}
"""As many requests a second as may be set, so that it is not politeness that is measured; and no polls beside it."""
OVER = ("done", "failed", "cancelled")
SETTLE_SECONDS = 120.0
NONE = Bound("at most", 0)


@dataclass(frozen=True, slots=True)
class Run:
    """One sync of a store's past."""

    orders: int
    read: float
    """Orders a second, from the first page's commit to the last one's."""
    scored: float
    """Orders a second, from the first page's commit to the scorer's last."""
    micros: float
    """Of the syncing process' processor an order."""
    missing: int
    """Orders that have no outcome."""


async def measure(site: Site, *, count: int, rounds: int) -> Result:
    runs, bares = [], []
    async with _fake_store(count) as url:
        for _ in range(rounds):
            async with system(site, "sync", **PACE) as running:
                runs.append(await _synced(running, url, count))
            bares.append(await _bare(url, count))
    return _result(runs, bares)


@asynccontextmanager
async def _fake_store(count: int) -> AsyncIterator[str]:
    """Its URL. It ends with us."""
    with tempfile.NamedTemporaryFile("w", suffix=".json", encoding="utf-8") as file:
        file.write(f"[{','.join(_orders(count))}]")
        file.flush()
        command = (sys.executable, "-m", "support.fake_store", "--until-eof", "--orders", file.name)
        process = await asyncio.create_subprocess_exec(*command, cwd=FAKE, stdin=PIPE, stdout=PIPE)
        try:
            told = await process.stdout.readline() if process.stdout else b""
            if not told:
                raise StackError("The fake store did not start.")
            yield told.decode().strip()
        finally:
            await process.communicate(b"")


def _orders(count: int) -> list[str]:
    """Of the last year, the oldest first."""
    kept, now = patterns(), datetime.now(UTC)
    return [
        body_of(ordered(kept[number % len(kept)], number, now - timedelta(minutes=500_000 - number)), number).decode()
        for number in range(1, count + 1)
    ]


async def _synced(running: System, url: str, count: int) -> Run:
    shop = running.track.site.shops[0]
    async with stack.connected(running.track) as pool:
        access = {"url": url, "woocommerce": {"key": KEY, "secret": SECRET}}
        await save_settings(pool, Vault(running.track.site.secret_keys), shop.id, access)
    used = cpu_seconds(running.pids["sync"])
    with counted("a store's past", count) as show:
        async with aiohttp.ClientSession(headers={"X-TrustLens-API-Key": running.key}) as session:
            await _job_done(session, running.services["api"].url + BASE)
        used = cpu_seconds(running.pids["sync"]) - used
        await _scored(running, count)
        show(count)
    return await _run(running, used)


async def _job_done(session: aiohttp.ClientSession, api: str) -> None:
    """
    Raises:
        StackError: it failed.
    """
    async with session.post(f"{api}/store/sync", json={}) as answer:
        job = await answer.json()
    while True:
        async with session.get(f"{api}/jobs/{job['job_id']}") as answer:
            told = await answer.json()
        if told["state"] == "done":
            return
        if told["state"] in OVER:
            raise StackError(f"The sync {told['state']}: {told['error']}")
        await asyncio.sleep(stack.LOOK_SECONDS)


async def _scored(running: System, count: int) -> None:
    """Once the scorer has done all, or has had its time."""
    deadline = time.monotonic() + SETTLE_SECONDS
    async with stack.connected(running.track) as pool:
        while await pool.fetchval("SELECT count(*) FROM scorer.input_outcomes") < count:
            if time.monotonic() > deadline:
                return
            await asyncio.sleep(stack.LOOK_SECONDS)


async def _run(running: System, used: float) -> Run:
    async with stack.connected(running.track) as pool:
        row = await pool.fetchrow(
            "SELECT count(*) AS orders, count(o.input_id) AS scored,"
            " extract(epoch FROM max(received_at) - min(received_at))::float AS reading,"
            " extract(epoch FROM max(at) - min(received_at))::float AS scoring"
            " FROM api.raw_input i LEFT JOIN scorer.input_outcomes o ON o.input_id = i.id WHERE source = 'sync'"
        )
    further = row["orders"] - PAGE  # the first page is the begin
    return Run(
        row["orders"],
        further / row["reading"],
        further / row["scoring"],
        1e6 * used / row["orders"],
        row["orders"] - row["scored"],
    )


async def _bare(url: str, count: int) -> float:
    """Orders a second that a client gets which asks for page after page and parses them."""
    params = {"per_page": str(PAGE), "orderby": "id", "order": "asc", "dates_are_gmt": "true"}
    seen, began = 0, time.perf_counter()
    async with aiohttp.ClientSession(auth=aiohttp.BasicAuth(KEY, SECRET)) as session:
        while seen < count:
            asked = {**params, "offset": str(seen)}
            async with session.get(f"{url}/wp-json/wc/v3/orders", params=asked) as answer:
                seen += len(json.loads(await answer.read()))
    return seen / (time.perf_counter() - began)


def _result(runs: list[Run], bares: list[float]) -> Result:
    read, bare = median(run.read for run in runs), median(bares)
    return Result(
        "sync",
        [
            Figure("read and stored", read, "orders/s"),
            Figure("scored", median(run.scored for run in runs), "orders/s"),
            Figure("processor of sync", median(run.micros for run in runs), "µs/order"),
            Figure("a bare client of the same store", bare, "orders/s"),
            Figure("ratio to the bare client", read / bare, "times"),
            Figure("without an outcome", sum(run.missing for run in runs), "orders", NONE),
        ],
        series={"read/s": [run.read for run in runs], "bare/s": bares},
    )
