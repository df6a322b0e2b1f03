"""Shipping anomalies: parcels that go to many places, abroad, or each time to a new one. The last 30 days count.

Points as the plugin publishes them; the third new address in a row is our choice. No country is worse than another.
"""

from collections.abc import Iterable
from datetime import datetime, timedelta
from typing import Annotated

from pydantic import Field

from scorer.features import Features
from scorer.modules.settings import Falling, Listed, ModuleSettings
from scorer.signals import Signal, weighted

ADDRESS_POINTS = (-15, -10)
"""One for each of `address_tiers`; one applies."""
ABROAD_POINTS = -5
NEW_ADDRESSES, NEW_ADDRESSES_POINTS = 3, -5
"""The last orders in a row, each to an address not used before: the features know no other number."""
WINDOW = timedelta(days=30)


Addresses = Annotated[int, Field(ge=2, le=1000)]
"""One is no anomaly."""


class Settings(ModuleSettings):
    address_tiers: Annotated[tuple[Addresses, Addresses], Listed, Falling] = (5, 3)
    """Distinct shipping addresses from which they cost points."""


def signals(features: Features, settings: Settings) -> Iterable[Signal]:
    yield from _addresses(features, settings)
    if features.abroad_ids:
        told = "Billing and shipping country differed within the last 30 days."
        yield _signal(ABROAD_POINTS, told, features.abroad_ids)
    if len(features.new_address_ids) >= NEW_ADDRESSES:
        told = f"Each of the last {NEW_ADDRESSES} orders went to an address not used before."
        yield _signal(NEW_ADDRESSES_POINTS, told, features.new_address_ids)


def window_moves_at(features: Features, settings: Settings) -> datetime | None:
    """When the next order leaves the last 30 days, if these cost any points."""
    if not settings.enabled or features.oldest_recent_at is None:
        return None
    earned = any(weighted(signal.points, settings.weight) for signal in signals(features, settings))
    return features.oldest_recent_at + WINDOW if earned else None


def _addresses(features: Features, settings: Settings) -> Iterable[Signal]:
    for threshold, points in zip(settings.address_tiers, ADDRESS_POINTS, strict=True):
        if features.recent_addresses >= threshold:
            told = f"Orders of the last 30 days went to {features.recent_addresses} addresses."
            yield _signal(points, told, features.recent_address_ids)
            return


def _signal(points: int, reason: str, evidence: tuple[int, ...]) -> Signal:
    return Signal("shipping_anomalies", points, reason, evidence)
