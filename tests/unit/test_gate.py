"""Who may go on to the payment, and when the whole checkout is frozen."""

from dataclasses import replace
from datetime import UTC, datetime, timedelta
from ipaddress import ip_address

import pytest
from hypothesis import given
from hypothesis import strategies as st
from pydantic import ValidationError

from api import gate
from api.gate import Attack, Coupons, Device, Gate, GateSettings, Shopper, Situation, Verdict

NOW = datetime(2026, 6, 1, 12, tzinfo=UTC)
KEY = b"k" * 32
GATE = Gate(GateSettings(), enforce_blocking=True)
SOON, JUST = NOW + timedelta(seconds=1), NOW - timedelta(seconds=1)


def with_settings(**settings: object) -> Gate:
    return replace(GATE, settings=GateSettings.model_validate(settings))


def submitted(*seconds_ago: float) -> Device:
    return Device(tuple(NOW - timedelta(seconds=ago) for ago in seconds_ago))


FAST = submitted(*range(10))
LOCKED = Device(locked_until=SOON)
BLOCKED = Shopper(is_blocked=True)
VIP = Shopper(segment="vip")
ALLOWLISTED = Shopper(is_allowlisted=True)


def test_nobody_in_particular_is_let_through() -> None:
    assert gate.decide(Situation(), GATE, NOW) == Verdict()
    assert Verdict().decision == "allow"


@pytest.mark.parametrize(
    ("situation", "reason"),
    [
        (Situation(frozen_until=SOON, device=LOCKED, shopper=BLOCKED), "freeze"),
        (Situation(device=replace(FAST, locked_until=SOON), shopper=BLOCKED), "lockout"),
        (Situation(device=FAST, shopper=BLOCKED), "velocity"),
        (Situation(shopper=BLOCKED), "customer_blocked"),
    ],
)
def test_what_concerns_the_whole_shop_is_told_before_what_concerns_the_device_and_the_customer(
    situation: Situation, reason: str
) -> None:
    verdict = gate.decide(situation, GATE, NOW)

    assert (verdict.reason, verdict.decision, verdict.would_deny) == (reason, "deny", False)


def test_a_freeze_and_a_lockout_end_at_their_time() -> None:
    assert gate.decide(Situation(frozen_until=NOW), GATE, NOW) == Verdict()
    assert gate.decide(Situation(device=Device(locked_until=NOW)), GATE, NOW) == Verdict()


def test_the_eleventh_submission_within_sixty_seconds_is_too_fast_and_the_tenth_is_not() -> None:
    assert gate.decide(Situation(device=submitted(*range(9))), GATE, NOW) == Verdict()
    assert gate.decide(Situation(device=FAST), GATE, NOW) == Verdict("velocity")
    assert gate.decide(Situation(device=submitted(60, *range(9))), GATE, NOW) == Verdict()  # the first has rolled out


@pytest.mark.parametrize("shopper", [VIP, ALLOWLISTED])
@pytest.mark.parametrize("situation", [Situation(frozen_until=SOON), Situation(device=LOCKED), Situation(device=FAST)])
def test_who_is_trusted_passes_freezes_and_lockouts_unless_the_store_says_otherwise(
    shopper: Shopper, situation: Situation
) -> None:
    known = replace(situation, shopper=shopper)

    assert gate.decide(known, GATE, NOW) == Verdict()
    assert gate.decide(known, with_settings(bypass=False), NOW).decision == "deny"


def test_a_blocked_vip_is_refused_as_any_blocked_customer() -> None:
    assert gate.decide(Situation(shopper=replace(VIP, is_blocked=True)), GATE, NOW) == Verdict("customer_blocked")


def test_while_blocking_is_not_enforced_a_blocked_customer_passes_and_it_is_said() -> None:
    verdict = gate.decide(Situation(shopper=BLOCKED), replace(GATE, enforce_blocking=False), NOW)

    assert (verdict.decision, verdict.reason, verdict.would_deny) == ("allow", "customer_blocked", True)


def test_without_card_testing_only_blocked_customers_are_refused() -> None:
    off = with_settings(card_testing=False)

    assert gate.decide(Situation(frozen_until=SOON, device=LOCKED), off, NOW) == Verdict()
    assert gate.decide(Situation(frozen_until=SOON, shopper=BLOCKED), off, NOW) == Verdict("customer_blocked")


def test_an_exempt_device_passes_a_freeze() -> None:
    assert gate.decide(Situation(is_exempt=True, frozen_until=SOON), GATE, NOW) == Verdict()


def test_only_the_submission_that_is_one_too_many_begins_a_lockout() -> None:
    assert gate.locks_out(FAST, GATE.settings, NOW)
    assert not gate.locks_out(replace(FAST, locked_until=SOON), GATE.settings, NOW)
    assert gate.locks_out(replace(FAST, locked_until=JUST), GATE.settings, NOW)
    assert not gate.locks_out(submitted(1), GATE.settings, NOW)


# Coupons --------------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("code", "is_first"), [("WELCOME10", True), (" first-order ", True), ("summer", False), ("", False)]
)
def test_first_order_coupons_are_told_by_their_codes_in_either_case(code: str, is_first: bool) -> None:
    on = with_settings(refuse_coupon_abuse=True).settings
    assert gate.coupons_of([code], on) == Coupons((code.strip().lower(),), is_first)


def test_coupons_are_not_looked_into_where_the_store_does_not_want_to_know() -> None:
    assert gate.coupons_of(["welcome"], GATE.settings) == Coupons()


def test_coupon_abuse_is_refused_where_nothing_else_is_the_matter_and_not_to_who_is_trusted() -> None:
    abuse = Situation(is_coupon_abuse=True)
    assert gate.decide(abuse, GATE, NOW) == Verdict("coupon_abuse")
    assert gate.decide(replace(abuse, shopper=BLOCKED), GATE, NOW) == Verdict("customer_blocked")
    assert gate.decide(replace(abuse, device=FAST), GATE, NOW) == Verdict("velocity")
    assert gate.decide(replace(abuse, shopper=VIP), GATE, NOW) == Verdict()
    assert gate.decide(replace(abuse, shopper=VIP), with_settings(bypass=False), NOW) == Verdict("coupon_abuse")


# Devices --------------------------------------------------------------------------------------------------------------


def test_a_given_fingerprint_is_the_device_and_without_one_address_and_browser_are() -> None:
    given_one = gate.device_of(KEY, given=" dev-1 ", ip="203.0.113.9", user_agent="A")

    assert given_one == gate.device_of(KEY, given="dev-1", ip="", user_agent="B")
    made = gate.device_of(KEY, given="", ip="203.0.113.9", user_agent="A")
    assert made
    assert made not in {given_one, gate.device_of(KEY, given="", ip="203.0.113.9", user_agent="B")}
    assert made != gate.device_of(b"other", given="", ip="203.0.113.9", user_agent="A")
    assert gate.device_of(KEY, given=" ", ip="", user_agent="A") is None


def test_addresses_of_one_ipv6_line_are_one_device_and_those_of_others_are_not() -> None:
    def device(ip: str) -> bytes | None:
        return gate.device_of(KEY, given="", ip=ip, user_agent="A")

    assert device("2001:db8:1:2::7") == device("2001:db8:1:2:ffff::9") != device("2001:db8:1:3::7")
    assert gate.address_of(KEY, "2001:db8:1:2::7") == gate.address_of(KEY, "2001:db8:1:2::8")
    assert device("203.0.113.9") != device("203.0.113.8")


def test_a_device_is_exempt_by_its_name_by_the_name_we_give_it_and_by_its_network() -> None:
    device = gate.device_of(KEY, given="till-1", ip="", user_agent="")
    assert device
    assert gate.is_exempt(GateSettings(allow_fingerprints=("till-1",)), given="till-1", device=device, ip=None)
    assert gate.is_exempt(GateSettings(allow_fingerprints=(device.hex(),)), given="till-1", device=device, ip=None)
    network = GateSettings.model_validate({"allow_networks": ["203.0.113.7/24"]})
    assert network.allow_networks == ("203.0.113.0/24",)
    assert gate.is_exempt(network, given="", device=device, ip=ip_address("203.0.113.250"))
    assert not gate.is_exempt(network, given="", device=device, ip=ip_address("203.0.114.1"))
    assert not gate.is_exempt(network, given="", device=device, ip=ip_address("2001:db8::1"))
    assert not gate.is_exempt(GateSettings(), given="", device=None, ip=None)


# Escalation -----------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("devices", "declines", "freezes"),
    [
        (2, {"GB": 100}, False),
        (3, {}, True),
        (3, {"GB": 100}, True),
        (3, dict.fromkeys("ABCDEFGHI", 10), True),  # nine countries
        (3, dict.fromkeys("ABCDEFGHIJ", 10), False),  # ten
        (3, dict.fromkeys("ABCDEFGHIJ", 1) | {"J": 9}, True),  # ten, one of which has half
        (3, dict.fromkeys("ABCDEFGHIJ", 1) | {"J": 8}, False),
    ],
)
def test_three_locked_devices_freeze_the_checkout_unless_the_declines_come_from_all_over_the_world(
    devices: int, declines: dict[str, int], freezes: bool
) -> None:
    assert gate.should_freeze(Attack(devices, declines), GATE.settings) is freezes


def test_no_freeze_comes_by_itself_where_the_store_does_not_want_it() -> None:
    assert not gate.should_freeze(Attack(9, {}), GateSettings(escalation=False))
    assert not gate.should_freeze(Attack(9, {}), GateSettings(card_testing=False))


# Settings -------------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    "wrong",
    [
        {"submissions": 1},
        {"submissions": 101},
        {"submissions": "10"},
        {"declines": 0},
        {"lockout_seconds": 9},
        {"lockout_seconds": 86_401},
        {"freeze_minutes": 0},
        {"freeze_minutes": 1441},
        {"bypass": 1},
        {"allow_networks": ["203.0.113.0/33"]},
        {"allow_networks": [7]},
        {"allow_networks": ["10.0.0.0/8"] * 101},
        {"allow_fingerprints": ["x" * 201]},
        {"allow_fingerprints": ["x"] * 101},
        {"first_order_coupons": ["x"] * 21},
        {"message": ""},
        {"message": "a\nb"},
        {"velocity": 3},
    ],
)
def test_settings_that_make_no_sense_are_refused(wrong: dict[str, object]) -> None:
    with pytest.raises(ValidationError):
        GateSettings.model_validate(wrong)


@given(st.lists(st.floats(0, 120), max_size=30), st.integers(2, 20))
def test_more_submissions_never_help(ages: list[float], limit: int) -> None:
    settings = GateSettings(submissions=limit)
    some, more = submitted(*ages[1:]), submitted(*ages)

    assert gate.is_too_fast(some, settings, NOW) <= gate.is_too_fast(more, settings, NOW)
