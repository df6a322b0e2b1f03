"""Fingerprints in common: who uses which, how many share one, and whom a change of that touches.

Locks: whoever adds or removes a customer of a fingerprint holds the fingerprint's row in link_hashes until its
commit, exclusively. So of two scorers that add one address at once, the second reads its features after the first
has committed, and sees it. A hub is only share-locked by those who join it: they wait for nobody.
"""

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from datetime import datetime
from pathlib import Path
from uuid import UUID

from scorer.changes import Asked
from scorer.customer import Key
from shared.db import Connection, MeanwhileError, columns
from shared.identity import fingerprint_kind

_FINGERPRINTS = (Path(__file__).parent / "fingerprints.sql").read_text()

HUB = 51
"""From so many customers on a fingerprint links nobody (more than 50 share it: an office, a campus)."""
_WEAK = frozenset({"ip", "device"})
"""Kinds of which the time of first use matters too."""

HashKey = tuple[UUID, bytes]


@dataclass(frozen=True, slots=True)
class Moved:
    """A customer begins or ends to use a fingerprint, or turns out to have used it at another time."""

    store_id: UUID
    email_hash: str
    hash: bytes
    was_at: datetime | None
    now_at: datetime | None

    @property
    def change(self) -> int:
        """Of the number of customers that share it."""
        return (self.now_at is not None) - (self.was_at is not None)

    @property
    def touches(self) -> bool:
        """Whether others that share it may be linked differently now."""
        return self.change != 0 or fingerprint_kind(self.hash) in _WEAK


async def moved(connection: Connection, keys: Sequence[Key]) -> list[Moved]:
    """Where these customers' fingerprints are not what their facts say now."""
    rows = await connection.fetch(_FINGERPRINTS, *columns(keys, 2))
    return [Moved(r["store_id"], r["email_hash"], r["hash"], r["was_at"], r["now_at"]) for r in rows]


Used = tuple[UUID, str, str, datetime]
"""(store id, email_hash, fingerprint in hex digits, when)"""


async def added(connection: Connection, used: Sequence[Used]) -> list[Moved]:
    """What these uses add to what is known: fingerprints new to their customers, or earlier first uses."""
    rows = await connection.fetch(
        "SELECT k.store_id, k.email_hash, k.hash, f.first_at AS was_at, k.at AS now_at"
        " FROM (SELECT store_id, email_hash, decode(hex, 'hex') AS hash, min(at) AS at"
        "  FROM unnest($1::uuid[], $2::text[], $3::text[], $4::timestamptz[]) AS u (store_id, email_hash, hex, at)"
        "  GROUP BY 1, 2, 3) AS k"
        " LEFT JOIN scorer.fingerprints f ON f.store_id = k.store_id AND f.hash = k.hash"
        "  AND f.email_hash = k.email_hash"
        " WHERE f.first_at IS NULL OR k.at < f.first_at",
        *columns(used, 4),
    )
    return [Moved(r["store_id"], r["email_hash"], r["hash"], r["was_at"], r["now_at"]) for r in rows]


async def settle(connection: Connection, moves: Sequence[Moved], *, reason: Asked, now: datetime) -> None:
    """Store who uses what, lock and count, and mark every customer whose links may be others now.

    Raises:
        MeanwhileError: a fingerprint became a hub, or a hub stopped being one, this moment.
    """
    await _write(connection, moves)
    touching = [move for move in moves if move.touches]
    if not touching:
        return
    changes: dict[HashKey, int] = {}
    for move in touching:
        key = (move.store_id, move.hash)
        changes[key] = changes.get(key, 0) + move.change
    leaving = {(move.store_id, move.hash) for move in touching if move.change < 0}
    hubs = await _hubs(connection, changes)
    await _lock_hubs(connection, hubs - leaving)
    reopened = await _recount(connection, hubs & leaving)
    counted = await _count(connection, {key: changes[key] for key in changes.keys() - hubs})
    mine = {(move.store_id, move.email_hash) for move in moves}
    await _mark_members(connection, reopened | counted, except_for=mine, reason=reason, now=now)


async def _write(connection: Connection, moves: Sequence[Moved]) -> None:
    gone = [(m.store_id, m.hash, m.email_hash) for m in moves if m.now_at is None]
    if gone:
        await connection.execute(
            "DELETE FROM scorer.fingerprints f USING unnest($1::uuid[], $2::bytea[], $3::text[])"
            " AS k (store_id, hash, email_hash)"
            " WHERE f.store_id = k.store_id AND f.hash = k.hash AND f.email_hash = k.email_hash",
            *columns(gone, 3),
        )
    used = [(m.store_id, m.hash, m.email_hash, m.now_at) for m in moves if m.now_at is not None]
    if used:
        await connection.execute(
            "INSERT INTO scorer.fingerprints (store_id, hash, email_hash, first_at)"
            " SELECT * FROM unnest($1::uuid[], $2::bytea[], $3::text[], $4::timestamptz[])"
            " ON CONFLICT (store_id, hash, email_hash) DO UPDATE SET first_at = EXCLUDED.first_at",
            *columns(used, 4),
        )


async def _hubs(connection: Connection, keys: Iterable[HashKey]) -> set[HashKey]:
    """Those that are hubs as far as one can see without a lock."""
    rows = await connection.fetch(
        "SELECT h.store_id, h.hash FROM unnest($1::uuid[], $2::bytea[]) AS k (store_id, hash)"
        " JOIN scorer.link_hashes h ON h.store_id = k.store_id AND h.hash = k.hash WHERE h.customers >= $3",
        *columns(list(keys), 2),
        HUB,
    )
    return {(row["store_id"], row["hash"]) for row in rows}


async def _lock_hubs(connection: Connection, keys: set[HashKey]) -> None:
    if not keys:
        return
    rows = await connection.fetch(
        "SELECT h.customers FROM scorer.link_hashes h"
        " JOIN unnest($1::uuid[], $2::bytea[]) AS k (store_id, hash) ON h.store_id = k.store_id AND h.hash = k.hash"
        " ORDER BY h.store_id, h.hash FOR SHARE OF h",
        *columns(sorted(keys), 2),
    )
    if any(row["customers"] < HUB for row in rows):
        raise MeanwhileError("a hub stopped being one")


async def _count(connection: Connection, changes: dict[HashKey, int]) -> set[HashKey]:
    """Count exactly up to HUB, with the rows locked. Returns those whose members' links may have changed: all.

    How many share a hub is not known, so nothing can be taken off.
    """
    if not changes:
        return set()
    status: str = await connection.execute(
        "INSERT INTO scorer.link_hashes AS h (store_id, hash, customers)"
        " SELECT k.store_id, k.hash, least(k.change, $4)"
        " FROM unnest($1::uuid[], $2::bytea[], $3::int[]) AS k (store_id, hash, change)"
        " ON CONFLICT (store_id, hash) DO UPDATE SET customers = least(h.customers + EXCLUDED.customers, $4)"
        " WHERE h.customers < $4 OR EXCLUDED.customers > 0",
        *columns([(*key, change) for key, change in sorted(changes.items())], 3),
        HUB,
    )
    if int(status.rpartition(" ")[2]) < len(changes):
        raise MeanwhileError("a fingerprint became a hub")
    return set(changes)


async def _recount(connection: Connection, keys: set[HashKey]) -> set[HashKey]:
    """Hubs that somebody leaves: those that are none any more, with their exact count."""
    if not keys:
        return set()
    await connection.execute(
        "SELECT FROM scorer.link_hashes h JOIN unnest($1::uuid[], $2::bytea[]) AS k (store_id, hash)"
        " ON h.store_id = k.store_id AND h.hash = k.hash ORDER BY h.store_id, h.hash FOR UPDATE OF h",
        *columns(sorted(keys), 2),
    )
    rows = await connection.fetch(
        "UPDATE scorer.link_hashes h SET customers = c.customers"
        " FROM unnest($1::uuid[], $2::bytea[]) AS k (store_id, hash), LATERAL ("
        "  SELECT count(*) AS customers FROM (SELECT FROM scorer.fingerprints f"
        "   WHERE f.store_id = k.store_id AND f.hash = k.hash LIMIT $3) AS members) AS c"
        " WHERE h.store_id = k.store_id AND h.hash = k.hash AND c.customers < $3 RETURNING h.store_id, h.hash",
        *columns(sorted(keys), 2),
        HUB,
    )
    return {(row["store_id"], row["hash"]) for row in rows}


async def _mark_members(
    connection: Connection, keys: set[HashKey], *, except_for: set[Key], reason: Asked, now: datetime
) -> None:
    """Everybody who shares these, at most HUB customers of each: a hub that grows touches nobody but the newcomer."""
    if not keys:
        return
    await connection.execute(
        "INSERT INTO scorer.rescore_due (store_id, email_hash, since, reason)"
        " SELECT DISTINCT f.store_id, f.email_hash, $5::timestamptz, $6"
        " FROM unnest($1::uuid[], $2::bytea[]) AS k (store_id, hash), LATERAL ("
        "  SELECT o.store_id, o.email_hash FROM scorer.fingerprints o"
        "  WHERE o.store_id = k.store_id AND o.hash = k.hash"
        "  AND NOT EXISTS (SELECT FROM unnest($3::uuid[], $4::text[]) AS m (store_id, email_hash)"
        "   WHERE m.store_id = o.store_id AND m.email_hash = o.email_hash) LIMIT $7) AS f",
        *columns(sorted(keys), 2),
        *columns(sorted(except_for), 2),
        now,
        reason,
        4 * HUB,
    )


async def touch_linked(connection: Connection, depths: Mapping[Key, int], *, reason: Asked, now: datetime) -> None:
    """Mark all who share a fingerprint, hubs apart, with customers whose own standing changed.

    `depths`: for each, the rules in the chain of causes that changed it.
    Their fingerprints are share-locked first: who is just adding one is waited for, and then marked too.
    """
    keys = [(*key, depth) for key, depth in depths.items()]
    await connection.execute(
        "SELECT FROM scorer.link_hashes h WHERE (h.store_id, h.hash) IN ("
        " SELECT f.store_id, f.hash FROM unnest($1::uuid[], $2::text[]) AS k (store_id, email_hash)"
        " JOIN scorer.fingerprints f ON f.store_id = k.store_id AND f.email_hash = k.email_hash)"
        " AND h.customers < $3 ORDER BY h.store_id, h.hash FOR SHARE",
        *columns(keys, 3)[:2],
        HUB,
    )
    await connection.execute(
        "INSERT INTO scorer.rescore_due (store_id, email_hash, since, reason, depth)"
        " SELECT o.store_id, o.email_hash, $4::timestamptz, $5, max(k.depth)"
        " FROM unnest($1::uuid[], $2::text[], $3::int[]) AS k (store_id, email_hash, depth)"
        " JOIN scorer.fingerprints f ON f.store_id = k.store_id AND f.email_hash = k.email_hash"
        " JOIN scorer.link_hashes h ON h.store_id = f.store_id AND h.hash = f.hash AND h.customers BETWEEN 2 AND $6"
        " JOIN scorer.fingerprints o ON o.store_id = f.store_id AND o.hash = f.hash AND o.email_hash <> f.email_hash"
        " GROUP BY o.store_id, o.email_hash",
        *columns(keys, 3),
        now,
        reason,
        HUB - 1,
    )
