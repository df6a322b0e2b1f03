"""Who was erased, for services that keep something of customers: what was under way then must not bring it back.

The scorer commits an erasure before customer_erased tells of it. A service that takes events holds its erasures still
(`held`) before it writes; whoever forgets (`alone`) waits for those writers, so that it finds what they wrote, and
those who come after it know. *Measured:* 0.2 ms a batch of any size while nobody was erased since its first event.
"""

from collections.abc import Sequence
from datetime import timedelta
from uuid import UUID

from shared.db import Connection, columns
from shared.events import Automation, Event

CLOCKS = timedelta(minutes=1)
"""How far the clocks of two scorers may be apart."""


async def held(connection: Connection, service: str, sources: Sequence[Event | Automation]) -> set[UUID]:
    """The ids of those from before their customer's erasure; until the commit nobody forgets anybody here.

    A customer who came back has an address again, in what happened since.
    """
    await still(connection, service)
    latest = await connection.fetchval("SELECT max(erased_at) FROM scorer.customers")
    if latest is None or latest < min(source.recorded_at for source in sources) - CLOCKS:
        return set()
    rows = await connection.fetch(
        "SELECT k.id FROM unnest($1::uuid[], $2::uuid[], $3::text[], $4::timestamptz[])"
        " AS k (id, store_id, email_hash, recorded_at)"
        " JOIN scorer.customers c ON c.store_id = k.store_id AND c.email_hash = k.email_hash"
        " WHERE c.erased_at IS NOT NULL AND (c.email IS NULL OR c.erased_at >= k.recorded_at)",
        *columns([(s.id, s.store_id, s.customer.email_hash, s.recorded_at) for s in sources], 4),
    )
    return {row["id"] for row in rows}


async def still(connection: Connection, service: str) -> None:
    """Until the commit nobody forgets anybody here; whom somebody forgot, or is about to, is erased by now."""
    await connection.execute("SELECT pg_advisory_xact_lock_shared(hashtextextended($1, 0))", _lock(service))


async def alone(connection: Connection, service: str) -> None:
    """Until the commit nobody writes here what tells of a customer; who has done so before has committed it."""
    await connection.execute("SELECT pg_advisory_xact_lock(hashtextextended($1, 0))", _lock(service))


def _lock(service: str) -> str:
    return f"erasures/{service}"
