"""Slack: a message for an incoming webhook, as the adapter of our users' guide writes it. `webhook` sends it.

What comes from outside can neither open a link or a mention (`& < >` are escaped, `verbatim` keeps Slack from finding
more by itself) nor show the customer's address.
"""

import re
from typing import Any

from dispatcher.destinations.webhook import SAMPLE, TEST_MESSAGE, Site, Source, Trial, event_name
from shared.events import Automation, Event, EventData, OrderInfo, Snapshot
from shared.jsontext import dumps, in_currency

LONGEST = 3000
"""Characters of a text object (Slack's Block Kit reference)."""
REMOVED = "(e-mail)"
"""In place of the customer's address, where somebody wrote it into a reason or a name."""

_ENTITY_CUT_OFF = re.compile(r"&[a-z]{0,3}$")


def render(source: Source, site: Site, *, include_email: bool, text: str | None = None) -> bytes:  # noqa: ARG001  # called as every format is; a channel never sees the address
    """The body. `text`: a rule action's own, in place of ours.

    Raises:
        ValueError: the event lacks what its message tells.
    """
    addresses = _addresses(source)
    own = _safe(text or "", addresses, lines=True)
    blocks = [_section(own or _told(source, addresses)), _context(source, site, addresses, has_own_text=bool(own))]
    return dumps({"text": _clipped(own) or _headline(source), "blocks": blocks}).encode()


def _addresses(source: Source) -> tuple[str, ...]:
    """Those of the customer."""
    match source:
        case Event():
            known = (source.customer.email, source.data.email)
        case Automation():
            known = (source.customer.email, None)
        case Trial():
            known = (SAMPLE.email, None)
    return tuple(address for address in known if address)


def _safe(text: str, addresses: tuple[str, ...], *, lines: bool = False) -> str:
    """Text from outside as Slack shows it: one line of it, unless it may have several."""
    for address in addresses:
        text = re.sub(re.escape(address), REMOVED, text, flags=re.IGNORECASE)
    flat = text.strip() if lines else " ".join(text.split())
    return flat.replace("&", "&amp;").replace("<", "&lt;").replace(">", "&gt;")


def _clipped(escaped: str) -> str:
    return escaped if len(escaped) <= LONGEST else _ENTITY_CUT_OFF.sub("", escaped[: LONGEST - 1]) + "…"


def _headline(source: Source) -> str:
    """What a notification shows."""
    customer = SAMPLE if isinstance(source, Trial) else source.customer
    emoji = ":rotating_light:" if customer.segment == "critical" else ":warning:"
    match event_name(source):
        case "high_risk_order":
            return f"{emoji} High-risk order placed"
        case "customer_blocked":
            return f"{emoji} Customer blocked"
        case name:
            return f"TrustLens event: {name}"


def _told(source: Source, addresses: tuple[str, ...]) -> str:
    match source:
        case Trial():
            return TEST_MESSAGE
        case Automation():
            order = f"Order {source.order_id}\n" if source.order_id is not None else ""
            return f"Rule *{_safe(source.rule.name, addresses)}* fired\n{order}{_standing(source.customer)}"
        case Event():
            return _event_told(source, addresses)


def _event_told(event: Event, addresses: tuple[str, ...]) -> str:
    customer = event.customer
    match event.type, event.data:
        case "high_risk_order", EventData(order=OrderInfo() as order):
            total = f"{_safe(order.currency, addresses)} {in_currency(order.total, order.currency):f}"
            return f"*Order #{_safe(order.number, addresses)}* — {total}\n{_standing(customer)}"
        case "high_risk_order", _:
            raise ValueError("a high_risk_order event without an order")
        case "customer_blocked", data:
            reason = _safe(data.reason or "", addresses) or "not specified"
            standing = f"score: *{customer.trust_score}*, segment: *{customer.segment}*"
            return f"Customer ({standing}) blocked.\nReason: {reason}"
        case _:
            return _standing(customer)


def _standing(customer: Snapshot) -> str:
    rate = f"{customer.return_rate:.1f}"
    return (
        f"Customer segment: *{customer.segment}* (score: {customer.trust_score})\n"
        f"Return rate: {rate}% over {customer.total_orders} orders"
    )


def _section(text: str) -> dict[str, Any]:
    return {"type": "section", "text": _markdown(text)}


def _context(source: Source, site: Site, addresses: tuple[str, ...], *, has_own_text: bool) -> dict[str, Any]:
    """The small print: which store, and, under a rule's own text, what it is about."""
    parts = [_safe(site.name, addresses) or _safe(site.url, addresses)]
    if has_own_text and not isinstance(source, Trial):
        parts.append(f"segment {source.customer.segment}, score {source.customer.trust_score}")
    if has_own_text and isinstance(source, Automation):
        parts.append(f"rule {_safe(source.rule.name, addresses)}")
        parts += [f"order {source.order_id}"] if source.order_id is not None else []
    return {"type": "context", "elements": [_markdown(" · ".join(part for part in parts if part) or "TrustLens")]}


def _markdown(text: str) -> dict[str, Any]:
    return {"type": "mrkdwn", "text": _clipped(text), "verbatim": True}
