"""What may be asked about one customer: tags, notes, recalculation, erasure, timeline, score history, export."""

import json
from collections.abc import Mapping
from datetime import UTC, datetime, timedelta
from decimal import Decimal
from typing import Any
from uuid import UUID

import asyncpg
import pytest

from shared.broker import Broker
from shared.commands import Command, Handler, RefusedError
from shared.db import Partitions
from shared.identity import fingerprint
from shared.ids import uuid7
from shared.outbox import Transaction
from support.api_client import BASE, Answer, ApiClient
from support.owner import owning

HASH = "a3f2" + "0" * 60
PATH = f"/customers/{HASH}"
NOW = datetime(2026, 6, 5, 14, 23, tzinfo=UTC)


async def insert(pool: asyncpg.Pool, table: str, **row: Any) -> None:
    places = ", ".join(f"${n}" for n in range(1, len(row) + 1))
    await pool.execute(f"INSERT INTO {table} ({', '.join(row)}) VALUES ({places})", *row.values())


async def insert_customer(pool: asyncpg.Pool, store_id: UUID, hashed: str = HASH) -> None:
    row = {"email": "jane@example.com", "tags": ["watch"], "created_at": NOW, "updated_at": NOW}
    await insert(pool, "scorer.customers", store_id=store_id, email_hash=hashed, **row)


def owner_of(asked: list[Command], command: str, statement: str = "SELECT 1") -> Mapping[str, Handler]:
    """The scorer for one command: writes down what it is asked, and does it by a statement."""

    async def execute(transaction: Transaction, given: Command) -> Any:
        asked.append(given)
        await transaction.connection.execute(statement)

    return {command: execute}


async def delete(api: ApiClient, path: str) -> Answer:
    return await api.request("DELETE", BASE + path)


async def test_recalculating_answers_the_customer_as_it_then_is(
    api: ApiClient, pool: asyncpg.Pool, broker: Broker
) -> None:
    await insert_customer(pool, api.store.id)
    asked: list[Command] = []
    statement = "UPDATE scorer.customers SET trust_score = 77"
    async with owning("scorer", pool, broker, owner_of(asked, "customer.recalculate", statement)):
        answer = await api.post(f"/customers/{HASH.upper()}/recalculate")

    assert (answer.status, answer.json["trust_score"], answer.json["tags"]) == (200, 77, ["watch"])
    assert (asked[0].data, asked[0].store_id) == ({"email_hash": HASH}, api.store.id)
    assert asked[0].actor == f"key:{api.store.api_key[:11]}"


async def test_a_tag_is_stripped_and_the_customer_with_it_is_answered(
    api: ApiClient, pool: asyncpg.Pool, broker: Broker
) -> None:
    await insert_customer(pool, api.store.id)
    asked: list[Command] = []
    statement = "UPDATE scorer.customers SET tags = tags || '{Wholesale}'"
    async with owning("scorer", pool, broker, owner_of(asked, "customer.tag", statement)):
        answer = await api.post(f"{PATH}/tags", json={"tag": " Wholesale "})

    assert (answer.status, answer.json["tags"]) == (200, ["watch", "Wholesale"])
    assert asked[0].data == {"email_hash": HASH, "tag": "Wholesale"}


@pytest.mark.parametrize(
    ("written", "tag"), [("watch", "watch"), ("a%2Fb", "a/b"), ("a%20b%3F", "a b?"), ("m%C3%BC", "m\u00fc")]
)
async def test_a_tag_of_any_spelling_can_be_taken_off(
    api: ApiClient, pool: asyncpg.Pool, broker: Broker, written: str, tag: str
) -> None:
    await insert_customer(pool, api.store.id)
    asked: list[Command] = []
    statement = "UPDATE scorer.customers SET tags = '{}'"
    async with owning("scorer", pool, broker, owner_of(asked, "customer.untag", statement)):
        answer = await delete(api, f"{PATH}/tags/{written}")

    assert (answer.status, answer.json["tags"]) == (200, [])
    assert asked[0].data == {"email_hash": HASH, "tag": tag}


async def test_a_note_is_answered_201_with_the_customer(api: ApiClient, pool: asyncpg.Pool, broker: Broker) -> None:
    await insert_customer(pool, api.store.id)
    asked: list[Command] = []
    async with owning("scorer", pool, broker, owner_of(asked, "customer.note")):
        answer = await api.post(f"{PATH}/notes", json={"text": "Called.\nWill return it. "})

    assert (answer.status, answer.json["email_hash"]) == (201, HASH)
    assert asked[0].data == {"email_hash": HASH, "text": "Called.\nWill return it."}


@pytest.mark.parametrize(
    ("query", "data"), [("", {}), ("?reason=asked+for", {"reason": "asked for"}), ("?force=true", {})]
)
async def test_an_erasure_is_answered_204_without_a_body(
    api: ApiClient, pool: asyncpg.Pool, broker: Broker, query: str, data: dict[str, str]
) -> None:
    asked: list[Command] = []
    async with owning("scorer", pool, broker, owner_of(asked, "customer.erase")):
        answer = await delete(api, PATH + query)

    assert (answer.status, answer.text) == (204, "")
    assert asked[0].data == {"email_hash": HASH, **data}


async def test_the_scorer_s_404_is_the_answer(api: ApiClient, pool: asyncpg.Pool, broker: Broker) -> None:
    async def refuse(_: Transaction, __: Command) -> Any:
        raise RefusedError(404, "trustlens_customer_not_found", "Customer not found.")

    names = ("customer.recalculate", "customer.tag", "customer.untag", "customer.note", "customer.erase")
    async with owning("scorer", pool, broker, dict.fromkeys(names, refuse)):
        answers = [
            await api.post(f"{PATH}/recalculate"),
            await api.post(f"{PATH}/tags", json={"tag": "x"}),
            await delete(api, f"{PATH}/tags/x"),
            await api.post(f"{PATH}/notes", json={"text": "x"}),
            await delete(api, PATH),
        ]

    assert {(answer.status, answer.json["code"]) for answer in answers} == {(404, "trustlens_customer_not_found")}


@pytest.mark.parametrize(
    ("method", "path", "body", "field"),
    [
        ("POST", f"{PATH}/recalculate", {"now": True}, "now"),
        ("POST", "/customers/x/recalculate", None, "email_hash"),
        ("POST", f"{PATH}/tags", {}, "tag"),
        ("POST", f"{PATH}/tags", {"tag": " "}, "tag"),
        ("POST", f"{PATH}/tags", {"tag": "x" * 65}, "tag"),
        ("POST", f"{PATH}/tags", {"tag": "a\nb"}, "tag"),
        ("POST", f"{PATH}/tags", {"tag": 5}, "tag"),
        ("POST", f"{PATH}/tags", {"tag": "a\0"}, "tag"),
        ("POST", f"{PATH}/tags", {"tag": "x", "colour": "red"}, "colour"),
        ("POST", "/customers/x/tags", {"tag": "x"}, "email_hash"),
        ("DELETE", f"{PATH}/tags/{'x' * 65}", None, "tag"),
        ("DELETE", f"{PATH}/tags/a%0ab", None, "tag"),
        ("POST", f"{PATH}/notes", {"text": ""}, "text"),
        ("POST", f"{PATH}/notes", {"text": "x" * 5001}, "text"),
        ("POST", f"{PATH}/notes", {"text": None}, "text"),
        ("POST", f"{PATH}/notes", {"text": "x", "author": "me"}, "author"),
        ("DELETE", f"{PATH}?reason={'x' * 501}", None, "reason"),
        ("DELETE", "/customers/x", None, "email_hash"),
        ("GET", "/customers/x/events", None, "email_hash"),
        ("GET", f"{PATH}/events?after=yesterday", None, "after"),
        ("GET", f"{PATH}/events?before=0001-01-01T00:00:00%2B14:00", None, "before"),
        ("GET", f"{PATH}/events?type=order_plaecd", None, "type"),
        ("GET", f"{PATH}/events?type=", None, "type"),
        ("GET", f"{PATH}/events?after=", None, "after"),
        ("GET", f"{PATH}/events?per_page=101", None, "per_page"),
        ("GET", f"{PATH}/score-history?page=0", None, "page"),
        ("GET", "/customers/x/score-history", None, "email_hash"),
        ("GET", "/customers/x/export", None, "email_hash"),
    ],
)
async def test_what_cannot_be_asked_is_400_naming_the_field(
    api: ApiClient, method: str, path: str, body: dict[str, Any] | None, field: str
) -> None:
    answer = await api.request(method, BASE + path, json=body)

    assert (answer.status, answer.json["code"]) == (400, "rest_invalid_param")
    assert list(answer.json["data"]["params"]) == [field]


@pytest.mark.parametrize("path", ["/score-history", "/events", "/export"])
async def test_an_unknown_customer_and_another_store_s_are_404(api: ApiClient, pool: asyncpg.Pool, path: str) -> None:
    await insert_customer(pool, UUID(int=1))

    answer = await api.get(PATH + path)

    assert (answer.status, answer.json["code"]) == (404, "trustlens_customer_not_found")


async def insert_score(pool: asyncpg.Pool, store_id: UUID, number: int) -> None:
    await insert(
        pool,
        "scorer.score_history",
        store_id=store_id,
        email_hash=HASH,
        at=NOW + timedelta(minutes=number),
        trust_score=50 + number,
        segment="normal",
        points=json.dumps({"returns": number}),
        cause="fact",
    )


async def test_score_history_is_paged_newest_first(api: ApiClient, pool: asyncpg.Pool) -> None:
    await insert_customer(pool, api.store.id)
    for number in range(5):
        await insert_score(pool, api.store.id, number)
    await insert_score(pool, UUID(int=1), 9)

    first, second = await api.get(f"{PATH}/score-history"), await api.get(f"{PATH}/score-history?per_page=2&page=2")

    assert [one["trust_score"] for one in first.json] == [54, 53, 52, 51, 50]
    assert [one["trust_score"] for one in second.json] == [52, 51]
    assert second.headers["X-WP-Total"] == "5"
    assert list(first.json[0].items()) == [
        ("at", "2026-06-05 14:27:00"),
        ("trust_score", 54),
        ("segment", "normal"),
        ("points", {"returns": 4}),
        ("cause", "fact"),
    ]


async def insert_entry(
    pool: asyncpg.Pool, store_id: UUID, kind: str, at: datetime, entry_id: UUID | None = None
) -> UUID:
    entry_id = entry_id or uuid7()
    await Partitions("scorer.timeline").cover(pool, [NOW])
    row = {"type": kind, "occurred_at": at, "data": json.dumps({"order_id": 4821})}
    await insert(pool, "scorer.timeline", recorded_at=NOW, id=entry_id, store_id=store_id, email_hash=HASH, **row)
    return entry_id


async def test_the_timeline_is_listed_newest_first_with_filters(api: ApiClient, pool: asyncpg.Pool) -> None:
    await insert_customer(pool, api.store.id)
    old, twin, new = UUID(int=1), UUID(int=2), UUID(int=3)
    await insert_entry(pool, api.store.id, "order_placed", NOW, old)
    await insert_entry(pool, api.store.id, "coupon_applied", NOW, twin)
    await insert_entry(pool, api.store.id, "order_placed", NOW + timedelta(hours=1), new)
    await insert_entry(pool, UUID(int=9), "order_placed", NOW)

    async def listed(query: str) -> list[UUID]:
        return [UUID(one["id"]) for one in (await api.get(f"{PATH}/events{query}")).json]

    assert await listed("") == [new, twin, old]
    assert await listed("?type=order_placed") == [new, old]
    assert await listed("?type=order_placed&per_page=1&page=2") == [old]
    assert await listed("?after=2026-06-05T14:23:00") == [new]
    assert await listed("?before=2026-06-05%2015:23:00") == [twin, old]
    assert await listed("?after=2026-06-05T16:22:59%2B02:00&before=2026-06-05T16:23:01%2B02:00") == [twin, old]
    shown = (await api.get(f"{PATH}/events")).json[0]
    assert list(shown.items()) == [
        ("id", str(new)),
        ("type", "order_placed"),
        ("occurred_at", "2026-06-05 15:23:00"),
        ("data", {"order_id": 4821}),
    ]


async def insert_facts(pool: asyncpg.Pool, store_id: UUID, orders: int) -> UUID:
    """Orders of the customer, the first with a refund, a coupon and a dispute; a decline, a fingerprint, an entry."""
    order: dict[str, Any] = {
        "store_id": store_id,
        "email_hash": HASH,
        "number": "n",
        "status": "completed",
        "currency": "EUR",
        "total": Decimal("249.00"),
        "item_count": 1,
        "payment_method": "stripe",
        "billing_country": "DE",
        "shipping_country": "AT",
        "modified_at": NOW,
        "refund_count": 0,
        "digest": b"",
        "announced": True,
    }
    for number in range(1, orders + 1):
        coupons = json.dumps([["welcome10", True]]) if number == 1 else None
        await insert(
            pool,
            "scorer.orders",
            **order,
            order_id=number,
            created_at=NOW + timedelta(hours=number),
            coupons=coupons,
            product_ids=[55, 60],
        )
    refund = {"store_id": store_id, "order_id": 1, "reason": 'too "small"'}
    await insert(pool, "scorer.refunds", **refund, refund_id=9, amount=Decimal("49.00"))
    for number, amount in ((9, "48.00"), (10, "49.00")):  # of the ninth, the order's own word counts
        reported = {"refund_id": number, "amount": Decimal(amount), "reported_at": NOW}
        await insert(pool, "scorer.reported_refunds", **refund, **reported)
    await insert(
        pool,
        "scorer.disputes",
        store_id=store_id,
        dispute_id="dp_1",
        order_id=1,
        payments=["ch_1"],
        amount=Decimal(249),
        currency="EUR",
        reason="fraudulent",
        status="open",
        opened_at=NOW,
        modified_at=NOW,
        digest=b"",
    )
    await insert(
        pool,
        "scorer.checkouts",
        store_id=store_id,
        id=UUID(int=5),
        email_hash=HASH,
        kind="decline",
        at=NOW,
        code="card_declined",
        country="DE",
        fingerprints=[],
    )
    hashed = bytes.fromhex(fingerprint(b"k", "phone", "49301234567"))
    await insert(pool, "scorer.fingerprints", store_id=store_id, hash=hashed, email_hash=HASH, first_at=NOW)
    await insert_score(pool, store_id, 1)
    return await insert_entry(pool, store_id, "order_placed", NOW)


async def test_an_export_is_all_that_is_known_of_the_customer_and_nothing_of_others(
    api: ApiClient, pool: asyncpg.Pool
) -> None:
    await insert_customer(pool, api.store.id)
    entry = await insert_facts(pool, api.store.id, orders=2)
    await insert_facts(pool, UUID(int=1), orders=1)

    answer = await api.get(f"{PATH}/export")

    assert (answer.status, answer.headers["Content-Type"]) == (200, "application/json; charset=utf-8")
    exported = json.loads(answer.text, parse_float=str)
    customer = exported.pop("customer")
    assert (customer["email"], customer["email_hash"], customer["tags"]) == ("jane@example.com", HASH, ["watch"])
    assert (customer["created_at"], customer["return_rate"]) == ("2026-06-05 14:23:00", "0.0")
    assert [order["id"] for order in exported["orders"]] == [1, 2]
    assert exported.pop("orders")[0] == {
        "id": 1,
        "number": "n",
        "status": "completed",
        "currency": "EUR",
        "total": "249.00",
        "item_count": 1,
        "product_ids": [55, 60],
        "categories": [],
        "payment_method": "stripe",
        "card_brand": "",
        "billing_country": "DE",
        "shipping_country": "AT",
        "deleted": False,
        "created_at": "2026-06-05 15:23:00",
        "modified_at": "2026-06-05 14:23:00",
    }
    assert exported == {
        **{name: [] for name in ("events", "evaluations", "firings", "deliveries", "raw_input")},
        "links": {"phone": 1},
        "refunds": [{"order_id": 1, "id": number, "amount": "49.00", "reason": 'too "small"'} for number in (9, 10)],
        "coupons": [{"order_id": 1, "code": "welcome10", "once": True}],
        "disputes": [
            {
                "id": "dp_1",
                "order_id": 1,
                "payments": ["ch_1"],
                "amount": 249,
                "currency": "EUR",
                "reason": "fraudulent",
                "status": "open",
                "card_brand": "",
                "opened_at": "2026-06-05 14:23:00",
                "filed_at": None,
                "modified_at": "2026-06-05 14:23:00",
            }
        ],
        "checkouts": [
            {
                "id": str(UUID(int=5)),
                "kind": "decline",
                "at": "2026-06-05 14:23:00",
                "decision": None,
                "reason": None,
                "code": "card_declined",
                "country": "DE",
            }
        ],
        "timeline": [
            {
                "id": str(entry),
                "type": "order_placed",
                "occurred_at": "2026-06-05 14:23:00",
                "data": {"order_id": 4821},
            }
        ],
        "score_history": [
            {
                "at": "2026-06-05 14:24:00",
                "trust_score": 51,
                "segment": "normal",
                "points": {"returns": 1},
                "cause": "fact",
            }
        ],
    }


async def test_an_export_of_more_rows_than_are_read_at_once_is_whole(api: ApiClient, pool: asyncpg.Pool) -> None:
    await insert_customer(pool, api.store.id)
    await insert_facts(pool, api.store.id, orders=1)
    await pool.execute(
        "INSERT INTO scorer.orders (store_id, email_hash, order_id, number, status, currency, total, item_count,"
        " payment_method, billing_country, shipping_country, created_at, modified_at, refund_count, digest, announced)"
        " SELECT store_id, email_hash, n, repeat('x', 200), status, currency, total, item_count, payment_method,"
        " billing_country, shipping_country, created_at, modified_at, refund_count, digest, announced"
        " FROM scorer.orders, generate_series(2, 3000) AS n"
    )

    answer = await api.get(f"{PATH}/export")

    assert [order["id"] for order in answer.json["orders"]] == list(range(1, 3001))
    assert len(answer.text) > 1024 * 1024
