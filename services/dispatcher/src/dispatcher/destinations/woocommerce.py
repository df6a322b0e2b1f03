"""The store's own orders: put on hold or cancelled through WooCommerce's REST API (wc/v3).

The order is looked at before it is changed, so that a repeat changes nothing, and no order is held or cancelled that
has gone past that.
"""

import json
import re
import time
from base64 import b64encode
from collections.abc import Mapping
from dataclasses import replace
from typing import Any, Literal

from dispatcher.classify import Answer
from dispatcher.destinations.means import Credentials
from dispatcher.destinations.webhook import USER_AGENT
from dispatcher.send import Sender
from shared.events import Automation
from shared.jsontext import dumps
from shared.targets import Reach, unusable

Action = Literal["hold_order", "cancel_order"]

ON_HOLD = "on-hold"
_STATUS: Mapping[Action, str] = {"hold_order": ON_HOLD, "cancel_order": "cancelled"}
_WORDS: Mapping[str, str] = {
    "cancelled": "cancelled",
    "refunded": "refunded",
    "completed": "completed",
    "failed": "failed",
    "trash": "in the trash",
}
"""Statuses in which an order is neither held nor cancelled: it is shipped or over."""
_SLUG = re.compile(r"[A-Za-z0-9_-]{1,50}")
"""WordPress' form of a status. The log repeats it, and could not store everything that a server may write there."""


def render(automation: Automation, *, action: Action, reason: str | None) -> bytes:
    """What `send` needs, as JSON: order_id, status, note. Without a reason the note names the rule."""
    note = reason or f"Rule: {automation.rule.name}"
    return dumps({"order_id": automation.order_id, "status": _STATUS[action], "note": note}).encode()


async def send(
    sender: Sender,
    body: bytes,
    *,
    store_url: str,
    credentials: Credentials,
    reach: Reach,
    timeout: float,  # noqa: ASYNC109  # for all requests together
) -> Answer:
    """Change the order, once. An order that is on hold already is a success that changed nothing.

    A note with the reason follows a change; whether it could be added decides nothing.
    """
    wanted = json.loads(body)
    if problem := unusable(store_url, reach):
        return Answer(duration_ms=0, final=f"the store's URL {problem}")
    if wanted["order_id"] is None:
        return Answer(duration_ms=0, final="the rule fired without an order")
    order = _RemoteOrder(
        sender, f"{store_url.rstrip('/')}/wp-json/wc/v3/orders/{wanted['order_id']}", credentials, timeout
    )
    return order.timed(await _change(order, status=wanted["status"], note=wanted["note"]))


async def _change(order: "_RemoteOrder", *, status: str, note: str) -> Answer:
    seen = _judged(await order.ask("GET", "?_fields=id,status"), "read")
    if seen.complaint is not None:
        return seen
    if pointless := _pointless(_status(seen), status):
        return replace(seen, **pointless)
    changed = _judged(await order.ask("PUT", "?_fields=id,status", {"status": status}), "change")
    if changed.complaint is not None:
        return changed
    if _status(changed) != status:
        return replace(changed, phase="body", error=f"the store left the order {_status(changed)}")
    noted = await order.ask("POST", "/notes", {"note": note})
    return changed if noted.complaint is None else replace(changed, error="done, but the note could not be added")


class _RemoteOrder:
    """One order of a store, asked about within one deadline."""

    def __init__(self, sender: Sender, url: str, credentials: Credentials, timeout: float) -> None:
        self._sender = sender
        self._url = url
        self._began = time.monotonic()
        self._ends = self._began + timeout
        basic = b64encode(f"{credentials.key}:{credentials.secret}".encode()).decode()
        self._headers = {
            "Authorization": f"Basic {basic}",
            "Content-Type": "application/json",
            "Accept": "application/json",
            "User-Agent": USER_AGENT,
        }

    async def ask(self, method: str, path: str, body: Mapping[str, str] | None = None) -> Answer:
        return await self._sender.send(
            self._url + path,
            method=method,
            headers=self._headers,
            body=dumps(body).encode() if body is not None else None,
            timeout=max(self._ends - time.monotonic(), 0),
        )

    def timed(self, answer: Answer) -> Answer:
        return replace(answer, duration_ms=round((time.monotonic() - self._began) * 1000))


def _judged(answer: Answer, purpose: Literal["read", "change"]) -> Answer:
    """The answer with what its status and body mean to us.

    A refusal in WordPress' own form is for good; one in HTML comes from something in between, such as a firewall.
    """
    if answer.phase is not None:
        return answer
    told = _parsed(answer.body)
    match answer.status_code:
        case int(status) if 200 <= status <= 299 and _status(answer) is None:
            return replace(answer, phase="body", error="the store's answer is not the order as JSON")
        case 401 | 403 if "code" in told:
            return replace(answer, final=f"the store does not let our key {purpose} orders: {answer.status_code}")
        case 404 if told.get("code") == "rest_no_route":
            return replace(answer, final="the store has no WooCommerce REST API")
        case 404 if "code" in told:
            return replace(answer, final="the store has no such order")
        case _:
            return answer


def _pointless(status: str | None, wanted: str) -> dict[str, Any] | None:
    """Why the order is left as it is, as parts of the answer; None: change it."""
    if status == wanted == ON_HOLD:
        return {"error": "already on hold"}
    if status is not None and status in _WORDS:
        return {"final": f"the order is already {_WORDS[status]}"}
    return None


def _status(answer: Answer) -> str | None:
    status = _parsed(answer.body).get("status")
    return status if isinstance(status, str) and _SLUG.fullmatch(status) else None


def _parsed(body: bytes) -> Mapping[str, Any]:
    try:
        told = json.loads(body)
    except ValueError:
        return {}
    return told if isinstance(told, dict) else {}
