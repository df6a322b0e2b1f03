"""One item of POST /ingest/events → a fact, or the first field that is wrong with it."""

import hashlib
import json
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import Annotated, Any, Literal
from uuid import UUID

from pydantic import AfterValidator, BaseModel, BeforeValidator, ConfigDict, Field, ValidationError, model_validator

from api.body import WHOLE, BadBodyError, check
from api.ingest import cards, catalogue, fingerprints, woocommerce
from api.ingest.fields import Currency, Id, NotNegative, ShortText, Text, Time, nothing_is
from shared.events import (
    CheckoutAttempt,
    CheckoutAttemptFact,
    Decline,
    DeclineFact,
    DeletedOrder,
    DenyReason,
    Dispute,
    DisputeFact,
    DisputeStatus,
    Fact,
    OrderDeletedFact,
    OrderFact,
    ProductFact,
    RefundFact,
    ReportedRefund,
    Wire,
)
from shared.identity import normalise_email
from shared.mistakes import mistakes

SOURCE = "events"
MAX_ID = 128
MAX_FIELD = 200
"""Characters of a path that are told: an unknown field's name is the sender's, and may be long."""
MAX_EMAIL = 320
"""Characters looked at: an address in Unicode may be longer than its normal form."""
STRIPE_STATUSES: Mapping[str, DisputeStatus] = {
    "warning_needs_response": "warning",
    "warning_under_review": "warning",
    "warning_closed": "warning",
    "prevented": "warning",
    "needs_response": "open",
    "under_review": "under_review",
    "won": "won",
    "lost": "lost",
}
"""Stripe's words for a dispute's status → ours. One that was prevented (paid back before the bank filed it) costs the
store what an inquiry does: nothing yet."""


@dataclass(frozen=True, slots=True)
class Taken:
    """An item that is right."""

    id: str
    digest: bytes
    """Of the item's id: the same id again is the same item, whatever it holds."""
    body: bytes
    """The item as JSON."""
    fact: Fact


@dataclass(frozen=True, slots=True)
class Rejected:
    id: str | None
    """None where the item has none that could be repeated."""
    field: str
    """A path inside the item."""
    message: str


def read(item: object, *, store_id: UUID, key: bytes, fact_id: UUID) -> Taken | Rejected:
    """`key` is the store's, for fingerprints."""
    try:
        check(item)
        envelope = _Item.model_validate(item)
    except ValidationError as error:
        return _rejected(item, mistakes(error))
    except BadBodyError as error:
        return _rejected(item, error.params)
    make, read_data = _KINDS[envelope.type]
    try:
        data = read_data(envelope.data, key)
    except ValidationError as error:
        return _rejected(item, mistakes(error), inside="data")
    except BadBodyError as error:
        return _rejected(item, error.params, inside="data")
    fact = make(id=fact_id, store_id=store_id, occurred_at=envelope.occurred_at, data=data)
    return Taken(envelope.id, digest(store_id, envelope.id), json.dumps(item, separators=(",", ":")).encode(), fact)


def digest(store_id: UUID, item_id: str) -> bytes:
    return hashlib.sha256(b"\0".join((store_id.bytes, SOURCE.encode(), item_id.encode()))).digest()


def _rejected(item: object, found: Mapping[str, str], *, inside: str = "") -> Rejected:
    field, message = next(iter(found.items()))
    path = [part for part in (inside, field) if part and part != WHOLE]
    return Rejected(_told_id(item), (".".join(path) or "item")[:MAX_FIELD], message)


def _told_id(item: object) -> str | None:
    try:
        return _Identified.model_validate(item).id
    except ValidationError:
        return None


class _Given(BaseModel):
    model_config = ConfigDict(frozen=True, extra="forbid")


class _Identified(BaseModel):
    model_config = ConfigDict(extra="ignore")

    id: Annotated[Text, Field(min_length=1, max_length=MAX_ID)]


class _Envelope(_Given):
    id: Annotated[Text, Field(min_length=1, max_length=MAX_ID)]
    occurred_at: Time


class _Item(_Envelope):
    type: Literal["order", "order_deleted", "refund", "dispute", "decline", "checkout_attempt", "product"]
    data: dict[str, Any]


def _email(value: Any) -> str | None:
    if value is None or value == "":
        return None
    if not isinstance(value, str) or len(value) > MAX_EMAIL:
        raise ValueError("is not an e-mail address")
    return normalise_email(value)


def _ip(value: str) -> str:
    if value and fingerprints.parsed_ip(value) is None:
        raise ValueError("is not an IP address")
    return value


def _country(value: str) -> str:
    if value and not (len(value) == 2 and value.isascii() and value.isalpha()):
        raise ValueError("must be a country code of two letters")
    return value.upper()


def _status(value: Any) -> Any:
    return STRIPE_STATUSES.get(value, value) if isinstance(value, str) else value


_Email = Annotated[str | None, BeforeValidator(_email)]
_Ip = Annotated[ShortText, AfterValidator(_ip)]
_Country = Annotated[ShortText, AfterValidator(_country)]
_Payment = Annotated[Text, Field(min_length=1, max_length=woocommerce.MAX_PAYMENT)]
_Status = Annotated[DisputeStatus, BeforeValidator(_status)]


class _DeletedOrder(_Given):
    id: Id


class _RefundTold(_Given):
    id: Id
    order_id: Id
    amount: NotNegative
    reason: Annotated[Text, Field(max_length=woocommerce.MAX_REASON)] = ""


class _DisputeTold(_Given):
    id: Annotated[Text, Field(min_length=1, max_length=200)]
    order_id: Id | None = None
    payments: Annotated[tuple[_Payment, ...], Field(max_length=10), nothing_is(tuple)] = ()
    charge: _Payment | None = None
    payment_intent: _Payment | None = None
    amount: NotNegative
    currency: Currency
    reason: ShortText = ""
    status: _Status
    card_brand: ShortText = ""
    """visa, mastercard, amex and so on; where it is not given, that of the order."""

    @model_validator(mode="after")
    def _belongs_to_an_order(self) -> "_DisputeTold":
        if self.order_id is None and not self.all_payments:
            raise ValueError("must have order_id, payments, charge or payment_intent")
        return self

    @property
    def all_payments(self) -> tuple[str, ...]:
        """Distinct."""
        return tuple(name for name in dict.fromkeys((*self.payments, self.charge, self.payment_intent)) if name)


class _Decline(_Given):
    email: _Email = None
    ip: _Ip = ""
    fingerprint: ShortText = ""
    country: _Country = ""
    code: ShortText = ""


class _CheckoutAttempt(_Given):
    email: _Email = None
    ip: _Ip = ""
    fingerprint: ShortText = ""
    user_agent: Annotated[Text, Field(max_length=2000)] = ""
    """Taken, as the checkout gate takes it; no fingerprint is made of it."""
    amount: NotNegative | None = None
    currency: Currency | None = None
    decision: Literal["allow", "deny"] = "allow"
    reason: DenyReason | None = None


def _deleted_order(data: Mapping[str, Any], _: bytes) -> Wire:
    return DeletedOrder(id=_DeletedOrder.model_validate(data).id)


def _refund(data: Mapping[str, Any], _: bytes) -> Wire:
    return ReportedRefund(**_RefundTold.model_validate(data).model_dump())


def _dispute(data: Mapping[str, Any], _: bytes) -> Wire:
    given = _DisputeTold.model_validate(data)
    return Dispute(
        id=given.id,
        order_id=given.order_id,
        payments=given.all_payments,
        amount=given.amount,
        currency=given.currency,
        reason=given.reason,
        status=given.status,
        card_brand=cards.brand(given.card_brand),
    )


def _decline(data: Mapping[str, Any], key: bytes) -> Wire:
    given = _Decline.model_validate(data)
    return Decline(email=given.email, fingerprints=_fingerprints(given, key), code=given.code, country=given.country)


def _checkout_attempt(data: Mapping[str, Any], key: bytes) -> Wire:
    given = _CheckoutAttempt.model_validate(data)
    return CheckoutAttempt(
        email=given.email,
        fingerprints=_fingerprints(given, key),
        amount=given.amount,
        currency=given.currency or "",
        decision=given.decision,
        reason=given.reason,
    )


def _fingerprints(given: _Decline | _CheckoutAttempt, key: bytes) -> tuple[str, ...]:
    return fingerprints.hashed(key, {"ip": fingerprints.ip(given.ip), "device": fingerprints.device(given.fingerprint)})


def _product(data: Mapping[str, Any], _: bytes) -> Wire:
    return catalogue.product(catalogue.WcProduct.model_validate(data))


_KINDS: Mapping[str, tuple[Callable[..., Fact], Callable[[Mapping[str, Any], bytes], Wire]]] = {
    "order": (OrderFact, woocommerce.read_order),
    "order_deleted": (OrderDeletedFact, _deleted_order),
    "refund": (RefundFact, _refund),
    "dispute": (DisputeFact, _dispute),
    "decline": (DeclineFact, _decline),
    "checkout_attempt": (CheckoutAttemptFact, _checkout_attempt),
    "product": (ProductFact, _product),
}


TYPES = tuple(_KINDS)


# As they are described. Items are read in two steps, so that what is wrong with `data` is told by the field in it. ----


class OrderEvent(_Envelope):
    type: Literal["order"]
    data: woocommerce.WcOrder


class OrderDeletedEvent(_Envelope):
    type: Literal["order_deleted"]
    data: _DeletedOrder


class RefundEvent(_Envelope):
    type: Literal["refund"]
    data: _RefundTold


class DisputeEvent(_Envelope):
    type: Literal["dispute"]
    data: _DisputeTold


class DeclineEvent(_Envelope):
    type: Literal["decline"]
    data: _Decline


class CheckoutAttemptEvent(_Envelope):
    type: Literal["checkout_attempt"]
    data: _CheckoutAttempt


class ProductEvent(_Envelope):
    type: Literal["product"]
    data: catalogue.WcProduct


Described = Annotated[
    OrderEvent | OrderDeletedEvent | RefundEvent | DisputeEvent | DeclineEvent | CheckoutAttemptEvent | ProductEvent,
    Field(discriminator="type"),
]
