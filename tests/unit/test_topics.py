"""Every topic of WooCommerce as the fact that it tells, or why it tells none."""

import json
from datetime import UTC, datetime
from typing import Any
from uuid import UUID

import pytest

from api.body import BadBodyError
from api.ingest import topics
from shared.events import FACT, Category, Coupon, DeletedOrder, Fact, Order, Product, Wire
from support.orders import order

STORE, FACT_ID = UUID(int=1), UUID(int=2)
NOW = datetime(2026, 6, 5, 12, tzinfo=UTC)
CHANGED = "2026-06-01T10:00:00"
CHANGED_AT = datetime(2026, 6, 1, 10, tzinfo=UTC)
PRODUCT = {
    "id": 60,
    "name": "Boot",
    "type": "simple",
    "price": "9.00",
    "date_modified_gmt": CHANGED,
    "categories": [{"id": 1, "slug": "shoes", "name": "Shoes"}, {"id": 2, "slug": "new", "name": "New"}],
}
COUPON = {"id": 7, "code": "Welcome10", "amount": "10.00", "date_modified_gmt": CHANGED, "usage_limit_per_user": 1}
REST_ERROR = {"code": "woocommerce_rest_cannot_view", "message": "Sorry.", "data": {"status": 401}}
STATES = ("created", "updated", "restored")


def read(topic: str, body: object) -> Fact | str:
    raw = json.dumps(body).encode()
    return topics.read(topic, raw, store_id=STORE, key=b"k" * 32, fact_id=FACT_ID, now=NOW)


def told(topic: str, body: object) -> tuple[str, datetime, Wire]:
    fact = read(topic, body)
    assert not isinstance(fact, str), fact
    assert (fact.id, fact.store_id) == (FACT_ID, STORE)
    assert FACT.validate_json(fact.encode()) == fact
    return fact.type, fact.occurred_at, fact.data


def fault(topic: str, body: object) -> list[str]:
    with pytest.raises(BadBodyError) as caught:
        read(topic, body)
    return list(caught.value.params)


@pytest.mark.parametrize("state", STATES)
def test_an_order_that_was_made_changed_or_restored_is_the_order_as_it_is_by_then(state: str) -> None:
    kind, at, data = told(f"order.{state}", order())
    assert (kind, at) == ("order", datetime(2026, 5, 28, 16, 45, tzinfo=UTC))
    assert isinstance(data, Order)


def test_a_deleted_order_is_known_by_its_id_and_deleted_when_that_arrives() -> None:
    assert told("order.deleted", {"id": 4821}) == ("order_deleted", NOW, DeletedOrder(id=4821))


@pytest.mark.parametrize("state", STATES)
def test_a_product_tells_its_categories(state: str) -> None:
    categories = (Category(slug="new", name="New"), Category(slug="shoes", name="Shoes"))
    assert told(f"product.{state}", PRODUCT) == ("product", CHANGED_AT, Product(id=60, categories=categories))


@pytest.mark.parametrize("state", STATES)
@pytest.mark.parametrize(
    ("limit", "once"), [(1, True), ("1", True), (2, False), (0, False), (None, False), ([], False)]
)
def test_a_coupon_tells_whether_each_may_use_it_once_only(state: str, limit: Any, once: bool) -> None:
    given = COUPON | {"usage_limit_per_user": limit}
    assert told(f"coupon.{state}", given) == ("coupon", CHANGED_AT, Coupon(code="welcome10", once=once))


@pytest.mark.parametrize("date", [None, "", "yesterday", 5])
def test_what_does_not_say_when_it_changed_changed_when_it_arrived(date: Any) -> None:
    assert told("product.updated", PRODUCT | {"date_modified_gmt": date})[1] == NOW
    assert told("coupon.updated", COUPON | {"date_modified_gmt": date})[1] == NOW


@pytest.mark.parametrize(
    ("topic", "body", "why"),
    [
        *[
            (f"customer.{event}", {"id": 3}, "billing e-mail")
            for event in ("created", "updated", "deleted", "restored")
        ],
        ("product.deleted", {"id": 60}, "stay in its categories"),
        ("coupon.deleted", {"id": 7}, "stays so"),
        ("product.updated", PRODUCT | {"type": "variation", "categories": []}, "variation"),
        ("coupon.updated", COUPON | {"code": ""}, "without a code"),
        ("coupon.updated", COUPON | {"code": "x" * 101}, "without a code"),
        ("action.woocommerce_add_to_cart", {"action": "woocommerce_add_to_cart", "arg": "x"}, "no effect"),
        ("new.topic", "anything", "no effect"),
        ("order", {}, "no effect"),
        ("order.", {}, "no effect"),
    ],
)
def test_what_changes_nothing_says_why_and_is_no_fault(topic: str, body: object, why: str) -> None:
    ignored = read(topic, body)
    assert isinstance(ignored, str)
    assert why in ignored


@pytest.mark.parametrize(
    ("topic", "body", "field"),
    [
        ("order.deleted", {}, "id"),
        ("order.deleted", {"id": "x"}, "id"),
        ("order.deleted", [], "body"),
        ("product.updated", {}, "id"),
        ("product.updated", PRODUCT | {"categories": "x"}, "categories"),
        ("product.updated", PRODUCT | {"categories": [{"slug": ""}]}, "categories.0.slug"),
        ("coupon.created", {}, "id"),
        ("coupon.created", COUPON | {"id": 0}, "id"),
        *[(f"{kind}.updated", REST_ERROR, "code") for kind in ("order", "product", "coupon")],
        ("order.deleted", REST_ERROR, "code"),
    ],
)
def test_what_is_not_what_its_topic_says_is_told_by_the_field(topic: str, body: object, field: str) -> None:
    assert fault(topic, body) == [field]
