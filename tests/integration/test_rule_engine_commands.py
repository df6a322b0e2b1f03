"""Rules are created by a command, on a real Postgres."""

import json
from collections.abc import Mapping
from typing import Any, get_args
from uuid import UUID

import asyncpg
import pytest

from rule_engine import commands
from rule_engine.rules import Trigger
from shared.broker import Broker
from shared.commands import Answer, Command, Commands
from shared.events import EventType
from shared.ids import uuid7
from shared.outbox import Outbox
from shared.secrets import Vault
from shared.targets import Reach
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

    async def create(self, rule: Mapping[str, Any], *, command_id: UUID | None = None) -> Answer:
        command = Command(id=command_id or uuid7(), type="rule.create", store_id=STORE, actor="test", data=rule)
        # As it comes over the wire.
        return await self._commands.answer(Command.model_validate_json(command.encode()))

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
    assert body["warnings"] == ["actions.0.secret: shorter than 32 characters, it can be guessed"]


@pytest.mark.parametrize(
    ("changes", "field", "message"),
    [
        ({"name": ""}, "name", "at least 1 character"),
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
        ({"actions": [{**TO_URL, "url": "https://10.0.0.1/"}]}, "actions.0.url", "leads to an address that is refused: private"),
        ({"actions": [{**TO_URL, "headers": {"Host": "x"}}]}, "actions.0.headers", "has 'Host', which is reserved"),
        (
            {"actions": [{"type": "send_webhook", "webhook_id": str(UUID(int=1))}]},
            "actions.0.webhook_id",
            "there is no such endpoint",
        ),
        (
            {"conditions": {"all": [{"field": "shoe_size", "operator": "=", "value": 44}]}},
            "conditions.all.0.field",
            "there is no field shoe_size",
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


async def test_an_endpoint_of_the_store_may_be_the_target(owner: Owner, pool: asyncpg.Pool) -> None:
    endpoint_id = uuid7()
    await pool.execute(
        "INSERT INTO dispatcher.endpoints (id, store_id, url, description, events, delivery, format, include_email,"
        " timeout, secret, created_at, updated_at) VALUES ($1, $2, 'https://crm.example', '', '{}', 'retry',"
        " 'trustlens', true, 10, '', now(), now())",
        endpoint_id,
        STORE,
    )
    body = (await owner.create({**RULE, "actions": [{"type": "send_webhook", "webhook_id": str(endpoint_id)}]})).body
    assert body["actions"] == [{"type": "send_webhook", "webhook_id": str(endpoint_id)}]
    assert await pool.fetchval("SELECT count(*) FROM rule_engine.targets") == 0


async def test_http_is_accepted_only_where_the_installation_allows_it(pool: asyncpg.Pool, vault: Vault) -> None:
    rule = {**RULE, "actions": [{**TO_URL, "url": "http://crm.example"}]}
    assert (await Owner(pool, vault, Reach(allow_http=True)).create(rule)).refusal is None
    assert (await Owner(pool, vault, Reach()).create(rule)).refusal is not None
