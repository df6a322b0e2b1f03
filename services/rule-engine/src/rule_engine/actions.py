"""What a rule may do, as a store owner asks for it. An action is kept and shown as JSON of the same form, with the id
of its target in place of a secret, and its headers masked.
"""

from collections.abc import Mapping
from email.errors import MessageError
from email.headerregistry import Address
from typing import Annotated, Any, Literal
from urllib.parse import urlsplit
from uuid import UUID

import idna
from pydantic import (
    AfterValidator,
    BaseModel,
    BeforeValidator,
    ConfigDict,
    Discriminator,
    Field,
    StrictInt,
    StrictStr,
    StringConstraints,
    Tag,
    WithJsonSchema,
)
from pydantic_core import PydanticCustomError

from shared.identity import MAX_EMAIL
from shared.misfits import MAX_TAG
from shared.targets import MASK, SLACK_HOST, TargetHeaders, TargetUrl

MAX_REASON = 500
MAX_NOTE = 5000
MAX_SLACK = 3000
"""Characters: Slack's Block Kit takes no more in one text."""
MAX_MAIL = 10_000
MAX_SUBJECT = 200
SLACK_TIMEOUT = 10
"""Seconds."""


def _storable(text: str) -> str:
    if "\0" in text:
        raise PydanticCustomError("nul", "has a NUL character")
    return text


def _printable(text: str) -> str:
    if not text.isprintable():
        raise PydanticCustomError("unprintable", "has line breaks or control characters")
    return text


def not_slack(url: str) -> str:
    if is_slack(url):
        raise PydanticCustomError("slack", "takes Slack messages only: use send_slack")
    return url


def is_slack(url: str) -> bool:
    return urlsplit(url).hostname == SLACK_HOST


def _one_recipient(text: str) -> str:
    """As the dispatcher will read it: what it takes here, it can send."""
    local, _, domain = text.rpartition("@")
    try:
        if not (local and domain) or not text.isprintable() or " " in text or "=?" in text:
            raise ValueError("not an address")  # noqa: TRY301  # told below, with all the others
        Address(addr_spec=f"{local}@{idna.encode(domain, uts46=True).decode()}")
    except (ValueError, MessageError, IndexError):
        raise PydanticCustomError("recipient", "must be one e-mail address") from None
    return text


Storable, Printable = AfterValidator(_storable), AfterValidator(_printable)
Text = Annotated[StrictStr, Storable]
Reason = Annotated[StrictStr, Field(max_length=MAX_REASON), Storable]
Recipient = Annotated[
    StrictStr,
    Field(max_length=MAX_EMAIL),
    AfterValidator(_one_recipient),
    WithJsonSchema({"type": "string", "format": "email", "maxLength": MAX_EMAIL}),
]


class Body(BaseModel):
    """Something that a store owner sends: what it does not know is a mistake."""

    model_config = ConfigDict(frozen=True, extra="forbid")


class SendToUrl(Body):
    """`send_webhook` to a target of the action's own."""

    type: Literal["send_webhook"]
    url: Annotated[TargetUrl, AfterValidator(not_slack)]
    secret: Annotated[StrictStr, Field(max_length=1024), Storable] | None = Field(default=None, repr=False)
    """Blank: the target's, or a new one is generated, for a rule's webhook is never unsigned."""
    headers: TargetHeaders = Field(default_factory=dict, repr=False)
    timeout: StrictInt = Field(default=10, ge=1, le=30)
    target_id: UUID | None = None
    """The target that an earlier version of this rule made; it keeps its id, its secret and its masked headers."""


class SendToEndpoint(Body):
    """`send_webhook` to an endpoint of the store's."""

    type: Literal["send_webhook"]
    webhook_id: UUID


class SendSlack(Body):
    type: Literal["send_slack"]
    url: TargetUrl
    text: Annotated[StrictStr, Field(max_length=MAX_SLACK), Storable] | None = None
    target_id: UUID | None = None


class SendEmail(Body):
    type: Literal["send_email"]
    to: Recipient
    subject: Annotated[StrictStr, Field(min_length=1, max_length=MAX_SUBJECT), Printable]
    text: Annotated[StrictStr, Field(max_length=MAX_MAIL), Storable] | None = None


class BlockCustomer(Body):
    type: Literal["block_customer"]
    reason: Reason | None = None


class TagCustomer(Body):
    type: Literal["tag_customer"]
    tag: Annotated[StrictStr, StringConstraints(strip_whitespace=True, min_length=1, max_length=MAX_TAG), Printable]


class AddNote(Body):
    type: Literal["add_note"]
    text: Annotated[StrictStr, Field(min_length=1, max_length=MAX_NOTE), Storable]


class ChangeOrder(Body):
    """In the store itself, through its REST API."""

    type: Literal["hold_order", "cancel_order"]
    reason: Reason | None = None


class OfCustomer(Body):
    """What needs no more than its customer."""

    type: Literal["unblock_customer", "allowlist_customer", "recalculate_score"]


LABELS: Mapping[str, str] = {
    "block_customer": "Block the customer",
    "unblock_customer": "Unblock the customer",
    "allowlist_customer": "Put the customer on the allowlist",
    "tag_customer": "Tag the customer",
    "add_note": "Add a note to the customer",
    "hold_order": "Put the order on hold",
    "cancel_order": "Cancel the order",
    "send_email": "Send an e-mail",
    "send_slack": "Send a Slack message",
    "send_webhook": "Send a webhook",
    "recalculate_score": "Recalculate the score",
}
"""Every action."""
ORDER_ACTIONS = frozenset(("hold_order", "cancel_order"))
OUTSIDE_ACTIONS = frozenset(("send_webhook", "send_slack", "send_email")) | ORDER_ACTIONS
"""Those that reach beyond TrustLens."""
PARAMS: Mapping[str, tuple[str, ...]] = {
    "block_customer": ("reason",),
    "tag_customer": ("tag",),
    "add_note": ("text",),
    "hold_order": ("reason",),
    "cancel_order": ("reason",),
    "send_email": ("to", "subject", "text"),
    "send_slack": ("text",),
}
"""What of an action is told to who does it, beside its target."""

_TAGS = dict.fromkeys(ORDER_ACTIONS, "<order>") | dict.fromkeys(
    ("unblock_customer", "allowlist_customer", "recalculate_score"), "<customer>"
)


def _known(given: Any) -> Any:
    """By hand: one word about the type, instead of one about each kind of action that it is not."""
    if isinstance(given, Body):
        return given
    kind = given.get("type") if isinstance(given, Mapping) else None
    if not isinstance(kind, str):
        raise PydanticCustomError("action", "must be an object with a type")
    if kind not in LABELS:
        raise PydanticCustomError("action", "is not known: {kind} is no action", {"kind": kind[:100]})
    return given


def _tag(given: Any) -> str:
    kind = str(given.get("type") if isinstance(given, Mapping) else given.type)
    to_endpoint = "webhook_id" in given if isinstance(given, Mapping) else isinstance(given, SendToEndpoint)
    return "<endpoint>" if kind == "send_webhook" and to_endpoint else _TAGS.get(kind, f"<{kind}>")


NewAction = Annotated[
    Annotated[SendToUrl, Tag("<send_webhook>")]
    | Annotated[SendToEndpoint, Tag("<endpoint>")]
    | Annotated[SendSlack, Tag("<send_slack>")]
    | Annotated[SendEmail, Tag("<send_email>")]
    | Annotated[BlockCustomer, Tag("<block_customer>")]
    | Annotated[TagCustomer, Tag("<tag_customer>")]
    | Annotated[AddNote, Tag("<add_note>")]
    | Annotated[ChangeOrder, Tag("<order>")]
    | Annotated[OfCustomer, Tag("<customer>")],
    Discriminator(_tag),
    BeforeValidator(_known),
]


def action_json(action: NewAction, target_id: UUID | None) -> dict[str, Any]:
    """As it is kept and shown. `target_id`: of an action with a target of its own; None: it has none, or none yet."""
    target = {"target_id": str(target_id)} if target_id else {}
    match action:
        case SendToUrl():
            return {
                "type": action.type,
                **target,
                "url": action.url,
                "headers": dict.fromkeys(action.headers, MASK),
                "timeout": action.timeout,
            }
        case SendSlack():
            shown = {"type": action.type, **target, "url": action.url}
            return shown | ({"text": action.text} if action.text else {})
        case _:
            return action.model_dump(mode="json", exclude_none=True)
