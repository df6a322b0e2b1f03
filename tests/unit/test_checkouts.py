"""The checkout: refusals of blocked customers, and episodes of card testing."""

from datetime import datetime, timedelta

import pytest

from scorer import checkouts
from scorer.checkouts import Checkout, is_let_through, told
from scorer.features import Features
from shared.events import CheckoutAttemptFact, DeclineFact
from support.facts import JANE, NOW, attempt, decline

HASH = "a" * 64


def test_a_refused_blocked_customer_is_told_with_the_address() -> None:
    (happening,) = told(Checkout(attempt(reason="customer_blocked"), HASH))
    assert (happening.type, happening.published, happening.data.email) == ("checkout_blocked", True, JANE)


def test_what_is_not_enforced_is_on_the_timeline_only() -> None:
    (happening,) = told(Checkout(attempt(reason="customer_blocked", denied=False), HASH))
    assert (happening.published, happening.note) == (False, "not enforced: the checkout went on")


def test_other_refusals_and_declines_are_no_blocked_checkout() -> None:
    for fact in (attempt(), attempt(reason="lockout"), decline()):
        assert list(told(Checkout(fact, HASH))) == []


def test_only_an_allowed_attempt_is_let_through() -> None:
    facts: list[CheckoutAttemptFact | DeclineFact] = [
        attempt(),
        attempt(reason="customer_blocked", denied=False),
        attempt(reason="freeze"),
        decline(),
    ]
    assert [is_let_through(Checkout(fact, HASH)) for fact in facts] == [True, True, False, False]


def later(minutes: float) -> datetime:
    return NOW + timedelta(minutes=minutes)


@pytest.mark.parametrize(
    ("field", "minutes", "sign"),
    [
        ("last_lockout_at", 0.9, None),
        ("last_lockout_at", 1.1, "lockout"),
        ("last_decline_burst_at", 9, None),
        ("last_decline_burst_at", 11, "declines"),
        ("last_freeze_at", 14, None),
        ("last_freeze_at", 16, "freeze"),
        ("last_lockout_at", -5, None),
    ],
)
def test_a_sign_that_follows_closely_belongs_to_the_episode_that_was_told(
    field: str, minutes: float, sign: str | None
) -> None:
    found, at = checkouts.testing_detected(Features(**{field: later(minutes)}), NOW)  # type: ignore[arg-type]
    assert (found, at) == (sign, max(later(minutes), NOW))


def test_the_first_sign_is_told_and_no_sign_is_nothing() -> None:
    assert checkouts.testing_detected(Features(last_freeze_at=NOW), None) == ("freeze", NOW)
    assert checkouts.testing_detected(Features(), None) == (None, None)
    assert checkouts.testing_detected(Features(), NOW) == (None, NOW)
