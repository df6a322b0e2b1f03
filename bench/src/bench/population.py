"""Databases that hold a store of many customers, made inside Postgres and kept as templates between runs."""

import hashlib
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from pathlib import Path

import asyncpg

from bench import people, stack
from bench.people import PRODUCTS
from bench.progress import counted
from bench.stack import Shop, Site
from local_stack.errors import StackError
from local_stack.postgres import DATABASE
from shared.migrations import HEAD

ORDERS_EACH = 10
CHUNK = 50_000
FILLED = (
    "checkouts",
    "customers",
    "deleted_orders",
    "disputes",
    "fingerprints",
    "link_hashes",
    "listed",
    "orders",
    "payments",
    "products",
    "refunds",
    "reported_refunds",
)
"""Tables of the scorer that population.sql fills, or that follow one that it does."""
FIRST_ORDERS = timedelta(days=520)
"""Before now; the last are 70 days old."""
BLOCK = 64
"""Bytes: SHA-256 takes its key in blocks of this size (RFC 2104)."""
_SQL = (Path(__file__).parent / "population.sql").read_text()


@dataclass(frozen=True, slots=True)
class Population:
    template: str
    """The database."""
    customers: int
    began: datetime
    """What people's first orders are counted from."""


async def template(site: Site, customers: int) -> Population:
    """A database with so many customers of the first shop, ten orders each: made, or found."""
    name = f"population_{customers}_{_version(site.shops[0])}"
    administrator = await asyncpg.connect(stack.database_url(site, "postgres"))
    try:
        if not await administrator.fetchval("SELECT EXISTS (SELECT FROM pg_database WHERE datname = $1)", name):
            await _drop_older(administrator, customers)
            await administrator.execute(f"CREATE DATABASE filling TEMPLATE {DATABASE}")
            await _fill(site, customers)
            await administrator.execute(f"ALTER DATABASE filling RENAME TO {name}")  # what has the name is whole
    finally:
        await administrator.close()
    return Population(name, customers, await _began(site, name))


async def _began(site: Site, name: str) -> datetime:
    connection = await asyncpg.connect(stack.database_url(site, name))
    began: datetime = await connection.fetchval("SELECT began FROM bench.population")
    await connection.close()
    return began


def _version(shop: Shop) -> str:
    """Of all that decides what is in it."""
    return hashlib.sha256(f"{HEAD} {shop.id} {shop.key.hex()} {_SQL}".encode()).hexdigest()[:12]


async def _drop_older(administrator: asyncpg.Connection, customers: int) -> None:
    rows = await administrator.fetch(
        "SELECT datname FROM pg_database WHERE datname = 'filling' OR datname LIKE $1", f"population_{customers}_%"
    )
    for row in rows:
        await administrator.execute(f"DROP DATABASE {row['datname']} WITH (FORCE)")


async def _fill(site: Site, customers: int) -> None:
    connection = await asyncpg.connect(stack.database_url(site, "filling"))
    try:
        await connection.execute(_SQL)
        await _begin(connection, site.shops[0], customers)
        await _add(connection, "people", customers)
        async with _without_indexes(connection):
            await _add(connection, "customers", customers)
            await _add(connection, "fingerprints", customers)
            await connection.execute("SELECT bench.add_link_hashes()")
            await _add(connection, "orders", customers * ORDERS_EACH)
            await connection.execute("SELECT bench.add_products($1)", PRODUCTS)
        await _check(connection, site.shops[0], customers)
        with counted(f"{customers:,} customers: VACUUM ANALYZE", 1):
            await connection.execute("VACUUM (ANALYZE)")
    finally:
        await connection.close()


async def _begin(connection: asyncpg.Connection, shop: Shop, customers: int) -> None:
    began = (datetime.now(UTC) - FIRST_ORDERS).replace(microsecond=0)
    await connection.execute(
        "INSERT INTO bench.population (store_id, customers, began, inner_key, outer_key) VALUES ($1, $2, $3, $4, $5)",
        shop.id,
        customers,
        began,
        *hmac_keys(shop.key),
    )


def hmac_keys(key: bytes) -> tuple[bytes, bytes]:
    """What HMAC puts before the message and before the inner hash."""
    block = (hashlib.sha256(key).digest() if len(key) > BLOCK else key).ljust(BLOCK, b"\0")
    return bytes(byte ^ 0x36 for byte in block), bytes(byte ^ 0x5C for byte in block)


@asynccontextmanager
async def _without_indexes(connection: asyncpg.Connection) -> AsyncIterator[None]:
    """Made again at the end, by sorting: ten times quicker than row by row."""
    rows = await connection.fetch(
        "SELECT i.indrelid::regclass::text AS table, i.indexrelid::regclass::text AS index, c.conname AS constraint,"
        " pg_get_constraintdef(c.oid) AS definition, pg_get_indexdef(i.indexrelid) AS statement"
        " FROM pg_index i JOIN pg_class t ON t.oid = i.indrelid LEFT JOIN pg_constraint c ON c.conindid = i.indexrelid"
        " WHERE t.relnamespace = 'scorer'::regnamespace AND t.relname = ANY($1::text[])",
        FILLED,
    )
    for row in rows:
        own = f"ALTER TABLE {row['table']} DROP CONSTRAINT {row['constraint']}"
        await connection.execute(own if row["constraint"] else f"DROP INDEX {row['index']}")
    yield
    with counted("indexes", len(rows)) as show:
        for nth, row in enumerate(rows, 1):
            own = f"ALTER TABLE {row['table']} ADD CONSTRAINT {row['constraint']} {row['definition']}"
            await connection.execute(own if row["constraint"] else row["statement"])
            show(nth)


async def _check(connection: asyncpg.Connection, shop: Shop, customers: int) -> None:
    """The last person is the one whom facts will name: else every fact would be a stranger's.

    Raises:
        StackError: population.sql and people.py make different ones.
    """
    found = await connection.fetchval(
        "SELECT array_agg(encode(hash, 'hex') ORDER BY hash) FROM scorer.fingerprints WHERE email_hash = $1",
        people.hashed(shop, customers),
    )
    if tuple(found or ()) != people.fingerprints(shop, customers):
        raise StackError("The customers in the tables are not those whom the facts will name.")


async def _add(connection: asyncpg.Connection, what: str, count: int) -> None:
    with counted(f"{what}: {count:,}", count) as show:
        for low in range(1, count + 1, CHUNK):
            high = min(low + CHUNK - 1, count)
            await connection.execute(f"SELECT bench.add_{what}($1, $2)", low, high)
            show(high)
