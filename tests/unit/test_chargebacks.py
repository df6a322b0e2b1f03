"""Disputes per orders, month by month and brand by brand: the arithmetic, the levels, what the command shows."""

from datetime import UTC, date, datetime
from decimal import Decimal
from typing import Any

import pytest
from pydantic import ValidationError
from rich.console import Console

from api.chargebacks import ChargebackSettings, Counted, Levels, Ratio, latest_months, month_before, ratios
from cli.chargebacks import table

MAY, APRIL = date(2026, 5, 1), date(2026, 4, 1)
SETTINGS = ChargebackSettings()


def of_may(orders: dict[tuple[date, str], int], disputes: dict[str, int], **settings: Any) -> dict[str, Ratio]:
    counted = Counted(orders, {(MAY, brand): count for brand, count in disputes.items()})
    found = ratios(counted, [MAY], SETTINGS.model_copy(update=settings))
    assert {ratio.month for ratio in found} == {"2026-05"}
    return {ratio.card_brand: ratio for ratio in found}


def test_months_are_those_of_utc_the_latest_first() -> None:
    assert latest_months(datetime(2026, 2, 28, 23, 59, tzinfo=UTC), 4) == [
        date(2026, 2, 1),
        date(2026, 1, 1),
        date(2025, 12, 1),
        date(2025, 11, 1),
    ]
    assert month_before(date(2026, 3, 1)) == date(2026, 2, 1)


def test_disputes_are_divided_by_the_orders_of_the_month_and_for_mastercard_by_those_of_the_month_before() -> None:
    orders = {(MAY, "visa"): 1000, (APRIL, "visa"): 7, (MAY, "mastercard"): 200, (APRIL, "mastercard"): 500}
    found = of_may(orders, {"visa": 6, "mastercard": 8, "": 1})

    assert (found["visa"].ratio, found["visa"].orders_month) == (Decimal("0.60"), "2026-05")
    assert (found["mastercard"].ratio, found["mastercard"].orders, found["mastercard"].orders_month) == (
        Decimal("1.60"),
        500,
        "2026-04",
    )
    assert (found["all"].disputes, found["all"].orders, found["all"].ratio) == (15, 1200, Decimal("1.25"))
    assert (found["unknown"].disputes, found["unknown"].ratio, found["unknown"].level) == (1, None, None)


@pytest.mark.parametrize(
    ("disputes", "orders", "level"),
    [
        (5, 1000, "ok"),
        (64, 10_000, "ok"),
        (65, 10_000, "warn"),
        (89, 10_000, "warn"),
        (90, 10_000, "limit"),
        (5, 5, "limit"),
        (899_999, 100_000_000, "warn"),  # shown as 0.90
        (4, 10, None),
        (5, 0, None),
        (0, 1000, None),
    ],
)
def test_a_level_is_that_of_the_exact_ratio_and_none_of_too_few(disputes: int, orders: int, level: str | None) -> None:
    found = of_may({(MAY, "visa"): orders} if orders else {}, {"visa": disputes} if disputes else {})
    assert found["visa"].level == level if "visa" in found else level is None


def test_each_brand_has_its_levels_and_what_is_set_takes_their_place() -> None:
    orders = {(MAY, brand): 1000 for brand in ("visa", "amex")} | {(APRIL, "mastercard"): 1000}
    disputes = dict.fromkeys(("visa", "amex", "mastercard"), 9)

    found = of_may(orders, disputes)
    assert {brand: found[brand].level for brand in disputes} == {"visa": "limit", "amex": "warn", "mastercard": "ok"}
    found = of_may(orders, disputes, others=Levels(warn=Decimal("0.1"), limit=Decimal("0.2")), min_disputes=9)
    assert (found["amex"].level, found["all"].level, found["visa"].level) == ("limit", "limit", "limit")


def test_a_month_of_nothing_has_one_row() -> None:
    found = of_may({}, {})
    assert [(brand, row.disputes, row.orders, row.ratio) for brand, row in found.items()] == [("all", 0, 0, None)]


@pytest.mark.parametrize(
    "bad",
    [
        {"visa": {"warn": 1, "limit": 0.5}},
        {"visa": {"warn": 1}},
        {"visa": {"warn": True, "limit": 2}},
        {"visa": {"warn": "1", "limit": 2}},
        {"visa": {"warn": 0, "limit": 2}},
        {"visa": {"warn": 1, "limit": 101}},
        {"visa": {"warn": float("nan"), "limit": 2}},
        {"min_disputes": 0},
        {"min_disputes": "5"},
        {"diners": {"warn": 1, "limit": 2}},
    ],
)
def test_levels_that_make_no_sense_are_refused(bad: dict[str, Any]) -> None:
    with pytest.raises(ValidationError):
        ChargebackSettings.model_validate(bad)


def test_the_command_shows_counts_beside_ratios_and_says_where_there_are_too_few() -> None:
    found = of_may({(MAY, "visa"): 1000, (APRIL, "mastercard"): 500}, {"visa": 9, "mastercard": 2})
    console = Console(width=120, record=True, file=None, force_terminal=False)
    with console.capture() as captured:
        console.print(table([ratio.model_dump() for ratio in found.values()]))
    lines = [" ".join(line.strip("│ ").replace("│", "").split()) for line in captured.get().splitlines()]

    assert "2026-05 visa 9 1,000 0.90 % 0.65 % 0.9 % limit" in lines
    assert "2026-05 mastercard 2 500 (2026-04) 0.40 % 1.0 % 1.5 % too few to say" in lines
