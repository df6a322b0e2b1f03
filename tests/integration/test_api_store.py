"""The store's scoring and its jobs: asked of the scorer, read from its table."""

import json
from collections.abc import Mapping
from datetime import UTC, datetime
from typing import Any
from uuid import UUID

import asyncpg
import pytest

from api.chargebacks import ChargebackSettings
from api.gate import GateSettings
from api.schemas import SyncStanding
from dispatcher.destinations.webhook import Site
from dispatcher.directory import Directory
from shared.broker import Broker
from shared.commands import Command, Handler, RefusedError, invalid
from shared.ids import uuid7
from shared.outbox import Transaction
from shared.secrets import Vault
from support.api_client import BASE, ApiClient
from support.owner import owning

SETTINGS = {"min_orders": 3, "segments": {"vip": 90}, "modules": {"returns": {"enabled": True}}}
JOB = str(uuid7())


def answering(asked: list[Command], answers: Mapping[str, Any]) -> dict[str, Handler]:
    """Handlers that write down what they were asked."""

    async def answer(_: Transaction, command: Command) -> Any:
        asked.append(command)
        return answers[command.type]

    return dict.fromkeys(answers, answer)


async def test_the_store_is_shown_with_how_it_scores(api: ApiClient, pool: asyncpg.Pool, broker: Broker) -> None:
    asked: list[Command] = []
    scoring = {"version": 4, "currency": "EUR", "settings": SETTINGS}
    async with owning("scorer", pool, broker, answering(asked, {"store.scoring_read": scoring})):
        answer = await api.get("/store")

    assert answer.status == 200
    assert list(answer.json.items()) == [
        ("id", str(api.store.id)),
        ("name", "Shop"),
        ("url", "https://shop.example"),
        ("enforce_blocking", True),
        ("gate", json.loads(GateSettings().model_dump_json())),
        ("chargebacks", json.loads(ChargebackSettings().model_dump_json())),
        ("version", 4),
        ("currency", "EUR"),
        *SETTINGS.items(),
        ("smtp", None),
        ("woocommerce", None),
        ("sync", {"gaps": 0} | dict.fromkeys(SyncStanding.model_fields.keys() - {"gaps"})),
    ]
    assert (asked[0].store_id, asked[0].data) == (api.store.id, {})


@pytest.mark.parametrize("method", ["PATCH", "PUT", "POST"])
async def test_a_change_is_passed_to_the_scorer_and_answered_with_all_settings_and_the_job(
    api: ApiClient, pool: asyncpg.Pool, broker: Broker, method: str
) -> None:
    asked: list[Command] = []
    scoring = {"version": 5, "currency": "USD", "settings": SETTINGS}
    handlers = answering(asked, {"store.scoring": {"version": 5, "job_id": JOB}, "store.scoring_read": scoring})
    patch = {"min_orders": 3, "modules": {"returns": None}, "segments": None}
    async with owning("scorer", pool, broker, handlers):
        answer = await api.request(method, f"{BASE}/store", json=patch)

    assert (answer.status, answer.json["version"], answer.json["job_id"]) == (200, 5, JOB)
    assert list(answer.json)[-1] == "job_id"
    assert [(command.type, command.data) for command in asked] == [("store.scoring", patch), ("store.scoring_read", {})]
    assert asked[0].actor == f"key:{api.store.api_key[:11]}"


async def test_the_stores_own_servers_are_kept_sealed_and_shown_without_their_secrets(
    api: ApiClient, pool: asyncpg.Pool, broker: Broker, vault: Vault
) -> None:
    scoring = {"version": 5, "currency": "USD", "settings": SETTINGS}
    smtp = {"host": "mail.shop.example", "port": 587, "user": "alerts", "password": "pw-1", "sender": "a@shop.example"}
    before = await pool.fetchval("SELECT revision FROM api.stores")
    async with owning("scorer", pool, broker, answering([], {"store.scoring_read": scoring})):
        body = {"smtp": smtp, "woocommerce": {"key": "ck_1", "secret": "cs_1"}}
        answer = await api.request("PATCH", f"{BASE}/store", json=body)
        forgotten = await api.request("PATCH", f"{BASE}/store", json={"smtp": None})

    assert (answer.status, answer.json["job_id"]) == (200, None)
    assert answer.json["smtp"] == {**smtp, "security": "starttls", "password": "***"}
    assert answer.json["woocommerce"] == {"key": "ck_1", "secret": "***"}
    assert (forgotten.json["smtp"], forgotten.json["woocommerce"]["key"]) == (None, "ck_1")
    row = await pool.fetchrow("SELECT smtp, woocommerce_api, revision FROM api.stores")
    assert (row["smtp"], json.loads(vault.open(row["woocommerce_api"]))) == (None, {"key": "ck_1", "secret": "cs_1"})
    assert row["revision"] > before


@pytest.mark.parametrize(
    ("smtp", "field"),
    [
        ({"port": 587, "sender": "a@shop.example"}, "smtp.host"),
        ({"host": "mail.shop.example", "port": 0, "sender": "a@shop.example"}, "smtp.port"),
        ({"host": "mail shop", "port": 25, "sender": "a@shop.example"}, "smtp.host"),
        ({"host": "mail.shop.example", "port": 25, "sender": "a@shop.example", "security": "ssl3"}, "smtp.security"),
    ],
)
async def test_a_mail_server_that_cannot_be_is_400_naming_the_field(
    api: ApiClient, smtp: dict[str, Any], field: str
) -> None:
    answer = await api.request("PATCH", f"{BASE}/store", json={"smtp": smtp})

    assert (answer.status, list(answer.json["data"]["params"])) == (400, [field])


async def test_what_the_store_is_called_and_whether_blocks_are_enforced_is_kept_without_asking_for_scores(
    api: ApiClient, pool: asyncpg.Pool, broker: Broker
) -> None:
    asked: list[Command] = []
    scoring = {"version": 5, "currency": "USD", "settings": SETTINGS}
    before = await pool.fetchval("SELECT revision FROM api.stores")
    async with owning("scorer", pool, broker, answering(asked, {"store.scoring_read": scoring})):
        changed = {"name": "J\u00fcrgen's", "url": "https://shop.example/de", "enforce_blocking": False}
        answer = await api.request("PATCH", f"{BASE}/store", json=changed | {"name": " J\u00fcrgen's "})
        shown = await api.get("/store")

    assert (answer.status, answer.json["job_id"]) == (200, None)
    assert {name: shown.json[name] for name in changed} == changed
    assert {command.type for command in asked} == {"store.scoring_read"}
    row = await pool.fetchrow("SELECT name, url, enforce_blocking, revision FROM api.stores")
    assert tuple(row) == (*changed.values(), before + 1)


async def test_webhooks_tell_the_new_name_and_address_at_once(
    api: ApiClient, pool: asyncpg.Pool, broker: Broker, vault: Vault
) -> None:
    scoring = {"version": 5, "currency": "USD", "settings": SETTINGS}
    directory = Directory(vault)
    async with (
        pool.acquire() as connection,
        owning("scorer", pool, broker, answering([], {"store.scoring_read": scoring})),
    ):
        await directory.refresh(connection, {api.store.id})
        await api.request("PATCH", f"{BASE}/store", json={"name": "Other", "url": "https://other.example"})
        await directory.refresh(connection, {api.store.id})

    assert directory.site(api.store.id) == Site(url="https://other.example", name="Other")


@pytest.mark.parametrize(
    ("field", "value"),
    [
        *(("name", value) for value in (None, "", " ", "x" * 201, "a\nb", 5)),
        *(
            ("url", value)
            for value in (None, "", "shop.example", "ftp://shop.example", "https://", "https://x y.example")
        ),
        *(("url", f"https://{rest}") for rest in ("u:p@shop.example", "shop.example?a=1", "shop.example#a", "[shop")),
        *(("enforce_blocking", value) for value in (None, "true", 1)),
    ],
)
async def test_what_a_store_cannot_be_called_is_400_naming_the_field(api: ApiClient, field: str, value: Any) -> None:
    answer = await api.request("PATCH", f"{BASE}/store", json={field: value})

    assert (answer.status, list(answer.json["data"]["params"])) == (400, [field])


async def test_what_the_scorer_refuses_is_not_half_done(api: ApiClient, pool: asyncpg.Pool, broker: Broker) -> None:
    async def refuse(_: Transaction, __: Command) -> Any:
        raise invalid({"min_orders": "must be 1 or more"})

    async with owning("scorer", pool, broker, {"store.scoring": refuse}):
        await api.request("PATCH", f"{BASE}/store", json={"name": "Other", "min_orders": 0})

    assert await pool.fetchval("SELECT name FROM api.stores") == "Shop"


async def test_a_change_that_changes_nothing_has_no_job(api: ApiClient, pool: asyncpg.Pool, broker: Broker) -> None:
    scoring = {"version": 5, "currency": "USD", "settings": SETTINGS}
    handlers = answering([], {"store.scoring": {"version": 5, "job_id": None}, "store.scoring_read": scoring})
    async with owning("scorer", pool, broker, handlers):
        answer = await api.request("PATCH", f"{BASE}/store", json={"currency": "USD"})

    assert (answer.status, answer.json["job_id"]) == (200, None)


@pytest.mark.parametrize(("body", "field"), [({}, "body"), ({"colour": "red"}, "colour"), ({"version": 4}, "version")])
async def test_a_change_of_what_is_not_there_is_400_naming_it(api: ApiClient, body: dict[str, Any], field: str) -> None:
    answer = await api.request("PATCH", f"{BASE}/store", json=body)

    assert (answer.status, list(answer.json["data"]["params"])) == (400, [field])


async def test_the_scorer_s_mistakes_are_named_to_the_caller(
    api: ApiClient, pool: asyncpg.Pool, broker: Broker
) -> None:
    async def refuse(_: Transaction, __: Command) -> Any:
        raise invalid({"segments.vip": "must be above trusted"})

    async with owning("scorer", pool, broker, {"store.scoring": refuse}):
        answer = await api.request("PATCH", f"{BASE}/store", json={"segments": {"vip": 1}})

    assert (answer.status, answer.json["data"]["params"]) == (400, {"segments.vip": "must be above trusted"})


async def test_recomputing_is_a_job_and_a_sweep_is_counted(api: ApiClient, pool: asyncpg.Pool, broker: Broker) -> None:
    handlers = answering([], {"store.recompute": {"job_id": JOB}, "store.sweep": {"due": 17}})
    async with owning("scorer", pool, broker, handlers):
        recompute, sweep = await api.post("/store/recompute"), await api.post("/store/sweep", json={})

    assert (recompute.status, recompute.json) == (202, {"job_id": JOB})
    assert (sweep.status, sweep.json) == (200, {"due": 17})


@pytest.mark.parametrize("path", ["/store/recompute", "/store/sweep"])
async def test_what_nothing_is_asked_for_is_400(api: ApiClient, path: str) -> None:
    answer = await api.post(path, json={"now": True})

    assert (answer.status, list(answer.json["data"]["params"])) == (400, ["now"])


async def insert_job(pool: asyncpg.Pool, store_id: UUID, state: str = "running") -> UUID:
    job_id = uuid7()
    await pool.execute(
        "INSERT INTO scorer.jobs (id, store_id, kind, state, done, total, created_at)"
        " VALUES ($1, $2, 'recompute', $3, 40, 100, $4)",
        job_id,
        store_id,
        state,
        datetime(2026, 6, 5, tzinfo=UTC),
    )
    return job_id


async def test_a_job_is_shown_with_how_far_it_is_and_only_to_its_store(api: ApiClient, pool: asyncpg.Pool) -> None:
    ours, theirs = await insert_job(pool, api.store.id), await insert_job(pool, UUID(int=1))

    shown = await api.get(f"/jobs/{ours}")

    assert list(shown.json.items()) == [
        ("id", str(ours)),
        ("kind", "recompute"),
        ("state", "running"),
        ("done", 40),
        ("total", 100),
        ("error", None),
        ("skipped", None),
        ("result", None),
    ]
    for path in (f"/jobs/{theirs}", f"/jobs/{uuid7()}", "/jobs/x"):
        answer = await api.get(path)
        assert (answer.status, answer.json["code"]) == (404, "trustlens_job_not_found")


async def test_a_cancelled_job_is_answered_as_it_then_is(api: ApiClient, pool: asyncpg.Pool, broker: Broker) -> None:
    job_id = await insert_job(pool, api.store.id)

    async def cancel(transaction: Transaction, command: Command) -> Any:
        assert command.data == {"job_id": str(job_id)}
        await transaction.connection.execute("UPDATE scorer.jobs SET state = 'cancelled'")

    async with owning("scorer", pool, broker, {"job.cancel": cancel}):
        answer = await api.request("DELETE", f"{BASE}/jobs/{job_id}")

    assert (answer.status, answer.json["state"]) == (200, "cancelled")


async def test_a_job_that_the_scorer_does_not_know_cannot_be_cancelled(
    api: ApiClient, pool: asyncpg.Pool, broker: Broker
) -> None:
    async def refuse(_: Transaction, __: Command) -> Any:
        raise RefusedError(404, "trustlens_job_not_found", "There is no such job.")

    async with owning("scorer", pool, broker, {"job.cancel": refuse}):
        unknown = await api.request("DELETE", f"{BASE}/jobs/{uuid7()}")
    malformed = await api.request("DELETE", f"{BASE}/jobs/x")

    assert {unknown.status, malformed.status} == {404}
