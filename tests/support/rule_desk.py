"""Whoever writes rules, with a shop that things happen in: the engine's own commands and worker, by the real API."""

from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from decimal import Decimal
from typing import Any
from uuid import UUID

import asyncpg

from rule_engine import commands
from rule_engine.worker import RuleEngine
from shared.broker import Broker
from shared.db import Partitions
from shared.events import Event, EventData, EventType
from shared.identity import email_hash
from shared.outbox import Outbox
from shared.secrets import Vault
from shared.targets import Reach
from support.api_client import BASE, Answer, ApiClient
from support.delivery_rows import insert
from support.events import T0, event, order, snapshot
from support.owner import owning

JANE = "jane@example.com"
OTHER = "b" * 64
RULE: dict[str, Any] = {
    "name": "Cheap risk",
    "trigger": "order_placed",
    "conditions": {"all": [{"field": "trust_score", "operator": "<", "value": 30}]},
    "actions": [{"type": "tag_customer", "tag": "risky"}],
    "cooldown": 0,
}


@dataclass(frozen=True, slots=True)
class Desk:
    """Whoever writes rules, with a shop that things happen in."""

    api: ApiClient
    pool: asyncpg.Pool
    engine: RuleEngine
    jane: str
    """Her hash."""

    async def make(self, **changes: Any) -> dict[str, Any]:
        made = await self.api.post("/rules", json={**RULE, **changes})
        assert made.status == 201, made.text
        return dict(made.json)

    async def send(self, method: str, path: str, body: object = None) -> Answer:
        return await self.api.request(method, f"{BASE}{path}", json=body)

    async def happen(
        self, *, ago: timedelta, evaluated: bool = True, kind: EventType = "order_placed", **customer: Any
    ) -> Event:
        """An order, stored as the scorer does, and unless said otherwise played to the rules."""
        known: dict[str, Any] = {"email_hash": self.jane, "trust_score": 47} | customer
        happened = event(
            kind,
            at=datetime.now(UTC) - T0 - ago,
            store_id=self.api.store.id,
            customer=snapshot(**known),
            data=EventData(order=order(total=Decimal("19.90"))),
        )
        await Partitions("scorer.events").cover(self.pool, [happened.recorded_at])
        await insert(
            self.pool,
            "scorer.events",
            recorded_at=happened.recorded_at,
            id=happened.id,
            store_id=happened.store_id,
            email_hash=happened.customer.email_hash,
            sequence=happened.sequence,
            type=happened.type,
            occurred_at=happened.occurred_at,
            body=happened.encode(),
        )
        if evaluated:
            await self.engine.process([happened])
        return happened

    async def aged(self, rule: dict[str, Any], by: timedelta = timedelta(days=60)) -> None:
        """As if its versions had been saved so long ago."""
        statement = "UPDATE rule_engine.versions SET saved_at = saved_at - $2::interval WHERE rule_id = $1"
        await self.pool.execute(statement, UUID(rule["id"]), by)


@asynccontextmanager
async def opened(api: ApiClient, pool: asyncpg.Pool, broker: Broker, vault: Vault) -> AsyncIterator[Desk]:
    key = vault.open(await pool.fetchval("SELECT hash_key FROM api.stores WHERE id = $1", api.store.id))
    jane, at = email_hash(key, JANE), datetime.now(UTC)
    for hashed in (jane, OTHER):
        known = {"store_id": api.store.id, "email_hash": hashed}
        await insert(pool, "scorer.customers", **known, created_at=at, updated_at=at)
    engine = RuleEngine(Outbox(pool, Broker("amqp://nobody", service="rule-engine"), "rule_engine"), pool)
    handlers, background = commands.handlers(vault, Reach()), commands.background(pool, vault, Reach())
    async with owning("rule-engine", pool, broker, handlers, background):
        yield Desk(api, pool, engine, jane)
