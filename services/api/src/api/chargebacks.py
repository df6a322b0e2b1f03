"""How much of what was paid by card is disputed, month by month and brand by brand, beside what card networks bear.

Each network counts disputes by the month in which they are filed, however they end. Visa (VDMP, then VAMP) and American
Express divide them by the sales of that month, Mastercard (ECP) by those of the month before.
"""

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from datetime import date, datetime
from decimal import ROUND_HALF_UP, Decimal
from typing import Annotated, Any, Literal

from pydantic import BaseModel, BeforeValidator, ConfigDict, Field, PlainSerializer, WithJsonSchema, model_validator

from api.gate import whole

ALL, UNKNOWN = "all", "unknown"
"""In place of a brand: all orders and disputes together, and those of which it is not known, or that no card paid."""
LAGGED = frozenset({"mastercard"})
"""Brands that divide by the sales of the month before."""

Level = Literal["ok", "warn", "limit"]


def _percent(value: Any) -> Decimal:
    if isinstance(value, bool) or not isinstance(value, int | float | Decimal):
        raise ValueError("must be a number of percent")  # noqa: TRY004  # pydantic names the field of a ValueError only
    return Decimal(str(value))


Percent = Annotated[
    Decimal,
    BeforeValidator(_percent),
    PlainSerializer(float, when_used="json"),
    Field(ge=Decimal("0.01"), le=100),
    WithJsonSchema({"type": "number", "minimum": 0.01, "maximum": 100}),
]


class Levels(BaseModel):
    """Percent of the orders, from which on it is said."""

    model_config = ConfigDict(frozen=True, extra="forbid")

    warn: Percent
    limit: Percent

    @model_validator(mode="after")
    def _rise(self) -> "Levels":
        if self.warn > self.limit:
            raise ValueError("warn must not be above limit")
        return self


class ChargebackSettings(BaseModel):
    """What of a store's orders may be disputed, with what it is where nothing else is said."""

    model_config = ConfigDict(frozen=True, extra="forbid", use_attribute_docstrings=True)

    visa: Levels = Levels(warn=Decimal("0.65"), limit=Decimal("0.9"))
    """Where Visa's dispute monitoring (VDMP) warned and began until March 2025. Its heir, VAMP, draws the line at 1.5,
    but counts a fraud twice: as the bank's report, of which a store is not told, and as the dispute."""
    mastercard: Levels = Levels(warn=Decimal("1.0"), limit=Decimal("1.5"))
    """Of the Excessive Chargeback Programme: monitored, and excessive."""
    others: Levels = Levels(warn=Decimal("0.65"), limit=Decimal("1.0"))
    """Of every other brand, and of all together. American Express charges for disputes above 1.0."""
    min_disputes: Annotated[int, BeforeValidator(whole), Field(ge=1, le=1000)] = 5
    """In a month, below which no level is said: one more or less would change it. Networks act from about 100 on."""

    def levels(self, card_brand: str) -> Levels:
        return {"visa": self.visa, "mastercard": self.mastercard}.get(card_brand, self.others)


class RatioListing(BaseModel):
    model_config = ConfigDict(frozen=True, extra="ignore", use_attribute_docstrings=True)

    months: Annotated[int, Field(ge=1, le=24)] = 6
    """How many, this one among them."""


class Ratio(BaseModel):
    model_config = ConfigDict(frozen=True, use_attribute_docstrings=True)

    month: Annotated[str, Field(pattern=r"^[0-9]{4}-[0-9]{2}$")]
    """UTC. The first is not over yet."""
    card_brand: str
    """visa, mastercard, amex and so on; `unknown`, or no card; `all` together."""
    disputes: int
    """Filed in the month, also those that were won since; no inquiries."""
    orders: int
    """By which they are divided: neither cancelled, failed, unpaid nor deleted."""
    orders_month: str
    """When those were made: in the month before, for Mastercard."""
    ratio: Decimal | None
    """Percent, two decimals. Null: there are no such orders."""
    warn: Decimal
    limit: Decimal
    level: Level | None
    """Null: too few disputes, or no orders, to say."""


@dataclass(frozen=True, slots=True)
class Counted:
    """Of a store and some months; by the first day of the month, and the brand ("": not known)."""

    orders: Mapping[tuple[date, str], int]
    disputes: Mapping[tuple[date, str], int]


def latest_months(now: datetime, number: int) -> list[date]:
    """First days, the latest first."""
    months = [now.date().replace(day=1)]
    while len(months) < number:
        months.append(month_before(months[-1]))
    return months


def month_before(month: date) -> date:
    return month.replace(month=month.month - 1) if month.month > 1 else date(month.year - 1, 12, 1)


def ratios(counted: Counted, months: Sequence[date], settings: ChargebackSettings) -> list[Ratio]:
    """Of each month all together, then every brand of which there are orders or disputes, by its name."""
    return [ratio for month in months for ratio in _of_month(counted, month, settings)]


def _of_month(counted: Counted, month: date, settings: ChargebackSettings) -> Iterable[Ratio]:
    disputes, orders = _brands(counted.disputes, month), _brands(counted.orders, month)
    yield _ratio(ALL, (month, sum(disputes.values())), (month, sum(orders.values())), settings)
    for brand in sorted({*disputes, *orders, *(LAGGED & _brands(counted.orders, month_before(month)).keys())}):
        of = month_before(month) if brand in LAGGED else month
        sold = counted.orders.get((of, brand), 0)
        yield _ratio(brand or UNKNOWN, (month, disputes.get(brand, 0)), (of, sold), settings)


def _brands(counts: Mapping[tuple[date, str], int], month: date) -> dict[str, int]:
    return {brand: count for (of, brand), count in counts.items() if of == month}


def _ratio(card_brand: str, disputed: tuple[date, int], sold: tuple[date, int], settings: ChargebackSettings) -> Ratio:
    (month, disputes), (orders_month, orders) = disputed, sold
    levels = settings.levels(card_brand)
    exact = Decimal(100 * disputes) / orders if orders else None
    return Ratio(
        month=f"{month:%Y-%m}",
        card_brand=card_brand,
        disputes=disputes,
        orders=orders,
        orders_month=f"{orders_month:%Y-%m}",
        ratio=None if exact is None else exact.quantize(Decimal("0.01"), rounding=ROUND_HALF_UP),
        warn=levels.warn,
        limit=levels.limit,
        level=None if exact is None or disputes < settings.min_disputes else _level(exact, levels),
    )


def _level(exact: Decimal, levels: Levels) -> Level:
    """Of the ratio itself, not of what is shown of it."""
    if exact >= levels.limit:
        return "limit"
    return "warn" if exact >= levels.warn else "ok"
