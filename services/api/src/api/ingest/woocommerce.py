"""A WooCommerce webhook → an order, or what is wrong with it, naming the field. Shapes of wc/v3."""

import base64
import hashlib
import hmac
import re
from collections.abc import Mapping
from typing import Annotated, Any
from uuid import UUID

from pydantic import AfterValidator, BaseModel, BeforeValidator, ConfigDict, Field, ValidationError

from api.body import BadBodyError, parse_object
from api.ingest import cards, fingerprints
from api.ingest.catalogue import coupon_code
from api.ingest.fields import (
    Amount,
    Currency,
    Id,
    LooseId,
    LooseText,
    NotNegative,
    Number,
    ShortText,
    Text,
    Time,
    loose_text,
    nothing_is,
)
from shared.events import Coupon, Order, Refund
from shared.identity import FingerprintKind, normalise_email
from shared.mistakes import mistakes

MAX_BODY = 2 * 1024 * 1024
MAX_REASON = 500
MAX_ITEMS = 2**31 - 1
MAX_COUPONS = 100
MAX_PAYMENT = 200
MAX_DEVICE = 200

DEVICE = "_trustlens_fingerprint"
"""The order meta in which a store's checkout may leave the device's fingerprint."""
PAYMENT_KEYS = ("_stripe_intent_id", "_stripe_charge_id", "_payment_intent_id", "_intent_id", "_charge_id")
"""Order meta that names a payment as disputes do: WooCommerce Stripe (intent; before its version 4 the charge, which
is the transaction id now), Payment Plugins for Stripe, WooPayments (both)."""
CARD_KEYS = (("_card_brand", "last4"),)
"""Order meta of brand and last digits: WooPayments. Gateways made on SkyVerge's framework (Square, Braintree,
Authorize.Net) put their own name into the keys. WooCommerce Stripe writes no digits."""
BRAND_KEY = "_stripe_card_brand"
"""Order meta of the brand alone: WooCommerce Stripe, of cards of two networks between which the shopper chose."""

_PING = re.compile(rb"webhook_id=[0-9]{1,20}")


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


def parse_order(raw: bytes, key: bytes) -> Order:
    """`key` is the store's, for fingerprints.

    Raises:
        BadBodyError: it is no order that could be stored; every bad field is named.
    """
    return read_order(parse_object(raw), key)


def read_order(body: Mapping[str, Any], key: bytes) -> Order:
    """As `parse_order`, from the parsed body."""
    refuse_rest_error(body, "order")
    try:
        return _order(WcOrder.model_validate(body), key)
    except ValidationError as error:
        raise BadBodyError(mistakes(error)) from None


def refuse_rest_error(body: Mapping[str, Any], resource: str) -> None:
    """What WooCommerce sends, signed, when the user who made the webhook lost the right to read the resource.

    Raises:
        BadBodyError: it is one.
    """
    if "id" not in body and "code" in body and "message" in body:
        told = f"is a REST error, not of {resource}s: the webhook's owner may not read them"
        raise BadBodyError({"code": told})


def _status(value: str) -> str:
    status = value.removeprefix("wc-")
    if not 0 < len(status) <= 40:
        raise ValueError("must have 1 to 40 characters")
    return status


def _unique_ids(refunds: "tuple[_WcRefund, ...]") -> "tuple[_WcRefund, ...]":
    """The same entry listed twice is one; two that contradict each other cannot both be true."""
    different = tuple(dict.fromkeys(refunds))
    if len({refund.id for refund in different}) < len(different):
        raise ValueError("holds two different refunds with the same id")
    return different


def _meta(entries: Any) -> Mapping[str, Any]:
    """Key to value of any type, the last of each key. What plugins write there is no reason to refuse an order."""
    found = (entry for entry in entries if isinstance(entry, dict)) if isinstance(entries, list) else ()
    return {entry["key"]: entry.get("value") for entry in found if isinstance(entry.get("key"), str)}


def _coupons(lines: Any) -> tuple[Coupon, ...]:
    """Distinct; a line that is none is passed over."""
    once: dict[str, bool] = {}
    for line in lines if isinstance(lines, list) else ():
        code = coupon_code(line.get("code")) if isinstance(line, dict) else ""
        if code and (code in once or len(once) < MAX_COUPONS):
            once[code] = once.get(code, False) or _is_once(line)
    return tuple(Coupon(code=code, once=limited) for code, limited in once.items())


def _is_once(line: Mapping[str, Any]) -> bool:
    """From the copy of the coupon that WooCommerce before 8.7 keeps with the order; later ones keep no limits."""
    coupon = _meta(line.get("meta_data")).get("coupon_data")
    return isinstance(coupon, dict) and loose_text(coupon.get("usage_limit_per_user")) == "1"


class _Wc(BaseModel):
    model_config = ConfigDict(frozen=True, extra="ignore")


class _WcAddress(_Wc):
    address_1: LooseText = ""
    city: LooseText = ""
    postcode: LooseText = ""
    country: ShortText = ""


class _WcBilling(_WcAddress):
    email: Text = ""
    phone: LooseText = ""


class _WcLine(_Wc):
    product_id: LooseId = None
    quantity: Annotated[Number, nothing_is(int), Field(ge=0, le=1e9)] = 0
    """Shops that sell by weight have fractions."""


class _WcRefund(_Wc):
    id: Id
    total: Annotated[Amount, AfterValidator(abs)]
    """A negative string in wc/v3; some plugins leave out the sign."""
    reason: Text = ""


class _WcMeta(_Wc):
    key: str
    value: Any = None


class _WcCoupon(_Wc):
    code: str
    meta_data: tuple[_WcMeta, ...] = ()


_Coupons = BeforeValidator(_coupons, json_schema_input_type=tuple[_WcCoupon, ...])
_Meta = BeforeValidator(_meta, json_schema_input_type=tuple[_WcMeta, ...])
_Lines = Annotated[tuple[_WcLine, ...], Field(max_length=10_000), nothing_is(tuple)]
_Refunds = Annotated[tuple[_WcRefund, ...], Field(max_length=1_000), nothing_is(tuple), AfterValidator(_unique_ids)]


class WcOrder(_Wc):
    """An order as wc/v3 writes it; what else it has is passed over."""

    id: Id
    number: ShortText = ""
    status: Annotated[Text, AfterValidator(_status)]
    currency: Currency
    total: NotNegative
    date_created_gmt: Time
    date_modified_gmt: Time
    payment_method: ShortText = ""
    billing: Annotated[_WcBilling, nothing_is(_WcBilling)] = _WcBilling()
    shipping: Annotated[_WcAddress, nothing_is(_WcAddress)] = _WcAddress()
    line_items: _Lines = ()
    refunds: _Refunds = ()
    customer_ip_address: LooseText = ""
    transaction_id: LooseText = ""
    coupon_lines: Annotated[tuple[Coupon, ...], _Coupons] = ()
    meta_data: Annotated[Mapping[str, Any], _Meta] = Field(default_factory=dict)


def _order(wc: WcOrder, key: bytes) -> Order:
    return Order(
        id=wc.id,
        number=wc.number or str(wc.id),
        total=wc.total,
        currency=wc.currency,
        status=wc.status,
        item_count=_item_count(wc),
        payment_method=wc.payment_method,
        billing_country=wc.billing.country,
        shipping_country=wc.shipping.country,
        created_at=wc.date_created_gmt,
        modified_at=wc.date_modified_gmt,
        email=_email(wc.billing.email),
        refunds=tuple(Refund(id=r.id, amount=r.total, reason=r.reason[:MAX_REASON]) for r in wc.refunds),
        coupons=wc.coupon_lines,
        product_ids=tuple(sorted({line.product_id for line in wc.line_items if line.product_id})),
        fingerprints=fingerprints.hashed(key, _traces(wc)),
        payments=_payments(wc),
        card_brand=_brand(wc),
    )


def _item_count(wc: WcOrder) -> int:
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


def _traces(wc: WcOrder) -> Mapping[FingerprintKind, str | None]:
    billing = _address(wc.billing)
    return {
        "shipping_address": _address(wc.shipping) if _is_given(wc.shipping) else billing,
        "billing_address": billing,
        "phone": fingerprints.phone(wc.billing.phone, wc.billing.country),
        "ip": fingerprints.ip(wc.customer_ip_address),
        "payment": _card(wc),
        "device": fingerprints.device(loose_text(wc.meta_data.get(DEVICE), MAX_DEVICE)),
    }


def _address(wc: _WcAddress) -> str | None:
    return fingerprints.address(wc.address_1, wc.city, wc.postcode)


def _is_given(shipping: _WcAddress) -> bool:
    """WooCommerce ships to the billing address where there is no other."""
    return bool(shipping.address_1 or shipping.city or shipping.postcode)


def _card(wc: WcOrder) -> str | None:
    """The first that a gateway wrote whole."""
    found = (fingerprints.card(*(loose_text(wc.meta_data.get(key)) for key in pair)) for pair in _card_keys(wc))
    return next(filter(None, found), None)


def _card_keys(wc: WcOrder) -> tuple[tuple[str, str], ...]:
    return (*CARD_KEYS, (f"_wc_{wc.payment_method}_card_type", f"_wc_{wc.payment_method}_account_four"))


def _brand(wc: WcOrder) -> str | None:
    """The first that is known."""
    keys = (*(brand for brand, _ in _card_keys(wc)), BRAND_KEY)
    return next(filter(None, (cards.brand(loose_text(wc.meta_data.get(key))) for key in keys)), None)


def _payments(wc: WcOrder) -> tuple[str, ...]:
    names = (wc.transaction_id, *(wc.meta_data.get(key) for key in PAYMENT_KEYS))
    distinct = dict.fromkeys(loose_text(name, MAX_PAYMENT) for name in names)
    return tuple(name for name in distinct if name)
