"""When each rule fired last for each customer, and how often in each hour: read for one batch at a time.

Who claims both claims cooldowns first, then hours: one order for all, so that nobody waits in a circle.
"""

from collections.abc import Collection, Mapping, Sequence
from datetime import datetime

from rule_engine.cooldown import Hour, Key
from shared.db import Connection, MeanwhileError, Pool


async def claim_cooldowns(connection: Connection, keys: Collection[Key]) -> dict[Key, datetime]:
    """When these fired last, those that did. Nobody else decides about them until the commit.

    Raises:
        MeanwhileError: one was forgotten between the two statements, and is not claimed.
    """
    if not keys:
        return {}
    ordered = sorted(keys)
    await _ensure_cooldowns(connection, ordered)
    locked = await _lock_cooldowns(connection, ordered)
    if len(locked) < len(ordered):
        raise MeanwhileError("a cooldown was forgotten meanwhile")
    return {key: at for key, at in locked.items() if at}


async def _ensure_cooldowns(connection: Connection, keys: Sequence[Key]) -> None:
    """Make the rows that are missing, so that there is something to lock."""
    await connection.execute(
        "INSERT INTO rule_engine.cooldowns (rule_id, email_hash)"
        " SELECT k.rule_id, k.email_hash FROM unnest($1::uuid[], $2::text[]) WITH ORDINALITY"
        " AS k (rule_id, email_hash, n) ORDER BY k.n ON CONFLICT DO NOTHING",
        [rule_id for rule_id, _ in keys],
        [email_hash for _, email_hash in keys],
    )


async def _lock_cooldowns(connection: Connection, keys: Sequence[Key]) -> dict[Key, datetime | None]:
    rows = await connection.fetch(
        "SELECT c.rule_id, c.email_hash, c.fired_at FROM rule_engine.cooldowns c"
        " JOIN unnest($1::uuid[], $2::text[]) WITH ORDINALITY AS k (rule_id, email_hash, n)"
        " USING (rule_id, email_hash) ORDER BY k.n FOR UPDATE OF c",
        [rule_id for rule_id, _ in keys],
        [email_hash for _, email_hash in keys],
    )
    return {(row["rule_id"], row["email_hash"]): row["fired_at"] for row in rows}


async def save_cooldowns(connection: Connection, last: Mapping[Key, datetime]) -> None:
    """Of claimed keys."""
    await connection.execute(
        "UPDATE rule_engine.cooldowns c SET fired_at = k.fired_at"
        " FROM unnest($1::uuid[], $2::text[], $3::timestamptz[]) AS k (rule_id, email_hash, fired_at)"
        " WHERE c.rule_id = k.rule_id AND c.email_hash = k.email_hash",
        [rule_id for rule_id, _ in last],
        [email_hash for _, email_hash in last],
        list(last.values()),
    )


async def claim_hours(connection: Connection, hours: Collection[Hour]) -> dict[Hour, int]:
    """How often each rule fired in each of these hours. Nobody else decides about them until the commit.

    Raises:
        MeanwhileError: as in claim_cooldowns.
    """
    if not hours:
        return {}
    ordered = sorted(hours)
    await _ensure_hours(connection, ordered)
    locked = await _lock_hours(connection, ordered)
    if len(locked) < len(ordered):
        raise MeanwhileError("a rule's hour was forgotten meanwhile")
    return locked


async def _ensure_hours(connection: Connection, hours: Sequence[Hour]) -> None:
    await connection.execute(
        "INSERT INTO rule_engine.hours (rule_id, hour, fired)"
        " SELECT k.rule_id, k.hour, 0 FROM unnest($1::uuid[], $2::timestamptz[]) WITH ORDINALITY"
        " AS k (rule_id, hour, n) ORDER BY k.n ON CONFLICT DO NOTHING",
        [rule_id for rule_id, _ in hours],
        [hour for _, hour in hours],
    )


async def _lock_hours(connection: Connection, hours: Sequence[Hour]) -> dict[Hour, int]:
    rows = await connection.fetch(
        "SELECT h.rule_id, h.hour, h.fired FROM rule_engine.hours h"
        " JOIN unnest($1::uuid[], $2::timestamptz[]) WITH ORDINALITY AS k (rule_id, hour, n)"
        " USING (rule_id, hour) ORDER BY k.n FOR UPDATE OF h",
        [rule_id for rule_id, _ in hours],
        [hour for _, hour in hours],
    )
    return {(row["rule_id"], row["hour"]): row["fired"] for row in rows}


async def save_hours(connection: Connection, fired: Mapping[Hour, int]) -> None:
    """Of claimed hours."""
    await connection.execute(
        "UPDATE rule_engine.hours h SET fired = k.fired"
        " FROM unnest($1::uuid[], $2::timestamptz[], $3::integer[]) AS k (rule_id, hour, fired)"
        " WHERE h.rule_id = k.rule_id AND h.hour = k.hour",
        [rule_id for rule_id, _ in fired],
        [hour for _, hour in fired],
        list(fired.values()),
    )


async def forget_cooldowns(pool: Pool, days: int) -> None:
    """Drop the rows that no cooldown can be waiting for; those without a time are of rules whose hour was full."""
    await pool.execute(
        "DELETE FROM rule_engine.cooldowns WHERE fired_at IS NULL OR fired_at < now() - make_interval(days => $1)", days
    )


async def forget_hours(pool: Pool, days: int) -> None:
    """Drop those that no event belongs to any more, unless it was under way for longer."""
    await pool.execute("DELETE FROM rule_engine.hours WHERE hour < now() - make_interval(days => $1)", days)
