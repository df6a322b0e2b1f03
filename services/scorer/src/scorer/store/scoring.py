"""How stores score: settings, versions, keys; and the locks that keep them still during a batch."""

import json
from collections.abc import Collection, Iterable, Mapping
from dataclasses import dataclass
from datetime import datetime
from typing import Any
from uuid import UUID

from shared.db import Connection


@dataclass(frozen=True, slots=True)
class StoredScoring:
    version: int
    currency: str
    """Of the first order, until somebody sets another. "": no order yet."""
    settings: Mapping[str, Any]
    """What differs from the defaults."""


UNSET = StoredScoring(0, "", {})


async def hold(connection: Connection, store_ids: Iterable[UUID], *, about: str, alone: bool = False) -> None:
    """Until the commit, nobody changes these stores' settings (or catalogue) under us; `alone`: we are the changer.

    The first locks of a transaction, in sorted order. Whoever changes waits for the batches under way, so that no
    batch that decided by the old settings commits after the change.
    """
    kind = "pg_advisory_xact_lock" if alone else "pg_advisory_xact_lock_shared"
    await connection.execute(
        f'SELECT {kind}(hashtextextended(key, 0)) FROM unnest($1::text[]) AS k (key) ORDER BY key COLLATE "C"',
        [f"{about}/{store_id}" for store_id in store_ids],
    )


async def hash_keys(connection: Connection, store_ids: Iterable[UUID]) -> dict[UUID, bytes]:
    """The sealed e-mail hash keys of the stores that exist."""
    rows = await connection.fetch("SELECT id, hash_key FROM api.stores WHERE id = ANY($1::uuid[])", list(store_ids))
    return {row["id"]: row["hash_key"] for row in rows}


async def versions(connection: Connection, store_ids: Collection[UUID]) -> dict[UUID, tuple[int, str]]:
    """(version, currency); those of UNSET where a store has no row yet: it scores by the defaults."""
    rows = await connection.fetch(
        "SELECT store_id, version, currency FROM scorer.scoring WHERE store_id = ANY($1::uuid[])", list(store_ids)
    )
    unset = dict.fromkeys(store_ids, (UNSET.version, UNSET.currency))
    return unset | {row["store_id"]: (row["version"], row["currency"]) for row in rows}


async def read(connection: Connection, store_id: UUID) -> StoredScoring:
    row = await connection.fetchrow(
        "SELECT version, currency, settings FROM scorer.scoring WHERE store_id = $1", store_id
    )
    return StoredScoring(row["version"], row["currency"], json.loads(row["settings"])) if row else UNSET


async def begin(connection: Connection, store_id: UUID, currency: str) -> None:
    """A store's first order says in what currency it counts."""
    await connection.execute(
        "INSERT INTO scorer.scoring (store_id, version, currency, settings) VALUES ($1, 1, $2, '{}')"
        " ON CONFLICT DO NOTHING",
        store_id,
        currency,
    )


async def save(connection: Connection, store_id: UUID, scoring: StoredScoring, *, actor: str, now: datetime) -> None:
    await connection.execute(
        "INSERT INTO scorer.scoring (store_id, version, currency, settings) VALUES ($1, $2, $3, $4)"
        " ON CONFLICT (store_id) DO UPDATE SET version = EXCLUDED.version, currency = EXCLUDED.currency,"
        " settings = EXCLUDED.settings",
        store_id,
        scoring.version,
        scoring.currency,
        json.dumps(scoring.settings),
    )
    await connection.execute(
        "INSERT INTO scorer.scoring_versions (store_id, version, currency, settings, actor, at)"
        " VALUES ($1, $2, $3, $4, $5, $6)",
        store_id,
        scoring.version,
        scoring.currency,
        json.dumps(scoring.settings),
        actor,
        now,
    )
