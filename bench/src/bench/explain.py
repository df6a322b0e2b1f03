"""The plans of every statement of the batch path, on large tables: each finds its rows by an index.

The statements are those that a real scorer sends for real batches. Each is planned twice: as a prepared statement is
after some executions (a generic plan, which knows no values), and as it is before (with the batch's values).
"""

import json
from collections.abc import AsyncIterator, Iterator, Mapping, Sequence
from contextlib import asynccontextmanager
from dataclasses import dataclass, field
from datetime import datetime, timedelta
from decimal import Decimal
from typing import Any

import asyncpg
from asyncpg.connection import LoggedQuery

from bench import growth, people, population, stack
from bench.population import Population
from bench.progress import counted
from bench.report import Bound, Figure, Result
from bench.stack import Shop, Site
from scorer.worker import Scorer
from shared.broker import Broker
from shared.events import (
    Category,
    CheckoutAttempt,
    CheckoutAttemptFact,
    Coupon,
    CouponFact,
    Decline,
    DeclineFact,
    DeletedOrder,
    Dispute,
    DisputeFact,
    Fact,
    OrderDeletedFact,
    Payment,
    PaymentFact,
    Product,
    ProductFact,
    RefundFact,
    ReportedRefund,
)
from shared.ids import uuid7
from shared.outbox import Outbox

Plan = Mapping[str, Any]
"""A node of a plan, as EXPLAIN writes it in JSON."""

NONE = Bound("at most", 0)
WATCHED = frozenset(population.FILLED)
"""Tables of the scorer that grow with the stores."""
BATCH = 200
BATCHES = 3
"""Of one statement's executions the last is explained: links that the first made are there to be read."""


@dataclass(slots=True)
class Statements:
    """What was executed, with the values of the last time."""

    seen: dict[str, tuple[object, ...]] = field(default_factory=dict)
    executions: int = 0

    def note(self, logged: LoggedQuery) -> None:
        self.executions += 1
        if _is_planned(logged.query):
            self.seen[logged.query] = tuple(logged.args)


@dataclass(frozen=True, slots=True)
class Offender:
    """A statement that reads a whole table or index."""

    statement: str
    plan: str
    what: str

    def __str__(self) -> str:
        return f"{self.what} in the {self.plan} plan of: {' '.join(self.statement.split())[:300]}"


async def measure(site: Site, *, customers: int, now: datetime) -> Result:
    of = await population.template(site, customers)
    async with stack.copied_database(site, of.template) as url:
        with counted(f"explain at {customers:,} customers", 1):
            statements = await _statements(site, url, of, now)
            offenders = await _offenders(url, statements)
    return Result(
        "explain",
        [
            Figure("statements", len(statements.seen), "statements"),
            Figure("that read a whole table", len({o.statement for o in offenders}), "statements", NONE),
        ],
        [str(offender) for offender in offenders],
    )


# Collecting -----------------------------------------------------------------------------------------------------------


async def _statements(site: Site, url: str, of: Population, now: datetime) -> Statements:
    """Those of some batches in both lanes, and of the neighbours whom they touch."""
    statements = Statements()
    async with _recording(url, statements) as pool:
        scorer = Scorer(Outbox(pool, Broker(site.stack.amqp_url, service="bench"), "scorer"), pool, site.vault)
        facts = all_kinds(site.shops[0], of, BATCHES * BATCH, now)
        for nth in range(BATCHES):
            await scorer.process(facts[nth::BATCHES])
            await scorer.process_history(facts[nth::BATCHES])
            await scorer.rescore_due(BATCH)
    return statements


@asynccontextmanager
async def _recording(url: str, statements: Statements) -> AsyncIterator[asyncpg.Pool]:
    async def listen(connection: asyncpg.Connection) -> None:
        connection.add_query_logger(statements.note)

    # One connection, whose loggers stay: giving it back to the pool would end what it listens to.
    async with asyncpg.create_pool(url, min_size=1, max_size=2, setup=listen) as pool:
        yield pool


def all_kinds(shop: Shop, of: Population, count: int, now: datetime) -> list[Fact]:
    """Orders as growth has them, among them each kind of fact, of orders and customers that exist."""
    made: list[Fact] = []
    for nth, order in enumerate(growth.facts(shop, of, count, now=now)):
        other = _other(nth, order.data.id, shop, now)
        made += [order, *([other] if other else [])]
    return made


def _other(nth: int, order_id: int, shop: Shop, now: datetime) -> Fact | None:
    about: dict[str, Any] = {"id": uuid7(), "store_id": shop.id, "occurred_at": now - timedelta(hours=1)}
    return _of_order(nth, order_id, about) or _of_person(nth, nth + 1, shop, about)


def _of_order(nth: int, order_id: int, about: dict[str, Any]) -> Fact | None:
    match nth % 20:
        case 1:
            return OrderDeletedFact(data=DeletedOrder(id=order_id), **about)
        case 3:
            return RefundFact(data=ReportedRefund(id=nth, amount=Decimal(5), order_id=order_id), **about)
        case 5:
            payments = (f"pi_{order_id}", f"ch_{nth}")
            dispute = Dispute(id=f"new_{nth}", payments=payments, amount=Decimal(9), currency="GBP", status="lost")
            return DisputeFact(data=dispute, **about)
        case 15:
            return PaymentFact(data=Payment(payments=(f"pi_{order_id}", f"ch_{nth}"), card_brand="visa"), **about)
        case _:
            return None


def _of_person(nth: int, by: int, shop: Shop, about: dict[str, Any]) -> Fact | None:
    email, prints = people.email(by), people.fingerprints(shop, by, {"device": f"device {by % 7}"})
    match nth % 20:
        case 7:
            return DeclineFact(data=Decline(email=email, fingerprints=prints, code="stolen"), **about)
        case 9:
            attempt = CheckoutAttempt(email=email, fingerprints=prints, decision="deny", reason="lockout")
            return CheckoutAttemptFact(data=attempt, **about)
        case 11:
            product = Product(id=by, categories=(Category(slug=f"new{by % 9}", name="New"),))
            return ProductFact(data=product, **about)
        case 13:
            return CouponFact(data=Coupon(code=f"bench{by}", once=True), **about)
        case _:
            return None


def _is_planned(query: str) -> bool:
    """Not what opens and ends transactions, nor what the pool says when a connection comes back."""
    return "scorer." in query


# Explaining -----------------------------------------------------------------------------------------------------------


async def _offenders(url: str, statements: Statements) -> list[Offender]:
    connection = await asyncpg.connect(url, server_settings={"timezone": "UTC"})
    found: list[Offender] = []
    try:
        await connection.execute("SET plan_cache_mode = force_generic_plan")
        for statement, values in statements.seen.items():
            plans = {
                "generic": await _generic(connection, statement),
                "custom": await _custom(connection, statement, values),
            }
            found += [Offender(statement, kind, what) for kind, plan in plans.items() for what in whole_reads(plan)]
    finally:
        await connection.close()
    return found


async def _generic(connection: asyncpg.Connection, statement: str) -> Plan:
    """Of a statement that the server has prepared and executed a few times."""
    await connection.execute(f"PREPARE explained AS {statement}")
    try:
        width = await connection.fetchval(
            "SELECT cardinality(parameter_types) FROM pg_prepared_statements WHERE name = 'explained'"
        )
        values = f"({', '.join(['NULL'] * width)})" if width else ""
        return _plan(await connection.fetchval(f"EXPLAIN (FORMAT JSON) EXECUTE explained{values}"))
    finally:
        await connection.execute("DEALLOCATE explained")


async def _custom(connection: asyncpg.Connection, statement: str, values: Sequence[object]) -> Plan:
    return _plan(await connection.fetchval(f"EXPLAIN (FORMAT JSON) {statement}", *values))


def _plan(told: str) -> Plan:
    plan: Plan = json.loads(told)[0]["Plan"]
    return plan


def whole_reads(plan: Plan) -> Iterator[str]:
    """Each node that reads all of a watched table, or all of an index of one."""
    table = plan.get("Relation Name")
    if table in WATCHED:
        kind = plan["Node Type"]
        if kind == "Seq Scan" or (kind.startswith("Index") and "Index Cond" not in plan):
            yield f"{kind} on {table}"
    for child in plan.get("Plans", ()):
        yield from whole_reads(child)
