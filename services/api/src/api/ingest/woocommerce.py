"""A WooCommerce webhook → an order, or what is wrong with it, naming the field. Shapes of wc/v3."""

import base64
import hashlib
import hmac
import re
from collections.abc import Callable
from datetime import UTC, datetime
from decimal import Decimal
from typing import Annotated, Any
from uuid import UUID

from pydantic import AfterValidator, BaseModel, BeforeValidator, ConfigDict, Field, ValidationError

from api.body import BadBodyError, is_storable, parse_object
from shared.events import Order, Refund
from shared.identity import normalise_email
from shared.mistakes import mistakes

ORDER_TOPICS = frozenset({"order.created", "order.updated", "order.restored"})
"""Topics whose body is an order. The others are accepted and ignored: a refusal would disable the webhook."""

MAX_BODY = 2 * 1024 * 1024
MAX_REASON = 500
MAX_ITEMS = 2**31 - 1
_PING = re.compile(rb"webhook_id=[0-9]{1,20}")
_AMOUNT = re.compile(r"-?[0-9]{1,15}(\.[0-9]{1,20})?")
_YEARS = range(1990, 2200)
"""Orders are imported from shops older than WooCommerce; beyond this a date is a mistake."""


def is_ping(raw: bytes, content_type: str) -> bool:
    """What a store sends when a webhook is made: a form without signature, to which only 200 counts."""
    return content_type == "application/x-www-form-urlencoded" and _PING.fullmatch(raw) is not None


def is_signed(raw: bytes, secret: str, signature: str) -> bool:
    """Whether X-WC-Webhook-Signature is base64(HMAC-SHA256(raw body, secret)); compared in constant time."""
    expected = base64.b64encode(hmac.new(secret.encode(), raw, hashlib.sha256).digest())
    return hmac.compare_digest(expected, signature.strip().encode("utf-8", "surrogateescape"))


def digest(store_id: UUID, *, source: str, webhook_id: str, delivery_id: str, raw: bytes) -> bytes:
    """What tells one delivery from another. The delivery id alone does not: it is webhook id and second."""
    parts = (part.encode("utf-8", "surrogateescape") for part in (source, webhook_id, delivery_id))
    # Headers hold no NUL, so no two different deliveries join to the same bytes.
    return hashlib.sha256(b"\0".join((store_id.bytes, *parts, hashlib.sha256(raw).digest()))).digest()


def parse_order(raw: bytes) -> Order:
    """
    Raises:
        BadBodyError: it is no order that could be stored; every bad field is named.
    """
    body = parse_object(raw)
    if _is_rest_error(body):
        raise BadBodyError({"code": "is a REST error, not an order: the webhook's owner may not read orders"})
    try:
        return _order(_WcOrder.model_validate(body))
    except ValidationError as error:
        raise BadBodyError(mistakes(error)) from None


def _is_rest_error(body: dict[str, Any]) -> bool:
    """What WooCommerce sends, signed, when the user who made the webhook lost the right to read the resource."""
    return "id" not in body and "code" in body and "message" in body


def _text(value: str) -> str:
    if not is_storable(value):
        raise ValueError("holds a character that cannot be stored")
    return value


def _as_text(value: Any) -> Any:
    """PHP writes null for what was never set, and order number plugins write integers."""
    if value is None:
        return ""
    return str(value) if type(value) is int else value


def _whole(value: Any) -> Any:
    if isinstance(value, bool):  # pydantic would read true as 1
        raise ValueError("must be an integer")  # noqa: TRY004  # pydantic names the field of a ValueError only
    return value


def _amount(value: Any) -> Decimal:
    """A decimal string, or a number as some plugins write it; neither exponent nor NaN."""
    text = str(value) if isinstance(value, str | int | float) and not isinstance(value, bool) else ""
    if not _AMOUNT.fullmatch(text):
        raise ValueError("must be a decimal number with at most 15 digits before the point")
    return Decimal(text)


def _not_negative(value: Decimal) -> Decimal:
    if value < 0:
        raise ValueError("must not be negative")
    return abs(value)  # -0.00 becomes 0.00


def _utc(value: Any) -> datetime:
    """A *_gmt date: UTC, although written without an offset."""
    if not isinstance(value, str):
        raise ValueError("must be a date and time like 2026-01-31T23:59:59")  # noqa: TRY004  # as in _whole
    try:
        at = datetime.fromisoformat(value)
    except ValueError:
        raise ValueError("must be a date and time like 2026-01-31T23:59:59") from None
    if at.year not in _YEARS:
        raise ValueError("lies too far from the present")
    return at.replace(tzinfo=UTC) if at.tzinfo is None else at.astimezone(UTC)


def _status(value: str) -> str:
    status = value.removeprefix("wc-")
    if not 0 < len(status) <= 40:
        raise ValueError("must have 1 to 40 characters")
    return status


def _nothing_is(empty: Callable[[], Any]) -> BeforeValidator:
    """What was never set: null, or [], PHP's only way to write an empty array, whatever it would have held."""
    return BeforeValidator(lambda value: empty() if value is None or value == [] else value)


def _unique_ids(refunds: "tuple[_WcRefund, ...]") -> "tuple[_WcRefund, ...]":
    """The same entry listed twice is one; two that contradict each other cannot both be true."""
    different = tuple(dict.fromkeys(refunds))
    if len({refund.id for refund in different}) < len(different):
        raise ValueError("holds two different refunds with the same id")
    return different


_Id = Annotated[int, BeforeValidator(_whole), Field(ge=1, le=2**63 - 1)]
_Text = Annotated[str, BeforeValidator(_as_text), AfterValidator(_text)]
_ShortText = Annotated[_Text, Field(max_length=200)]
_Amount = Annotated[Decimal, BeforeValidator(_amount)]
_Time = Annotated[datetime, BeforeValidator(_utc)]


class _Wc(BaseModel):
    model_config = ConfigDict(frozen=True, extra="ignore")


class _WcAddress(_Wc):
    country: _ShortText = ""


class _WcBilling(_WcAddress):
    email: _Text = ""


class _WcLine(_Wc):
    quantity: Annotated[float, BeforeValidator(_whole), _nothing_is(int), Field(ge=0, le=1e9, allow_inf_nan=False)] = 0
    """Shops that sell by weight have fractions."""


class _WcRefund(_Wc):
    id: _Id
    total: Annotated[_Amount, AfterValidator(abs)]
    """A negative string in wc/v3; some plugins leave out the sign."""
    reason: _Text = ""


_Lines = Annotated[tuple[_WcLine, ...], _nothing_is(tuple), Field(max_length=10_000)]
_Refunds = Annotated[tuple[_WcRefund, ...], _nothing_is(tuple), Field(max_length=1_000), AfterValidator(_unique_ids)]
_Coupons = Annotated[tuple[Any, ...], _nothing_is(tuple), Field(max_length=100)]


class _WcOrder(_Wc):
    id: _Id
    number: _ShortText = ""
    status: Annotated[_Text, AfterValidator(_status)]
    currency: Annotated[str, Field(pattern=r"^[A-Za-z]{3}$")]
    total: Annotated[_Amount, AfterValidator(_not_negative)]
    date_created_gmt: _Time
    date_modified_gmt: _Time
    payment_method: _ShortText = ""
    billing: Annotated[_WcBilling, _nothing_is(_WcBilling)] = _WcBilling()
    shipping: Annotated[_WcAddress, _nothing_is(_WcAddress)] = _WcAddress()
    line_items: _Lines = ()
    refunds: _Refunds = ()
    coupon_lines: _Coupons = ()


def _order(wc: _WcOrder) -> Order:
    return Order(
        id=wc.id,
        number=wc.number or str(wc.id),
        total=wc.total,
        currency=wc.currency.upper(),
        status=wc.status,
        item_count=_item_count(wc),
        payment_method=wc.payment_method,
        billing_country=wc.billing.country,
        shipping_country=wc.shipping.country,
        created_at=wc.date_created_gmt,
        modified_at=wc.date_modified_gmt,
        email=_email(wc.billing.email),
        refunds=tuple(Refund(id=r.id, amount=r.total, reason=r.reason[:MAX_REASON]) for r in wc.refunds),
    )


def _item_count(wc: _WcOrder) -> int:
    count = sum(line.quantity for line in wc.line_items)
    if count > MAX_ITEMS:
        raise BadBodyError({"line_items": f"add up to more than {MAX_ITEMS} items"})
    return int(count)


def _email(raw: str) -> str | None:
    """None also for what is no address: shops hold typing errors, and no customer can be made of one.

    The order itself is true and is kept; refusing it would, after a few, disable the store's webhook.
    """
    try:
        return normalise_email(raw)
    except ValueError:
        return None
