"""One event or automation becomes deliveries: which targets want it, and in which shape."""

from collections.abc import Collection, Mapping, Sequence
from dataclasses import dataclass, field, replace
from uuid import UUID

from dispatcher.bursts import Key as BurstKey
from dispatcher.bursts import Sent
from dispatcher.deliveries import DISABLED, ERASED, Delivery, Step, max_attempts
from dispatcher.destinations import email, slack, webhook, woocommerce
from dispatcher.destinations.webhook import Site
from dispatcher.endpoints import Endpoint, Mode, Target, subscribers
from shared.conditions import in_words
from shared.events import Automation, Event
from shared.fields import Fields, customer_fields, fields_of
from shared.ids import derived

SHAPE = "trustlens"
SHAPE_WITHOUT_EMAIL = "trustlens/no-email"
SHAPE_SLACK = "slack"
SHAPE_EMAIL = "email"
SHAPE_ORDER = "order"


@dataclass(frozen=True, slots=True)
class New:
    delivery: Delivery
    target: Target | None
    """None: the rule names a target that is not there; the log shall say so."""
    step: Step | None = None
    """Why it is not sent at all."""


@dataclass(slots=True)
class Fanout:
    """What a batch leads to."""

    bodies: dict[tuple[UUID, str], bytes] = field(default_factory=dict)
    """Each rendered once, by source and shape."""
    deliveries: dict[UUID, New] = field(default_factory=dict)
    """By id: a message may be in a batch twice."""

    def bursts(self) -> dict[UUID, tuple[BurstKey, Sent]]:
        """The settings webhooks among them that are to be sent, as burst dedup looks at them."""
        digests: dict[tuple[UUID, str], bytes] = {}
        found: dict[UUID, tuple[BurstKey, Sent]] = {}
        for delivery_id, new in self.deliveries.items():
            delivery = new.delivery
            if new.step or delivery.rule_id or delivery.endpoint_id is None:
                continue
            key = (delivery.source_id, delivery.shape)
            digest = digests.get(key) or digests.setdefault(key, webhook.digest(self.bodies[key]))
            sent = Sent(delivery_id, digest, delivery.sequence, delivery.recorded_at)
            found[delivery_id] = ((delivery.endpoint_id, delivery.email_hash), sent)
        return found

    def suppress(self, delivery_ids: Collection[UUID], step: Step) -> None:
        for delivery_id in delivery_ids:
            self.deliveries[delivery_id] = replace(self.deliveries[delivery_id], step=step)


@dataclass(frozen=True, slots=True)
class Surroundings:
    """What a store has beside its events."""

    site: Site
    endpoints: Sequence[Endpoint]
    own_targets: Mapping[UUID, Target]
    """Of rule actions."""


def add_event(fanout: Fanout, event: Event, store: Surroundings, delays: Sequence[float]) -> None:
    """Every endpoint that subscribed to the event gets it once, or a record of why not."""
    wanting = subscribers(store.endpoints, event.type)
    fields = fields_of(event) if any(endpoint.filter for endpoint in wanting) else {}
    for endpoint in wanting:
        delivery = _settings_delivery(event, endpoint, delays)
        _add(fanout, event, store, delivery, endpoint.target, step=_kept_back(endpoint, fields))


def add_automation(fanout: Fanout, automation: Automation, store: Surroundings, delays: Sequence[float]) -> None:
    """The rule's own target gets it with retries; every other subscriber as a settings webhook."""
    shape, target_id = destination(automation)
    if target_id:
        endpoint = next((e for e in store.endpoints if e.id == target_id), None)
        target = endpoint.target if endpoint else store.own_targets.get(target_id)
        delivery = _rule_delivery(automation, target_id, shape, endpoint, delays)
        _add(fanout, automation, store, delivery, target, step=ERASED if _to_nobody(automation, shape) else None)
    told = [it for it in subscribers(store.endpoints, "automation_triggered") if it.id != target_id]
    fields = customer_fields(automation.customer) if any(endpoint.filter for endpoint in told) else {}
    for endpoint in told:
        delivery = _settings_delivery(automation, endpoint, delays)
        _add(fanout, automation, store, delivery, endpoint.target, step=_kept_back(endpoint, fields))


def _to_nobody(automation: Automation, shape: str) -> bool:
    """A mail to a customer who was erased meanwhile: what came of the erasure has no recipient."""
    return shape == SHAPE_EMAIL and "to" not in automation.action.params


def mail_server(store_id: UUID) -> UUID:
    """The target that a store's e-mails go to: one lane, one breaker."""
    return derived("smtp", store_id)


def shop(store_id: UUID) -> UUID:
    """The target that changes of a store's own orders go to."""
    return derived("orders", store_id)


def destination(automation: Automation) -> tuple[str, UUID | None]:
    """(shape, target) of what the rule itself asks for; no target: the scorer does it, and nothing is delivered."""
    match automation.action.type:
        case "send_webhook":
            return SHAPE, automation.action.target_id
        case "send_slack":
            return SHAPE_SLACK, automation.action.target_id
        case "send_email":
            return SHAPE_EMAIL, mail_server(automation.store_id)
        case "hold_order" | "cancel_order":
            return SHAPE_ORDER, shop(automation.store_id)
        case _:
            return SHAPE, None


def _kept_back(endpoint: Endpoint, fields: Fields) -> Step | None:
    if not endpoint.target.enabled:
        return DISABLED
    if (against := endpoint.decide(fields)) is not None:
        return Step("suppressed", f"filtered: {in_words(against, fields)}")
    return None


def _add(
    fanout: Fanout,
    source: Event | Automation,
    store: Surroundings,
    delivery: Delivery,
    target: Target | None,
    *,
    step: Step | None = None,
) -> None:
    key = (delivery.source_id, delivery.shape)
    if key not in fanout.bodies:
        fanout.bodies[key] = _body(source, store.site, delivery.shape)
    fanout.deliveries[delivery.id] = New(delivery, target, step)


def _body(source: Event | Automation, site: Site, shape: str) -> bytes:
    match shape, source:
        case "slack", Automation(action=action) if action.type == "send_slack":
            return slack.render(source, site, include_email=False, text=action.params.get("text"))
        case "slack", _:
            return slack.render(source, site, include_email=False)
        case "email", Automation(action=action):
            params = action.params
            return email.render(
                source, site, to=params.get("to", ""), subject=params.get("subject", ""), text=params.get("text")
            )
        case "order", Automation(action=action):
            what: woocommerce.Action = "cancel_order" if action.type == "cancel_order" else "hold_order"
            return woocommerce.render(source, action=what, reason=action.params.get("reason"))
        case _:
            return webhook.render(source, site, include_email=shape != SHAPE_WITHOUT_EMAIL)


def _settings_delivery(source: Event | Automation, endpoint: Endpoint, delays: Sequence[float]) -> Delivery:
    shape = shape_of(endpoint)
    return _delivery(source, endpoint.id, shape, endpoint=endpoint, rule_id=None, mode=endpoint.mode, delays=delays)


def _rule_delivery(
    automation: Automation, target_id: UUID, shape: str, endpoint: Endpoint | None, delays: Sequence[float]
) -> Delivery:
    shape = shape_of(endpoint) if endpoint else shape
    rule_id = automation.rule.id
    return _delivery(automation, target_id, shape, endpoint=endpoint, rule_id=rule_id, mode="retry", delays=delays)


def _delivery(
    source: Event | Automation,
    target_id: UUID,
    shape: str,
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
        shape=shape,
        email_hash=source.customer.email_hash,
        sequence=source.sequence,
        mode=mode,
        max_attempts=max_attempts(mode, delays),
    )


def shape_of(endpoint: Endpoint) -> str:
    if endpoint.format == "slack":
        return SHAPE_SLACK
    return SHAPE if endpoint.include_email else SHAPE_WITHOUT_EMAIL
