"""`trustlens books`: what was accepted, what became of it, and whether the two sides agree.

Events and firings are looked at for the last seven days, which every service keeps at least.
Meant for an idle system: while work is under way the queues and outboxes hold the difference, and are shown.
"""

import asyncio
import time
from collections.abc import Mapping
from dataclasses import dataclass

import aio_pika
import aiormq.exceptions
import asyncpg
import typer
from aio_pika.exceptions import AMQPError
from rich.console import Console
from rich.table import Table

from cli import stack_env
from shared.events import CUSTOMER_ACTIONS
from shared.topology import QUEUES, dead

POLL_SECONDS = 0.5
SERVICES = ("api", "scorer", "rule_engine", "dispatcher")


@dataclass(frozen=True, slots=True)
class Line:
    """One comparison; `note` says where to look when it does not balance."""

    name: str
    count: int
    expected: int
    note: str = ""

    @property
    def balanced(self) -> bool:
        return self.count == self.expected

    def __str__(self) -> str:
        return f"{self.name}: {self.count}" + ("" if self.balanced else f", should be {self.expected} ({self.note})")


@dataclass(frozen=True, slots=True)
class Books:
    lines: tuple[Line, ...]
    deliveries: Mapping[str, int]
    """Number of deliveries by status."""

    @property
    def balanced(self) -> bool:
        return all(line.balanced for line in self.lines)

    @property
    def unfinished(self) -> int:
        """Deliveries that may still be made."""
        return sum(self.deliveries.get(status, 0) for status in ("pending", "retrying", "parked"))


async def settled(database_url: str, amqp_url: str, *, within: float, prefix: str = "") -> Books:
    """The books once they balance and no delivery is under way, or as they are after `within` seconds."""
    deadline = time.monotonic() + within
    while True:
        books = await check(database_url, amqp_url, prefix)
        if (books.balanced and not books.unfinished) or time.monotonic() > deadline:
            return books
        await asyncio.sleep(POLL_SECONDS)


async def backlog(database_url: str, amqp_url: str, prefix: str = "") -> int:
    """Facts on their way: not yet sent by the api, or not yet taken by the scorer."""
    depths = await _depths(amqp_url, prefix)
    connection = await asyncpg.connect(database_url)
    try:
        unsent: int = await connection.fetchval("SELECT count(*) FROM api.outbox")
    finally:
        await connection.close()
    return unsent + depths["scorer.facts"] + depths["scorer.backfill"]


async def check(database_url: str, amqp_url: str, prefix: str = "") -> Books:
    """Read both sides: the tables, and the depths of the queues."""
    depths = await _depths(amqp_url, prefix)
    connection = await asyncpg.connect(database_url)
    try:
        async with connection.transaction(isolation="repeatable_read", readonly=True):
            lines = await _lines(connection, depths)
            rows = await connection.fetch("SELECT status, count(*) FROM dispatcher.deliveries GROUP BY 1 ORDER BY 1")
    finally:
        await connection.close()
    return Books(tuple(lines), {row["status"]: row["count"] for row in rows})


async def _depths(amqp_url: str, prefix: str) -> dict[str, int]:
    async with await aio_pika.connect(amqp_url) as connection, connection.channel() as channel:
        names = [name for queue in QUEUES for name in (queue.name, dead(queue.name))]
        declared = [await channel.declare_queue(prefix + name, passive=True) for name in names]
        return {name: queue.declaration_result.message_count or 0 for name, queue in zip(names, declared, strict=True)}


async def _lines(connection: asyncpg.Connection, depths: Mapping[str, int]) -> list[Line]:
    accepted, answered = await connection.fetchrow(_INPUTS)
    dead_facts = depths[dead("scorer.facts")] + depths[dead("scorer.backfill")]
    lines = [
        Line("accepted inputs with an outcome", answered + dead_facts, accepted, "the scorer has not done the rest")
    ]
    lines += [Line(name, await connection.fetchval(sql), 0, note) for name, sql, note in _NONE]
    lines += [
        Line(
            f"{service} outbox", await connection.fetchval(f"SELECT count(*) FROM {service}.outbox"), 0, "not yet sent"
        )
        for service in SERVICES
    ]
    lines += [
        Line(f"queue {name}", depth, 0, "trustlens dead list" if name.endswith(".dead") else _NOT_TAKEN)
        for name, depth in depths.items()
        if depth or name.endswith(".dead")
    ]
    return lines


_NOT_TAKEN = "trustlens status, and the log of the service"


_INPUTS = """
    SELECT count(*) AS accepted, count(o.input_id) AS answered
    FROM api.raw_input i LEFT JOIN scorer.input_outcomes o ON o.input_id = i.id
"""

_FIRED = "rule_engine.firings f CROSS JOIN jsonb_array_elements(f.actions) AS a (action)"
_OF_SCORER = f"a.action ->> 'type' = ANY ('{{{','.join(sorted(CUSTOMER_ACTIONS))}}}')"

# name, statement that counts what must not be, where to look
_NONE = (
    (
        "customers whose events have gaps",
        """
        SELECT count(*) FROM (SELECT 1 FROM scorer.customers c JOIN scorer.events e USING (store_id, email_hash)
        GROUP BY c.store_id, c.email_hash, c.sequence
        HAVING count(*) <> c.sequence - min(e.sequence) + 1) AS gaps
        """,
        "scorer.events against scorer.customers.sequence",
    ),
    (
        "sums of customers that a count does not confirm",
        """
        WITH kept AS (
            SELECT store_id, segment, is_blocked, is_allowlisted, sum(customers) AS customers,
                sum(trust_score) AS score, sum(return_rate) AS rate, sum(total_orders) AS orders,
                sum(total_refunds) AS refunds
            FROM (SELECT * FROM scorer.stats UNION ALL SELECT store_id, segment, is_blocked, is_allowlisted, customers,
                trust_score, return_rate, total_orders, total_refunds FROM scorer.stats_deltas) AS added
            GROUP BY store_id, segment, is_blocked, is_allowlisted HAVING sum(customers) <> 0
        ), counted AS (
            SELECT store_id, segment, is_blocked, is_allowlisted, count(*) AS customers, sum(trust_score) AS score,
                sum(return_rate) AS rate, sum(total_orders) AS orders, sum(total_refunds) AS refunds
            FROM scorer.customers GROUP BY store_id, segment, is_blocked, is_allowlisted
        )
        SELECT count(*) FROM kept FULL JOIN counted USING (store_id, segment, is_blocked, is_allowlisted)
        WHERE (kept.customers, kept.score, kept.rate, kept.orders, kept.refunds)
            IS DISTINCT FROM (counted.customers, counted.score, counted.rate, counted.orders, counted.refunds)
        """,
        "scorer.stats with scorer.stats_deltas, against scorer.customers",
    ),
    (
        "customers whom lists show otherwise",
        """
        SELECT count(*) FROM scorer.customers c FULL JOIN scorer.listed l ON l.id = c.id
        WHERE (c.store_id, c.created_at, c.last_order_at, c.total_orders, c.trust_score, c.is_blocked, c.is_allowlisted,
            c.segment, c.return_rate::real, c.tags) IS DISTINCT FROM (l.store_id, l.created_at, l.last_order_at,
            l.total_orders, l.trust_score, l.is_blocked, l.is_allowlisted, l.segment, l.return_rate, l.tags)
        """,
        "scorer.listed against scorer.customers",
    ),
    ("recalculations due", "SELECT count(*) FROM scorer.rescore_due", "the scorer has not done them"),
    (
        "jobs not done",
        """
        SELECT (SELECT count(*) FROM scorer.jobs WHERE state IN ('queued', 'running'))
        + (SELECT count(*) FROM rule_engine.jobs WHERE state IN ('queued', 'running'))
        + (SELECT count(*) FROM dispatcher.jobs WHERE state IN ('queued', 'running'))
        + (SELECT count(*) FROM api.jobs WHERE state IN ('queued', 'running'))
        """,
        "trustlens jobs list",
    ),
    (
        "events without their delivery",
        """
        SELECT count(*) FROM dispatcher.endpoints n JOIN scorer.events e ON e.store_id = n.store_id
        AND e.type = ANY (n.events) AND e.recorded_at > greatest(n.updated_at, now() - interval '7 days')
        LEFT JOIN dispatcher.deliveries d ON d.recorded_at = e.recorded_at AND d.source_id = e.id
        AND d.endpoint_id = n.id WHERE n.enabled AND d.id IS NULL
        """,
        "the dispatcher has not made them",
    ),
    (
        "fired actions without their delivery",
        f"""
        SELECT count(*) FROM {_FIRED} LEFT JOIN dispatcher.deliveries d ON d.recorded_at = f.recorded_at
        AND d.source_id = (a.action ->> 'id')::uuid AND d.rule_id = f.rule_id
        WHERE NOT {_OF_SCORER} AND d.id IS NULL AND f.recorded_at > now() - interval '7 days'
        """,
        "the dispatcher has not made them",
    ),
    (
        "fired actions that a subscriber was not told of",
        f"""
        SELECT count(*) FROM {_FIRED} JOIN dispatcher.endpoints n ON n.store_id = f.store_id
        AND 'automation_triggered' = ANY (n.events)
        AND f.recorded_at > greatest(n.updated_at, now() - interval '7 days')
        LEFT JOIN dispatcher.deliveries d ON d.recorded_at = f.recorded_at AND d.endpoint_id = n.id
        AND d.source_id = (a.action ->> 'id')::uuid WHERE n.enabled AND d.id IS NULL
        """,
        "the dispatcher has not made them",
    ),
    (
        "fired actions that the scorer has not answered",
        f"""
        SELECT count(*) FROM {_FIRED} LEFT JOIN scorer.commands_seen c ON c.id = (a.action ->> 'id')::uuid
        WHERE {_OF_SCORER} AND c.id IS NULL AND f.recorded_at > now() - interval '7 days'
        """,
        "queue scorer.actions, and the log of the scorer",
    ),
    (
        "deliveries whose attempts are not all recorded",
        """
        SELECT count(*) FROM dispatcher.deliveries d WHERE d.attempts <> (SELECT count(*)
        FROM dispatcher.attempts a WHERE a.recorded_at = d.recorded_at AND a.delivery_id = d.id)
        """,
        "dispatcher.attempts",
    ),
    (
        "deliveries in somebody's hands",
        "SELECT count(*) FROM dispatcher.deliveries WHERE due_at IS NOT NULL AND leased_until > now()",
        "under way, or waiting for a lease to run out",
    ),
    (
        "deliveries due and not made",
        # What is parked waits for its target's next probe, whenever it was due.
        """
        SELECT count(*) FROM dispatcher.deliveries d LEFT JOIN dispatcher.breakers b USING (target_id)
        WHERE d.due_at <= now() AND NOT (d.status = 'parked' AND coalesce(b.probe_at > now(), false))
        """,
        "the dispatcher has not made them",
    ),
)


def command() -> None:
    """Print the books. Exit code 1: they do not balance."""
    env = stack_env.read()
    urls = stack_env.need(env, "TRUSTLENS_DATABASE_URL"), stack_env.need(env, "TRUSTLENS_AMQP_URL")
    try:
        books = asyncio.run(check(*urls, prefix=env.get("TRUSTLENS_NAME_PREFIX", "")))
    except (OSError, ValueError, AMQPError, aiormq.exceptions.AMQPError, asyncpg.PostgresError) as error:
        typer.echo(f"The books cannot be read ({type(error).__name__}): start the stack with `trustlens up`.", err=True)
        raise typer.Exit(1) from error
    Console().print(table(books))
    if not books.balanced:
        raise typer.Exit(1)


def table(books: Books) -> Table:
    shown = Table("", "count", "should be", title="Books: " + ("balanced" if books.balanced else "NOT balanced"))
    for line in books.lines:
        style = None if line.balanced else "bold red"
        shown.add_row(
            line.name + ("" if line.balanced else f"\n  {line.note}"), str(line.count), str(line.expected), style=style
        )
    shown.add_section()
    for status, count in books.deliveries.items():
        shown.add_row(f"deliveries {status}", str(count), "")
    return shown
