"""No event that the scorer makes is called impossible by the validator: a year of all kinds, and people's doing."""

from collections import Counter
from decimal import Decimal
from typing import Any, get_args

import asyncpg
import pytest

from rule_engine.possible import world
from rule_engine.rules import Trigger
from shared.conditions import All, AnyOf, Leaf, Not
from shared.events import Event
from shared.fields import CONTEXTS, SPECS, Value, fields_of
from shared.secrets import Vault
from support.scoring_shop import Shop, open_shop
from support.year import year


@pytest.fixture
async def shop(pool: asyncpg.Pool, vault: Vault) -> Shop:
    return await open_shop(pool, vault)


def exactly(fields: Any) -> All:
    """What holds of these values only."""
    return All(all=tuple(_pinned(name, fields[name]) for name in fields))


def _pinned(name: str, value: Value | None) -> Any:
    match value:
        case None:
            anything = AnyOf(any=(Leaf(field=name, operator="=", value=0), Leaf(field=name, operator="!=", value=0)))
            return Not.model_construct(not_=anything)
        case tuple():
            return All(all=tuple(Leaf(field=name, operator="contains", value=tag) for tag in value))
        case Decimal() | bool() | int() | str():
            return Leaf(field=name, operator="=", value=value)


async def test_no_event_that_happened_is_called_impossible(shop: Shop) -> None:
    facts = year(6)
    for start in range(0, len(facts), 60):
        await shop.process(*facts[start : start + 60])
        await shop.settle()
    for person in range(6):
        email_hash = shop.hash(f"c{person}@example.com")
        await shop.ask("customer.tag", email_hash=email_hash, tag="watch")
        await shop.ask("customer.update", email_hash=email_hash, is_blocked=True)
        await shop.ask("customer.update", email_hash=email_hash, is_blocked=False)
        await shop.ask("customer.update", email_hash=email_hash, is_allowlisted=True)
        await shop.ask("customer.recalculate", email_hash=email_hash)
        await shop.ask("customer.update", email_hash=email_hash, is_allowlisted=False)
    seen: Counter[str] = Counter()
    for event in await shop.events(None):
        if event.type in get_args(Trigger):
            seen[event.type] += 1
            assert_possible(event)
    assert set(get_args(Trigger)) - set(seen) <= {"high_risk_order", "shipping_anomaly_detected"}


def assert_possible(event: Event) -> None:
    fields = fields_of(event)
    assert set(fields) == {spec.name for spec in SPECS.values() if spec.group in CONTEXTS[event.type]}
    pinned = exactly(fields)
    assert world(event.type, [pinned]).can(pinned), (event.type, fields)
