import json
from collections import Counter
from datetime import UTC, datetime, timedelta
from decimal import Decimal
from typing import Any

import pytest

from cli.answers import Customer, Signal
from cli.personas import FIRST_ID, IDS_PER_RUN, Persona, personas
from cli.personas_run import BATCH, Judged, complaint, points_of, strongest
from shared.identity import normalise_email

NOW = datetime(2026, 6, 5, 12, tzinfo=UTC)
RUN = 1_780_660_800
CAST = personas(NOW, RUN)
BY_NAME = {persona.name: persona for persona in CAST}
MODULES = {
    "returns",
    "orders",
    "coupons",
    "categories",
    "linked_accounts",
    "shipping_anomalies",
    "chargebacks",
    "card_testing",
    "account_age",
}


def orders_of(persona: Persona) -> list[Any]:
    return [event["data"] for event in persona.events if event["type"] == "order"]


def ids_of(cast) -> set[int]:
    orders = [order for persona in cast for order in orders_of(persona)]
    refunds = [refund["id"] for order in orders for refund in order["refunds"]]
    return {order["id"] for order in orders} | set(refunds)


def judged(persona: Persona, *signals: tuple[str, int]) -> Judged:
    customer = Customer(
        email_hash="ab" * 32,
        trust_score=persona.score,
        segment="normal",
        segment_label="Normal",
        total_orders=1,
        total_refunds=0,
        return_rate=Decimal("0.0"),
        is_blocked=False,
        is_allowlisted=False,
        signals=tuple(Signal(module=module, points=points, reason="A reason.") for module, points in signals),
    )
    return Judged(persona, customer)


def test_every_module_has_somebody_who_shows_it():
    assert {module for persona in CAST for module in persona.points} == MODULES


@pytest.mark.parametrize(
    ("name", "score"),
    [
        ("newcomer", 50),
        ("loyal VIP", 95),
        ("good orders", 75),
        ("account age", 65),
        ("serial returner", 0),  # -5 kept at 0
        ("bursts and cancellations", 35),
        ("coupon hunter", 10),
        ("one bad category", 45),
        ("many addresses", 45),
        ("chargebacks", 10),
        ("disputed first order", 30),
        ("card testing", 5),
        ("first of three accounts", 40),
        ("second of three accounts", 30),
        ("third of three accounts", 30),
    ],
)
def test_a_persona_s_score_follows_from_its_points(name, score):
    assert BY_NAME[name].score == score


def test_there_are_no_other_personas_than_those_whose_score_is_checked():
    assert len(BY_NAME) == len(CAST) == 15


def test_ids_of_two_runs_never_meet_nor_those_of_a_shop():
    here, next_run = ids_of(CAST), ids_of(personas(NOW, RUN + 1))
    assert here.isdisjoint(next_run)
    assert min(here) >= FIRST_ID + RUN * IDS_PER_RUN
    assert max(here) < FIRST_ID + (RUN + 1) * IDS_PER_RUN
    assert max(next_run) < 2**53


def test_no_two_personas_have_an_order_or_an_event_in_common():
    orders = Counter(order["id"] for persona in CAST for order in orders_of(persona))
    events = [event["id"] for persona in CAST for event in persona.events]
    assert set(orders.values()) == {1}
    assert len(set(events)) == len(events)


def test_all_events_fit_one_request_and_their_ids_the_limit():
    events = [event for persona in CAST for event in persona.events]
    assert len(events) <= BATCH
    assert len(json.dumps({"events": events})) < 5 * 1024 * 1024
    assert all(len(event["id"]) <= 128 for event in events)


def test_everything_happened_before_now_and_an_order_when_it_says():
    for persona in CAST:
        for event in persona.events:
            at = datetime.fromisoformat(event["occurred_at"]).replace(tzinfo=UTC)
            assert timedelta(hours=11) < NOW - at < timedelta(days=500)
            assert event["data"].get("date_created_gmt", event["occurred_at"]) == event["occurred_at"]


def test_addresses_are_normal_already_and_nobody_s():
    emails = [persona.email for persona in CAST]
    assert len(set(emails)) == len(emails)
    assert all(normalise_email(email) == email and email.endswith("@personas.example") for email in emails)


def test_only_the_household_shares_an_address():
    homes: dict[str, set[str]] = {}
    for persona in CAST:
        for order in orders_of(persona):
            for kind in ("billing", "shipping"):
                homes.setdefault(order[kind]["address_1"], set()).add(persona.name)
    shared = [names for names in homes.values() if len(names) > 1]
    assert shared == [{f"{nth} of three accounts" for nth in ("first", "second", "third")}]


def test_orders_are_in_the_store_s_currency():
    cast = personas(NOW, RUN, "USD")
    assert {order["currency"] for persona in cast for order in orders_of(persona)} == {"USD"}


def test_five_orders_of_the_burst_lie_within_an_hour():
    times = sorted(
        datetime.fromisoformat(order["date_created_gmt"]) for order in orders_of(BY_NAME["bursts and cancellations"])
    )
    assert times[-1] - times[-5] < timedelta(hours=1)


def test_a_persona_is_as_expected_only_with_exactly_its_points():
    persona = BY_NAME["many addresses"]
    right = (("returns", 10), ("orders", 10), ("shipping_anomalies", -15), ("shipping_anomalies", -10))
    assert judged(persona, *right).as_expected
    assert complaint(judged(persona, *right)) == ""
    assert not judged(persona, *right[:-1]).as_expected
    assert complaint(judged(persona, *right[:-1])) == (f"{persona.email}: shipping_anomalies -15, should be -25.")
    assert not judged(persona, *right, ("coupons", -5)).as_expected


def test_whom_nobody_knows_yet_is_not_as_expected():
    newcomer = Judged(BY_NAME["newcomer"], None)
    assert not newcomer.as_expected
    assert "not known" in complaint(newcomer)


def test_notes_without_points_are_no_points():
    assert points_of([Signal(module="system", points=0, reason="insufficient data (1/3 orders)")]) == {}
    assert judged(BY_NAME["newcomer"], ("system", 0)).as_expected


def test_the_strongest_signal_is_the_one_that_moves_the_score_most():
    one = judged(BY_NAME["newcomer"], ("returns", 10), ("chargebacks", -20), ("orders", 15)).customer
    assert one is not None
    found = strongest(one)
    assert found is not None
    assert (found.module, found.points) == ("chargebacks", -20)
