"""A rule tried through the API: on one event at once, on what happened as a job. The rule engine's part is its own."""

import asyncio
import json
from collections.abc import AsyncIterator, Mapping
from dataclasses import replace
from datetime import UTC, datetime, timedelta
from decimal import Decimal
from typing import Any
from uuid import UUID

import asyncpg
import pytest

from api.stores import create_key
from rule_engine import trials
from shared.broker import Broker
from shared.events import EventData
from shared.identity import email_hash
from shared.ids import derived_at, uuid7
from shared.jobs import Jobs
from shared.outbox import Outbox
from shared.secrets import Vault
from shared.targets import Reach
from support import stored_events
from support.api_client import BASE, Answer, ApiClient
from support.delivery_rows import insert
from support.events import event, order, snapshot
from support.owner import owning

EMAIL = "jane@example.com"
NOW = datetime.now(UTC).replace(microsecond=0)
HOLD = {"type": "hold_order", "reason": "high risk"}
LARGE: Mapping[str, Any] = {
    "name": "Large order",
    "trigger": "order_placed",
    "conditions": {
        "all": [
            {"field": "segment", "operator": "=", "value": "risk"},
            {"not": {"field": "order.total", "operator": "<=", "value": 200}},
        ]
    },
    "actions": [HOLD, {"type": "tag_customer", "tag": "large"}],
}


@pytest.fixture
async def jane(api: ApiClient, pool: asyncpg.Pool, vault: Vault) -> str:
    """A customer of whom history told, and whose hash this is."""
    key = vault.open(await pool.fetchval("SELECT hash_key FROM api.stores WHERE id = $1", api.store.id))
    hashed = email_hash(key, EMAIL)
    await insert(
        pool,
        "scorer.customers",
        store_id=api.store.id,
        email_hash=hashed,
        email=EMAIL,
        email_domain="example.com",
        trust_score=25,
        segment="risk",
        total_orders=4,
        first_completed_at=NOW - timedelta(days=400),
        tags=["press"],
        created_at=NOW,
        updated_at=NOW,
    )
    return hashed


async def insert_rule(api: ApiClient, pool: asyncpg.Pool, **changes: Any) -> UUID:
    row = {**LARGE, "description": "", "cooldown": 3600, "hourly_limit": 1000, "mode": "live", **changes}
    texts = {name: json.dumps(row[name]) for name in ("conditions", "actions")}
    rule_id = uuid7()
    known = {"id": rule_id, "store_id": api.store.id, "version": 3, "created_at": NOW, "updated_at": NOW}
    await insert(pool, "rule_engine.rules", **{**row, **texts, **known})
    return rule_id


@pytest.fixture
async def engine(pool: asyncpg.Pool, broker: Broker) -> AsyncIterator[Jobs]:
    """The rule engine's commands, and its jobs to be run by hand."""
    async with owning(
        "rule-engine", pool, broker, trials.handlers(Reach()), background=trials.background(pool, Reach())
    ):
        yield Jobs(pool, Outbox(pool, broker, "rule_engine"), "rule_engine", {trials.BACKTEST: trials.page})


def placed(api: ApiClient, customer: str, *, total: str = "249.00", age: timedelta = timedelta(hours=3)) -> Any:
    return event(
        "order_placed",
        store_id=api.store.id,
        customer=snapshot(customer),
        data=EventData(order=order(total=Decimal(total))),
        sequence=1,
    ).model_copy(update={"recorded_at": NOW - age, "id": derived_at(NOW - age, uuid7())})


@pytest.fixture
def trying(api: ApiClient, pool: asyncpg.Pool, engine: Jobs) -> Any:
    async def test(rule_id: UUID | None, **asked: Any) -> Answer:
        return await api.post(f"/rules/{rule_id}/test" if rule_id else "/rules/test", json=asked)

    return test


async def test_a_rule_is_tried_on_the_customer_s_newest_event_of_its_trigger(
    api: ApiClient, pool: asyncpg.Pool, trying: Any, jane: str
) -> None:
    rule_id = await insert_rule(api, pool)
    newest = placed(api, jane)
    newer_of_another = placed(api, "b" * 64, age=timedelta(0))
    older = placed(api, jane, age=timedelta(days=2)).model_copy(update={"sequence": 0})
    await stored_events.store(pool, [older, newest, newer_of_another])

    answer = await trying(rule_id, email=" Jane@Example.COM ")

    assert (answer.status, answer.json) == (
        200,
        {
            "rule_id": str(rule_id),
            "rule_version": 3,
            "trigger": "order_placed",
            "event": {
                "source": "stored",
                "event_id": str(newest.id),
                "at": newest.recorded_at.strftime("%Y-%m-%d %H:%M:%S"),
                "customer": jane,
                "order_id": 4821,
            },
            "outcome": "fired",
            "reason": "the conditions hold",
            "values": {"order.total": 249.0, "segment": "risk"},
            "conditions": [
                {
                    "pointer": "/conditions/all/0",
                    "field": "segment",
                    "operator": "=",
                    "value": "risk",
                    "actual": "risk",
                    "met": True,
                    "reason": "",
                },
                {
                    "pointer": "/conditions/all/1/not",
                    "field": "order.total",
                    "operator": "<=",
                    "value": 200,
                    "actual": 249.0,
                    "met": False,
                    "reason": "order.total <= 200: actual 249.00",
                },
            ],
            "cooldown": {
                "seconds": 3600,
                "last_fired_at": None,
                "would_wait": None,
                "fired_this_hour": 0,
                "hourly_limit": 1000,
            },
            "actions": [
                {"type": "hold_order", "would": "put order 4821 on hold, because: high risk"},
                {"type": "tag_customer", "would": "tag the customer: large"},
            ],
        },
    )
    assert EMAIL not in answer.text


async def test_without_such_an_event_one_is_made_up_of_the_customer_and_their_newest_order(
    api: ApiClient, pool: asyncpg.Pool, trying: Any, jane: str
) -> None:
    for order_id, total in ((1, "20.00"), (2, "310.00")):
        await insert(
            pool,
            "scorer.orders",
            store_id=api.store.id,
            order_id=order_id,
            email_hash=jane,
            number=str(order_id),
            status="completed",
            currency="USD",
            total=Decimal(total),
            item_count=1,
            payment_method="card",
            billing_country="GB",
            shipping_country="GB",
            created_at=NOW + timedelta(seconds=order_id),
            modified_at=NOW,
            refund_count=0,
            digest=b"",
            announced=True,
        )
    conditions = {
        "all": [
            LARGE["conditions"],
            {"field": "account_age_days", "operator": "=", "value": 400},
            {"field": "tags", "operator": "contains", "value": "press"},
        ]
    }
    told = (await trying(None, customer=jane, rule={**LARGE, "conditions": conditions})).json
    assert (told["outcome"], told["reason"]) == ("fired", "the conditions hold")
    assert (told["event"]["source"], told["event"]["event_id"]) == ("made_up", None)
    assert (told["values"]["order.total"], told["event"]["order_id"]) == (310.0, 2)
    assert (told["rule_id"], told["rule_version"]) == (None, None)

    fallen = {"field": "score_delta", "operator": "<", "value": 0}
    moved = {**LARGE, "trigger": "score_updated", "conditions": fallen, "actions": [LARGE["actions"][1]]}
    told = (await trying(None, customer=jane, rule=moved)).json
    assert (told["outcome"], told["reason"]) == ("skipped", "score_delta < 0: actual 0")


async def test_a_rule_is_tried_on_a_given_event_with_or_without_its_customer(
    api: ApiClient, pool: asyncpg.Pool, trying: Any, jane: str
) -> None:
    rule_id = await insert_rule(api, pool)
    happened = placed(api, jane, total="20.00")
    await stored_events.store(pool, [happened, placed(api, jane, age=timedelta(0))])
    for asked in ({}, {"email": EMAIL}):
        told = (await trying(rule_id, event_id=str(happened.id), **asked)).json
        assert (told["event"]["event_id"], told["outcome"]) == (str(happened.id), "skipped")


async def test_an_event_is_found_by_the_time_that_is_in_its_id(
    api: ApiClient, pool: asyncpg.Pool, trying: Any, jane: str
) -> None:
    rule_id = await insert_rule(api, pool)
    happened = [placed(api, jane, age=timedelta(microseconds=n * 250)) for n in range(9)]
    await stored_events.store(pool, happened)
    for one in happened:
        assert (await trying(rule_id, event_id=str(one.id))).json["event"]["event_id"] == str(one.id)
    for unknown in (UUID(int=0), UUID(int=2**128 - 1), UUID("ffffffff-ffff-7fff-bfff-ffffffffffff")):
        assert (await trying(rule_id, event_id=str(unknown))).json["code"] == "trustlens_event_not_found"


async def test_an_event_may_be_given_as_it_might_be(trying: Any) -> None:
    given = {
        "customer": {"trust_score": 12, "segment": "risk"},
        "data": {"order": {"id": 7, "number": "A7", "total": "400", "currency": "EUR", "status": "processing"}},
    }
    told = (await trying(None, event=given, rule=LARGE)).json
    assert (told["outcome"], told["event"]["source"]) == ("fired", "given")
    assert told["actions"][0]["would"] == "put order A7 on hold, because: high risk"

    wrong = {**given, "customer": {"trust_score": "high", "segmant": "risk"}}
    answer = await trying(None, event=wrong, rule=LARGE)
    assert answer.status == 400
    assert set(answer.json["data"]["params"]) == {
        "event.customer.trust_score",
        "event.customer.segment",
        "event.customer.segmant",
    }


async def test_cooldown_limit_and_mode_are_told_as_they_stand(
    api: ApiClient, pool: asyncpg.Pool, trying: Any, jane: str
) -> None:
    rule_id = await insert_rule(api, pool, hourly_limit=5)
    await stored_events.store(pool, [placed(api, jane)])
    fired_at = datetime.now(UTC) - timedelta(minutes=47, seconds=30)
    await insert(pool, "rule_engine.cooldowns", rule_id=rule_id, email_hash=jane, fired_at=fired_at)
    told = (await trying(rule_id, email=EMAIL)).json
    assert (told["outcome"], told["reason"]) == ("skipped", "cooldown: 13 min left")
    assert told["cooldown"]["would_wait"] == "13 min"

    await pool.execute("UPDATE rule_engine.cooldowns SET fired_at = now() - interval '2 hours'")
    hours = [datetime.now(UTC).replace(minute=0, second=0, microsecond=0) + timedelta(hours=n) for n in (0, 1)]
    for hour in hours:  # the next one too: it may strike meanwhile
        await insert(pool, "rule_engine.hours", rule_id=rule_id, hour=hour, fired=5)
    told = (await trying(rule_id, email=EMAIL)).json
    assert told["reason"].startswith("hourly limit: 5 firings since ")
    assert (told["cooldown"]["fired_this_hour"], told["cooldown"]["would_wait"]) == (5, None)

    await pool.execute("DELETE FROM rule_engine.hours")
    for mode, reason in (("shadow", "shadow: would have fired"), ("off", "off: would have fired")):
        await pool.execute("UPDATE rule_engine.rules SET mode = $1", mode)
        assert (await trying(rule_id, email=EMAIL)).json["reason"] == reason


async def test_nothing_is_done_and_nothing_kept_when_a_rule_is_tried(
    api: ApiClient, pool: asyncpg.Pool, trying: Any, jane: str
) -> None:
    rule_id = await insert_rule(api, pool)
    await stored_events.store(pool, [placed(api, jane)])
    assert (await trying(rule_id, email=EMAIL)).json["outcome"] == "fired"
    for table in ("firings", "evaluations", "cooldowns", "hours", "outbox", "commands_seen", "jobs"):
        assert await pool.fetchval(f"SELECT count(*) FROM rule_engine.{table}") == 0


async def test_what_a_rule_cannot_be_tried_on_is_refused(
    api: ApiClient, pool: asyncpg.Pool, trying: Any, jane: str
) -> None:
    rule_id = await insert_rule(api, pool)
    other_kind = placed(api, jane).model_copy(update={"type": "score_updated"})
    await stored_events.store(pool, [other_kind])
    answers = [
        await trying(rule_id),
        await trying(rule_id, email="nobody"),
        await trying(rule_id, email="other@example.com"),
        await trying(rule_id, event_id=str(uuid7())),
        await trying(rule_id, event_id=str(other_kind.id)),
        await trying(rule_id, customer=jane, now=True),
        await trying(uuid7(), customer=jane),
        await api.post("/rules/x/test", json={"customer": jane}),
        await trying(None, customer=jane),
        await trying(None, customer=jane, rule={**LARGE, "actions": []}),
    ]
    told = [(answer.status, list(answer.json["data"].get("params", {})) or answer.json["code"]) for answer in answers]
    assert told == [
        (400, ["customer"]),
        (400, ["email"]),
        (404, "trustlens_customer_not_found"),
        (404, "trustlens_event_not_found"),
        (400, ["event_id"]),
        (400, ["now"]),
        (404, "trustlens_rule_not_found"),
        (404, "trustlens_rule_not_found"),
        (400, ["rule"]),
        (400, ["rule.actions"]),
    ]


async def test_a_backtest_is_a_job_whose_result_is_read_by_its_id_and_by_its_rule(
    api: ApiClient, pool: asyncpg.Pool, engine: Jobs, jane: str
) -> None:
    rule_id = await insert_rule(api, pool)
    await stored_events.store(pool, [placed(api, jane), placed(api, jane, total="12.00", age=timedelta(hours=1))])
    assert (await api.get(f"/rules/{rule_id}/backtest")).json["code"] == "trustlens_backtest_not_found"

    asked = await api.post(f"/rules/{rule_id}/backtest", json={"days": 7})
    job_id = asked.json["job_id"]
    assert (asked.status, asked.json) == (202, {"job_id": job_id})
    waiting = (await api.get(f"/jobs/{job_id}")).json
    assert (waiting["kind"], waiting["state"], waiting["result"]) == ("backtest", "queued", None)

    await engine.run_queued(asyncio.Event())
    job = await api.get(f"/jobs/{job_id}")
    assert job.text == (await api.get(f"/rules/{rule_id}/backtest")).text
    assert (job.json["state"], job.json["done"], job.json["total"]) == ("done", 2, 2)
    result = job.json["result"]
    named = {"id": str(rule_id), "version": 3, "name": "Large order", "trigger": "order_placed"}
    assert result["rule"] == named
    assert (result["days"], result["events"], result["firings"], result["customers"]) == (7, 2, 1, 1)
    assert (result["order_value"], result["skipped"]) == ({"USD": 249.0}, {"conditions": 1})
    assert '"order_value":{"USD":249.00}' in job.text
    assert result["live"] == {"fired": 0, "both": 0, "only_backtest": 1, "only_live": 0}


async def test_a_draft_is_backtested_and_cancelled(api: ApiClient, pool: asyncpg.Pool, engine: Jobs) -> None:
    asked = await api.post("/rules/backtest", json={"rule": LARGE})
    answer = await api.request("DELETE", f"{BASE}/jobs/{asked.json['job_id']}")
    assert (asked.status, answer.status, answer.json["state"]) == (202, 200, "cancelled")
    await engine.run_queued(asyncio.Event())
    assert (await api.get(f"/jobs/{asked.json['job_id']}")).json["result"] is None


async def test_drafts_that_send_to_urls_of_their_own_are_tried_before_they_have_targets(
    api: ApiClient, pool: asyncpg.Pool, engine: Jobs, trying: Any, jane: str
) -> None:
    await stored_events.store(pool, [placed(api, jane)])
    url = "https://hooks.slack.com/services/T/B/X"
    actions = [{"type": "send_slack", "url": url}, {"type": "send_webhook", "url": "https://crm.example/hook"}]
    draft = {**LARGE, "actions": actions}

    told = (await trying(None, customer=jane, rule=draft)).json
    asked = await api.post("/rules/backtest", json={"rule": draft})
    await engine.run_queued(asyncio.Event())
    backtested = (await api.get(f"/jobs/{asked.json['job_id']}")).json["result"]

    assert (told["outcome"], told["reason"]) == ("fired", "the conditions hold")
    assert [it["would"] for it in told["actions"]] == [
        "send a Slack message",
        "POST to https://crm.example/hook, signed",
    ]
    assert (asked.status, backtested["firings"]) == (202, 1)


async def test_trying_needs_a_key_that_reads_and_a_backtest_one_that_writes(
    api: ApiClient, pool: asyncpg.Pool, engine: Jobs, jane: str
) -> None:
    rule_id = await insert_rule(api, pool)
    async with pool.acquire() as connection:
        keys = [await create_key(connection, api.store.id, name=scope, scopes=[scope]) for scope in ("read", "write")]
    reader, writer = (replace(api, store=replace(api.store, api_key=key.key)) for key in keys)
    for path, body, needs_write in (
        (f"/rules/{rule_id}/test", {"customer": jane}, False),
        ("/rules/test", {"customer": jane, "rule": LARGE}, False),
        (f"/rules/{rule_id}/backtest", {}, True),
        ("/rules/backtest", {"rule": LARGE}, True),
    ):
        statuses = [(await client.post(path, json=body)).status for client in (reader, writer)]
        assert statuses == ([403, 202] if needs_write else [200, 403])
    assert [(await client.get(f"/rules/{rule_id}/backtest")).status for client in (reader, writer)] == [200, 403]
