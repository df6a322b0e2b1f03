"""What the shop of a run sets up: two endpoints, rules that tell of each order, and one that blocks."""

from collections.abc import Mapping
from typing import Any

from aiohttp import ClientSession

from bench.faults.audit import Paths
from bench.faults.orders import BLOCKED_AT, What
from local_stack.errors import StackError

RETRIED, LOGGED = "/crm", "/log"
EVENTS = frozenset({"score_updated", "customer_blocked", "high_risk_order", "checkout_blocked"})
"""The four defaults."""
RULES: Mapping[str, What] = {"/placed": "placed", "/refunded": "refunded", "/cancelled": "cancelled"}
PATHS = Paths({RETRIED: EVENTS, LOGGED: EVENTS}, RETRIED, RULES)
SECRETS = {path: f"a secret of the faults, for {path} and for no other" for path in (RETRIED, LOGGED, *RULES)}
TIMEOUT = 5
"""Seconds that an endpoint has to answer."""


async def set_up(session: ClientSession, api: str, receiver: str) -> None:
    """`api`: the namespace's URL.

    Raises:
        StackError: the api refuses it.
    """
    for path, mode in ((RETRIED, "retry"), (LOGGED, "fire_and_log")):
        await _create(session, f"{api}/webhooks", _to(path, receiver) | {"delivery": mode})
    for path, what in RULES.items():
        action = {"type": "send_webhook"} | _to(path, receiver)
        await _create(session, f"{api}/rules", _rule(f"Tell of {what}", f"order_{what}", action))
    twice = {"field": "total_refunds", "operator": ">=", "value": BLOCKED_AT}
    block = {"type": "block_customer", "reason": "Refunds"}
    await _create(session, f"{api}/rules", _rule("Block", "order_refunded", block) | {"conditions": twice})


def _to(path: str, receiver: str) -> dict[str, Any]:
    return {"url": receiver + path, "secret": SECRETS[path], "timeout": TIMEOUT}


def _rule(name: str, trigger: str, action: Mapping[str, Any]) -> dict[str, Any]:
    """Without cooldown and fuse: it fires for every order."""
    return {"name": name, "trigger": trigger, "actions": [action], "cooldown": 0, "hourly_limit": 1_000_000}


async def _create(session: ClientSession, url: str, what: Mapping[str, Any]) -> None:
    async with session.post(url, json=what) as answer:
        if answer.status != 201:
            raise StackError(f"POST {url}: {answer.status} {await answer.text()}")
