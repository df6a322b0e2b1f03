"""GET /chargebacks/ratio over HTTP, and the levels that a store sets."""

from datetime import UTC, datetime
from typing import Any

import asyncpg
import pytest

from api.chargebacks import ChargebackSettings
from api.store import chargebacks as store
from shared.secrets import Vault
from support.api_client import ApiClient
from support.facts import dispute, order
from support.scoring_shop import Shop

NOW = datetime.now(UTC)
"""The API's own clock says which months are the latest."""


@pytest.fixture
def shop(api: ApiClient, pool: asyncpg.Pool, vault: Vault) -> Shop:
    """The client's store, with a scorer."""
    return Shop(pool, vault, api.store.id, b"k" * 32)


async def ratio(api: ApiClient, months: int = 1) -> list[dict[str, Any]]:
    answer = await api.get(f"/chargebacks/ratio?months={months}")
    assert answer.status == 200, answer.text
    return list(answer.json)


async def test_disputes_and_orders_are_counted_by_month_and_brand(api: ApiClient, shop: Shop) -> None:
    this_month = NOW.replace(day=1)
    orders = [order(n, at=this_month, card_brand="visa") for n in range(1, 9)]
    await shop.process(*orders, order(9, at=this_month, status="cancelled", card_brand="visa"))
    await shop.process(dispute(1, "won", name="dp_1").model_copy(update={"occurred_at": NOW}))
    await shop.process(dispute(2, "warning", name="dp_2").model_copy(update={"occurred_at": NOW}))

    month = f"{NOW:%Y-%m}"
    assert await ratio(api) == [
        {
            "month": month,
            "card_brand": brand,
            "disputes": 1,
            "orders": 8,
            "orders_month": month,
            "ratio": 12.5,
            "warn": 0.65,
            "limit": limit,
            "level": None,
        }
        for brand, limit in (("all", 1.0), ("visa", 0.9))
    ]
    assert [row["month"] for row in await ratio(api, 24)].count(month) == 2
    assert len({row["month"] for row in await ratio(api, 24)}) == 24


async def test_a_store_sets_its_levels_and_forgets_them(api: ApiClient, pool: asyncpg.Pool) -> None:
    levels = {"visa": {"warn": 1, "limit": 2.25}}
    await store.save_settings(pool, api.store.id, ChargebackSettings.model_validate(levels))
    await store.save_settings(pool, api.store.id, ChargebackSettings.model_validate({"min_disputes": 2}))
    found = await store.find_settings(pool, api.store.id)
    assert found == ChargebackSettings.model_validate({**levels, "min_disputes": 2})

    await store.save_settings(pool, api.store.id, None)
    assert await store.find_settings(pool, api.store.id) == ChargebackSettings()


@pytest.mark.parametrize("months", ["0", "25", "x", "1.5"])
async def test_months_that_cannot_be_shown_are_refused_by_name(api: ApiClient, months: str) -> None:
    answer = await api.get(f"/chargebacks/ratio?months={months}")
    assert (answer.status, list(answer.json["data"]["params"])) == (400, ["months"])
