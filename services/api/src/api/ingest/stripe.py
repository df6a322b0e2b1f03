"""An event of Stripe → a dispute, a card that paid or was declined, or what is wrong with it. Shapes of its API."""

import hashlib
import hmac
import re
from collections.abc import Mapping
from dataclasses import dataclass
from datetime import UTC, datetime
from decimal import Decimal
from typing import Annotated, Any, TypeVar
from uuid import UUID

from pydantic import BaseModel, BeforeValidator, ConfigDict, Field, ValidationError

from api.body import BadBodyError, parse_object
from api.ingest import cards, fingerprints
from api.ingest.fields import Currency, LooseText, ShortText, Text, loose_text
from api.ingest.generic import STRIPE_STATUSES
from api.ingest.woocommerce import MAX_PAYMENT
from shared.events import Decline, DeclineFact, Dispute, DisputeFact, DisputeStatus, Fact, Payment, PaymentFact
from shared.identity import normalise_email
from shared.mistakes import mistakes

M = TypeVar("M", bound=BaseModel)

SOURCE = "stripe"
MAX_BODY = 1024 * 1024
"""Bytes: an event with all the evidence of a dispute has some ten thousand."""
MAX_REASON = 200
TOLERANCE = 300
"""Seconds that Stripe's clock and ours may differ, delivery included: what Stripe's own libraries allow."""

NO_DECIMALS = frozenset(
    ["BIF", "CLP", "DJF", "GNF", "JPY", "KMF", "KRW", "MGA", "PYG", "RWF", "VND", "VUV", "XAF", "XOF", "XPF"]
)
"""Currencies whose amounts Stripe tells whole. ISK and UGX are too, but it tells them in hundredths, as it used to."""
THREE_DECIMALS = frozenset(["BHD", "JOD", "KWD", "OMR", "TND"])

_DISPUTES = frozenset(
    f"charge.dispute.{what}" for what in ("created", "updated", "closed", "funds_withdrawn", "funds_reinstated")
)
_FAILURES = frozenset({"payment_intent.payment_failed", "charge.failed"})
_SUCCESS = "charge.succeeded"
"""Of use for the card's brand alone, which WooCommerce Stripe does not leave with its orders."""
_OBJECT = "data.object."
_IGNORED = "Accepted, but events of this type have no effect."
_NO_DECLINE = "Accepted, but of no effect: it is no declined card."
_NO_CARD = "Accepted, but of no effect: it was not paid with a card of a known brand."
_SIGNATURE = re.compile(r"[0-9a-f]{64}")


def signature_fault(raw: bytes, secret: str, header: str, now: datetime) -> str | None:
    """What is wrong with a Stripe-Signature (`t=seconds,v1=hex,…`), in words; None: nothing.

    Several v1 are there while a secret is rolled: one that fits is enough. Each is compared in constant time, and the
    time is looked at only where one fits.
    """
    parts = [part.strip().partition("=") for part in header.split(",")]
    times = [value for name, _, value in parts if name == "t"]
    given = [value for name, _, value in parts if name == "v1" and _SIGNATURE.fullmatch(value)]
    if len(times) != 1 or not re.fullmatch(r"[0-9]{1,12}", times[0]):
        return "Stripe-Signature is missing, or is none: t=<seconds>,v1=<hex>."
    expected = hmac.new(secret.encode(), times[0].encode() + b"." + raw, hashlib.sha256).hexdigest()
    if not any([hmac.compare_digest(expected, one) for one in given]):  # noqa: C419  # all, however early one fits
        return "Stripe-Signature does not fit the body and the secret."
    if abs(now.timestamp() - int(times[0])) > TOLERANCE:
        return f"Stripe-Signature is of another time: more than {TOLERANCE} s from now."
    return None


@dataclass(frozen=True, slots=True)
class Told:
    """An event that tells something."""

    digest: bytes
    """Tells it from every other."""
    fact: Fact


def read(raw: bytes, *, store_id: UUID, key: bytes, fact_id: UUID) -> Told | str:
    """A text where it has no effect. `key` is the store's, for fingerprints.

    Raises:
        BadBodyError: it is no event, or its object is not what its type says; every bad field is named.
    """
    body = parse_object(raw)
    kind = _checked(_Typed, body).type
    if kind in _DISPUTES:
        event = _checked(Event, body)
        dispute = _dispute(_checked(_Dispute, event.data.object, inside=_OBJECT))
        fact: Fact = DisputeFact(id=fact_id, store_id=store_id, occurred_at=event.created, data=dispute)
        return Told(_digest(store_id, event.id), fact)
    if kind in _FAILURES:
        event = _checked(Event, body)
        failure = _failure(kind, event, key)
        if failure is None:
            return _NO_DECLINE
        charge, decline = failure
        fact = DeclineFact(id=fact_id, store_id=store_id, occurred_at=event.created, data=decline)
        return Told(_digest(store_id, charge or event.id), fact)
    if kind == _SUCCESS:
        event = _checked(Event, body)
        payment = _payment(_checked(_Charge, event.data.object, inside=_OBJECT))
        if payment is None:
            return _NO_CARD
        fact = PaymentFact(id=fact_id, store_id=store_id, occurred_at=event.created, data=payment)
        return Told(_digest(store_id, event.id), fact)
    return _IGNORED


def _failure(kind: str, event: "Event", key: bytes) -> tuple[str, Decline] | None:
    """With the charge: two events tell of one declined card, and both name it. None: no card was declined."""
    if kind == "charge.failed":
        charge = _checked(_Charge, event.data.object, inside=_OBJECT)
        method = charge.payment_method_details
        if method.type != "card":
            return None
        code = charge.outcome.reason or charge.failure_code
        return charge.id, _decline(charge, charge.billing_details, method.card, code, key)
    intent = _checked(_Intent, event.data.object, inside=_OBJECT)
    error = intent.last_payment_error
    if error.type != "card_error":
        return None
    method, code = error.payment_method, error.decline_code or error.code
    return error.charge or intent.latest_charge, _decline(intent, method.billing_details, method.card, code, key)


def _payment(charge: "_Charge") -> Payment | None:
    brand = cards.brand(charge.payment_method_details.card.brand)
    names = tuple(name for name in (charge.id, charge.payment_intent) if name)
    return Payment(payments=names, card_brand=brand) if brand else None


def _dispute(given: "_Dispute") -> Dispute:
    places = 0 if given.currency in NO_DECIMALS else 3 if given.currency in THREE_DECIMALS else 2
    return Dispute(
        id=given.id,
        payments=tuple(name for name in dict.fromkeys((given.charge, given.payment_intent)) if name),
        amount=Decimal(given.amount).scaleb(-places),
        currency=given.currency,
        reason=given.reason[:MAX_REASON],
        status=given.status,
        card_brand=cards.brand(given.payment_method_details.card.brand),
    )


def _decline(payment: "_Payment", billing: "_Billing", card: "_Card", code: str, key: bytes) -> Decline:
    """The fingerprint is that of the card as orders have it: by brand and last digits."""
    country = (card.country or billing.address.country).upper()
    return Decline(
        email=_email(billing.email or payment.receipt_email or payment.metadata.customer_email),
        fingerprints=fingerprints.hashed(key, {"payment": fingerprints.card(card.brand, card.last4)}),
        code=code[:MAX_REASON],
        country=country if re.fullmatch(r"[A-Z]{2}", country) else "",
    )


def _email(raw: str) -> str | None:
    try:
        return normalise_email(raw) if raw else None
    except ValueError:
        return None


def _checked(model: type[M], body: Mapping[str, Any], *, inside: str = "") -> M:
    try:
        return model.model_validate(body)
    except ValidationError as error:
        raise BadBodyError({f"{inside}{field}": told for field, told in mistakes(error).items()}) from None


def _digest(store_id: UUID, name: str) -> bytes:
    return hashlib.sha256(b"\0".join((store_id.bytes, SOURCE.encode(), name.encode()))).digest()


class _Stripe(BaseModel):
    model_config = ConfigDict(frozen=True, extra="ignore")


def _moment(value: Any) -> datetime:
    if type(value) is not int or not 631_152_000 <= value < 7_258_118_400:  # 1990 to 2200
        raise ValueError("must be a time in seconds since 1970")
    return datetime.fromtimestamp(value, UTC)


def _status(value: Any) -> DisputeStatus:
    if not isinstance(value, str) or value not in STRIPE_STATUSES:
        raise ValueError(f"must be one of {', '.join(STRIPE_STATUSES)}")
    return STRIPE_STATUSES[value]


def _part(value: Any) -> Any:
    """Nothing, where it stands for nothing or is told by its id alone."""
    return value if isinstance(value, dict) else {}


def _named(value: Any) -> str:
    """The id of what may be told whole, too."""
    return loose_text(value.get("id") if isinstance(value, dict) else value, MAX_PAYMENT)


_Name = Annotated[Text, Field(min_length=1, max_length=MAX_PAYMENT)]
_Named = Annotated[str, BeforeValidator(_named)]
_Part = BeforeValidator(_part)
_Minor = Annotated[int, Field(strict=True, ge=0, lt=10**15)]


class _Typed(_Stripe):
    type: ShortText


class _Data(_Stripe):
    object: dict[str, Any]


class Event(_Typed):
    """As Stripe sends it; what else it has is passed over."""

    id: _Name
    created: Annotated[datetime, BeforeValidator(_moment)]
    """When this happened: `data.object` is as it was then, however late the event comes."""
    data: _Data


class _Address(_Stripe):
    country: LooseText = ""


class _Billing(_Stripe):
    email: LooseText = ""
    address: Annotated[_Address, _Part] = _Address()


class _Card(_Stripe):
    brand: LooseText = ""
    last4: LooseText = ""
    country: LooseText = ""
    """That of the bank which issued it."""


class _Method(_Stripe):
    type: LooseText = ""
    billing_details: Annotated[_Billing, _Part] = _Billing()
    card: Annotated[_Card, _Part] = _Card()


class _Dispute(_Stripe):
    id: _Name
    amount: _Minor
    currency: Currency
    charge: _Named = ""
    payment_intent: _Named = ""
    reason: LooseText = ""
    status: Annotated[DisputeStatus, BeforeValidator(_status)]
    payment_method_details: Annotated[_Method, _Part] = _Method()


class _Error(_Stripe):
    type: LooseText = ""
    code: LooseText = ""
    decline_code: LooseText = ""
    charge: _Named = ""
    payment_method: Annotated[_Method, _Part] = _Method()


class _Metadata(_Stripe):
    customer_email: LooseText = ""
    """WooCommerce Stripe writes it."""


class _Payment(_Stripe):
    id: _Name
    receipt_email: LooseText = ""
    metadata: Annotated[_Metadata, _Part] = _Metadata()


class _Intent(_Payment):
    latest_charge: _Named = ""
    last_payment_error: Annotated[_Error, _Part] = _Error()


class _Outcome(_Stripe):
    reason: LooseText = ""


class _Charge(_Payment):
    payment_intent: _Named = ""
    failure_code: LooseText = ""
    outcome: Annotated[_Outcome, _Part] = _Outcome()
    billing_details: Annotated[_Billing, _Part] = _Billing()
    payment_method_details: Annotated[_Method, _Part] = _Method()
