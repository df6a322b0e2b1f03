"""Changing endpoints, reading deliveries with their attempts, sending them again, and the jobs that do it."""

from collections.abc import Mapping
from dataclasses import replace
from datetime import timedelta
from typing import Any
from uuid import UUID

import asyncpg
import pytest

from api.stores import create_key
from shared.broker import Broker
from shared.commands import Command, Handler, RefusedError
from shared.ids import uuid7
from shared.outbox import Transaction
from shared.secrets import Vault
from support.api_client import BASE, ApiClient
from support.delivery_rows import HASH, NOW, insert, insert_attempt, insert_body, insert_delivery, insert_endpoint
from support.owner import owning

ENDPOINT = UUID("0190a000-0000-7000-8000-000000000000")


def answering(answers: Mapping[str, Any], asked: list[tuple[str, Any]]) -> dict[str, Handler]:
    async def answer(_: Transaction, command: Command) -> Any:
        asked.append((command.type, dict(command.data)))
        return answers[command.type]

    return dict.fromkeys(answers, answer)


async def with_scopes(api: ApiClient, pool: asyncpg.Pool, *scopes: str) -> ApiClient:
    async with pool.acquire() as connection:
        key = await create_key(connection, api.store.id, name="narrow", scopes=list(scopes))
    return replace(api, store=replace(api.store, api_key=key.key))


@pytest.mark.parametrize("method", ["PATCH", "PUT", "POST"])
async def test_an_endpoint_s_fields_are_changed_by_its_owner(
    api: ApiClient, pool: asyncpg.Pool, broker: Broker, method: str
) -> None:
    asked: list[tuple[str, Any]] = []
    async with owning("dispatcher", pool, broker, answering({"webhook.update": {"enabled": False}}, asked)):
        answer = await api.request(method, f"{BASE}/webhooks/{ENDPOINT}", json={"enabled": False})

    assert (answer.status, answer.json) == (200, {"enabled": False})
    assert asked == [("webhook.update", {"id": str(ENDPOINT), "fields": {"enabled": False}})]


async def test_a_deleted_endpoint_leaves_nothing_to_answer_with(
    api: ApiClient, pool: asyncpg.Pool, broker: Broker
) -> None:
    asked: list[tuple[str, Any]] = []
    async with owning("dispatcher", pool, broker, answering({"webhook.delete": {"id": str(ENDPOINT)}}, asked)):
        answer = await api.request("DELETE", f"{BASE}/webhooks/{ENDPOINT}")

    assert (answer.status, answer.text) == (204, "")
    assert asked == [("webhook.delete", {"id": str(ENDPOINT)})]


@pytest.mark.parametrize("given", [None, {}, {"secret": "s" * 40}, {"overlap": 0}, {"secret": None, "overlap": "soon"}])
async def test_a_rotation_passes_on_what_it_is_given_and_shows_the_owner_s_answer(
    api: ApiClient, pool: asyncpg.Pool, broker: Broker, given: dict[str, Any] | None
) -> None:
    asked: list[tuple[str, Any]] = []
    async with owning("dispatcher", pool, broker, answering({"webhook.rotate": {"secret": "once"}}, asked)):
        answer = await api.post(f"/webhooks/{ENDPOINT}/rotate-secret", json=given)

    assert (answer.status, answer.json) == (200, {"secret": "once"})
    assert asked == [("webhook.rotate", {"id": str(ENDPOINT), **(given or {})})]


async def test_an_overlap_can_be_ended_and_takes_no_fields(api: ApiClient, pool: asyncpg.Pool, broker: Broker) -> None:
    async with owning("dispatcher", pool, broker, answering({"webhook.end_overlap": {"id": str(ENDPOINT)}}, [])):
        ended = await api.post(f"/webhooks/{ENDPOINT}/end-overlap")
        refused = await api.post(f"/webhooks/{ENDPOINT}/end-overlap", json={"now": True})

    assert (ended.status, ended.json) == (200, {"id": str(ENDPOINT)})
    assert refused.status == 400


async def test_the_id_in_the_path_is_the_only_one(api: ApiClient) -> None:
    answer = await api.post(f"/webhooks/{ENDPOINT}/rotate-secret", json={"id": str(uuid7())})
    assert (answer.status, list(answer.json["data"]["params"])) == (400, ["id"])


@pytest.mark.parametrize(
    ("method", "path"),
    [
        ("PATCH", "/webhooks/x"),
        ("DELETE", "/webhooks/x"),
        ("POST", "/webhooks/x/rotate-secret"),
        ("POST", "/webhooks/x/end-overlap"),
        ("GET", "/deliveries/x"),
        ("POST", "/deliveries/x/retry"),
        ("GET", "/jobs/x"),
    ],
)
async def test_what_is_no_id_names_nothing(api: ApiClient, method: str, path: str) -> None:
    answer = await api.request(method, BASE + path, json={})
    assert answer.status == 404
    assert answer.json["code"].endswith("_not_found")


async def test_all_deliveries_of_a_store_are_listed_with_every_filter(
    api: ApiClient, pool: asyncpg.Pool, vault: Vault
) -> None:
    endpoint = await insert_endpoint(pool, vault, api.store.id)
    ours = await insert_delivery(pool, api.store.id, endpoint_id=endpoint)
    rule_s = await insert_delivery(
        pool,
        api.store.id,
        rule_id=uuid7(),
        event="automation_triggered",
        status="exhausted",
        email_hash="b" * 64,
        created_at=NOW + timedelta(minutes=2),
    )
    await insert_delivery(pool, UUID(int=1))

    async def listed(query: str = "") -> list[str]:
        return [delivery["id"] for delivery in (await api.get(f"/deliveries{query}")).json]

    assert await listed() == [str(rule_s), str(ours)]
    assert await listed(f"?webhook_id={endpoint}") == [str(ours)]
    assert await listed("?event=automation_triggered") == [str(rule_s)]
    assert await listed("?status=exhausted") == [str(rule_s)]
    assert await listed(f"?customer={HASH.upper()}") == [str(ours)]
    assert await listed("?after=2026-06-05 14:24:00") == [str(rule_s)]
    assert await listed("?before=2026-06-05T14:24:00Z") == [str(ours)]
    assert await listed(f"?customer={HASH}&status=exhausted") == []
    page = await api.get("/deliveries?per_page=1&page=2")
    assert ([delivery["id"] for delivery in page.json], page.headers["X-WP-Total"]) == ([str(ours)], "2")
    for wrong in ("webhook_id=x", "customer=jane@example.com", "after=soon"):
        assert (await api.get(f"/deliveries?{wrong}")).status == 400


@pytest.mark.parametrize(
    ("wrong", "named"), [("status=lost", "'suppressed'"), ("event=nonsense", "'automation_triggered'")]
)
async def test_a_filter_that_can_match_nothing_is_refused_with_those_that_can(
    api: ApiClient, wrong: str, named: str
) -> None:
    for path in ("/deliveries", "/deliveries/attempts"):
        answer = await api.get(f"{path}?{wrong}")
        ((field, told),) = answer.json["data"]["params"].items()
        assert (answer.status, wrong.startswith(field), named in told) == (400, True, True)


async def test_deliveries_and_endpoints_are_found_by_the_beginning_of_their_ids(
    api: ApiClient, pool: asyncpg.Pool, vault: Vault
) -> None:
    ids = [UUID(f"1f2e3d4c-{n}000-5000-8000-000000000000") for n in (1, 2)] + [UUID(int=7), UUID(int=2**128 - 1)]
    for n, each in enumerate(ids):
        await insert_delivery(pool, api.store.id, id=each, created_at=NOW - timedelta(minutes=n))
        await insert_attempt(pool, each, at=NOW - timedelta(minutes=n))
        await insert_endpoint(pool, vault, api.store.id, id=each, created_at=NOW - timedelta(minutes=n))
    await insert_delivery(pool, UUID(int=1), id=UUID("1f2e3d4c-3000-5000-8000-000000000000"))

    for path, name in (("/deliveries", "id"), ("/webhooks", "id"), ("/deliveries/attempts", "delivery_id")):

        async def begin(begin: str, path: str = path, name: str = name) -> tuple[list[str], str]:
            answer = await api.get(f"{path}?id={begin}&after=2026-06-05 13:00:00")
            return [one[name] for one in answer.json], answer.headers["X-WP-Total"]

        assert await begin("1f2e3d4c") == ([str(each) for each in ids[:2]], "2")
        assert await begin("1F2E3D4C-2") == ([str(ids[1])], "1")
        assert await begin("1f2e3d4c2000") == ([str(ids[1])], "1")
        assert await begin(str(ids[3])) == ([str(ids[3])], "1")
        assert await begin("00000000") == ([str(ids[2])], "1")
        assert await begin("1f2e3d4d") == ([], "0")
        for wrong in ("1f2e3d4", "1f2e3d4x", f"{ids[0]}0"):
            assert (await api.get(f"{path}?id={wrong}")).status == 400


async def test_an_outage_is_shown_with_its_endpoint_and_with_what_waits_for_its_end(
    api: ApiClient, pool: asyncpg.Pool, vault: Vault
) -> None:
    down, well = [await insert_endpoint(pool, vault, api.store.id) for _ in range(2)]
    parked = await insert_delivery(
        pool,
        api.store.id,
        target_id=down,
        endpoint_id=down,
        status="parked",
        due_at=NOW + timedelta(hours=72),
        finished_at=None,
    )
    done = await insert_delivery(pool, api.store.id, target_id=down, endpoint_id=down)
    for target, opened in ((down, NOW), (well, None)):
        await insert(
            pool,
            "dispatcher.breakers",
            target_id=target,
            failures=5,
            failing=[],
            opened_at=opened,
            probes=0,
            probe_at=NOW + timedelta(minutes=1),
            slow_until=NOW + timedelta(minutes=2),
        )
    outages = {
        one["id"]: (one["outage_since"], one["next_probe_at"])
        for one in [*(await api.get("/webhooks")).json, (await api.get(f"/webhooks/{down}")).json]
    }
    assert outages == {str(down): ("2026-06-05 14:23:00", "2026-06-05 14:25:00"), str(well): (None, None)}
    listed = {one["id"]: one["next_attempt_at"] for one in (await api.get("/deliveries")).json}
    assert listed[str(parked)] is None
    shown = [(await api.get(f"/deliveries/{each}")).json["next_probe_at"] for each in (parked, done)]
    assert shown == ["2026-06-05 14:25:00", None]


async def test_an_endpoint_is_checked_without_being_created(api: ApiClient, pool: asyncpg.Pool, broker: Broker) -> None:
    asked: list[tuple[str, Any]] = []
    async with owning("dispatcher", pool, broker, answering({"webhook.validate": {}}, asked)):
        answer = await api.post("/webhooks/validate", json={"url": "https://crm.example"})
    assert (answer.status, answer.json) == (200, {})
    assert asked == [("webhook.validate", {"url": "https://crm.example"})]


async def delivery_with_attempts(pool: asyncpg.Pool, store_id: UUID) -> UUID:
    source = uuid7()
    await insert_body(pool, source, b'{"email":"j\xc3\xa4ne@example.com"}')
    delivery = await insert_delivery(pool, store_id, source_id=source, attempts=2, max_attempts=4)
    await insert_attempt(
        pool, delivery, status_code=None, phase="connect", error="connection refused", address=None, answer=None
    )
    await insert_attempt(pool, delivery, number=2, at=NOW + timedelta(minutes=1), answer=b"th\xffnks")
    return delivery


async def test_one_delivery_is_shown_with_its_body_and_every_attempt(api: ApiClient, pool: asyncpg.Pool) -> None:
    delivery = await delivery_with_attempts(pool, api.store.id)
    shown = (await api.get(f"/deliveries/{delivery}")).json

    assert (shown["id"], shown["max_attempts"]) == (str(delivery), 4)
    assert shown["body"] == '{"email":"jäne@example.com"}'
    assert shown["attempts"] == [
        {
            "number": 1,
            "at": "2026-06-05 14:23:00",
            "status_code": None,
            "phase": "connect",
            "error": "connection refused",
            "duration_ms": 31,
            "address": None,
            "body": None,
        },
        {
            "number": 2,
            "at": "2026-06-05 14:24:00",
            "status_code": 200,
            "phase": None,
            "error": None,
            "duration_ms": 31,
            "address": "203.0.113.7",
            "body": "th\ufffdnks",
        },
    ]
    theirs = await delivery_with_attempts(pool, UUID(int=1))
    assert (await api.get(f"/deliveries/{theirs}")).status == 404


async def test_a_key_that_may_see_no_addresses_sees_no_bodies(api: ApiClient, pool: asyncpg.Pool) -> None:
    delivery = await delivery_with_attempts(pool, api.store.id)
    shown = (await (await with_scopes(api, pool, "read")).get(f"/deliveries/{delivery}")).json
    assert (shown["body"], [attempt["body"] for attempt in shown["attempts"]]) == (None, [None, None])
    shown = (await (await with_scopes(api, pool, "read", "pii")).get(f"/deliveries/{delivery}")).json
    assert "jäne@example.com" in shown["body"]


async def test_attempts_are_listed_by_their_end_over_all_deliveries(api: ApiClient, pool: asyncpg.Pool) -> None:
    slow, quick = (
        await insert_delivery(pool, api.store.id, status="retrying"),
        await insert_delivery(pool, api.store.id),
    )
    await insert_attempt(
        pool, slow, duration_ms=30_000, status_code=None, phase="first_byte", error="no answer in 30 s"
    )
    await insert_attempt(pool, quick, at=NOW + timedelta(seconds=20))
    await insert_attempt(pool, await insert_delivery(pool, UUID(int=1)))

    answer = await api.get("/deliveries/attempts?after=2026-06-05 14:22:00")
    assert [(one["delivery_id"], one["ended_at"]) for one in answer.json] == [
        (str(slow), "2026-06-05 14:23:30"),
        (str(quick), "2026-06-05 14:23:20"),
    ]
    assert answer.json[0]["error"] == "no answer in 30 s"
    assert answer.json[0]["duration_ms"] == 30_000
    later = await api.get("/deliveries/attempts?after=2026-06-05 14:23:25&per_page=1")
    assert ([one["delivery_id"] for one in later.json], later.headers["X-WP-Total"]) == ([str(slow)], "1")
    only = await api.get("/deliveries/attempts?after=2026-06-05 14:22:00&status=delivered")
    assert [one["delivery_id"] for one in only.json] == [str(quick)]
    assert (await api.get("/deliveries/attempts")).json == []  # of the last hour


async def test_a_delivery_is_made_again_and_shown(api: ApiClient, pool: asyncpg.Pool, broker: Broker) -> None:
    delivery = await insert_delivery(pool, api.store.id, status="failed")

    async def retry(transaction: Transaction, command: Command) -> Any:
        await transaction.connection.execute(
            "UPDATE dispatcher.deliveries SET status = 'pending', finished_at = NULL WHERE id = $1",
            UUID(command.data["id"]),
        )
        return dict(command.data)

    async with owning("dispatcher", pool, broker, {"delivery.retry": retry}):
        answer = await api.post(f"/deliveries/{delivery}/retry")
    assert (answer.status, answer.json["id"], answer.json["status"]) == (202, str(delivery), "pending")


async def test_why_a_delivery_is_not_made_again_is_the_owner_s_word(
    api: ApiClient, pool: asyncpg.Pool, broker: Broker
) -> None:
    async def refuse(_: Transaction, __: Command) -> Any:
        raise RefusedError(409, "trustlens_delivery_under_way", "It is under way.")

    async with owning("dispatcher", pool, broker, {"delivery.retry": refuse}):
        answer = await api.post(f"/deliveries/{uuid7()}/retry")
    assert (answer.status, answer.json["code"]) == (409, "trustlens_delivery_under_way")


async def test_a_replay_is_a_job_and_a_dry_run_a_number(api: ApiClient, pool: asyncpg.Pool, broker: Broker) -> None:
    asked: list[tuple[str, Any]] = []
    job = {"job_id": str(uuid7()), "count": 12}
    given = {"from": "2026-06-05 14:23:00", "to": "2026-06-06T02:00:00+02:00", "status": ["failed"], "rate": 5}
    async with owning("dispatcher", pool, broker, answering({"deliveries.replay": job}, asked)):
        queued = await api.post("/deliveries/replay", json=given)
    async with owning("dispatcher", pool, broker, answering({"deliveries.replay": job | {"job_id": None}}, [])):
        counted = await api.post("/deliveries/replay", json=given | {"dry_run": True})

    assert (queued.status, queued.json) == (202, job)
    assert (counted.status, counted.json) == (202, {"job_id": None, "count": 12})
    in_utc = {"from": "2026-06-05T14:23:00+00:00", "to": "2026-06-06T00:00:00+00:00"}
    assert asked == [("deliveries.replay", given | in_utc)]


async def test_an_unknown_field_of_a_replay_is_named(api: ApiClient) -> None:
    answer = await api.post("/deliveries/replay", json={"form": "2026-06-05 14:23:00"})
    assert (answer.status, list(answer.json["data"]["params"])) == (400, ["form"])


async def test_a_job_is_found_with_whichever_service_does_it_and_ended_by_that_one(
    api: ApiClient, pool: asyncpg.Pool, broker: Broker
) -> None:
    jobs = {"scorer": uuid7(), "dispatcher": uuid7(), "rule_engine": uuid7()}
    for schema, job_id in jobs.items():
        await insert(
            pool,
            f"{schema}.jobs",
            id=job_id,
            store_id=api.store.id,
            kind=f"of the {schema}",
            params="{}",
            state="running",
            created_at=NOW,
        )
    narrow = await with_scopes(api, pool, "write")
    for schema, job_id in jobs.items():
        asked: list[tuple[str, Any]] = []
        async with owning(schema.replace("_", "-"), pool, broker, answering({"job.cancel": {}}, asked)):
            shown, cancelled = await api.get(f"/jobs/{job_id}"), await api.request("DELETE", f"{BASE}/jobs/{job_id}")
            by_narrow = await narrow.request("DELETE", f"{BASE}/jobs/{job_id}")
        assert (shown.json["kind"], cancelled.status) == (f"of the {schema}", 200)
        assert by_narrow.status == (403 if schema == "scorer" else 200)
        assert set(map(str, asked)) == {str(("job.cancel", {"job_id": str(job_id)}))}


@pytest.mark.parametrize(
    ("method", "path", "scope"),
    [
        ("GET", "/deliveries", "read"),
        ("GET", "/deliveries/attempts", "read"),
        ("GET", f"/deliveries/{ENDPOINT}", "read"),
        ("POST", f"/deliveries/{ENDPOINT}/retry", "write"),
        ("POST", "/deliveries/replay", "write"),
        ("PATCH", f"/webhooks/{ENDPOINT}", "write"),
        ("DELETE", f"/webhooks/{ENDPOINT}", "write"),
        ("POST", f"/webhooks/{ENDPOINT}/rotate-secret", "write"),
        ("POST", f"/webhooks/{ENDPOINT}/end-overlap", "write"),
        ("GET", "/dead", "admin"),
        ("GET", f"/dead/{ENDPOINT}", "admin"),
        ("POST", f"/dead/{ENDPOINT}/redrive", "admin"),
    ],
)
async def test_each_route_needs_its_scope(
    api: ApiClient, pool: asyncpg.Pool, method: str, path: str, scope: str
) -> None:
    others = await with_scopes(api, pool, *({"read", "write", "ingest", "pii"} - {scope}))
    assert (await others.request(method, BASE + path, json={})).status == 403
    assert (await api.request(method, BASE + path, key="", json={})).status == 401
