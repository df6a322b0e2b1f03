"""Lists of customers by every filter, in every order, against what a sorted Python list says."""

import random
from collections.abc import Mapping
from datetime import UTC, datetime, timedelta
from decimal import Decimal
from ipaddress import ip_network
from typing import Any
from urllib.parse import urlencode
from uuid import UUID

import asyncpg
import pytest

from api.settings import ApiSettings
from api.stores import CreatedStore, find_secrets
from shared.events import SEGMENTS
from shared.identity import email_hash
from shared.secrets import Vault
from support.api_client import BASE, ApiClient, serving

BEGAN = datetime(2026, 1, 1, tzinfo=UTC)
CUSTOMERS = 90
COLUMNS = (
    "store_id", "email_hash", "segment", "trust_score", "is_blocked", "is_allowlisted", "total_orders", "return_rate",
    "last_order_at", "tags", "created_at", "updated_at",
)  # fmt: skip

Row = dict[str, Any]


def people(chance: random.Random) -> list[Row]:
    """With many equal keys, so that the id decides."""
    return [
        {
            "email_hash": f"{n:064x}",
            "segment": chance.choice(SEGMENTS),
            "trust_score": chance.choice([0, 34, 34, 50, 100]),
            "is_blocked": (blocked := chance.random() < 0.3),
            "is_allowlisted": not blocked and chance.random() < 0.3,
            "total_orders": chance.randrange(4),
            "return_rate": chance.choice([Decimal("0.0"), Decimal("8.3"), Decimal("41.7"), Decimal("100.0")]),
            "last_order_at": chance.choice([None, BEGAN + timedelta(days=chance.randrange(20))]),
            "tags": chance.choice([[], [], ["wholesale"], ["b2b", "wholesale"], ["späte Zahler"]]),
            "created_at": BEGAN + timedelta(days=chance.randrange(10)),
        }
        for n in range(CUSTOMERS)
    ]


async def insert(pool: asyncpg.Pool, store_id: UUID, rows: list[Row]) -> list[Row]:
    """With the ids that the database gave."""
    places = ", ".join(f"${n}" for n in range(1, len(COLUMNS) + 1))
    statement = f"INSERT INTO scorer.customers ({', '.join(COLUMNS)}) VALUES ({places}) RETURNING id"
    for row in rows:
        given = row | {"store_id": store_id, "updated_at": BEGAN}
        row["id"] = await pool.fetchval(statement, *(given[name] for name in COLUMNS))
    return rows


def query(chance: random.Random) -> dict[str, str]:
    """Some of the parameters; as many again leave out most."""
    day = BEGAN + timedelta(days=chance.randrange(20))
    known = {
        "segment": chance.choice(SEGMENTS),
        "blocked": chance.choice(["true", "false", "1", "0"]),
        "allowlisted": chance.choice(["true", "false"]),
        "tag": chance.choice(["wholesale", "b2b", "späte Zahler", "nobody"]),
        "min_score": str(chance.choice([0, 34, 35])),
        "max_score": str(chance.choice([0, 34, 50, 100])),
        "last_order_after": f"{day:%Y-%m-%d %H:%M:%S}",
        "last_order_before": (day + timedelta(days=8)).isoformat(),
    }
    few = chance.sample(list(known), chance.choice([0, 0, 1, 1, 2, 3]))
    paging = {
        "orderby": chance.choice(["trust_score", "total_orders", "return_rate", "created_at"]),
        "order": chance.choice(["asc", "desc"]),
        "per_page": str(chance.choice([3, 10, 100])),
        "page": str(chance.choice([1, 1, 2, 9])),
    }
    return {name: known[name] for name in few} | paging


def matches(row: Row, asked: Mapping[str, str]) -> bool:
    at = row["last_order_at"]
    flags = {"true": True, "1": True, "false": False, "0": False}
    return (
        asked.get("segment") in {None, row["segment"]}
        and flags.get(asked.get("blocked", "")) in {None, row["is_blocked"]}
        and flags.get(asked.get("allowlisted", "")) in {None, row["is_allowlisted"]}
        and ("tag" not in asked or asked["tag"] in row["tags"])
        and int(asked.get("min_score", 0)) <= row["trust_score"] <= int(asked.get("max_score", 100))
        and ("last_order_after" not in asked or bool(at and at > moment(asked["last_order_after"])))
        and ("last_order_before" not in asked or bool(at and at < moment(asked["last_order_before"])))
    )


def moment(text: str) -> datetime:
    at = datetime.fromisoformat(text)
    return at if at.tzinfo else at.replace(tzinfo=UTC)


def expected(rows: list[Row], asked: Mapping[str, str]) -> tuple[list[int], int]:
    found = sorted(
        (row for row in rows if matches(row, asked)),
        key=lambda row: (row[asked["orderby"]], row["id"]),
        reverse=asked["order"] == "desc",
    )
    size = int(asked["per_page"])
    begin = (int(asked["page"]) - 1) * size
    return [row["id"] for row in found[begin : begin + size]], len(found)


@pytest.mark.parametrize("seed", [1, 2, 3])
async def test_every_filter_order_and_page_is_what_a_sorted_list_says(
    api: ApiClient, pool: asyncpg.Pool, seed: int
) -> None:
    chance = random.Random(seed)  # noqa: S311  # reproducible, not secret
    await insert(pool, UUID(int=1), people(chance))
    rows = await insert(pool, api.store.id, people(chance))
    for _ in range(150):
        asked = query(chance)
        answer = await api.get(f"/customers?{urlencode(asked)}")
        ids = [customer["id"] for customer in answer.json]
        assert (ids, int(answer.headers["X-WP-Total"])) == expected(rows, asked), asked


async def test_pages_of_equal_keys_show_everybody_once(api: ApiClient, pool: asyncpg.Pool) -> None:
    rows = await insert(pool, api.store.id, [row | {"trust_score": 50} for row in people(random.Random(4))])  # noqa: S311
    for order in ("asc", "desc"):
        pages = [
            await api.get(f"/customers?orderby=trust_score&order={order}&per_page=7&page={page}")
            for page in range(1, 14)
        ]
        shown = [customer["id"] for answer in pages for customer in answer.json]
        assert shown == sorted((row["id"] for row in rows), reverse=order == "desc")


async def test_links_repeat_the_parameters_that_count_once_and_nothing_else(api: ApiClient, pool: asyncpg.Pool) -> None:
    await insert(pool, api.store.id, [row | {"tags": ["a b+c"]} for row in people(random.Random(5))])  # noqa: S311
    answer = await api.get(
        "/customers?tag=x&tag=a%20b%2Bc&per_page=40&_=1&" + "&".join(f"a{n}=1" for n in range(3_000))
    )
    assert answer.headers["Link"] == ", ".join(
        f'<{api.origin}{BASE}/customers?per_page=40&tag=a+b%2Bc&page={page}>; rel="{relation}"'
        for page, relation in ((1, "first"), (3, "last"), (2, "next"))
    )


async def test_behind_a_trusted_proxy_links_are_as_the_caller_came(
    api_settings: ApiSettings, api_store: CreatedStore, pool: asyncpg.Pool
) -> None:
    await insert(pool, api_store.id, people(random.Random(5)))  # noqa: S311
    proxied = {"Host": "trust.example", "X-Forwarded-Proto": "https"}
    async with serving(api_settings, api_store) as api:
        answer = await api.get("/customers", headers=proxied)
    assert answer.headers["Link"].startswith(f"<http://trust.example{BASE}/customers?page=1>")
    trusting = api_settings.model_copy(update={"trusted_proxies": (ip_network("127.0.0.0/8"),)})
    async with serving(trusting, api_store) as api:
        answer = await api.get("/customers", headers=proxied)
    assert answer.headers["Link"].startswith(f"<https://trust.example{BASE}/customers?page=1>")


async def test_an_address_finds_its_customer_in_any_spelling_and_with_the_other_filters(
    api: ApiClient, pool: asyncpg.Pool, vault: Vault
) -> None:
    secrets = await find_secrets(pool, vault, api.store.id)
    assert secrets
    address = "jane+shop@xn--mnchen-3ya.example"
    rows = people(random.Random(5))  # noqa: S311
    rows[0] |= {"email_hash": email_hash(secrets.hash_key, address), "segment": "risk"}
    await insert(pool, api.store.id, rows)
    for spelling in ("JANE%2Bshop@MÜNCHEN.example", "jane+shop@m%C3%BCnchen.example", "%20" + address + "%20"):
        for filtered, found in (("", [rows[0]["id"]]), ("&segment=risk", [rows[0]["id"]]), ("&segment=vip", [])):
            answer = await api.get(f"/customers?email={spelling}{filtered}")
            assert ([customer["id"] for customer in answer.json], answer.status) == (found, 200)
            assert answer.headers["X-WP-Total"] == str(len(found))
            assert "jane" not in answer.text.lower()
    nobody = await api.get("/customers?email=nobody@example.com")
    assert (nobody.status, nobody.json, nobody.headers["X-WP-Total"]) == (200, [], "0")


@pytest.mark.parametrize(
    ("parameters", "field"),
    [
        ("segment=", "segment"),
        ("segment=VIP", "segment"),
        ("segment=gold", "segment"),
        ("segment[]=risk", "segment"),
        ("page=1&page%5B0%5D=2", "page"),
        ("blocked=", "blocked"),
        ("blocked=maybe", "blocked"),
        ("allowlisted=2", "allowlisted"),
        ("tag=", "tag"),
        ("tag=%20", "tag"),
        ("tag=" + "x" * 8_000, "tag"),
        ("tag=a%00b", "tag"),
        ("min_score=", "min_score"),
        ("min_score=low", "min_score"),
        ("min_score=-1", "min_score"),
        ("min_score=3.5", "min_score"),
        ("max_score=101", "max_score"),
        ("max_score=NaN", "max_score"),
        ("max_score=" + "9" * 8_000, "max_score"),
        ("email=", "email"),
        ("email=nobody", "email"),
        ("email=a@b@", "email"),
        ("email=a%00@example.com", "email"),
        ("email=" + "x" * 8_000 + "@example.com", "email"),
        ("last_order_after=", "last_order_after"),
        ("last_order_after=yesterday", "last_order_after"),
        ("last_order_before=2026-02-30", "last_order_before"),
        ("last_order_before=" + "9" * 8_000, "last_order_before"),
        ("orderby=", "orderby"),
        ("orderby=email", "orderby"),
        ("orderby=id%3B%20DROP%20TABLE%20scorer.customers", "orderby"),
        ("orderby=trust_score%20DESC", "orderby"),
        ("order=", "order"),
        ("order=DESC", "order"),
        ("order=asc%2C%20id", "order"),
        ("page=0", "page"),
        ("per_page=101", "per_page"),
    ],
)
async def test_a_parameter_that_cannot_be_is_400_and_named(api: ApiClient, parameters: str, field: str) -> None:
    answer = await api.get(f"/customers?{parameters}")
    assert (answer.status, answer.json["code"]) == (400, "rest_invalid_param")
    assert list(answer.json["data"]["params"]) == [field]
    assert len(answer.text) < 500, "what was sent is not sent back"


@pytest.mark.parametrize(
    ("parameters", "found"),
    [
        ("tag=b2b&tag=wholesale", 2),  # the last, as PHP reads it
        ("segment=gold&segment=risk", 1),
        ("unknown=" + "x" * 1_000, 3),
        ("min_score=60&max_score=40", 0),
        ("last_order_after=2026-02-01&last_order_before=2026-01-01", 0),
        ("last_order_after=0001-01-01T00:00:00%2B00:00&last_order_before=9999-12-31", 2),
        ("tag=%27%20OR%20true%20--", 0),
        ("tag=%ff", 0),
        ("page=1000000000&per_page=100", 3),
    ],
)
async def test_what_is_odd_but_clear_is_answered(
    api: ApiClient, pool: asyncpg.Pool, parameters: str, found: int
) -> None:
    rows = people(random.Random(6))[:3]  # noqa: S311
    for row, segment, tags, at in zip(
        rows, ("risk", "vip", "vip"), (["wholesale"], ["wholesale"], []), (BEGAN, BEGAN, None), strict=True
    ):
        row |= {"segment": segment, "tags": tags, "last_order_at": at}
    await insert(pool, api.store.id, rows)
    answer = await api.get(f"/customers?{parameters}")
    assert (answer.status, answer.headers["X-WP-Total"]) == (200, str(found))


async def test_statistics_are_what_the_customers_add_up_to(api: ApiClient, pool: asyncpg.Pool) -> None:
    rows = await insert(pool, api.store.id, people(random.Random(7)))  # noqa: S311
    stats = (await api.get("/stats")).json
    assert stats["total_customers"] == CUSTOMERS
    assert stats["blocked_count"] == sum(row["is_blocked"] for row in rows)
    assert stats["allowlisted_count"] == sum(row["is_allowlisted"] for row in rows)
    assert stats["total_orders"] == sum(row["total_orders"] for row in rows)
    exact = Decimal(sum(row["trust_score"] for row in rows)) / CUSTOMERS, sum(row["return_rate"] for row in rows)
    assert Decimal(str(stats["average_trust_score"])) == round(exact[0] + Decimal("1e-9"), 1)
    assert Decimal(str(stats["average_return_rate"])) == round(exact[1] / CUSTOMERS + Decimal("1e-9"), 1)
