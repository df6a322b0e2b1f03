"""What is kept of a customer who was erased: which rules fired, and none of the values that were theirs."""

import json
from collections.abc import Mapping
from datetime import datetime
from decimal import Decimal
from typing import Any
from uuid import UUID

from shared.db import Connection, columns
from shared.erasure import Person, forget_text
from shared.jsontext import dumps

PERSONAL = ("email_domain", "tags")
"""Fields that tell who somebody is."""


async def hash_key(connection: Connection, store_id: UUID) -> bytes:
    """The sealed key that makes a store's e-mail hashes."""
    key: bytes = await connection.fetchval("SELECT hash_key FROM api.stores WHERE id = $1", store_id)
    return key


async def forget_evaluations(connection: Connection, store_id: UUID, email_hash: str) -> None:
    """Reasons in words that tell such a value too."""
    await connection.execute(
        "UPDATE rule_engine.evaluations SET seen = seen - $3::text[], reasons = ARRAY("
        " SELECT CASE WHEN reason ~ $4 THEN 'the customer was erased' ELSE reason END"
        " FROM unnest(reasons) WITH ORDINALITY AS r (reason, position) ORDER BY position)"
        " WHERE store_id = $1 AND email_hash = $2",
        store_id,
        email_hash,
        list(PERSONAL),
        rf"\m({'|'.join(PERSONAL)})\M",
    )
    await connection.execute(
        "UPDATE rule_engine.firings SET values = values - $3::text[] WHERE store_id = $1 AND email_hash = $2",
        store_id,
        email_hash,
        list(PERSONAL),
    )


async def forget_outgoing(connection: Connection, person: Person) -> None:
    """Automations that wait to be published. Those that were published are emptied by whoever takes them."""
    rows = await connection.fetch(
        "SELECT id, body FROM rule_engine.outbox WHERE position(convert_to($1, 'UTF8') IN body) > 0 FOR UPDATE",
        person.email_hash,
    )
    await connection.execute(
        "UPDATE rule_engine.outbox o SET body = k.body FROM unnest($1::uuid[], $2::bytea[]) AS k (id, body)"
        " WHERE o.id = k.id",
        *columns([(row["id"], forget_text(row["body"], person)) for row in rows], 2),
    )


async def forget_samples(connection: Connection, store_id: UUID, email_hash: str) -> None:
    """What backtests show of the customer."""
    rows = await connection.fetch(
        "SELECT id, result FROM rule_engine.jobs WHERE store_id = $1 AND result->'samples' @> $2::jsonb FOR UPDATE",
        store_id,
        json.dumps([{"customer": email_hash}]),
    )
    for row in rows:
        result = json.loads(row["result"], parse_float=Decimal)
        samples = [emptied(sample) if sample["customer"] == email_hash else sample for sample in result["samples"]]
        await connection.execute(
            "UPDATE rule_engine.jobs SET result = $2 WHERE id = $1", row["id"], dumps(result | {"samples": samples})
        )


async def erased_since(connection: Connection, store_id: UUID, since: datetime) -> set[str]:
    rows = await connection.fetch(
        "SELECT email_hash FROM scorer.customers WHERE store_id = $1 AND erased_at >= $2", store_id, since
    )
    return {row["email_hash"] for row in rows}


def emptied(sample: Mapping[str, Any]) -> Mapping[str, Any]:
    values = {name: value for name, value in sample["values"].items() if name not in PERSONAL}
    return {**sample, "values": values}
