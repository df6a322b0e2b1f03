"""The table of points, row by row, with its numbers."""

from collections.abc import Iterable, Sequence
from datetime import timedelta
from decimal import Decimal
from typing import Any

import pytest

from scorer.features import CategoryOrders, CouponOrder, Features, Linked
from scorer.modules import (
    account_age,
    card_testing,
    categories,
    chargebacks,
    coupons,
    linked_accounts,
    orders,
    returns,
    shipping,
)
from scorer.signals import Signal
from shared.events import DisputeStatus
from shared.identity import FINGERPRINT_KINDS
from support.features import NOW, ago, coupon_order, dispute

SECOND = timedelta(seconds=1)


def points(signals: Iterable[Signal]) -> list[int]:
    return [signal.points for signal in signals]


def returned(**features: Any) -> list[Signal]:
    return list(returns.signals(Features(**features), returns.Settings()))


def ordered(**features: Any) -> list[Signal]:
    return list(orders.signals(Features(**features), orders.Settings()))


@pytest.mark.parametrize(
    ("orders_", "refunded", "expected"),
    [
        (10, 6, [-40]),
        (1000, 599, [-25]),  # 59.9 %
        (10, 4, [-25]),
        (4, 1, [-10]),
        (1000, 249, []),  # 24.9 %
        (20, 1, [10]),  # 5 % with 5+ orders
        (5, 0, [10]),
        (4, 0, []),  # too few orders to praise
        (19, 1, []),  # 5.3 %
    ],
)
def test_the_return_rate_has_one_tier(orders_: int, refunded: int, expected: list[int]) -> None:
    assert points(returned(total_orders=orders_, refunded_orders=refunded)) == expected


@pytest.mark.parametrize("rate", [40.1, 60.3, 29.7])
def test_a_rate_that_is_exactly_the_threshold_reaches_it(rate: float) -> None:
    settings = returns.Settings(rate_tiers=(rate, 20, 10))
    some = Features(total_orders=1000, refunded_orders=round(rate * 10))
    assert points(returns.signals(some, settings)) == [-40]


@pytest.mark.parametrize(("refunds", "full", "expected"), [(3, 3, -10), (10, 9, -10), (10, 8, 0), (2, 2, 0), (3, 2, 0)])
def test_wardrobing_needs_three_refunds_nine_in_ten_of_them_full(refunds: int, full: int, expected: int) -> None:
    found = [s for s in returned(total_refunds=refunds, full_refunds=full) if "whole" in s.reason]
    assert sum(points(found)) == expected


def test_ten_refunds_cost_five_points() -> None:
    assert points(returned(total_orders=100, total_refunds=10, refunded_orders=10)) == [-5]
    assert points(returned(total_orders=100, total_refunds=9, refunded_orders=9)) == []


@pytest.mark.parametrize(("clean", "expected"), [(10, [15]), (9, [10]), (5, [10]), (4, [5]), (3, [5]), (2, [])])
def test_clean_orders_earn_one_tier(clean: int, expected: list[int]) -> None:
    assert points(ordered(total_orders=clean)) == expected


def test_a_net_value_of_a_thousand_earns_five_points() -> None:
    value = Decimal("1200.00")
    assert points(ordered(total_order_value=value, total_refund_value=Decimal("200.00"))) == [5]
    assert points(ordered(total_order_value=value, total_refund_value=Decimal("200.01"))) == []


@pytest.mark.parametrize(("placed", "cancelled", "expected"), [(4, 3, True), (5, 3, False), (2, 2, False)])
def test_cancelling_four_in_ten_costs_ten_points_from_the_third_on(placed: int, cancelled: int, expected: bool) -> None:
    found = ordered(total_orders=placed, refunded_orders=placed, cancelled_orders=cancelled)
    assert points(found) == ([-10] if expected else [])


def test_five_orders_within_an_hour_cost_ten_points() -> None:
    burst = ordered(most_orders_in_an_hour=5, last_burst_at=ago(3), burst_ids=(5, 4, 3, 2, 1))
    told = "Placed 5 or more orders within one hour, the last time on 2 June 2026."
    assert burst == [Signal("orders", -10, told, (5, 4, 3, 2, 1))]
    assert ordered(most_orders_in_an_hour=4) == []


@pytest.mark.parametrize(
    ("foreign", "told"),
    [
        (1, "1 order in another currency counts as an order, not in the values."),
        (2, "2 orders in other currencies count as orders, not in the values."),
    ],
)
def test_orders_in_other_currencies_are_a_note_without_points(foreign: int, told: str) -> None:
    assert ordered(foreign_orders=foreign) == [Signal("orders", 0, told)]


def coupon_signals(*orders_: CouponOrder, **settings: Any) -> list[Signal]:
    return list(coupons.signals(Features(coupon_orders=orders_), coupons.Settings(**settings)))


@pytest.mark.parametrize(("cycles", "expected"), [(0, []), (1, [-5]), (2, [-15]), (3, [-25]), (4, [-25])])
def test_coupons_on_orders_that_came_back_have_one_tier(cycles: int, expected: list[int]) -> None:
    found = coupon_signals(*(coupon_order(n, "save5", refunded=n <= cycles) for n in range(1, 6)))
    assert points(found) == expected
    assert [signal.evidence for signal in found] == ([tuple(range(cycles, 0, -1))] if cycles else [])


def test_more_than_two_coupons_for_a_first_order_cost_ten_points() -> None:
    three = [coupon_order(1, "welcome10"), coupon_order(2, "first-time", "save5"), coupon_order(3, "ten", once="ten")]
    assert coupon_signals(*three) == [Signal("coupons", -10, "Used 3 coupons meant for a first order.", (3, 2, 1))]
    assert coupon_signals(*three[:2]) == []
    assert coupon_signals(*three, max_first_order_coupons=3) == []


@pytest.mark.parametrize(
    ("code", "patterns", "is_first_order"),
    [
        ("welcome", ("WELCOME*",), True),
        ("welcome-back", ("welcome",), False),
        ("my-first", ("first*",), False),
        ("new2026", ("old*", "new????"), True),
        ("a.c", ("a?c",), True),
        ("abc", ("a.c",), False),
        ("welcome", (), False),
    ],
)
def test_first_order_coupons_are_found_by_globs(code: str, patterns: Sequence[str], is_first_order: bool) -> None:
    settings = coupons.Settings(first_order_patterns=tuple(patterns))
    counted = coupons.counts(Features(coupon_orders=(coupon_order(1, code),)), settings)
    assert counted.first_order == is_first_order


@pytest.mark.parametrize(("own", "other", "expected"), [(5, 6, [-10]), (5, 5, []), (5, 4, [])])
def test_a_linked_customer_who_took_the_first_order_coupon_before_costs_ten_points(
    own: int, other: int, expected: list[int]
) -> None:
    some = Features(
        coupon_orders=(CouponOrder(1, ago(9), ("save5",)), CouponOrder(2, ago(own), ("welcome",))),
        linked_coupon_at=ago(other),
        linked_coupon_by="a" * 64,
    )
    found = list(coupons.linked_signals(some, coupons.Settings()))
    assert points(found) == expected
    assert all(signal.evidence == ("a" * 64,) for signal in found)


def test_a_linked_customers_coupon_costs_nothing_who_used_none() -> None:
    some = Features(coupon_orders=(coupon_order(1, "save5"),), linked_coupon_at=ago(200))
    assert list(coupons.linked_signals(some, coupons.Settings())) == []


def test_three_coupons_on_one_order_cost_five_points_the_second_time() -> None:
    stacked = [coupon_order(1, "a", "b", "c"), coupon_order(2, "a", "b"), coupon_order(3, "a", "b", "c", "d")]
    assert points(coupon_signals(*stacked)) == [-5]
    assert coupon_signals(*stacked[:2]) == []


def test_coupons_are_counted_for_conditions() -> None:
    some = Features(
        coupon_orders=(
            coupon_order(1, "save5", refunded=True),
            coupon_order(2, "welcome", "ten", once="ten"),
            coupon_order(3, "first", refunded=True),
        )
    )
    assert coupons.counts(some, coupons.Settings()) == coupons.CouponCounts(4, 3, 2, ago(98))
    assert coupons.counts(Features(), coupons.Settings()) == coupons.CouponCounts(0, 0, 0, None)


def category_points(*parts: tuple[int, int], weight: float = 1) -> list[int]:
    """(orders, refunded) of each category."""
    found = tuple(CategoryOrders(f"c{n}", f"C{n}", of, back, (n,)) for n, (of, back) in enumerate(parts))
    weights = {category.slug: weight for category in found}
    return points(categories.signals(Features(categories=found), categories.Settings(category_weights=weights)))


@pytest.mark.parametrize(
    ("orders_", "refunded", "weight", "expected"),
    [
        (4, 2, 1.0, [-15]),
        (1000, 499, 1.0, []),
        (4, 2, 1.4, [-15]),
        (4, 2, 1.5, [-20]),
        (10, 3, 1.5, [-10]),
        (10, 3, 1.4, []),
        (1000, 299, 3.0, []),
        (4, 4, 0.0, []),
        (3, 0, 3.0, []),
    ],
)
def test_a_category_that_comes_back_costs_by_its_rate_and_weight(
    orders_: int, refunded: int, weight: float, expected: list[int]
) -> None:
    assert category_points((orders_, refunded), weight=weight) == expected


def test_all_categories_together_cost_at_most_thirty_points_the_worst_first() -> None:
    assert category_points((4, 4), (4, 3), (4, 2)) == [-15, -15]
    assert category_points((10, 3), (4, 3), (4, 2), weight=2) == [-20, -10]


def test_a_category_is_named_as_the_store_names_it() -> None:
    shoes = CategoryOrders("shoes", "Shoes & Boots", 4, 3, (7, 5, 2))
    told = "3 of 4 orders in Shoes & Boots had a refund (75.0 %)."
    found = categories.signals(Features(categories=(shoes,)), categories.Settings())
    assert list(found) == [Signal("categories", -15, told, (7, 5, 2))]


def link_signals(*others: Linked, number: int | None = None, hubs: tuple[Any, ...] = ()) -> list[Signal]:
    some = Features(linked=others, linked_accounts=len(others) if number is None else number, hub_kinds=hubs)
    return list(linked_accounts.signals(some, linked_accounts.Settings(), critical_below=20))


@pytest.mark.parametrize(("links", "expected"), [(0, []), (1, [-5]), (2, [-15]), (3, [-30]), (40, [-30])])
def test_links_have_one_tier(links: int, expected: list[int]) -> None:
    others = [Linked(f"{n:064}", ("phone", "ip")) for n in range(min(links, 20))]
    found = link_signals(*others, number=links)
    assert points(found) == expected
    assert [len(signal.evidence) for signal in found] == ([len(others)] if links else [])


@pytest.mark.parametrize(
    ("others", "told"),
    [
        ([(True, None)], "A linked customer is blocked."),
        ([(True, 5)], "A linked customer is blocked."),
        ([(False, 19)], "A linked customer is Critical by its own score."),
        ([(True, 60), (False, 19), (False, 20)], "A linked customer is blocked or Critical by its own score."),
        ([(False, 20)], None),
        ([(False, None)], None),
    ],
)
def test_a_blocked_or_critical_neighbour_costs_ten_points_once(
    others: list[tuple[bool, int | None]], told: str | None
) -> None:
    neighbours = [Linked(f"{n:064}", ("phone",), is_blocked=b, own_score=s) for n, (b, s) in enumerate(others)]
    bad = [signal for signal in link_signals(*neighbours) if signal.points == -10]
    assert [signal.reason for signal in bad] == ([told] if told else [])
    assert all(signal.evidence[0] == neighbours[0].email_hash for signal in bad)


def test_a_link_says_what_is_shared() -> None:
    found = link_signals(Linked("a" * 64, ("ip", "device")), Linked("b" * 64, ("phone", "device")))
    assert found[0].reason == "Shares a phone number, an IP address and a device with 2 other customers."
    assert link_signals(Linked("a" * 64, ("payment",)))[0].reason == "Shares a payment card with 1 other customer."


@pytest.mark.parametrize(
    ("hubs", "told"),
    [
        (("ip",), "An IP address that more than 50 customers share links nobody."),
        (
            ("shipping_address", "ip"),
            "A shipping address and an IP address that more than 50 customers share link nobody.",
        ),
    ],
)
def test_a_hub_is_a_note_without_points(hubs: tuple[Any, ...], told: str) -> None:
    assert link_signals(hubs=hubs) == [Signal("linked_accounts", 0, told)]


def test_every_kind_of_fingerprint_can_be_said() -> None:
    told = link_signals(Linked("a" * 64, FINGERPRINT_KINDS))[0].reason
    assert told == (
        "Shares a shipping address, a billing address, a phone number, an IP address, a payment card and a device"
        " with 1 other customer."
    )


def shipped(**features: Any) -> list[Signal]:
    return list(shipping.signals(Features(**features), shipping.Settings()))


@pytest.mark.parametrize(("addresses", "expected"), [(2, []), (3, [-10]), (4, [-10]), (5, [-15])])
def test_many_addresses_in_thirty_days_have_one_tier(addresses: int, expected: list[int]) -> None:
    assert points(shipped(recent_addresses=addresses)) == expected


def test_shipping_abroad_and_to_three_new_addresses_in_a_row_cost_five_points_each() -> None:
    found = shipped(abroad_ids=(4, 2), new_address_ids=(4, 3, 2))
    assert found == [
        Signal("shipping_anomalies", -5, "Billing and shipping country differed within the last 30 days.", (4, 2)),
        Signal("shipping_anomalies", -5, "Each of the last 3 orders went to an address not used before.", (4, 3, 2)),
    ]
    assert shipped(new_address_ids=(4, 3)) == []


def disputed(*statuses: DisputeStatus, inquiries: bool = True) -> list[Signal]:
    some = Features(disputes=tuple(dispute(status, f"dp_{n}") for n, status in enumerate(statuses)))
    return list(chargebacks.signals(some, chargebacks.Settings(), inquiries=inquiries))


@pytest.mark.parametrize(
    ("statuses", "expected"),
    [
        (["open"], [-20]),
        (["under_review"], [-20]),
        (["lost"], [-40]),
        (["won"], []),
        (["warning"], [-5]),
        (["warning", "warning"], [-10]),
        (["open", "lost"], [-40, -20]),
        (["open", "open", "open"], [-60]),
        (["lost", "lost"], [-60]),
        (["lost", "open", "open", "warning"], [-40, -20]),
        (["lost", "warning", "won", "warning"], [-40, -10]),
    ],
)
def test_disputes_cost_by_their_status_and_never_more_than_sixty(
    statuses: list[DisputeStatus], expected: list[int]
) -> None:
    assert points(disputed(*statuses)) == expected


def test_disputes_are_told_by_status_with_their_ids_the_latest_first() -> None:
    assert disputed("lost", "warning", "warning", "won") == [
        Signal("chargebacks", -40, "1 chargeback was lost.", ("dp_0",)),
        Signal("chargebacks", -10, "The bank asked about 2 payments.", ("dp_2", "dp_1")),
    ]
    assert [s.reason for s in disputed("open", "under_review")] == [
        "1 chargeback is open.",
        "1 chargeback is under review.",
    ]
    assert disputed("open", "warning", inquiries=False) == disputed("open")


def test_an_inquiry_is_no_dispute_in_the_counts() -> None:
    some = Features(disputes=tuple(dispute(s) for s in ("warning", "open", "won", "won", "lost", "under_review")))
    assert chargebacks.counts(some) == chargebacks.DisputeCounts(total=5, won=2, lost=1)


@pytest.mark.parametrize(
    ("age", "lockout", "declines"),
    [
        (timedelta(0), -30, -15),
        (timedelta(days=1) - SECOND, -30, -15),
        (timedelta(days=1), -29, -14),
        (timedelta(days=2), -28, -14),
        (timedelta(days=3), -27, -13),
        (timedelta(days=15), -15, -7),
        (timedelta(days=28), -2, -1),
        (timedelta(days=29) - SECOND, -2, -1),
        (timedelta(days=29), -1, 0),
        (timedelta(days=30) - SECOND, -1, 0),
        (timedelta(days=30), 0, 0),
        (timedelta(days=300), 0, 0),
        (-SECOND, -30, -15),  # another machine's clock is ahead
    ],
)
def test_card_testing_fades_over_thirty_days(age: timedelta, lockout: int, declines: int) -> None:
    some = Features(last_lockout_at=NOW - age, last_decline_burst_at=NOW - age, declines_in_burst=3)
    found = card_testing.signals(some, card_testing.Settings(), NOW)
    assert points(found) == [number for number in (lockout, declines) if number]


def test_card_testing_says_what_happened_and_when() -> None:
    some = Features(last_lockout_at=ago(4), last_decline_burst_at=ago(5), declines_in_burst=4)
    assert [signal.reason for signal in card_testing.signals(some, card_testing.Settings(), NOW)] == [
        "The device was locked out of the checkout on 1 June 2026.",
        "4 payments were declined within 10 minutes on 31 May 2026.",
    ]
    assert list(card_testing.signals(Features(last_freeze_at=NOW), card_testing.Settings(), NOW)) == []


@pytest.mark.parametrize(
    ("days", "expected"), [(400, [15]), (365, [15]), (364.9, [10]), (180, [10]), (90, [5]), (89.9, [])]
)
def test_account_age_earns_one_tier(days: float, expected: list[int]) -> None:
    found = account_age.signals(Features(first_completed_at=ago(days)), account_age.Settings(), NOW)
    assert points(found) == expected


def test_account_age_names_the_date_which_stays_true() -> None:
    some = Features(first_completed_at=ago(200))
    told = "The first completed order was on 17 November 2025, at least 180 days ago."
    for now in (NOW, NOW + timedelta(days=164)):
        assert list(account_age.signals(some, account_age.Settings(), now)) == [Signal("account_age", 10, told)]
