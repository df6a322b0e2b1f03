"""When each rule fired last for each customer."""

from collections.abc import Mapping, Sequence
from datetime import datetime

from rule_engine.cooldown import Key
from shared.db import Connection, Pool


async def ensure_cooldowns(connection: Connection, keys: Sequence[Key]) -> None:
    """Make the rows that are missing, so that there is something to lock. `keys` are sorted."""
    await connection.execute(
        "INSERT INTO rule_engine.cooldowns (rule_id, email_hash)"
        " SELECT k.rule_id, k.email_hash FROM unnest($1::uuid[], $2::text[]) WITH ORDINALITY"
        " AS k (rule_id, email_hash, n) ORDER BY k.n ON CONFLICT DO NOTHING",
        [rule_id for rule_id, _ in keys],
        [email_hash for _, email_hash in keys],
    )


async def lock_cooldowns(connection: Connection, keys: Sequence[Key]) -> dict[Key, datetime | None]:
    """When these fired last, locked in the order of `keys` until the commit."""
    rows = await connection.fetch(
        "SELECT c.rule_id, c.email_hash, c.fired_at FROM rule_engine.cooldowns c"
        " JOIN unnest($1::uuid[], $2::text[]) WITH ORDINALITY AS k (rule_id, email_hash, n)"
        " USING (rule_id, email_hash) ORDER BY k.n FOR UPDATE OF c",
        [rule_id for rule_id, _ in keys],
        [email_hash for _, email_hash in keys],
    )
    return {(row["rule_id"], row["email_hash"]): row["fired_at"] for row in rows}


async def save_cooldowns(connection: Connection, last: Mapping[Key, datetime]) -> None:
    await connection.execute(
        "UPDATE rule_engine.cooldowns c SET fired_at = k.fired_at"
        " FROM unnest($1::uuid[], $2::text[], $3::timestamptz[]) AS k (rule_id, email_hash, fired_at)"
        " WHERE c.rule_id = k.rule_id AND c.email_hash = k.email_hash",
        [rule_id for rule_id, _ in last],
        [email_hash for _, email_hash in last],
        list(last.values()),
    )


async def forget_cooldowns(pool: Pool, days: int) -> None:
    """Drop the rows that no cooldown can be waiting for."""
    await pool.execute("DELETE FROM rule_engine.cooldowns WHERE fired_at < now() - make_interval(days => $1)", days)
