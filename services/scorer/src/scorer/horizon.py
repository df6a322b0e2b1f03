"""How long a score stands: when time alone may change it, with no new fact."""

from collections.abc import Iterable
from datetime import datetime

from scorer.features import Features
from scorer.modules import account_age, card_testing, orders, shipping
from scorer.score import is_gated
from scorer.scoring import Scoring


def next_change(features: Features, scoring: Scoring, *, is_allowlisted: bool, now: datetime) -> datetime | None:
    """The earliest time after `now` at which these facts may give another score or other signals. None: never.

    The features must be read anew then: an order may have left its window, or begun to count in one.
    """
    if is_allowlisted:
        return None
    return min((at for at in _changes(features, scoring, now) if at), default=None)


def _changes(features: Features, scoring: Scoring, now: datetime) -> Iterable[datetime | None]:
    of = scoring.modules
    yield features.next_order_at
    yield features.next_checkout_at
    yield card_testing.next_change(features, of.card_testing, now)
    if not is_gated(features, scoring):
        yield account_age.next_change(features, of.account_age, now)
        yield orders.burst_ends_at(features, of.orders)
        yield shipping.window_moves_at(features, of.shipping_anomalies)
