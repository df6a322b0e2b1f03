"""Customers and statistics as the seed describes them, and changing a customer by asking the scorer."""

import json
from collections.abc import Sequence
from datetime import UTC, datetime, timedelta
from decimal import Decimal
from typing import Any
from uuid import UUID

import asyncpg
import pytest
from structlog.testing import capture_logs

from api.schemas import Customer, CustomerWithEmail, ListedCustomer, ListedCustomerWithEmail
from api.settings import ApiSettings
from api.stores import CreatedStore, find_secrets
from shared.broker import Broker
from shared.commands import Command, RefusedError
from shared.identity import email_hash
from shared.outbox import Transaction
from shared.secrets import Vault
from support.api_client import BASE, ApiClient, serving
from support.owner import owning

SAMPLE = """{
"id": 412,
"email_hash": "a3f2...64 chars",
"trust_score": 34,
"segment": "risk",
"segment_label": "Risk",
"total_orders": 12,
"total_refunds": 5,
"return_rate": 41.7,
"total_order_value": 1380.00,
"total_refund_value": 575.00,
"is_blocked": false,
"is_allowlisted": false,
"first_order_date": "2025-03-12 09:14:00",
"last_order_date": "2026-05-28 16:42:00",
"created_at": "2025-03-12 09:14:00",
"updated_at": "2026-06-04 11:07:00"
}"""
"""Copied from the seed."""
HASH = "a3f2" + "0" * 60


async def insert(pool: asyncpg.Pool, store_id: UUID, hashed: str = HASH, **changes: Any) -> None:
    row = {
        "store_id": store_id,
        "email_hash": hashed,
        "email": "jane@example.com",
        "trust_score": 34,
        "segment": "risk",
        "signals": json.dumps(
            [{"module": "returns", "points": -25, "reason": "41.7 % returned", "evidence": [4821, "dp_1"]}]
        ),
        "linked_accounts_count": 2,
        "total_disputes": 1,
        "total_orders": 12,
        "total_order_value": Decimal(1380),
        "total_refunds": 5,
        "total_refund_value": Decimal(575),
        "return_rate": Decimal("41.7"),
        "first_order_at": datetime(2025, 3, 12, 9, 14, tzinfo=UTC),
        "last_order_at": datetime(2026, 5, 28, 16, 42, tzinfo=UTC),
        "tags": ["wholesale"],
        "created_at": datetime(2025, 3, 12, 9, 14, tzinfo=UTC),
        "updated_at": datetime(2026, 6, 4, 11, 7, tzinfo=UTC),
    } | changes
    places = ", ".join(f"${n}" for n in range(1, len(row) + 1))
    await pool.execute(f"INSERT INTO scorer.customers ({', '.join(row)}) VALUES ({places})", *row.values())


def exact(text: str) -> dict[str, Any]:
    """With numbers as they are written."""
    read: dict[str, Any] = json.loads(text, parse_float=str)
    return read


async def test_a_customer_is_the_seed_s_sample_field_by_field_and_type_by_type(
    api: ApiClient, pool: asyncpg.Pool
) -> None:
    await insert(pool, api.store.id)

    answer = await api.get(f"/customers/{HASH}")

    ours, sample = exact(answer.text), exact(SAMPLE)
    assert list(ours)[: len(sample)] == list(sample)
    assert {name: type(ours[name]) for name in sample} == {name: type(value) for name, value in sample.items()}
    differing = {"id", "email_hash"}  # the sample's hash is abridged, and ids are given by the database
    assert {k: v for k, v in ours.items() if k in sample and k not in differing} == {
        k: v for k, v in sample.items() if k not in differing
    }
    assert {name: ours[name] for name in ours if name not in sample} == {
        "signals": [{"module": "returns", "points": -25, "reason": "41.7 % returned", "evidence": [4821, "dp_1"]}],
        "tags": ["wholesale"],
        "linked_accounts_count": 2,
        "total_disputes": 1,
    }


async def test_what_postgres_writes_is_what_the_schemas_describe(api: ApiClient, pool: asyncpg.Pool) -> None:
    await insert(pool, api.store.id, tags=['gr\u00f6\u00dfer "5"', "\U0001f600"])

    for path, schema in (
        ("/customers", ListedCustomer),
        ("/customers?include=email", ListedCustomerWithEmail),
        (f"/customers/{HASH}", Customer),
        (f"/customers/{HASH}?include=email", CustomerWithEmail),
    ):
        answer = await api.get(path)
        told = answer.json[0] if path.startswith("/customers?") or path == "/customers" else answer.json
        assert list(told) == list(schema.model_fields)
        # Strictly: a number that is told as a text would not do.
        schema.model_validate_json(json.dumps(told), strict=True)
    assert (await api.get(f"/customers/{HASH}")).json["tags"] == ['gr\u00f6\u00dfer "5"', "\U0001f600"]


@pytest.mark.parametrize(
    ("amount", "told"),
    [("0", "0.00"), ("2.005", "2.01"), ("2.0049", "2.00"), ("-0.5", "-0.50"), ("1e9", "1000000000.00")],
)
async def test_amounts_have_two_decimals_half_up(api: ApiClient, pool: asyncpg.Pool, amount: str, told: str) -> None:
    await insert(pool, api.store.id, total_order_value=Decimal(amount))

    assert exact((await api.get(f"/customers/{HASH}")).text)["total_order_value"] == told


async def test_a_customer_without_completed_orders_has_null_dates_and_whole_zeros(
    api: ApiClient, pool: asyncpg.Pool
) -> None:
    await insert(
        pool,
        api.store.id,
        total_order_value=Decimal(0),
        return_rate=Decimal(0),
        first_order_at=None,
        last_order_at=None,
        segment="vip",
    )

    customer = exact((await api.get(f"/customers/{HASH}")).text)

    assert (customer["first_order_date"], customer["last_order_date"]) == (None, None)
    assert (customer["total_order_value"], customer["return_rate"]) == ("0.00", "0.0")
    assert customer["segment_label"] == "VIP"


async def test_lookup_finds_by_the_plain_address_in_any_spelling(
    api: ApiClient, pool: asyncpg.Pool, vault: Vault
) -> None:
    secrets = await find_secrets(pool, vault, api.store.id)
    assert secrets
    hashed = email_hash(secrets.hash_key, "jane+shop@example.com")
    await insert(pool, api.store.id, hashed)

    for spelling in ("jane%2Bshop@example.com", "%20JANE%2BShop@Example.COM"):
        answer = await api.get(f"/customers/lookup?email={spelling}")
        assert (answer.status, answer.json["email_hash"]) == (200, hashed)
    assert "jane" not in answer.text


@pytest.mark.parametrize(
    ("path", "status", "code"),
    [
        ("/customers/lookup?email=nobody@example.com", 404, "trustlens_customer_not_found"),
        ("/customers/lookup?email=nobody", 400, "rest_invalid_param"),
        ("/customers/lookup?email=", 400, "rest_invalid_param"),
        ("/customers/lookup", 400, "rest_invalid_param"),
        ("/customers/lookup?email=" + "x" * 5000 + "@example.com", 400, "rest_invalid_param"),
        (f"/customers/{'b' * 64}", 404, "trustlens_customer_not_found"),
        (f"/customers/{'b' * 63}", 400, "rest_invalid_param"),
        (f"/customers/{'g' * 64}", 400, "rest_invalid_param"),
        (f"/customers/{'b' * 64}%0a", 400, "rest_invalid_param"),
    ],
)
async def test_a_customer_who_is_not_there_and_one_who_cannot_be_are_told_apart(
    api: ApiClient, path: str, status: int, code: str
) -> None:
    answer = await api.get(path)

    assert (answer.status, answer.json["code"]) == (status, code)


async def test_the_hash_is_found_in_either_case_and_only_by_its_own_store(api: ApiClient, pool: asyncpg.Pool) -> None:
    await insert(pool, api.store.id)
    await insert(pool, UUID(int=1), "c" * 64)

    assert (await api.get(f"/customers/{HASH.upper()}")).json["email_hash"] == HASH
    assert (await api.get(f"/customers/{'c' * 64}")).status == 404


async def insert_many(pool: asyncpg.Pool, store_id: UUID) -> None:
    began = datetime(2026, 1, 1, tzinfo=UTC)
    for n, segment in enumerate(["risk", "vip", "risk", "normal", "risk"]):
        await insert(
            pool,
            store_id,
            f"{n:064x}",
            segment=segment,
            trust_score=10 * n,
            is_blocked=n == 2,
            is_allowlisted=n == 1,
            created_at=began + timedelta(days=n),
        )


def numbers(customers: Sequence[dict[str, Any]]) -> list[int]:
    return [int(customer["email_hash"], 16) for customer in customers]


@pytest.mark.parametrize(
    ("query", "expected", "total"),
    [
        ("", [4, 3, 2, 1, 0], 5),
        ("?order=asc", [0, 1, 2, 3, 4], 5),
        ("?orderby=trust_score&order=asc&per_page=2", [0, 1], 5),
        ("?orderby=total_orders&order=desc&per_page=2&page=2", [2, 1], 5),
        ("?segment=risk", [4, 2, 0], 3),
        ("?segment=risk&blocked=true", [2], 1),
        ("?blocked=false&per_page=1&page=4", [0], 4),
        ("?page=9", [], 5),
        ("?unknown=1&per_page=1&per_page=2", [4, 3], 5),
    ],
)
async def test_customers_are_filtered_sorted_and_paged(
    api: ApiClient, pool: asyncpg.Pool, query: str, expected: list[int], total: int
) -> None:
    await insert_many(pool, api.store.id)

    answer = await api.get(f"/customers{query}")

    assert numbers(answer.json) == expected
    assert answer.headers["X-WP-Total"] == str(total)
    assert all(list(customer) == list(json.loads(SAMPLE)) for customer in answer.json)


async def test_statistics_are_those_of_the_store(api: ApiClient, pool: asyncpg.Pool) -> None:
    await insert_many(pool, api.store.id)
    await insert(pool, UUID(int=1))

    stats, segments = await api.get("/stats"), await api.get("/stats/segments")

    assert exact(stats.text) == {
        "total_customers": 5,
        "average_trust_score": "20.0",
        "blocked_count": 1,
        "allowlisted_count": 1,
        "average_return_rate": "41.7",
        "total_orders": 60,
        "total_refunds": 25,
    }
    assert list(segments.json.items()) == [
        ("vip", 1),
        ("trusted", 0),
        ("normal", 1),
        ("caution", 0),
        ("risk", 3),
        ("critical", 0),
    ]


async def test_a_store_without_customers_has_zeros(api: ApiClient) -> None:
    assert set((await api.get("/stats")).json.values()) == {0}
    assert set((await api.get("/stats/segments")).json.values()) == {0}
    empty = await api.get("/customers")
    assert (empty.json, empty.headers["X-WP-Total"]) == ([], "0")


@pytest.mark.parametrize("method", ["PATCH", "PUT", "POST"])
async def test_a_change_asks_the_scorer_and_answers_the_customer_as_it_then_is(
    api: ApiClient, pool: asyncpg.Pool, broker: Broker, method: str
) -> None:
    await insert(pool, api.store.id)
    asked: list[Command] = []

    async def block(transaction: Transaction, command: Command) -> Any:
        asked.append(command)
        await transaction.connection.execute("UPDATE scorer.customers SET is_blocked = true")

    async with owning("scorer", pool, broker, {"customer.update": block}):
        answer = await api.request(
            method, f"{BASE}/customers/{HASH.upper()}", json={"is_blocked": True, "reason": "chargebacks"}
        )

    assert (answer.status, answer.json["is_blocked"]) == (200, True)
    assert asked[0].data == {"email_hash": HASH, "is_blocked": True, "reason": "chargebacks"}
    assert asked[0].store_id == api.store.id
    assert asked[0].actor == f"key:{api.store.api_key[:11]}"


async def test_the_scorer_s_refusal_is_the_answer(api: ApiClient, pool: asyncpg.Pool, broker: Broker) -> None:
    async def refuse(_: Transaction, __: Command) -> Any:
        raise RefusedError(409, "trustlens_blocked_and_allowlisted", "Undo one first.")

    async with owning("scorer", pool, broker, {"customer.update": refuse}):
        answer = await api.request("PATCH", f"{BASE}/customers/{HASH}", json={"is_allowlisted": True})

    assert answer.json == {
        "code": "trustlens_blocked_and_allowlisted",
        "message": "Undo one first.",
        "data": {"status": 409},
    }


async def test_when_the_scorer_does_not_answer_in_time_the_caller_hears_503_and_the_log_warns(
    api_settings: ApiSettings, api_store: CreatedStore
) -> None:
    async with serving(api_settings.model_copy(update={"command_seconds": 0.2}), api_store) as api:
        with capture_logs() as logs:
            answer = await api.request("PATCH", f"{BASE}/customers/{HASH}", json={"is_blocked": False})

    assert (answer.status, answer.json["code"], answer.headers["Retry-After"]) == (503, "trustlens_no_answer", "5")
    [told] = [line for line in logs if line.get("code") == "trustlens_no_answer"]
    assert (told["event"], told["log_level"]) == ("api.unavailable", "warning")


@pytest.mark.parametrize(
    ("body", "field"),
    [
        ({}, "body"),
        ({"reason": "no flag"}, "body"),
        ({"is_blocked": None}, "body"),
        ({"is_blocked": "true"}, "is_blocked"),
        ({"is_blocked": 1}, "is_blocked"),
        ({"is_blocked": True, "colour": "red"}, "colour"),
        ({"is_blocked": True, "reason": "x" * 501}, "reason"),
        ({"is_blocked": True, "reason": 5}, "reason"),
    ],
)
async def test_a_bad_change_is_400_naming_the_field(api: ApiClient, body: dict[str, Any], field: str) -> None:
    answer = await api.request("PATCH", f"{BASE}/customers/{HASH}", json=body)

    assert (answer.status, answer.json["code"]) == (400, "rest_invalid_param")
    assert list(answer.json["data"]["params"]) == [field]


async def test_a_plus_that_was_not_encoded_finds_its_customer(api: ApiClient, pool: asyncpg.Pool, vault: Vault) -> None:
    secrets = await find_secrets(pool, vault, api.store.id)
    assert secrets
    await insert(pool, api.store.id, email_hash(secrets.hash_key, "jane+shop@example.com"))

    raw, encoded = [await api.get(f"/customers/lookup?email=jane{plus}shop@example.com") for plus in ("+", "%2B")]

    assert (raw.status, encoded.status, raw.text) == (200, 200, encoded.text)
