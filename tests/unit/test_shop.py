import itertools
import json
from collections import defaultdict
from datetime import UTC, datetime, timedelta
from decimal import Decimal

import pytest

from cli.shop import order_events
from cli.shop_people import Persona, personas
from cli.wc_order import Order, ShopEvent

NOW = datetime(2026, 6, 5, 12, tzinfo=UTC)


@pytest.fixture(scope="module")
def events() -> list[ShopEvent]:
    return order_events(now=NOW, seed=1)


def final_orders(events: list[ShopEvent]) -> list[Order]:
    return list({event.order["id"]: event.order for event in events}.values())


def orders_by_customer(events: list[ShopEvent]) -> list[list[Order]]:
    customers = defaultdict(list)
    for order in final_orders(events):
        customers[order["billing"]["email"].lower()].append(order)
    return list(customers.values())


def test_the_same_seed_and_time_give_the_same_events(events):
    assert order_events(now=NOW, seed=1) == events
    assert order_events(now=NOW, seed=2) != events


@pytest.mark.parametrize("seed", range(5))
def test_about_300_customers_send_about_3000_events(seed):
    events = order_events(now=NOW, seed=seed)
    assert len(orders_by_customer(events)) == 300
    assert 2_800 <= len(events) <= 3_400


def test_events_come_in_the_order_of_time_within_18_months_and_never_after_now(events):
    times = [event.order["date_modified_gmt"] for event in events]
    assert times == sorted(times)
    assert times[-1] <= NOW.replace(tzinfo=None).isoformat()
    assert times[0] >= (NOW - timedelta(days=550)).replace(tzinfo=None).isoformat()


def test_every_order_is_created_once_and_then_only_updated_with_later_times(events):
    versions = defaultdict(list)
    for event in events:
        versions[event.order["id"]].append(event)
    for of_one_order in versions.values():
        assert [event.topic for event in of_one_order] == ["order.created"] + ["order.updated"] * (
            len(of_one_order) - 1
        )
        times = [event.order["date_modified_gmt"] for event in of_one_order]
        assert all(earlier < later for earlier, later in itertools.pairwise(times))


def test_order_ids_rise_with_the_time_of_creation(events):
    created = [event.order["id"] for event in events if event.topic == "order.created"]
    assert created == sorted(created)


def test_amounts_are_strings_that_add_up(events):
    for order in final_orders(events):
        lines = sum(Decimal(line["total"]) for line in order["line_items"])
        assert Decimal(order["total"]) == lines + Decimal(order["shipping_total"])
        assert Decimal(order["discount_total"]) == sum(Decimal(coupon["discount"]) for coupon in order["coupon_lines"])
        assert all(type(line["price"]) is float for line in order["line_items"])


def test_refunds_are_negative_strings_and_never_more_than_the_order(events):
    refunded = [order for order in final_orders(events) if order["refunds"]]
    assert refunded
    for order in refunded:
        amounts = [Decimal(refund["total"]) for refund in order["refunds"]]
        assert all(amount < 0 for amount in amounts)
        assert -sum(amounts) <= Decimal(order["total"])
        assert (order["status"] == "refunded") == (-sum(amounts) == Decimal(order["total"]))


def test_refunds_arrive_as_updates_of_an_order_that_was_completed_before(events):
    assert all(not event.order["refunds"] for event in events if event.topic == "order.created")
    assert all(event.order["date_completed_gmt"] for event in events if event.order["refunds"])


def test_dates_carry_no_offset(events):
    assert all(
        datetime.fromisoformat(event.order["date_modified_gmt"]).tzinfo is None
        and "Z" not in json.dumps(event.order["date_paid_gmt"])
        for event in events
    )


def test_ids_are_whole_numbers_and_refund_ids_are_unique(events):
    refund_ids = [refund["id"] for order in final_orders(events) for refund in order["refunds"]]
    assert len(set(refund_ids)) == len(refund_ids)
    assert all(type(event.order["id"]) is int and event.order["number"] == str(event.order["id"]) for event in events)


def test_every_status_that_a_small_shop_knows_occurs(events):
    statuses = {event.order["status"] for event in events}
    assert statuses == {"pending", "processing", "completed", "cancelled", "refunded", "failed"}


def test_serial_returners_have_ten_refunds_on_most_of_their_orders(events):
    refunds = [[order for order in orders if order["refunds"]] for orders in orders_by_customer(events)]
    counts = [sum(len(order["refunds"]) for order in orders) for orders in refunds]
    assert sum(count >= 10 for count in counts) >= 8


def test_some_customers_only_wear_and_return(events):
    def wardrobes(orders: list[Order]) -> bool:
        returned = [order for order in orders if order["refunds"]]
        return len(returned) >= 3 and all(order["status"] == "refunded" for order in returned)

    assert sum(map(wardrobes, orders_by_customer(events))) >= 8


def test_returners_go_on_ordering_after_their_third_return(events):
    returned: dict[str, set[int]] = defaultdict(set)
    later_orders = 0
    for event in events:
        customer = event.order["billing"]["email"].lower()
        if event.order["refunds"]:
            returned[customer].add(event.order["id"])
        later_orders += event.topic == "order.created" and len(returned[customer]) >= 3
    assert later_orders >= 100


def test_guests_and_accounts_are_both_there_and_addresses_are_made_up(events):
    orders = final_orders(events)
    assert {order["customer_id"] == 0 for order in orders} == {True, False}
    assert all(order["billing"]["email"].lower().endswith(".example") for order in orders)


def test_every_customer_has_a_persona_and_every_persona_has_customers():
    assert len(personas(300)) == 300
    assert set(personas(300)) == set(Persona)
