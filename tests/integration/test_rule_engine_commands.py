"""Rules are made, changed, restored and deleted by commands, on a real Postgres."""

import asyncio
import json
from collections.abc import Mapping
from datetime import UTC, datetime
from functools import partial
from typing import Any, get_args
from uuid import UUID

import asyncpg
import pytest

from api.stores import create_store
from rule_engine import commands
from rule_engine.rules import Trigger
from rule_engine.starters import STARTERS
from rule_engine.store import cooldowns
from shared.broker import Broker
from shared.commands import Answer, Command, Commands, Refusal
from shared.events import EventType
from shared.ids import uuid7
from shared.outbox import Outbox
from shared.secrets import Vault
from shared.targets import Reach
from support.dispatching import eventually
from support.events import STORE

SECRET = "a secret that the shop's owner chose"
TO_URL = {"type": "send_webhook", "url": "https://crm.example/hook"}
RULE: Mapping[str, Any] = {"name": "Became a risk", "trigger": "segment_changed", "actions": [TO_URL]}


class Owner:
    """The rule engine's side of its commands."""

    def __init__(self, pool: asyncpg.Pool, vault: Vault, reach: Reach) -> None:
        broker = Broker("amqp://nobody", service="rule-engine")
        self._commands = Commands(
            outbox=Outbox(pool, broker, "rule_engine"),
            broker=broker,
            schema="rule_engine",
            handlers=commands.handlers(vault, reach),
            vault=vault,
        )
        self._background = commands.background(pool, vault, reach)

    async def create(self, rule: Mapping[str, Any], *, command_id: UUID | None = None) -> Answer:
        return await self.ask("rule.create", rule, command_id=command_id)

    async def created(self, **changes: Any) -> Any:
        return (await self.create({**RULE, **changes})).body

    async def ask(
        self, kind: str, data: Mapping[str, Any], *, store_id: UUID = STORE, command_id: UUID | None = None
    ) -> Answer:
        command = Command(id=command_id or uuid7(), type=kind, store_id=store_id, actor="key:tl_1", data=data)
        command = Command.model_validate_json(command.encode())  # as it comes over the wire
        if reading := self._background.get(kind):
            return Answer(body=await reading(command))
        return await self._commands.answer(command)

    async def done(self, kind: str, made: Mapping[str, Any], **data: Any) -> Any:
        answer = await self.ask(kind, {"id": made["id"], **data})
        assert answer.refusal is None, answer.refusal
        return answer.body

    async def refusal(self, kind: str, rule_id: object, **data: Any) -> tuple[int, str]:
        refusal = (await self.ask(kind, {"id": str(rule_id), **data})).refusal
        assert refusal is not None
        return refusal.status, refusal.message

    async def problems(self, **changes: Any) -> Mapping[str, str]:
        refusal = (await self.create({**RULE, **changes})).refusal
        assert refusal is not None
        assert (refusal.status, refusal.code) == (400, "rest_invalid_param")
        return refusal.params


@pytest.fixture
def owner(pool: asyncpg.Pool, vault: Vault) -> Owner:
    return Owner(pool, vault, Reach())


async def test_a_created_rule_is_answered_with_its_defaults_and_its_generated_secret(
    owner: Owner, pool: asyncpg.Pool, vault: Vault
) -> None:
    body = (await owner.create(RULE)).body
    action = body["actions"][0]
    assert body == {
        "id": body["id"],
        "version": 1,
        "name": "Became a risk",
        "description": "",
        "trigger": "segment_changed",
        "conditions": None,
        "actions": [
            {
                "type": "send_webhook",
                "target_id": action["target_id"],
                "url": "https://crm.example/hook",
                "headers": {},
                "timeout": 10,
                "secret": action["secret"],
            }
        ],
        "cooldown": 3600,
        "hourly_limit": 1000,
        "mode": "live",
        "created_at": body["created_at"],
        "updated_at": body["created_at"],
    }
    target = await pool.fetchrow("SELECT * FROM rule_engine.targets WHERE id = $1", UUID(action["target_id"]))
    assert (target["rule_id"], target["url"], target["headers"]) == (UUID(body["id"]), action["url"], None)
    assert vault.open(target["secret"]).decode() == action["secret"]
    kept = json.loads(await pool.fetchval("SELECT actions FROM rule_engine.rules"))
    assert kept == [{name: value for name, value in action.items() if name != "secret"}]


async def test_the_same_command_again_makes_no_second_rule_and_shows_the_same_secret(
    owner: Owner, pool: asyncpg.Pool
) -> None:
    command_id = uuid7()
    first = await owner.create({**RULE, "conditions": {"all": []}}, command_id=command_id)
    again = await owner.create({**RULE, "conditions": {"all": []}}, command_id=command_id)
    assert again.encode() == first.encode()
    assert await pool.fetchval("SELECT count(*) FROM rule_engine.rules") == 1
    assert await pool.fetchval("SELECT revision FROM rule_engine.revisions") == 1


async def test_no_secret_is_kept_in_clear(owner: Owner, pool: asyncpg.Pool) -> None:
    given = {**TO_URL, "secret": SECRET, "headers": {"Authorization": "Bearer of-the-crm"}}
    body = (await owner.create({**RULE, "actions": [TO_URL, given]})).body
    generated = body["actions"][0]["secret"]
    assert len(generated) >= 43
    assert "secret" not in body["actions"][1]
    assert body["actions"][1]["headers"] == {"Authorization": "***"}
    for table in ("rules", "targets", "commands_seen", "outbox"):
        for row in await pool.fetch(f"SELECT * FROM rule_engine.{table}"):
            assert not any(secret in str(dict(row)) for secret in (generated, SECRET, "of-the-crm"))


async def test_headers_are_kept_for_the_dispatcher(owner: Owner, pool: asyncpg.Pool, vault: Vault) -> None:
    await owner.create({**RULE, "actions": [{**TO_URL, "secret": SECRET, "headers": {"X-Team": "fraud"}}]})
    target = await pool.fetchrow("SELECT headers, secret FROM rule_engine.targets")
    assert json.loads(vault.open(target["headers"])) == {"X-Team": "fraud"}
    assert vault.open(target["secret"]).decode() == SECRET


def test_every_trigger_is_an_event_that_happens() -> None:
    assert set(get_args(Trigger)) == set(get_args(EventType)) - {"customer_erased"}


async def test_a_short_secret_is_doubted(owner: Owner) -> None:
    body = (await owner.create({**RULE, "actions": [{**TO_URL, "secret": "short"}]})).body
    assert body["warnings"] == [
        {"pointer": "/actions/0/secret", "message": "shorter than 32 characters, it can be guessed"}
    ]


@pytest.mark.parametrize(
    ("changes", "field", "message"),
    [
        ({"name": ""}, "name", "at least 1 character"),
        ({"name": "  "}, "name", "at least 1 character"),
        ({"name": "a\0b"}, "name", "has a NUL character"),
        ({"trigger": "lunch"}, "trigger", "should be 'score_updated'"),
        ({"cooldown": 30 * 86400 + 1}, "cooldown", "less than or equal to 2592000"),
        ({"cooldown": "3600"}, "cooldown", "valid integer"),
        ({"mode": "maybe"}, "mode", "'live', 'shadow' or 'off'"),
        ({"priority": 1}, "priority", "is not known here"),
        ({"actions": []}, "actions", "at least 1 item"),
        ({"actions": [TO_URL] * 11}, "actions", "at most 10 items"),
        ({"actions": [{"type": "tag_customer"}]}, "actions.0.tag", "is missing"),
        ({"actions": [{"type": "dance"}]}, "actions.0", "dance is no action"),
        ({"actions": [{**TO_URL, "url": "http://crm.example"}]}, "actions.0.url", "must begin with https://"),
        (
            {"actions": [{**TO_URL, "url": "https://10.0.0.1/"}]},
            "actions.0.url",
            "leads to an address that is refused: private",
        ),
        ({"actions": [{**TO_URL, "headers": {"Host": "x"}}]}, "actions.0.headers", "has 'Host', which is reserved"),
        (
            {"actions": [{"type": "send_webhook", "webhook_id": str(UUID(int=1))}]},
            "actions.0.webhook_id",
            "there is no such endpoint",
        ),
        (
            {"conditions": {"all": [{"field": "shoe_size", "operator": "=", "value": 44}]}},
            "conditions.all.0.field",
            "is not known: shoe_size",
        ),
        (
            {"conditions": {"any": [{"field": "segment", "operator": "~", "value": "risk"}]}},
            "conditions.any.0.operator",
            "should be '='",
        ),
    ],
)
async def test_a_bad_field_is_named(
    owner: Owner, pool: asyncpg.Pool, changes: Mapping[str, Any], field: str, message: str
) -> None:
    problems = await owner.problems(**changes)
    assert list(problems) == [field]
    assert message in problems[field]
    assert await pool.fetchval("SELECT count(*) FROM rule_engine.rules") == 0


async def insert_endpoint(pool: asyncpg.Pool, endpoint_id: UUID) -> None:
    await pool.execute(
        "INSERT INTO dispatcher.endpoints (id, store_id, url, description, events, delivery, format, include_email,"
        " timeout, secret, created_at, updated_at) VALUES ($1, $2, 'https://crm.example', '', '{}', 'retry',"
        " 'trustlens', true, 10, '', now(), now())",
        endpoint_id,
        STORE,
    )


async def test_an_endpoint_of_the_store_may_be_the_target(owner: Owner, pool: asyncpg.Pool) -> None:
    endpoint_id = uuid7()
    await insert_endpoint(pool, endpoint_id)
    body = (await owner.create({**RULE, "actions": [{"type": "send_webhook", "webhook_id": str(endpoint_id)}]})).body
    assert body["actions"] == [{"type": "send_webhook", "webhook_id": str(endpoint_id)}]
    assert await pool.fetchval("SELECT count(*) FROM rule_engine.targets") == 0


async def test_http_is_accepted_only_where_the_installation_allows_it(pool: asyncpg.Pool, vault: Vault) -> None:
    rule = {**RULE, "actions": [{**TO_URL, "url": "http://crm.example"}]}
    assert (await Owner(pool, vault, Reach(allow_http=True)).create(rule)).refusal is None
    assert (await Owner(pool, vault, Reach()).create(rule)).refusal is not None


async def versions(pool: asyncpg.Pool, rule: Mapping[str, Any]) -> list[tuple[int, str, Any]]:
    rows = await pool.fetch(
        "SELECT version, actor, rule FROM rule_engine.versions WHERE rule_id = $1 ORDER BY version", UUID(rule["id"])
    )
    return [(row["version"], row["actor"], json.loads(row["rule"])) for row in rows]


async def revision(pool: asyncpg.Pool) -> int:
    return int(await pool.fetchval("SELECT revision FROM rule_engine.revisions WHERE store_id = $1", STORE))


async def test_every_save_is_a_version_with_who_saved_it(owner: Owner, pool: asyncpg.Pool) -> None:
    made = await owner.created(description="first")
    named = await owner.done("rule.patch", made, fields={"name": "Second"})
    replaced = await owner.done("rule.update", made, rule={**RULE, "cooldown": 60})

    assert [rule["version"] for rule in (made, named, replaced)] == [1, 2, 3]
    assert (named["name"], named["description"]) == ("Second", "first")
    assert (replaced["name"], replaced["description"], replaced["cooldown"]) == ("Became a risk", "", 60)
    kept = await versions(pool, made)
    assert [(version, actor) for version, actor, _ in kept] == [(1, "key:tl_1"), (2, "key:tl_1"), (3, "key:tl_1")]
    shown = {name: value for name, value in replaced.items() if name in kept[2][2]}
    assert kept[2][2] == shown
    assert await pool.fetchval("SELECT version FROM rule_engine.rules") == 3
    assert await revision(pool) == 3


async def test_a_save_that_changes_nothing_is_no_version(owner: Owner, pool: asyncpg.Pool) -> None:
    made = await owner.created()
    for kind, data in (
        ("rule.update", {"rule": RULE}),
        ("rule.patch", {"fields": {}}),
        ("rule.restore", {"version": 1}),
    ):
        assert (await owner.done(kind, made, **data))["version"] == 1
    assert len(await versions(pool, made)) == 1
    assert await revision(pool) == 1


async def test_a_shown_rule_can_be_put_back_and_keeps_its_target(
    owner: Owner, pool: asyncpg.Pool, vault: Vault
) -> None:
    to_crm = {**TO_URL, "secret": SECRET, "headers": {"Authorization": "Bearer of-the-crm"}}
    made = await owner.created(actions=[to_crm])
    again = await owner.done("rule.update", made, rule={**made, "mode": "shadow", "warnings": []})

    assert again["actions"] == made["actions"]
    assert "secret" not in again["actions"][0]
    (target,) = await pool.fetch("SELECT * FROM rule_engine.targets")
    assert vault.open(target["secret"]).decode() == SECRET
    assert json.loads(vault.open(target["headers"])) == {"Authorization": "Bearer of-the-crm"}


async def test_a_change_of_an_older_version_is_refused(owner: Owner) -> None:
    made = await owner.created()
    await owner.done("rule.patch", made, fields={"name": "Somebody else's"})
    stale = await owner.refusal("rule.update", made["id"], rule={**made, "name": "Mine"})
    assert stale == (409, "The rule is at version 2; your change was made from version 1. Read it again first.")
    assert (await owner.refusal("rule.patch", made["id"], fields={"id": str(uuid7())}))[0] == 400


async def test_a_new_secret_is_a_save_though_nothing_shows_it(owner: Owner, pool: asyncpg.Pool, vault: Vault) -> None:
    made = await owner.created()
    again = await owner.done("rule.patch", made, fields={"actions": [{**made["actions"][0], "secret": SECRET}]})
    assert (again["version"], again["actions"][0]["target_id"]) == (2, made["actions"][0]["target_id"])
    assert vault.open(await pool.fetchval("SELECT secret FROM rule_engine.targets")).decode() == SECRET


async def test_a_version_is_restored_with_the_targets_it_had(owner: Owner, pool: asyncpg.Pool, vault: Vault) -> None:
    made = await owner.created(actions=[{**TO_URL, "secret": SECRET}], conditions={"all": []})
    await owner.done("rule.patch", made, fields={"actions": [{"type": "recalculate_score"}], "mode": "off"})
    back = await owner.done("rule.restore", made, version=1)

    assert back["version"] == 3
    assert {name: back[name] for name in RULE} == {name: made[name] for name in RULE}
    assert (back["mode"], back["conditions"]) == ("live", {"all": []})
    (target,) = await pool.fetch("SELECT id, secret FROM rule_engine.targets")
    assert str(target["id"]) == back["actions"][0]["target_id"]
    assert vault.open(target["secret"]).decode() == SECRET
    assert await owner.refusal("rule.restore", made["id"], version=9) == (404, "The rule never had this version.")
    assert (await owner.refusal("rule.restore", made["id"], version=2**40))[0] == 400


async def test_a_restored_version_signs_with_the_secret_that_its_target_has_now(
    owner: Owner, pool: asyncpg.Pool, vault: Vault
) -> None:
    action = {**TO_URL, "secret": "leaked, and longer than 32 characters", "headers": {"X-Key": "old"}}
    made = await owner.created(actions=[action])
    renewed = {**made["actions"][0], "secret": SECRET, "headers": {"X-Key": "new"}}
    await owner.done("rule.patch", made, fields={"actions": [renewed]})
    await owner.done("rule.restore", made, version=1)

    (target,) = await pool.fetch("SELECT secret, headers FROM rule_engine.targets")
    assert vault.open(target["secret"]).decode() == SECRET
    assert json.loads(vault.open(target["headers"])) == {"X-Key": "new"}


async def test_values_of_headers_are_not_restored_to_a_host_that_never_had_them(owner: Owner) -> None:
    made = await owner.created(actions=[{**TO_URL, "secret": SECRET, "headers": {"X-Key": "old"}}])
    moved = {**made["actions"][0], "url": "https://elsewhere.example/", "headers": {"X-Key": "new"}}
    await owner.done("rule.patch", made, fields={"actions": [moved]})
    assert (await owner.refusal("rule.restore", made["id"], version=1))[0] == 400


async def test_a_rule_that_no_longer_validates_can_be_switched_off_and_not_otherwise_changed(
    owner: Owner, pool: asyncpg.Pool
) -> None:
    made = await owner.created()
    old = json.dumps({"field": "shoe_size", "operator": "=", "value": 44})
    await pool.execute("UPDATE rule_engine.rules SET conditions = $1", old)

    assert (await owner.refusal("rule.patch", made["id"], fields={"actions": [TO_URL]}))[0] == 400
    off = await owner.done("rule.patch", made, fields={"mode": "off"})
    assert (off["version"], off["mode"], off["conditions"]) == (2, "off", json.loads(old))


@pytest.mark.parametrize(("before", "after"), [("off", "shadow"), ("off", "live"), ("shadow", "live")])
async def test_a_rule_that_no_longer_validates_is_not_switched_on(
    owner: Owner, pool: asyncpg.Pool, before: str, after: str
) -> None:
    endpoint_id = uuid7()
    await insert_endpoint(pool, endpoint_id)
    actions = [{"type": "send_webhook", "webhook_id": str(endpoint_id)}]
    made = await owner.created(actions=actions, mode=before)
    await pool.execute("DELETE FROM dispatcher.endpoints")

    refusal = (await owner.ask("rule.patch", {"id": made["id"], "fields": {"mode": after}})).refusal
    assert refusal is not None
    assert refusal.params == {"actions.0.webhook_id": "there is no such endpoint"}
    renamed = await owner.done("rule.patch", made, fields={"name": "Other", "mode": before})
    assert (renamed["name"], renamed["mode"]) == ("Other", before)
    off = await owner.done("rule.patch", made, fields={"mode": "off"})
    assert off["mode"] == "off"
    await insert_endpoint(pool, endpoint_id)
    assert (await owner.done("rule.patch", made, fields={"mode": after}))["mode"] == after


async def test_a_rule_is_switched_on_with_the_targets_it_has(owner: Owner, pool: asyncpg.Pool, vault: Vault) -> None:
    made = await owner.created(actions=[{**TO_URL, "secret": SECRET, "headers": {"X-A": "1"}}], mode="off")
    on = await owner.done("rule.patch", made, fields={"mode": "live"})
    assert (on["mode"], on["version"], on["actions"]) == ("live", 2, made["actions"])
    (target,) = await pool.fetch("SELECT secret, headers FROM rule_engine.targets")
    assert vault.open(target["secret"]).decode() == SECRET
    assert json.loads(vault.open(target["headers"])) == {"X-A": "1"}


async def test_a_url_that_may_not_be_called_any_more_stops_no_change_of_the_conditions(
    pool: asyncpg.Pool, vault: Vault
) -> None:
    made = await Owner(pool, vault, Reach(allow_http=True)).created(actions=[{**TO_URL, "url": "http://crm.example"}])
    strict = Owner(pool, vault, Reach())
    assert (await strict.done("rule.patch", made, fields={"conditions": {"all": []}}))["version"] == 2
    assert (await strict.refusal("rule.patch", made["id"], fields={"actions": made["actions"]}))[0] == 400


async def test_a_deleted_rule_leaves_nothing_but_what_was_decided(owner: Owner, pool: asyncpg.Pool) -> None:
    made, other = await owner.created(), await owner.created(name="Other")
    for rule in (made, other):
        await pool.execute("INSERT INTO rule_engine.cooldowns VALUES ($1, 'a', now())", UUID(rule["id"]))
        await pool.execute("INSERT INTO rule_engine.hours VALUES ($1, now(), 1)", UUID(rule["id"]))

    assert await owner.done("rule.delete", made) == {"id": made["id"]}

    for table, column in (("rules", "id"), *((t, "rule_id") for t in ("versions", "targets", "cooldowns", "hours"))):
        left = await pool.fetch(f"SELECT {column} FROM rule_engine.{table}")
        assert [str(row[column]) for row in left] == [other["id"]]
    assert await revision(pool) == 3
    assert (await owner.refusal("rule.delete", made["id"]))[0] == 404


async def test_a_rule_is_deleted_while_a_consumer_decides_by_it(owner: Owner, pool: asyncpg.Pool) -> None:
    """Both lock cooldowns before hours: none waits for the other in a circle."""
    made = await owner.created()
    rule_id, hour = UUID(made["id"]), datetime(2026, 7, 1, 12, tzinfo=UTC)
    await pool.execute("INSERT INTO rule_engine.cooldowns VALUES ($1, 'a', now())", rule_id)
    await pool.execute("INSERT INTO rule_engine.hours VALUES ($1, $2, 1)", rule_id, hour)
    async with pool.acquire() as consumer, consumer.transaction():
        await cooldowns.claim_cooldowns(consumer, [(rule_id, "a")])
        deleting = asyncio.create_task(owner.done("rule.delete", made))
        await eventually(partial(pool.fetchval, WAITING))
        assert await cooldowns.claim_hours(consumer, [(rule_id, hour)]) == {(rule_id, hour): 1}
    assert await deleting == {"id": made["id"]}


WAITING = "SELECT EXISTS (SELECT FROM pg_stat_activity WHERE datname = current_database() AND wait_event_type = 'Lock')"


async def test_another_store_s_rule_is_not_there(owner: Owner, pool: asyncpg.Pool) -> None:
    made = await owner.created()
    asked: dict[str, dict[str, Any]] = {
        "rule.update": {"rule": RULE},
        "rule.patch": {"fields": {"mode": "off"}},
        "rule.restore": {"version": 1},
        "rule.delete": {},
    }
    for kind, data in asked.items():
        refusal = (await owner.ask(kind, {"id": made["id"], **data}, store_id=uuid7())).refusal
        assert refusal is not None
        assert (refusal.status, refusal.code) == (404, "trustlens_rule_not_found")
    assert await pool.fetchval("SELECT mode FROM rule_engine.rules") == "live"


async def test_a_store_may_have_a_thousand_rules_and_not_one_more(owner: Owner, pool: asyncpg.Pool) -> None:
    made = await owner.created()
    await pool.execute(
        "INSERT INTO rule_engine.rules (id, store_id, version, name, description, trigger, actions, cooldown,"
        " hourly_limit, mode, created_at, updated_at) SELECT gen_random_uuid(), store_id, 1, name, '', trigger, '[]',"
        " 0, 1, 'off', now(), now() FROM rule_engine.rules, generate_series(1, 998)"
    )
    both = await asyncio.gather(owner.create(RULE), owner.create(RULE))

    refused = [answer.refusal for answer in both if answer.refusal]
    assert [refusal.status for refusal in refused] == [409]
    assert refused[0].message == "A store may have 1,000 rules: delete one."
    assert await pool.fetchval("SELECT count(*) FROM rule_engine.rules") == 1000
    await owner.done("rule.delete", made)
    assert (await owner.create(RULE)).refusal is None


async def validated(owner: Owner, *, store_id: UUID = STORE, **draft: Any) -> Any:
    return (await owner.ask("rule.validate", {"rule": {**RULE, **draft}}, store_id=store_id)).body


def leaf(field: str, operator: str, value: object) -> Mapping[str, object]:
    return {"field": field, "operator": operator, "value": value}


IMPOSSIBLE = {"all": [leaf("trust_score", "<", 10), leaf("trust_score", ">", 50)]}


async def test_conditions_that_can_never_hold_stop_a_save(owner: Owner, pool: asyncpg.Pool) -> None:
    told = "trust_score > 50 can never hold together with trust_score < 10"
    assert await owner.problems(conditions=IMPOSSIBLE) == {"conditions.all.1": told}
    made = await owner.created()
    assert (await owner.refusal("rule.patch", made["id"], fields={"conditions": IMPOSSIBLE}))[0] == 400
    assert await pool.fetchval("SELECT max(version) FROM rule_engine.versions") == 1


async def test_the_store_s_own_thresholds_decide_what_can_hold(owner: Owner, pool: asyncpg.Pool) -> None:
    low_vip = {"all": [leaf("segment", "=", "trusted"), leaf("trust_score", "=", 60)]}
    assert not (await validated(owner, conditions=low_vip))["valid"]
    settings = json.dumps({"segments": {"trusted": 55}})
    await pool.execute(
        "INSERT INTO scorer.scoring (store_id, version, currency, settings) VALUES ($1, 1, 'EUR', $2)", STORE, settings
    )
    assert (await validated(owner, conditions=low_vip))["valid"]


async def test_a_draft_is_told_what_is_wrong_and_what_is_doubtful_by_pointer_and_nothing_is_saved(
    owner: Owner, pool: asyncpg.Pool
) -> None:
    assert await validated(owner) == {"valid": True, "errors": [], "warnings": []}
    broken = await validated(owner, cooldown="soon", conditions={"any": [leaf("shoe_size", "=", 4)]})
    assert not broken["valid"]
    assert {it["pointer"] for it in broken["errors"]} == {"/cooldown", "/conditions/any/0/field"}
    doubtful = await validated(owner, actions=[{"type": "send_email", "to": "a@shop.example", "subject": "Look"}])
    assert (doubtful["valid"], [it["pointer"] for it in doubtful["warnings"]]) == (True, ["/actions/0/type"])
    assert await pool.fetchval("SELECT count(*) FROM rule_engine.rules") == 0


async def test_a_draft_of_a_rule_may_keep_that_rule_s_targets_and_no_other_s(owner: Owner) -> None:
    made = await owner.created(actions=[{**TO_URL, "headers": {"X-Team": "fraud"}}])
    assert (await owner.ask("rule.validate", {"rule": made})).body["valid"]
    other = {**made, "id": str(uuid7())}
    (error,) = (await owner.ask("rule.validate", {"rule": other})).body["errors"]
    assert error["pointer"] == "/actions/0/target_id"


async def test_what_a_store_lacks_is_a_doubt_until_it_has_it(owner: Owner, pool: asyncpg.Pool, vault: Vault) -> None:
    actions = [
        {"type": "send_email", "to": "a@shop.example", "subject": "Look"},
        {"type": "hold_order"},
    ]
    draft = {"trigger": "order_placed", "conditions": leaf("trust_score", "<", 30), "actions": actions}
    async with pool.acquire() as connection:
        store = await create_store(connection, vault, url="https://shop.example", name="Shop")
    assert len((await validated(owner, store_id=store.id, **draft))["warnings"]) == 2
    await pool.execute("UPDATE api.stores SET smtp = 'x', woocommerce_api = 'x' WHERE id = $1", store.id)
    assert (await validated(owner, store_id=store.id, **draft))["warnings"] == []


async def test_starters_are_installed_off_and_once(owner: Owner, pool: asyncpg.Pool) -> None:
    asked = {"webhook_url": "https://crm.example/hook", "slack_url": "https://hooks.slack.com/services/T/B/x"}
    body = (await owner.ask("rule.install", asked)).body

    assert {rule["starter"] for rule in body["installed"]} == set(STARTERS)
    assert {rule["mode"] for rule in body["installed"]} == {"off"}
    assert body["skipped"] == []
    assert all("secret" in a for rule in body["installed"] for a in rule["actions"] if a["type"] == "send_webhook")
    again = (await owner.ask("rule.install", asked)).body
    assert again["installed"] == []
    assert all(it["message"].startswith("is there already, as rule ") for it in again["skipped"])
    assert await pool.fetchval("SELECT count(*) FROM rule_engine.versions") == len(STARTERS)

    listed = (await owner.ask("rule.starters", {})).body
    made = {rule["starter"]: rule["id"] for rule in body["installed"]}
    assert {it["key"]: it["rule_id"] for it in listed} == made
    await owner.done("rule.delete", {"id": made["segment_to_crm"]})
    listed = (await owner.ask("rule.starters", {})).body
    assert [it["key"] for it in listed if it["rule_id"] is None] == ["segment_to_crm"]


async def test_a_starter_that_lacks_its_target_is_refused_by_name_or_left_out_of_all(owner: Owner) -> None:
    refusal = (await owner.ask("rule.install", {"starters": ["segment_to_crm"]})).refusal
    assert refusal is not None
    assert refusal.params == {"starters.0": "segment_to_crm needs a webhook_id or a webhook_url"}
    body = (await owner.ask("rule.install", {"email": "owner@shop.example"})).body
    assert "notify_critical" in {rule["starter"] for rule in body["installed"]}
    assert {"starter": "segment_to_crm", "message": "needs a webhook_id or a webhook_url"} in body["skipped"]


async def test_a_starter_that_could_never_fire_under_the_store_s_thresholds_is_left_out(
    owner: Owner, pool: asyncpg.Pool
) -> None:
    settings = json.dumps({"segments": {"risk": 35}})
    await pool.execute(
        "INSERT INTO scorer.scoring (store_id, version, currency, settings) VALUES ($1, 1, 'EUR', $2)", STORE, settings
    )
    asked = {"starters": ["risk_below_30", "segment_to_crm"], "webhook_url": "https://crm.example/hook"}
    body = (await owner.ask("rule.install", asked)).body
    assert [rule["starter"] for rule in body["installed"]] == ["segment_to_crm"]
    ((key, message),) = [(it["starter"], it["message"]) for it in body["skipped"]]
    assert (key, "can never hold together" in message) == ("risk_below_30", True)


async def test_starters_need_room_for_those_that_are_new(owner: Owner, pool: asyncpg.Pool) -> None:
    made = await owner.created()
    await pool.execute(
        "INSERT INTO rule_engine.rules (id, store_id, version, name, description, trigger, actions, cooldown,"
        " hourly_limit, mode, created_at, updated_at) SELECT gen_random_uuid(), store_id, 1, name, '', trigger, '[]',"
        " 0, 1, 'off', now(), now() FROM rule_engine.rules, generate_series(1, 999)"
    )
    one = {"starters": ["hold_high_risk_orders"]}
    assert ((await owner.ask("rule.install", one)).refusal or Refusal(status=0, code="", message="")).status == 409
    await owner.done("rule.delete", made)
    assert len((await owner.ask("rule.install", one)).body["installed"]) == 1
    assert (await owner.ask("rule.install", one)).body["installed"] == []


async def test_the_schema_is_answered_as_a_form_needs_it(owner: Owner) -> None:
    body = (await owner.ask("rule.schema", {})).body
    assert {"json_schema", "triggers", "fields", "operators", "actions", "limits"} <= set(body)
