"""Orders posted to a running system at a rate, and when the webhook of each arrived."""

import asyncio
import time
from collections.abc import Collection, Mapping
from dataclasses import dataclass, replace
from itertools import pairwise
from statistics import median

from bench import ingest, stack
from bench.asking import ApiProcess
from bench.custom import Orders
from bench.flow import LATE_SECONDS, Flow
from bench.progress import counted
from bench.receiver import Told
from bench.stack import Track
from bench.system import System
from cli import books
from cli.books import Books

SETTLE_SECONDS = 60.0
_ORDERS = """
    SELECT d.id, (convert_from(i.body, 'UTF8')::jsonb ->> 'id')::bigint AS number,
        extract(epoch FROM i.received_at)::float AS received, extract(epoch FROM e.recorded_at)::float AS recorded,
        extract(epoch FROM d.created_at)::float AS created
    FROM dispatcher.deliveries d
    JOIN scorer.events e ON e.recorded_at = d.recorded_at AND e.id = d.source_id
    JOIN api.raw_input i ON i.id = (convert_from(e.body, 'UTF8')::jsonb #>> '{cause,id}')::uuid
    WHERE d.endpoint_id IS NOT NULL
"""
"""The endpoint's deliveries, with the orders that caused them: an event names the input that it came of."""
_WRITTEN = """
    SELECT schemaname AS owner, sum(n_tup_ins + n_tup_upd + n_tup_del)::float AS rows,
        sum(pg_total_relation_size(relid))::float AS bytes
    FROM pg_stat_user_tables WHERE schemaname IN ('api', 'scorer', 'rule_engine', 'dispatcher') GROUP BY 1
"""


@dataclass(frozen=True, slots=True)
class Used:
    """By some moment."""

    processors: Mapping[str, float]
    """Seconds."""
    rows: Mapping[str, float]
    """Inserted, updated and deleted, by the schema of whose service they are."""
    kept: Mapping[str, float]
    """Bytes of tables, indexes and TOAST."""
    messages: Mapping[str, float]
    """Sent, by the service that sent them."""
    log: float
    """Bytes of write-ahead log."""

    def an_order(self, later: "Used", orders: int) -> "Used":
        """What each of so many orders took from here to there."""

        def shares(before: Mapping[str, float], after: Mapping[str, float]) -> dict[str, float]:
            return {name: (after[name] - before.get(name, 0.0)) / orders for name in after}

        return Used(
            shares(self.processors, later.processors),
            shares(self.rows, later.rows),
            shares(self.kept, later.kept),
            shares(self.messages, later.messages),
            (later.log - self.log) / orders,
        )


@dataclass(frozen=True, slots=True)
class Hold:
    """One rate, held for a while, and all of it done."""

    flow: Flow
    refused: int
    """Orders that were not answered 202."""
    balance: Books
    each: Used
    """What an order took."""
    stages: Mapping[str, float]
    """What a webhook's time went into: medians, in seconds."""

    @property
    def sustained(self) -> bool:
        return self.flow.sustained and not self.refused and self.balanced

    @property
    def balanced(self) -> bool:
        """Nothing under way, and nothing that was not delivered."""
        return self.balance.balanced and set(self.balance.deliveries) <= {"delivered"}

    def __str__(self) -> str:
        flow = self.flow
        return (
            f"{flow.rate:.0f} orders/s: {'sustained' if self.sustained else 'not sustained'}, webhooks "
            f"{flow.achieved:.0f}/s, backlog grew by {flow.growth:.1f}/s to {flow.backlog(0.75, 1):.0f}, "
            f"{flow.lost} without a webhook, books {'balanced' if self.balanced else 'NOT balanced'}"
        )


async def hold(system: System, orders: Orders, *, rate: float, seconds: float) -> Hold:
    """Post at this rate, whether those before are answered or not, and wait until all of it is done."""
    api = ApiProcess(system.services["api"].url, system.key, system.pids["api"])
    taken = orders.take(round(rate * seconds) + ingest.CONNECTIONS)
    with counted(f"{rate:.0f} orders a second", len(taken)) as show:
        before = await _used(system)
        asked = await ingest.ask(api, (request for _, request in taken), seconds, rate=rate)
        await asyncio.sleep(LATE_SECONDS)
        processors = system.processors()  # before the books, which are a burden of their own
        balance = await books.settled(
            system.track.database_url,
            system.track.site.stack.amqp_url,
            within=SETTLE_SECONDS,
            prefix=system.track.prefix,
        )
        after = replace(await _used(system), processors=processors)
        show(len(asked.due))
    due = dict(zip((number for number, _ in taken), asked.due, strict=False))  # a few were taken for nothing
    roads = await _roads(system.track, await system.receiver.told(), due)
    flow = Flow(rate, due, {number: road[-1] for number, road in roads.items()})
    return Hold(flow, asked.refused, balance, before.an_order(after, len(due)), _stages(roads.values()))


Road = tuple[float, float, float, float, float]
"""When an order was due, the api had it, its event was made, its delivery was made, and its webhook had arrived."""
STAGES = ("to the api", "to its event", "to its delivery", "to the receiver")


async def _roads(track: Track, told: Told, due: Mapping[int, float]) -> dict[int, Road]:
    """Of the orders whose webhook arrived, by time.monotonic()."""
    async with stack.connected(track) as pool:
        rows = await pool.fetch(_ORDERS)
    ahead = time.time() - time.monotonic()
    came = ((row, told.at[row["id"]]) for row in rows if row["number"] in due and row["id"] in told.at)
    return {
        row["number"]: (
            due[row["number"]],
            row["received"] - ahead,
            row["recorded"] - ahead,
            row["created"] - ahead,
            at,
        )
        for row, at in came
    }


def _stages(roads: Collection[Road]) -> dict[str, float]:
    steps = [[after - before for before, after in pairwise(road)] for road in roads]
    return {name: median(step[place] for step in steps) for place, name in enumerate(STAGES)} if steps else {}


async def _used(system: System) -> Used:
    async with stack.connected(system.track) as pool:
        rows = await pool.fetch(_WRITTEN)
        log = await pool.fetchval("SELECT pg_wal_lsn_diff(pg_current_wal_insert_lsn(), '0/0')::float")
    return Used(
        system.processors(),
        {row["owner"]: row["rows"] for row in rows},
        {row["owner"]: row["bytes"] for row in rows},
        {name: (await system.read(name)).total("trustlens_outbox_published_total") for name in system.services},
        log,
    )
