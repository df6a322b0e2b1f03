"""Rules to start from, off until somebody switches them on. They are installed as a store's own, to be changed."""

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Annotated, Any, Literal, assert_never
from uuid import UUID

from pydantic import AfterValidator, Field, StrictStr, model_validator
from pydantic_core import PydanticCustomError

from rule_engine.actions import Body, Recipient, not_slack
from shared.targets import TargetUrl

Need = Literal["webhook", "slack", "notice"]
"""Where a starter sends: to a webhook, to Slack, or to Slack or an e-mail address, whichever there is."""


class Install(Body):
    """What `POST /rules/starters` takes. Validate with a Reach as the context."""

    starters: tuple[StrictStr, ...] | None = Field(default=None, max_length=50)
    """Their keys; null: all for which there is what they need."""
    webhook_id: UUID | None = None
    webhook_url: Annotated[TargetUrl, AfterValidator(not_slack)] | None = None
    slack_url: TargetUrl | None = None
    email: Recipient | None = None

    @model_validator(mode="after")
    def _one_webhook(self) -> "Install":
        if self.webhook_id and self.webhook_url:
            raise PydanticCustomError("webhook", "has both a webhook_id and a webhook_url: give one")
        return self


@dataclass(frozen=True, slots=True)
class Starter:
    """A rule without the actions that need to know where to send."""

    key: str
    name: str
    description: str
    trigger: str
    conditions: Mapping[str, Any] | None
    actions: tuple[Mapping[str, Any], ...] = ()
    """What it does beside sending."""
    needs: Need | None = None
    says: str = ""
    """In Slack, or as the subject of an e-mail."""


@dataclass(frozen=True, slots=True)
class Chosen:
    bodies: Mapping[str, Mapping[str, Any]]
    """By key, as `POST /rules` takes them."""
    skipped: Mapping[str, str] = field(default_factory=dict)
    """By key, what it would have needed."""
    problems: Mapping[str, str] = field(default_factory=dict)
    """Dotted path to what is wrong. With any, nothing is to be installed."""


def chosen(asked: Install) -> Chosen:
    keys = asked.starters if asked.starters is not None else tuple(STARTERS)
    told = f"is not known: the starters are {', '.join(STARTERS)}"
    unknown = {f"starters.{n}": told for n, key in enumerate(keys) if key not in STARTERS}
    if unknown:
        return Chosen({}, problems=unknown)
    lacking = {key: lack for key in keys if (lack := _lack(STARTERS[key], asked))}
    if asked.starters is not None and lacking:
        return Chosen({}, problems={f"starters.{keys.index(key)}": f"{key} {lack}" for key, lack in lacking.items()})
    return Chosen({key: _body(STARTERS[key], asked) for key in keys if key not in lacking}, skipped=lacking)


def _lack(starter: Starter, asked: Install) -> str | None:
    match starter.needs:
        case "webhook" if not (asked.webhook_id or asked.webhook_url):
            return "needs a webhook_id or a webhook_url"
        case "slack" if not asked.slack_url:
            return "needs a slack_url"
        case "notice" if not (asked.slack_url or asked.email):
            return "needs a slack_url or an email"
        case _:
            return None


def _body(starter: Starter, asked: Install) -> dict[str, Any]:
    return {
        "name": starter.name,
        "description": starter.description,
        "trigger": starter.trigger,
        "conditions": starter.conditions,
        "actions": [*starter.actions, *_sending(starter, asked)],
        "mode": "off",
    }


def _sending(starter: Starter, asked: Install) -> list[dict[str, Any]]:
    slack = {"type": "send_slack", "url": asked.slack_url, "text": starter.says}
    email = {"type": "send_email", "to": asked.email, "subject": starter.says}
    match starter.needs:
        case "webhook":
            to = {"webhook_id": str(asked.webhook_id)} if asked.webhook_id else {"url": asked.webhook_url}
            return [{"type": "send_webhook", **to}]
        case "slack":
            return [slack]
        case "notice":
            return [*([slack] if asked.slack_url else []), *([email] if asked.email else [])]
        case None:
            return []
        case _:
            assert_never(starter.needs)


def listed() -> list[dict[str, Any]]:
    """What `GET /rules/starters` shows."""
    return [
        {
            "key": starter.key,
            "name": starter.name,
            "description": starter.description,
            "trigger": starter.trigger,
            "conditions": starter.conditions,
            "actions": [*(action["type"] for action in starter.actions), *_SENDS[starter.needs]],
            "needs": _ASKED[starter.needs],
        }
        for starter in STARTERS.values()
    ]


_SENDS: Mapping[Need | None, tuple[str, ...]] = {
    "webhook": ("send_webhook",),
    "slack": ("send_slack",),
    "notice": ("send_slack", "send_email"),
    None: (),
}
_ASKED: Mapping[Need | None, list[str]] = {
    "webhook": ["webhook_id", "webhook_url"],
    "slack": ["slack_url"],
    "notice": ["slack_url", "email"],
    None: [],
}
"""Of these, one at least."""


def _leaf(name: str, operator: str, value: object) -> dict[str, Any]:
    return {"field": name, "operator": operator, "value": value}


def _all(*parts: Mapping[str, Any]) -> dict[str, Any]:
    return {"all": list(parts)}


WATCH = "trustlens-watch"
"""The tag of the graduated response."""

STARTERS: Mapping[str, Starter] = {
    starter.key: starter
    for starter in (
        Starter(
            key="risk_order_over_200",
            name="Risk customer orders for more than 200",
            description="Tells another system of each larger order of a customer in the Risk segment.",
            trigger="order_placed",
            conditions=_all(_leaf("segment", "=", "risk"), _leaf("order.total", ">", 200)),
            needs="webhook",
        ),
        Starter(
            key="segment_to_crm",
            name="Segment changes go to the CRM",
            description="Tells the CRM only when a customer's segment changes, not at every score.",
            trigger="segment_changed",
            conditions=None,
            needs="webhook",
        ),
        Starter(
            key="risk_below_30",
            name="Risk customer falls below 30",
            description="Tells another system of customers in the Risk segment with a trust score below 30.",
            trigger="score_updated",
            conditions=_all(_leaf("segment", "=", "risk"), _leaf("trust_score", "<", 30)),
            needs="webhook",
        ),
        Starter(
            key="hold_high_risk_orders",
            name="Hold high-risk orders",
            description="Puts an order of a Risk or Critical customer on hold until somebody has looked at it.",
            trigger="high_risk_order",
            conditions=None,
            actions=({"type": "hold_order", "reason": "The customer is high risk: look before it ships."},),
        ),
        Starter(
            key="block_repeated_chargebacks",
            name="Block after the second chargeback",
            description="Blocks a customer with two or more disputes and a trust score below 30, and says so in Slack.",
            trigger="chargeback_filed",
            conditions=_all(
                _leaf("total_disputes", ">=", 2), _leaf("trust_score", "<", 30), _leaf("is_blocked", "=", value=False)
            ),
            actions=({"type": "block_customer", "reason": "Repeated chargebacks"},),
            needs="slack",
            says="A customer with repeated chargebacks was blocked.",
        ),
        Starter(
            key="notify_critical",
            name="Somebody became Critical",
            description="Says in Slack, by e-mail, or both, that a customer fell to the Critical segment.",
            trigger="segment_changed",
            conditions=_all(_leaf("new_segment", "=", "critical")),
            needs="notice",
            says="A customer became Critical.",
        ),
        Starter(
            key="graduated_1_note",
            name="Graduated response 1: note",
            description="Leaves a note when a customer falls to Caution.",
            trigger="segment_changed",
            conditions=_all(_leaf("new_segment", "=", "caution"), _leaf("score_delta", "<", 0)),
            actions=({"type": "add_note", "text": "Fell to Caution: keep an eye on returns."},),
        ),
        Starter(
            key="graduated_2_tag",
            name="Graduated response 2: tag",
            description=f"Tags a customer who falls to Risk or Critical with {WATCH}.",
            trigger="segment_changed",
            conditions=_all(_leaf("new_segment", "in", ["risk", "critical"]), _leaf("score_delta", "<", 0)),
            actions=({"type": "tag_customer", "tag": WATCH},),
        ),
        Starter(
            key="graduated_3_hold",
            name="Graduated response 3: hold",
            description=f"Puts high-risk orders of customers tagged {WATCH} on hold.",
            trigger="high_risk_order",
            conditions=_all(_leaf("tags", "contains", WATCH)),
            actions=({"type": "hold_order", "reason": "The customer is being watched: look before it ships."},),
        ),
        Starter(
            key="graduated_4_block",
            name="Graduated response 4: block",
            description="Blocks a watched customer who is Critical and asks for yet another refund.",
            trigger="order_refunded",
            conditions=_all(
                _leaf("tags", "contains", WATCH),
                _leaf("segment", "=", "critical"),
                _leaf("return_rate", ">=", 60),
                _leaf("is_blocked", "=", value=False),
            ),
            actions=({"type": "block_customer", "reason": "Critical, watched, and refunded again"},),
        ),
    )
}
