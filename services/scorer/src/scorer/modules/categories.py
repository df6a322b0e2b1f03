"""Categories: kinds of goods that come back more often than they are kept.

Rates, points and the weight of 1.5 are within the plugin's published ranges; the cap is our choice: one refund in a
product of four categories should not cost four times. A weight of 0 leaves a category out.
"""

from collections.abc import Iterable, Mapping
from typing import Annotated, Self

from pydantic import Field, model_validator

from scorer.features import CategoryOrders, Features, percent
from scorer.modules.settings import ModuleSettings, Rate, Weight
from scorer.signals import Signal, capped

HEAVY = 1.5
"""The weight from which a category is watched more closely."""
HIGH_POINTS, HEAVY_HIGH_POINTS, HEAVY_RAISED_POINTS = -15, -20, -10
LOWEST = -30
"""All categories together."""

Slug = Annotated[str, Field(min_length=1, max_length=200)]


class Settings(ModuleSettings):
    high_rate: Rate = 50
    """Percent of a category's orders with a refund, from which they cost points."""
    raised_rate: Rate = 30
    """As above, for heavy categories."""
    category_weights: Annotated[Mapping[Slug, Weight], Field(max_length=1000)] = Field(default_factory=dict)
    """By slug. A category that is not named weighs 1."""

    @model_validator(mode="after")
    def _tiers_fall(self) -> Self:
        if self.raised_rate >= self.high_rate:
            raise ValueError("raised_rate must be below high_rate")
        return self


def signals(features: Features, settings: Settings) -> Iterable[Signal]:
    """The worst first."""
    found = [signal for category in features.categories for signal in _category(category, settings)]
    return capped(
        sorted(found, key=lambda signal: (signal.points, signal.reason)), LOWEST, "categories", settings.weight
    )


def _category(category: CategoryOrders, settings: Settings) -> Iterable[Signal]:
    if not category.refunded:
        return
    rate = percent(category.refunded, category.orders)
    points = _points(float(rate), settings.category_weights.get(category.slug, 1), settings)
    if points:
        told = f"{category.refunded} of {category.orders} orders in {category.name} had a refund ({rate} %)."
        yield Signal("categories", points, told, category.refunded_ids)


def _points(rate: float, weight: float, settings: Settings) -> int:
    if rate >= settings.high_rate and weight > 0:
        return HEAVY_HIGH_POINTS if weight >= HEAVY else HIGH_POINTS
    return HEAVY_RAISED_POINTS if rate >= settings.raised_rate and weight >= HEAVY else 0
