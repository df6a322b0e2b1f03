"""What was accepted and never answered is sent again, made of what is kept: as good as the message that was lost."""

import asyncio
import io
import json
import os
import sys
from asyncio.subprocess import PIPE
from collections.abc import Awaitable, Callable
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any
from uuid import UUID

import asyncpg

from api.ingest import intake
from api.resend import Resent, resend
from api.stores import find_secrets
from api.sync import history
from shared.broker import Broker
from shared.db import Partitions
from shared.events import FACT, CouponFact, Fact, ProductFact
from shared.outbox import Outbox
from shared.secrets import Vault
from support.api_client import ApiClient
from support.orders import order
from support.queues import depth, take
from support.stripe import dispute, event, signature

Until = Callable[[Callable[[], Awaitable[bool]]], Awaitable[None]]

PRODUCT = {"id": 60, "date_modified_gmt": "2026-05-01T08:00:00", "categories": [{"slug": "shoes", "name": "Shoes"}]}
COUPON = {"id": 7, "code": "welcome", "usage_limit_per_user": 1, "date_modified_gmt": "2026-05-01T08:00:00"}
WEBHOOKS = (
    ("order.updated", order()),
    ("order.deleted", {"id": 17}),
    ("product.updated", PRODUCT),
    ("coupon.updated", COUPON),
)
ITEMS = (
    ("order", order(id=1)),
    ("refund", {"id": 9, "order_id": 4821, "amount": "49.00"}),
    ("decline", {"email": "jane@example.com"}),
)
SYNCED: tuple[tuple[history.Kind, Any], ...] = (("orders", order(id=2)), ("products", PRODUCT), ("coupons", COUPON))


async def tell_by_all_doors(api: ApiClient, pool: asyncpg.Pool, vault: Vault) -> None:
    """Four webhooks, one of Stripe, three items just now and three of long ago, three rows of a sync."""
    for topic, body in WEBHOOKS:
        assert (await api.deliver(json.dumps(body).encode(), topic=topic)).status == 202
    raw = json.dumps(event("charge.dispute.created", dispute())).encode()
    signed = {"Stripe-Signature": signature(raw, api.store.stripe_secret, datetime.now(UTC))}
    assert (
        await api.post(f"/ingest/stripe/{api.store.id}", key="", data=io.BytesIO(raw), headers=signed)
    ).status == 202
    now = datetime.now(UTC).replace(microsecond=0)
    for name, at in (("new", now), ("old", now - timedelta(days=30))):
        when = at.isoformat().removesuffix("+00:00")
        items = [
            {"id": f"{name}-{kind}", "type": kind, "occurred_at": when, "data": data | {"date_created_gmt": when}}
            if kind == "order"
            else {"id": f"{name}-{kind}", "type": kind, "occurred_at": when, "data": data}
            for kind, data in ITEMS
        ]
        told = await api.post("/ingest/events", json={"events": items, "history": name == "old"})
        assert {it["status"] for it in told.json["results"]} == {"accepted"}, told.text
    await _sync(api, pool, vault, now)


async def _sync(api: ApiClient, pool: asyncpg.Pool, vault: Vault, now: datetime) -> None:
    secrets = await find_secrets(pool, vault, api.store.id)
    assert secrets
    rows = [(kind, history.read(kind, row, secrets.hash_key)) for kind, row in SYNCED]
    await Partitions("api.raw_input").cover(pool, [now])
    async with Outbox(pool, Broker("amqp://nobody", service="api"), "api").transaction() as transaction:
        inputs = [history.input_of(kind, seen, secrets, history.lane(seen, now), now) for kind, seen in rows]
        assert len(await intake.take(transaction, inputs, now)) == len(SYNCED)


async def taken(broker: Broker, live: int, old: int) -> dict[UUID, tuple[str, Fact]]:
    """Queue and fact by id."""
    found = [("scorer.facts", one) for one in await take(broker, "scorer.facts", live)]
    found += [("scorer.backfill", one) for one in await take(broker, "scorer.backfill", old)]
    facts = [(queue, FACT.validate_json(one.body)) for queue, one in found]
    return {fact.id: (queue, fact) for queue, fact in facts}


async def test_what_is_sent_again_is_what_was_lost_by_whatever_door_it_came(
    api: ApiClient, pool: asyncpg.Pool, broker: Broker, vault: Vault, until: Until
) -> None:
    async def all_sent() -> bool:
        return not await pool.fetchval("SELECT count(*) FROM api.outbox")

    await tell_by_all_doors(api, pool, vault)
    before = await taken(broker, 10, 4)
    await until(all_sent)

    assert await resend(pool, vault) == Resent(sent=14)
    after = await taken(broker, 9, 5)  # a product is told to nobody, whatever its lane
    assert {key: (fact.type, fact.data) for key, (_, fact) in after.items()} == {
        key: (fact.type, fact.data) for key, (_, fact) in before.items()
    }
    for key, (queue, fact) in before.items():
        assert isinstance(fact, ProductFact | CouponFact) or after[key][0] == queue
        late = timedelta(seconds=5) if fact.occurred_at > datetime.now(UTC) - timedelta(hours=1) else timedelta(0)
        # A deletion says no time, and of a synced coupon it is not kept: then it is when the input came.
        assert isinstance(fact, CouponFact) or abs(after[key][1].occurred_at - fact.occurred_at) <= late


async def test_what_has_an_outcome_or_waits_in_the_outbox_is_not_sent_and_what_cannot_be_made_is_counted(
    api: ApiClient, pool: asyncpg.Pool, broker: Broker, until: Until, database_url: str, secret_keys: str
) -> None:
    async def all_sent() -> bool:
        return not await pool.fetchval("SELECT count(*) FROM api.outbox")

    ids = [(await api.deliver(json.dumps(order(id=n)).encode())).json["id"] for n in range(1, 4)]
    assert (await api.post("/checkout/declined", json={"email": "jane@example.com"})).status == 200
    await take(broker, "scorer.facts", 4)
    await until(all_sent)
    answered, waiting, erased = map(UUID, ids)
    await pool.execute(
        "INSERT INTO scorer.input_outcomes (input_id, outcome, at) VALUES ($1, 'applied', now())", answered
    )
    await pool.execute(
        "INSERT INTO api.outbox (id, exchange, routing_key, headers, body, claimed_until)"
        " VALUES ($1, 'trustlens.facts', 'live.order', '{}', '', now() + interval '1 hour')",
        waiting,
    )
    await pool.execute("UPDATE api.raw_input SET body = '' WHERE id = $1", erased)

    env = os.environ | {"TRUSTLENS_DATABASE_URL": database_url, "TRUSTLENS_SECRET_KEYS": secret_keys}
    command = Path(sys.executable).with_name("trustlens")
    process = await asyncio.create_subprocess_exec(command, "resend", env=env, stdout=PIPE)
    printed = (await process.communicate())[0].decode().splitlines()

    assert [line.split(" ", 1)[0] for line in printed] == ["0", "2"]
    assert await depth(broker, "scorer.facts") == 0
