"""Account age: time since the first completed order earns trust (the plugin's published points)."""

from collections.abc import Iterable
from datetime import datetime

from scorer.features import Features
from scorer.signals import Signal

TIERS = ((365, 15), (180, 10), (90, 5))
"""(days from which, points), the highest first; one applies."""


def signals(features: Features, now: datetime) -> Iterable[Signal]:
    if features.first_completed_at is None:
        return
    days = (now - features.first_completed_at).days
    for threshold, points in TIERS:
        if days >= threshold:
            yield Signal("account_age", points, f"first completed order {days} days ago")
            return
