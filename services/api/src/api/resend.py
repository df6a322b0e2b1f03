"""Inputs that the scorer never answered → their facts once more, made of what is kept: the messages were lost with the
broker's data, or lay in it when the dump was taken that is restored now.

May run beside the services, and again: the scorer knows a fact that it has done, and a version that it has.
"""

from collections.abc import Mapping
from dataclasses import dataclass
from datetime import timedelta
from typing import Literal
from uuid import UUID

from pydantic import ValidationError

from api.body import BadBodyError, decode_object, parse_object
from api.ingest import catalogue, generic, stripe, topics, woocommerce
from api.ingest.generic import Taken
from api.ingest.store import Kept, unanswered
from api.stores import StoreSecrets, find_secrets
from shared.broker import Broker, Outgoing
from shared.db import Pool
from shared.events import FACT, Coupon, CouponFact, Fact, OrderFact, ProductFact
from shared.outbox import Outbox, Transaction
from shared.secrets import Vault
from shared.topology import FACTS

LIVE_AGE = timedelta(hours=24)
"""What was older than this when it came by a door that takes history is told to nobody, as catching up has it: by which
lane it came is not kept.
"""
PAGE = 500
"""Inputs of one transaction."""


@dataclass(frozen=True, slots=True)
class Resent:
    sent: int = 0
    left: int = 0
    """Emptied by an erasure, or of the checkout: of an attempt the verdict is not kept."""


async def resend(pool: Pool, vault: Vault) -> Resent:
    """Leave the facts in the outbox, where the api finds them. Each page commits by itself."""
    outbox = Outbox(pool, Broker("", service="api"), "api")  # it is not connected: nothing is published from here
    done, after = Resent(), None
    secrets: dict[UUID, StoreSecrets | None] = {}
    while True:
        async with outbox.transaction() as transaction:
            page = await unanswered(transaction.connection, after=after, limit=PAGE)
            for store_id in {kept.store_id for kept in page} - secrets.keys():
                secrets[store_id] = await find_secrets(pool, vault, store_id)
            sent = _send(transaction, page, secrets)
        done = Resent(done.sent + sent, done.left + len(page) - sent)
        if len(page) < PAGE:
            return done
        after = page[-1].received_at, page[-1].id


def _send(transaction: Transaction, page: list[Kept], secrets: Mapping[UUID, StoreSecrets | None]) -> int:
    """How many could be made again."""
    known = [(kept, of.hash_key) for kept in page if (of := secrets[kept.store_id])]
    made = [(kept, fact) for kept, key in known if (fact := fact_of(kept, key))]
    transaction.send(
        *(Outgoing(kept.id, FACTS, f"{lane_of(kept, fact)}.{fact.type}", fact.encode()) for kept, fact in made)
    )
    return len(made)


def lane_of(kept: Kept, fact: Fact) -> Literal["live", "history"]:
    if kept.source in {"woocommerce", stripe.SOURCE}:
        return "live"
    at = fact.data.created_at if isinstance(fact, OrderFact) else fact.occurred_at
    return "history" if at <= kept.received_at - LIVE_AGE else "live"


def fact_of(kept: Kept, key: bytes) -> Fact | None:
    """Under the input's id. None: what is kept does not tell it. `key` is the store's."""
    try:
        return _read(kept, key)
    except (BadBodyError, ValidationError):
        return None


def _read(kept: Kept, key: bytes) -> Fact | None:
    match kept.source:
        case "woocommerce" if kept.topic.startswith("coupon."):
            return FACT.validate_json(kept.body)
        case "woocommerce":
            told = topics.read(
                kept.topic, kept.body, store_id=kept.store_id, key=key, fact_id=kept.id, now=kept.received_at
            )
            return None if isinstance(told, str) else told
        case stripe.SOURCE:
            return FACT.validate_json(kept.body)
        case generic.SOURCE:
            item = generic.read(decode_object(kept.body), store_id=kept.store_id, key=key, fact_id=kept.id)
            return item.fact if isinstance(item, Taken) else None
        case "sync":
            return _synced(kept, key)
        case _:
            return None


def _synced(kept: Kept, key: bytes) -> Fact | None:
    match kept.topic:
        case "order":
            order = woocommerce.parse_order(kept.body, key)
            return OrderFact(id=kept.id, store_id=kept.store_id, occurred_at=order.modified_at, data=order)
        case "product":
            if told := catalogue.read_product(parse_object(kept.body)):
                product, at = told
                return ProductFact(id=kept.id, store_id=kept.store_id, occurred_at=at or kept.received_at, data=product)
            return None
        case _:
            coupon = Coupon.model_validate_json(kept.body)
            return CouponFact(id=kept.id, store_id=kept.store_id, occurred_at=kept.received_at, data=coupon)
