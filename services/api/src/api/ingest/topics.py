"""A webhook of WooCommerce, its signature checked → the fact that it tells, or why it tells none."""

from collections.abc import Callable, Mapping
from datetime import datetime
from typing import Any
from uuid import UUID

from pydantic import BaseModel, ConfigDict, RootModel, ValidationError

from api.body import BadBodyError, parse_object
from api.ingest import catalogue, woocommerce
from api.ingest.fields import Id
from shared.events import CouponFact, DeletedOrder, Fact, OrderDeletedFact, OrderFact, ProductFact, Wire
from shared.mistakes import mistakes

_STATES = ("created", "updated", "restored")
"""Events that send the whole thing, as it is by then."""
_OF_NO_USE: Mapping[str, str] = {
    "customer": "Accepted, but of no effect: orders name their customer by the billing e-mail.",
    "product.deleted": "Accepted, but of no effect: orders of a deleted product stay in its categories.",
    "coupon.deleted": "Accepted, but of no effect: what a deleted coupon was used for stays so.",
}
_UNKNOWN = "Accepted, but this topic has no effect."
_VARIATION = "Accepted, but of no effect: a variation is in the categories of its product."
_NO_CODE = "Accepted, but of no effect: no order can name a coupon without a code, or with one so long."


_Read = tuple[Callable[..., Fact], datetime, Wire]
"""(kind of fact, when it occurred, its data)"""


def read(topic: str, raw: bytes, *, store_id: UUID, key: bytes, fact_id: UUID, now: datetime) -> Fact | str:
    """A text where the topic, or what it is about, changes nothing here: a refusal would disable the webhook.

    `key` is the store's, for fingerprints. `now`: when it arrived, which is when a thing was deleted; the store says
    nothing but its id.

    Raises:
        BadBodyError: it is not what its topic says; every bad field is named.
    """
    reader = _READERS.get(topic)
    told = reader(raw, key, now) if reader else _why_not(topic)
    if isinstance(told, str):
        return told
    make, occurred_at, data = told
    return make(id=fact_id, store_id=store_id, occurred_at=occurred_at, data=data)


def _why_not(topic: str) -> str:
    return _OF_NO_USE.get(topic) or _OF_NO_USE.get(topic.partition(".")[0], _UNKNOWN)


def _order(raw: bytes, key: bytes, _: datetime) -> _Read:
    order = woocommerce.parse_order(raw, key)
    return OrderFact, order.modified_at, order


def _deleted_order(raw: bytes, _: bytes, now: datetime) -> _Read:
    try:
        given = Deleted.model_validate(_resource(raw, "order"))
    except ValidationError as error:
        raise BadBodyError(mistakes(error)) from None
    return OrderDeletedFact, now, DeletedOrder(id=given.id)


def _product(raw: bytes, _: bytes, now: datetime) -> _Read | str:
    told = catalogue.read_product(_resource(raw, "product"))
    return (ProductFact, told[1] or now, told[0]) if told else _VARIATION


def _coupon(raw: bytes, _: bytes, now: datetime) -> _Read | str:
    told = catalogue.read_coupon(_resource(raw, "coupon"))
    return (CouponFact, told[1] or now, told[0]) if told else _NO_CODE


_READERS: Mapping[str, Callable[[bytes, bytes, datetime], _Read | str]] = {
    **{f"order.{event}": _order for event in _STATES},
    **{f"product.{event}": _product for event in _STATES},
    **{f"coupon.{event}": _coupon for event in _STATES},
    "order.deleted": _deleted_order,
}


READ = tuple(_READERS)
"""Topics that have an effect: those that a store should send."""


def _resource(raw: bytes, resource: str) -> dict[str, Any]:
    body = parse_object(raw)
    woocommerce.refuse_rest_error(body, resource)
    return body


class Deleted(BaseModel):
    model_config = ConfigDict(frozen=True, extra="ignore")

    id: Id


class Webhook(RootModel[woocommerce.WcOrder | catalogue.WcProduct | catalogue.WcCoupon | Deleted]):
    """The whole thing, as it is by then; of what was deleted, its id."""

    model_config = ConfigDict(frozen=True)
