"""A rule tried on one event, as if it happened now: what would come of it, and why. Nothing is done."""

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from datetime import datetime
from typing import Any, Literal
from uuid import UUID

from rule_engine import cooldown
from rule_engine.actions import ORDER_ACTIONS
from rule_engine.evaluate import Judged, Skipped, evaluate, in_shadow
from rule_engine.rules import Rule
from shared.conditions import Leaf, check
from shared.events import Cause, Change, Event, EventData, OrderInfo, Snapshot
from shared.fields import CONTEXTS, Fields, fields_of
from shared.jsontext import api_time
from shared.misfits import Path, leaves
from shared.mistakes import pointer

SHOWN_TEXT = 100
"""Characters of a text that an action carries."""

Source = Literal["given", "stored", "made_up"]


@dataclass(frozen=True, slots=True)
class Tried:
    """What a rule is tried on, and how it stands for this customer."""

    event: Event
    source: Source
    last: datetime | None = None
    """When it fired for the customer last."""
    this_hour: int = 0
    """Firings in the hour of `now`, for whomever."""


def made_up(
    customer: Snapshot, order: OrderInfo | None, *, store_id: UUID, event_id: UUID, trigger: str, now: datetime
) -> Event:
    """An event of a customer as they are now, with their newest order where the trigger has one, and a score that
    stays. No refund and no dispute: of these there is no likely one.
    """
    context = CONTEXTS[trigger]
    stays = Change(
        old_score=customer.trust_score,
        new_score=customer.trust_score,
        old_segment=customer.segment,
        new_segment=customer.segment,
    )
    data = EventData(order=order if "order" in context else None, change=stays if "change" in context else None)
    return given(customer, data, store_id=store_id, event_id=event_id, trigger=trigger, now=now)


def given(customer: Snapshot, data: EventData, *, store_id: UUID, event_id: UUID, trigger: str, now: datetime) -> Event:
    """An event that says so, and did not happen."""
    return Event(
        id=event_id,
        type=trigger,
        store_id=store_id,
        occurred_at=now,
        recorded_at=now,
        customer=customer,
        sequence=0,
        data=data,
        cause=Cause(kind="test", id=event_id),
    )


def tried(rule: Rule, actions: Sequence[Mapping[str, Any]], on: Tried, now: datetime) -> dict[str, Any]:
    """What would come of it, as JSON with amounts as Decimals. `actions`: as the rule has them."""
    event = on.event.model_copy(update={"recorded_at": now})
    fields = fields_of(event)
    judged = evaluate(rule, event, fields)
    outcome, reason = _concluded(judged, on)
    return {
        "trigger": rule.trigger,
        "event": _shown(on),
        "outcome": outcome,
        "reason": reason,
        "values": dict(judged.values),
        "conditions": [_met(path, leaf, fields) for path, leaf in leaves(rule.conditions, ("conditions",))],
        "cooldown": _standing(rule, on, now),
        "actions": [{"type": action.get("type"), "would": would(action, on.event)} for action in actions],
    }


def _concluded(judged: Judged, on: Tried) -> tuple[str, str]:
    """Outcome and reason, with cooldown, hourly limit and mode as they stand."""
    if isinstance(judged, Skipped):
        return "failed" if judged.failed else "skipped", judged.reason
    key = cooldown.key_of(judged)
    last = {key: on.last} if key and on.last else {}
    decided = cooldown.decide([judged], last, {cooldown.hour_of(judged): on.this_hour})
    held = decided.skipped[0] if decided.skipped else in_shadow(judged)
    if held:
        return "skipped", held.reason
    return ("skipped", "off: would have fired") if judged.rule.mode == "off" else ("fired", judged.reason)


def _shown(on: Tried) -> dict[str, Any]:
    event, order = on.event, on.event.data.order
    return {
        "source": on.source,
        "event_id": str(event.id) if on.source == "stored" else None,
        "at": api_time(event.recorded_at),
        "customer": event.customer.email_hash,
        "order_id": order.id if order else None,
    }


def _standing(rule: Rule, on: Tried, now: datetime) -> dict[str, Any]:
    cooling = cooldown.still_cooling(on.last, now, rule.cooldown) if on.last and rule.cooldown else None
    return {
        "seconds": int(rule.cooldown.total_seconds()),
        "last_fired_at": api_time(on.last) if on.last else None,
        "would_wait": cooldown.words(on.last + rule.cooldown - now) if on.last and cooling else None,
        "fired_this_hour": on.this_hour,
        "hourly_limit": rule.hourly_limit,
    }


def _met(path: Path, leaf: Leaf, fields: Fields) -> dict[str, Any]:
    """`path`: to its place in the rule."""
    verdict = check(leaf, fields)
    return {
        "pointer": pointer(path),
        "field": leaf.field,
        "operator": leaf.operator,
        "value": leaf.value,
        "actual": fields.get(leaf.field),
        "met": verdict.holds,
        "reason": verdict.reason,
    }


# Actions, in words ----------------------------------------------------------------------------------------------------


def would(action: Mapping[str, Any], event: Event) -> str:
    """What an action would do. `action`: as the rule has it."""
    kind, order = str(action.get("type")), event.data.order
    if kind in ORDER_ACTIONS and order is None:
        return f"{_VERBS[kind]} no order: this event has none"
    said = _WOULD.get(kind)
    return said(action, f"order {order.number}" if order else "") if said else f"nothing: {kind} is no action"


_VERBS = {"hold_order": "hold", "cancel_order": "cancel"}


def _because(action: Mapping[str, Any]) -> str:
    return f", because: {_short(action['reason'])}" if action.get("reason") else ""


def _saying(action: Mapping[str, Any]) -> str:
    return f": {_short(action['text'])}" if action.get("text") else ""


def _short(text: object) -> str:
    said = str(text)
    return said if len(said) <= SHOWN_TEXT else said[: SHOWN_TEXT - 1] + "…"


def _webhook(action: Mapping[str, Any], _: str) -> str:
    endpoint = action.get("webhook_id")
    return f"POST to the endpoint {endpoint}, signed" if endpoint else f"POST to {_short(action.get('url'))}, signed"


_WOULD: Mapping[str, Callable[[Mapping[str, Any], str], str]] = {
    "block_customer": lambda action, _: f"block the customer{_because(action)}",
    "unblock_customer": lambda _, __: "unblock the customer",
    "allowlist_customer": lambda _, __: "put the customer on the allowlist",
    "tag_customer": lambda action, _: f"tag the customer: {_short(action.get('tag'))}",
    "add_note": lambda action, _: f"add a note{_saying(action)}",
    "hold_order": lambda action, order: f"put {order} on hold{_because(action)}",
    "cancel_order": lambda action, order: f"cancel {order}{_because(action)}",
    "send_email": lambda action, _: f"send an e-mail to {action.get('to')}: {_short(action.get('subject'))}",
    "send_slack": lambda action, _: f"send a Slack message{_saying(action)}",
    "send_webhook": _webhook,
    "recalculate_score": lambda _, __: "recalculate the customer's score",
}
