"""The gate's tables: devices, the history of attacks, freezes. Each function is one round trip.

A device's submissions are one row, and counted by appending to it: whoever comes at the same moment waits for the row
and sees who came before. Counting rows of their own instead let 19 of 20 simultaneous ones through a limit of 10.
Nobody waits for the disk to have it: a Postgres that crashes forgets the last half second of counts, and no fact.
"""

import json
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from datetime import datetime, timedelta
from typing import Any, Literal
from uuid import UUID

from api.gate import ESCALATION_WINDOW, WINDOW, Attack, Coupons, Device, Gate, GateSettings, Shopper, Situation
from shared.db import Connection, Pool, columns

Row = Mapping[str, Any]

NO_COUPONS = Coupons()


async def find_gate(pool: Pool, store_id: UUID) -> Gate | None:
    row = await pool.fetchrow("SELECT gate, enforce_blocking FROM api.stores WHERE id = $1", store_id)
    return row and Gate(GateSettings.model_validate_json(row["gate"]), row["enforce_blocking"])


async def save_settings(pool: Pool, store_id: UUID, changes: GateSettings | None) -> None:
    """What is given of them, beside what was said before; None forgets all that."""
    given = json.dumps(changes.model_dump(mode="json", exclude_unset=True)) if changes else None
    await pool.execute(
        "UPDATE api.stores SET gate = CASE WHEN $2::jsonb IS NULL THEN '{}' ELSE gate || $2 END WHERE id = $1",
        store_id,
        given,
    )


# Counting -------------------------------------------------------------------------------------------------------------

_SUBMIT = """
    WITH counted AS (
        INSERT INTO api.gate_devices AS d (store_id, device, submissions, declines, seen_at)
        SELECT $1, $2, ARRAY[$3::timestamptz], '{}', $3 WHERE $2::bytea IS NOT NULL
        ON CONFLICT (store_id, device) DO UPDATE SET
            submissions = (d.submissions || $3)[greatest(cardinality(d.submissions) + 2 - $4, 1):],
            locked_until = CASE
                WHEN d.locked_until > $3 THEN d.locked_until
                WHEN (SELECT count(*) FROM unnest(d.submissions) AS s (at) WHERE s.at > $3 - $5::interval) >= $4
                    THEN $3 + $6::interval
            END,
            seen_at = $3
        RETURNING old.submissions, old.locked_until
    ),
    -- Who shares two kinds of fingerprints with the shopper, or a strong one. Not looked for unless it is asked below.
    used AS (
        SELECT hash FROM unnest($11::bytea[]) AS given (hash)
        UNION
        SELECT hash FROM scorer.fingerprints WHERE store_id = $1 AND email_hash = $8
    ),
    linked AS (
        SELECT o.email_hash
        FROM used JOIN scorer.link_hashes h ON h.store_id = $1 AND h.hash = used.hash AND h.customers <= 50
        JOIN scorer.fingerprints o ON o.store_id = $1 AND o.hash = used.hash AND o.email_hash <> $8
        GROUP BY o.email_hash
        -- An address (4) or a device (6) alone is weak: flatmates share them.
        HAVING count(DISTINCT get_byte(o.hash, 0)) > 1 OR bool_or(get_byte(o.hash, 0) NOT IN (4, 6))
    )
    SELECT coalesce(d.submissions, '{}') AS submissions, greatest(d.locked_until, a.locked_until) AS locked_until,
        f.frozen_until, set_config('synchronous_commit', 'off', true), c.is_blocked, c.is_allowlisted, c.segment,
        CASE WHEN $9::boolean
            OR EXISTS (SELECT FROM scorer.coupons o WHERE o.store_id = $1 AND o.code = ANY ($10::text[]) AND o.once)
            THEN EXISTS (SELECT FROM linked JOIN scorer.customers o USING (email_hash)
                WHERE o.store_id = $1 AND o.first_coupon_at IS NOT NULL)
            ELSE false
        END AS is_coupon_abuse
    FROM (VALUES ($1::uuid)) AS s (store_id)
    LEFT JOIN counted d ON true
    LEFT JOIN api.gate_devices a ON a.store_id = s.store_id AND a.device = $7
    LEFT JOIN api.gate_freezes f ON f.store_id = s.store_id
    LEFT JOIN scorer.customers c ON c.store_id = s.store_id AND c.email_hash = $8
"""


@dataclass(frozen=True, slots=True)
class Submitter:
    """Who submits the form, hashed; None: not known."""

    device: bytes | None
    address: bytes | None
    email_hash: str | None
    is_exempt: bool = False
    """Not to be counted."""
    marks: tuple[bytes, ...] = ()
    """The fingerprints that this submission would leave: what links it to customers."""


async def submit(
    pool: Pool | Connection,
    store_id: UUID,
    who: Submitter,
    settings: GateSettings,
    now: datetime,
    *,
    coupons: Coupons = NO_COUPONS,
) -> Situation:
    """Count a submission, lock its device out where it is one too many, and tell how things stood before it."""
    row = await pool.fetchrow(
        _SUBMIT,
        store_id,
        None if who.is_exempt else who.device,
        now,
        settings.submissions,
        WINDOW,
        settings.lockout,
        None if who.is_exempt else who.address,
        who.email_hash,
        coupons.is_first_order,
        list(coupons.codes),
        list(who.marks),
    )
    return Situation(
        device=Device(tuple(row["submissions"]), row["locked_until"]),
        is_exempt=who.is_exempt,
        frozen_until=row["frozen_until"],
        shopper=Shopper(row["is_blocked"], row["is_allowlisted"], row["segment"]) if row["segment"] else Shopper(),
        is_coupon_abuse=row["is_coupon_abuse"],
    )


_DECLINE = """
    INSERT INTO api.gate_devices AS d (store_id, device, submissions, declines, locked_until, seen_at)
    VALUES ($1, $2, '{}', ARRAY[$3::timestamptz], CASE WHEN $4 <= 1 THEN $3 + $6::interval END, $3)
    ON CONFLICT (store_id, device) DO UPDATE SET
        declines = (d.declines || $3)[greatest(cardinality(d.declines) + 2 - $4, 1):],
        locked_until = CASE
            WHEN d.locked_until > $3 THEN d.locked_until
            WHEN (SELECT count(*) FROM unnest(d.declines) AS s (at) WHERE s.at > $3 - $5::interval) + 1 >= $4
                THEN $3 + $6::interval
        END,
        seen_at = $3
    RETURNING old.locked_until AS locked_before, new.locked_until, set_config('synchronous_commit', 'off', true)
"""


@dataclass(frozen=True, slots=True)
class Declined:
    locked_until: datetime | None
    """None: it is not locked out."""
    began: bool
    """This decline locked it out."""


async def decline(pool: Pool, store_id: UUID, device: bytes, settings: GateSettings, now: datetime) -> Declined:
    """Count a declined payment, and lock its device out where it is one too many."""
    row = await pool.fetchrow(_DECLINE, store_id, device, now, settings.declines, WINDOW, settings.lockout)
    until, before = row["locked_until"], row["locked_before"]
    return Declined(until, until is not None and (before is None or before <= now))


# History --------------------------------------------------------------------------------------------------------------

Kind = Literal["declined", "refused", "locked", "frozen"]


@dataclass(frozen=True, slots=True)
class Entry:
    kind: Kind
    at: datetime
    device: bytes | None = None
    detail: str = ""
    country: str = ""


async def record(pool: Pool, store_id: UUID, entries: Sequence[Entry]) -> None:
    await pool.execute(
        "INSERT INTO api.gate_history (store_id, kind, at, device, detail, country)"
        " SELECT $1, * FROM unnest($2::text[], $3::timestamptz[], $4::bytea[], $5::text[], $6::text[])"
        # An attack is written down often: while a disk is slow, its connections must be free for who is not refused.
        " RETURNING set_config('synchronous_commit', 'off', true)",
        store_id,
        *columns([(e.kind, e.at, e.device, e.detail, e.country) for e in entries], 5),
    )


async def read_attack(pool: Pool, store_id: UUID, now: datetime) -> Attack:
    """Since the latest freeze, if that ended within the window: whoever ended it wants to see more before the next."""
    row = await pool.fetchrow(
        "WITH lately AS MATERIALIZED (SELECT kind, device, country FROM api.gate_history WHERE store_id = $1"
        "  AND at > greatest($2, (SELECT frozen_until FROM api.gate_freezes WHERE store_id = $1)) AND at <= $3)"
        " SELECT (SELECT count(DISTINCT device) FROM lately WHERE kind = 'locked') AS devices,"
        " (SELECT coalesce(jsonb_object_agg(country, declines), '{}') FROM (SELECT country, count(*) AS declines"
        "  FROM lately WHERE kind = 'declined' AND country <> '' GROUP BY country) AS by_country) AS declines",
        store_id,
        now - ESCALATION_WINDOW,
        now,
    )
    return Attack(row["devices"], json.loads(row["declines"]))


async def forget(pool: Pool, now: datetime, *, days: int) -> None:
    """What is too old to matter: a device's minute after a day (no lockout is longer), attacks after `days`."""
    await pool.execute(
        "DELETE FROM api.gate_devices WHERE seen_at < $1 AND (locked_until IS NULL OR locked_until < $2)",
        now - timedelta(days=1),
        now,
    )
    await pool.execute("DELETE FROM api.gate_history WHERE at < $1", now - timedelta(days=days))


# Freezes --------------------------------------------------------------------------------------------------------------


@dataclass(frozen=True, slots=True)
class Freeze:
    frozen_at: datetime
    frozen_until: datetime
    reason: str
    actor: str


async def find_freeze(pool: Pool, store_id: UUID) -> Freeze | None:
    """The latest, which may be over."""
    row = await pool.fetchrow(
        "SELECT frozen_at, frozen_until, reason, actor FROM api.gate_freezes WHERE store_id = $1", store_id
    )
    return row and Freeze(**row)


async def freeze(pool: Pool, store_id: UUID, wanted: Freeze, *, over: bool) -> bool:
    """Whether it is in force now. `over`: also in place of one that is in force."""
    begun = await pool.fetchval(
        "INSERT INTO api.gate_freezes AS f (store_id, frozen_at, frozen_until, reason, actor)"
        " VALUES ($1, $2, $3, $4, $5) ON CONFLICT (store_id) DO UPDATE SET frozen_at = EXCLUDED.frozen_at,"
        " frozen_until = EXCLUDED.frozen_until, reason = EXCLUDED.reason, actor = EXCLUDED.actor"
        " WHERE $6 OR f.frozen_until <= EXCLUDED.frozen_at RETURNING true",
        store_id,
        wanted.frozen_at,
        wanted.frozen_until,
        wanted.reason,
        wanted.actor,
        over,
    )
    return bool(begun)


async def unfreeze(pool: Pool, store_id: UUID, now: datetime) -> bool:
    """Whether there was one to end."""
    ended = await pool.fetchval(
        "UPDATE api.gate_freezes SET frozen_until = $2 WHERE store_id = $1 AND frozen_until > $2 RETURNING true",
        store_id,
        now,
    )
    return bool(ended)


# What is shown --------------------------------------------------------------------------------------------------------

_HOURS = """
    SELECT date_trunc('hour', at, 'UTC') AS hour, count(*) FILTER (WHERE kind = 'declined') AS declined,
        count(*) FILTER (WHERE kind = 'refused') AS refused, count(*) FILTER (WHERE kind = 'locked') AS lockouts
    FROM api.gate_history WHERE store_id = $1 AND at > $2 GROUP BY 1 ORDER BY 1 DESC
"""
_CODES = """
    SELECT detail AS name, count(*) AS count FROM api.gate_history
    WHERE store_id = $1 AND at > $2 AND kind = 'declined' GROUP BY 1 ORDER BY 2 DESC, 1 LIMIT 20
"""
_REASONS = """
    SELECT detail AS name, count(*) AS count FROM api.gate_history
    WHERE store_id = $1 AND at > $2 AND kind = 'refused' GROUP BY 1 ORDER BY 2 DESC, 1
"""
_COUNTRIES = """
    SELECT country AS name, count(*) AS count FROM api.gate_history
    WHERE store_id = $1 AND at > $2 AND kind = 'declined' GROUP BY 1 ORDER BY 2 DESC, 1 LIMIT 20
"""
_DEVICES = """
    SELECT encode(device, 'hex') AS fingerprint, count(*) FILTER (WHERE kind = 'declined') AS declined,
        count(*) FILTER (WHERE kind = 'refused') AS refused, count(*) FILTER (WHERE kind = 'locked') AS lockouts,
        max(at) AS last_at
    FROM api.gate_history WHERE store_id = $1 AND at > $2 AND device IS NOT NULL
    GROUP BY device ORDER BY count(*) DESC, last_at DESC, device LIMIT 20
"""
_LOCKOUTS = """
    SELECT at, CASE WHEN kind = 'locked' THEN encode(device, 'hex') END AS fingerprint, detail AS reason
    FROM api.gate_history WHERE store_id = $1 AND at > $2 AND kind = $3 ORDER BY at DESC, id DESC LIMIT 100
"""


async def read_history(pool: Pool, store_id: UUID, since: datetime) -> dict[str, list[dict[str, Any]]]:
    """As `api.checkouts.Attacks` has it: by hour the newest first, the others the most frequent first."""
    asked: dict[str, tuple[str, tuple[str, ...]]] = {
        "hours": (_HOURS, ()),
        "reasons": (_REASONS, ()),
        "codes": (_CODES, ()),
        "countries": (_COUNTRIES, ()),
        "fingerprints": (_DEVICES, ()),
        "lockouts": (_LOCKOUTS, ("locked",)),
        "freezes": (_LOCKOUTS, ("frozen",)),
    }
    return {
        name: [dict(row) for row in await pool.fetch(sql, store_id, since, *given)]
        for name, (sql, given) in asked.items()
    }
