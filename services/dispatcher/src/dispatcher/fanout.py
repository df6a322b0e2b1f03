"""One event or automation becomes deliveries: which targets want it, and in which shape."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from uuid import UUID

from dispatcher.deliveries import Delivery, max_attempts
from dispatcher.destinations import webhook
from dispatcher.destinations.webhook import Site
from dispatcher.endpoints import Endpoint, Mode, Target, subscribers
from shared.events import Automation, Event
from shared.ids import derived

SHAPE = "trustlens"
SHAPE_WITHOUT_EMAIL = "trustlens/no-email"


@dataclass(frozen=True, slots=True)
class New:
    delivery: Delivery
    target: Target | None
    """None: the rule names a target that is not there; the log shall say so."""


@dataclass(slots=True)
class Fanout:
    """What a batch leads to."""

    bodies: dict[tuple[UUID, str], bytes] = field(default_factory=dict)
    """Each rendered once, by source and shape."""
    deliveries: dict[UUID, New] = field(default_factory=dict)
    """By id: a message may be in a batch twice."""


@dataclass(frozen=True, slots=True)
class Surroundings:
    """What a store has beside its events."""

    site: Site
    endpoints: Sequence[Endpoint]
    own_targets: Mapping[UUID, Target]
    """Of rule actions."""


def add_event(fanout: Fanout, event: Event, store: Surroundings, delays: Sequence[float]) -> None:
    """Every enabled endpoint that subscribed to the event gets it once."""
    for endpoint in subscribers(store.endpoints, event.type):
        _add(fanout, event, store, _settings_delivery(event, endpoint, delays), endpoint.target)


def add_automation(fanout: Fanout, automation: Automation, store: Surroundings, delays: Sequence[float]) -> None:
    """The rule's own target gets it with retries; every other subscriber as a settings webhook."""
    target_id = automation.action.target_id if automation.action.type == "send_webhook" else None
    if target_id:
        endpoint = next((e for e in store.endpoints if e.id == target_id), None)
        target = endpoint.target if endpoint else store.own_targets.get(target_id)
        _add(fanout, automation, store, _rule_delivery(automation, target_id, endpoint, delays), target)
    for endpoint in subscribers(store.endpoints, "automation_triggered"):
        if endpoint.id != target_id:
            _add(fanout, automation, store, _settings_delivery(automation, endpoint, delays), endpoint.target)


def _add(
    fanout: Fanout, source: Event | Automation, store: Surroundings, delivery: Delivery, target: Target | None
) -> None:
    key = (delivery.source_id, delivery.shape)
    if key not in fanout.bodies:
        include_email = delivery.shape != SHAPE_WITHOUT_EMAIL
        fanout.bodies[key] = webhook.render(source, store.site, include_email=include_email)
    fanout.deliveries[delivery.id] = New(delivery, target)


def _settings_delivery(source: Event | Automation, endpoint: Endpoint, delays: Sequence[float]) -> Delivery:
    return _delivery(source, endpoint.id, endpoint=endpoint, rule_id=None, mode=endpoint.mode, delays=delays)


def _rule_delivery(
    automation: Automation, target_id: UUID, endpoint: Endpoint | None, delays: Sequence[float]
) -> Delivery:
    return _delivery(automation, target_id, endpoint=endpoint, rule_id=automation.rule.id, mode="retry", delays=delays)


def _delivery(
    source: Event | Automation,
    target_id: UUID,
    *,
    endpoint: Endpoint | None,
    rule_id: UUID | None,
    mode: Mode,
    delays: Sequence[float],
) -> Delivery:
    return Delivery(
        recorded_at=source.recorded_at,
        id=derived(source.id, target_id),
        store_id=source.store_id,
        target_id=target_id,
        endpoint_id=endpoint.id if endpoint else None,
        rule_id=rule_id,
        event=webhook.event_name(source),
        source_id=source.id,
        shape=shape_of(endpoint),
        email_hash=source.customer.email_hash,
        sequence=source.sequence,
        mode=mode,
        max_attempts=max_attempts(mode, delays),
    )


def shape_of(endpoint: Endpoint | None) -> str:
    return SHAPE if endpoint is None or endpoint.include_email else SHAPE_WITHOUT_EMAIL
