"""The checkout: declined payments, and what the gate answered to submissions of the form."""

from collections.abc import Iterable
from dataclasses import dataclass
from datetime import datetime, timedelta

from scorer.facts import Happening
from scorer.features import Features
from shared.events import CheckoutAttemptFact, DeclineFact, EventData

LOCKOUT_EPISODE = timedelta(seconds=60)
"""A lockout's length: refusals within it belong to the lockout that was told."""
FREEZE_EPISODE = timedelta(minutes=15)
DECLINES_EPISODE = timedelta(minutes=10)


@dataclass(frozen=True, slots=True)
class Checkout:
    """A decline or an attempt of a customer. One without an e-mail is nobody's, and is not kept here."""

    fact: DeclineFact | CheckoutAttemptFact
    email_hash: str


def is_let_through(checkout: Checkout) -> bool:
    """An attempt that the gate allowed: every order begins with one, and it tells nothing of a score."""
    return isinstance(checkout.fact, CheckoutAttemptFact) and checkout.fact.data.decision == "allow"


def told(checkout: Checkout) -> Iterable[Happening]:
    """A refusal of a blocked customer, or what would have been one while the store does not enforce blocking."""
    fact = checkout.fact
    if isinstance(fact, CheckoutAttemptFact) and fact.data.reason == "customer_blocked":
        prevented = fact.data.decision == "deny"
        yield Happening(
            "checkout_blocked",
            fact.occurred_at,
            fact.id,
            EventData(email=fact.data.email),
            note=None if prevented else "not enforced: the checkout went on",
            published=prevented,
        )


def testing_detected(features: Features, told_at: datetime | None) -> tuple[str | None, datetime | None]:
    """What shows card testing that no event has told yet (None: nothing new), and the latest sign of it.

    `told_at` is the latest sign before. Signs that follow it closely belong to the episode that was told.
    """
    signs = [
        (at, episode, what)
        for at, episode, what in (
            (features.last_decline_burst_at, DECLINES_EPISODE, "declines"),
            (features.last_freeze_at, FREEZE_EPISODE, "freeze"),
            (features.last_lockout_at, LOCKOUT_EPISODE, "lockout"),
        )
        if at is not None
    ]
    if not signs:
        return None, told_at
    at, episode, what = max(signs, key=lambda sign: sign[0])
    if told_at is None:
        return what, at
    return (what if at - told_at > episode else None), max(at, told_at)
