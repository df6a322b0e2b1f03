"""`trustlens rules` on the real API and the rule engine's own commands."""

import asyncio
import json
from collections.abc import AsyncIterator
from dataclasses import dataclass
from datetime import timedelta
from pathlib import Path
from typing import Any

import asyncpg
import pytest
from typer.testing import CliRunner

from cli.api import MAX_PER_PAGE
from cli.app import app
from shared.broker import Broker
from shared.secrets import Vault
from support import rule_desk
from support.api_client import ApiClient
from support.rule_desk import JANE, OTHER, RULE, Desk


@dataclass(frozen=True, slots=True)
class Terminal:
    desk: Desk

    async def types(self, *words: str, stdin: str | None = None, code: int = 0) -> str:
        """What is printed; an error as the command's main function prints it."""
        env = {"TRUSTLENS_API_URL": self.desk.api.origin, "TRUSTLENS_API_KEY": self.desk.api.store.api_key}
        result = await asyncio.to_thread(CliRunner().invoke, app, ["rules", *words], input=stdin, env=env)
        failed = str(result.exception) if result.exception and not isinstance(result.exception, SystemExit) else ""
        assert result.exit_code == code, result.output + failed
        return result.output + failed


@pytest.fixture
async def terminal(api: ApiClient, pool: asyncpg.Pool, broker: Broker, vault: Vault) -> AsyncIterator[Terminal]:
    async with rule_desk.opened(api, pool, broker, vault) as desk:
        yield Terminal(desk)


def leaf(field: str, operator: str, value: object) -> dict[str, object]:
    return {"field": field, "operator": operator, "value": value}


async def test_a_rule_is_added_shown_changed_and_put_back_by_its_name(terminal: Terminal, tmp_path: Path) -> None:
    file = tmp_path / "rule.json"
    to_crm = {"type": "send_webhook", "url": "https://crm.example/hook"}
    file.write_text(json.dumps({**RULE, "cooldown": 60, "actions": [*RULE["actions"], to_crm]}))

    added = await terminal.types("add", str(file))
    (rule,) = (await terminal.desk.api.get("/rules")).json
    assert added.splitlines()[:7] == [
        "Cheap risk  (live, version 1)",
        f"  {rule['id']}",
        "  when  order_placed; once in 1 min per customer",
        "  if    all of",
        "          trust_score < 30",
        "  then  tag_customer risky",
        "        send_webhook https://crm.example/hook",
    ]
    assert "The signing secret of send_webhook https://crm.example/hook, shown only now: " in added

    assert rule["id"] in await terminal.types("list", "--mode", "live")
    assert "There is no such rule" in await terminal.types("list", "--mode", "off")
    assert "version 2" in await terminal.types("edit", "cheap RISK", "--cooldown", "0", "--description", "for the desk")
    shown = await terminal.types("show", "Cheap risk", "--json")
    edited = {**json.loads(shown), "name": "Dear risk"}
    assert "Dear risk  (live, version 3)" in await terminal.types(
        "edit", rule["id"][:13], "-", stdin=json.dumps(edited)
    )
    assert "your change was made from version 2" in await terminal.types("edit", "risk", "-", stdin=shown, code=1)
    assert "Dear risk is shadow (version 4)." in await terminal.types("shadow", "dear")
    assert "Dear risk is off (version 5)." in await terminal.types("off", "dear")
    assert "Dear risk is live (version 6)." in await terminal.types("on", "dear")
    assert "Cheap risk  (live, version 7)" in await terminal.types("restore", "dear", "1")

    versions = (await terminal.types("versions", "cheap")).splitlines()
    assert [line.split()[0] for line in versions] == ["7", "6", "5", "4", "3", "2", "1"]
    assert versions[-1].endswith("made")
    assert versions[-2].endswith("description, cooldown")


async def test_a_rule_that_is_refused_is_told_by_place_against_its_file(terminal: Terminal, tmp_path: Path) -> None:
    file = tmp_path / "rule.json"
    never = {"all": [leaf("trust_score", "<", 10), leaf("trust_score", ">", 50)]}
    file.write_text(json.dumps({**RULE, "conditions": never, "actions": [{"type": "hold_order"}]}))

    told = await terminal.types("add", str(file), code=1)
    assert told.splitlines()[-2:] == [
        f"{file} /conditions/all/1: trust_score > 50 can never hold together with trust_score < 10",
        "Nothing was saved.",
    ]
    judged = await terminal.types("validate", str(file), code=1)
    assert judged.splitlines()[0].startswith("error /conditions/all/1: trust_score > 50 can never hold")
    assert "doubt /actions/0/type (hold_order): the store's REST API keys are not known yet" in judged
    assert judged.splitlines()[-1] == "It would be refused."

    file.write_text(json.dumps({**RULE, "cooldown": "soon"}))
    assert f"{file} /cooldown (soon): " in await terminal.types("add", str(file), code=1)
    assert "It can be saved." in await terminal.types("validate", "-", stdin=json.dumps(RULE))
    assert (await terminal.desk.api.get("/rules")).json == []


async def test_a_file_that_is_none_is_told_without_asking(terminal: Terminal, tmp_path: Path) -> None:
    assert "cannot be read" in await terminal.types("add", str(tmp_path / "missing.json"), code=2)
    assert "is not JSON" in await terminal.types("add", "-", stdin="name: x", code=2)
    assert "give a file, or the fields" in await terminal.types("edit", "x", code=2)


async def test_a_name_that_several_rules_have_is_told_with_their_ids(terminal: Terminal) -> None:
    one, two = await terminal.desk.make(name="Twin"), await terminal.desk.make(name="Twin")
    told = await terminal.types("off", "twin", code=1)
    assert one["id"] in told
    assert two["id"] in told
    assert "Twin is off" in await terminal.types("off", one["id"])
    assert "No rule is called nothing" in await terminal.types("off", "nothing", code=1)


async def test_a_whole_name_is_meant_however_many_have_it_in_theirs(terminal: Terminal) -> None:
    for name in ("Rule 1", *(f"Rule {number}" for number in range(100, 100 + MAX_PER_PAGE))):
        await terminal.desk.make(name=name)
    assert "Rule 1 is off" in await terminal.types("off", "rule 1")


async def test_a_draft_is_tried_from_the_standard_input(terminal: Terminal) -> None:
    told = await terminal.types("test", "-", "nobody@example.com", stdin="{", code=2)
    assert "is not JSON" in told


async def test_starters_are_listed_and_installed(terminal: Terminal) -> None:
    assert "needs webhook_id or webhook_url" in await terminal.types("starters")
    told = await terminal.types("install", "--webhook-url", "https://crm.example/hook")
    assert "block_repeated_chargebacks needs a slack_url." in told
    assert "The signing secret of send_webhook https://crm.example/hook, shown only now: " in told
    assert "installed as " in await terminal.types("starters")
    refused = await terminal.types("install", "notify_critical", code=1)
    assert "notify_critical needs a slack_url or an email" in refused


async def test_what_was_decided_is_told_with_values_and_results(terminal: Terminal) -> None:
    rule = await terminal.desk.make()
    await terminal.desk.make(name="Never", conditions=leaf("trust_score", "<", 1))
    await terminal.desk.happen(ago=timedelta(hours=2), trust_score=3)
    await terminal.desk.happen(ago=timedelta(hours=1))
    await terminal.desk.happen(ago=timedelta(hours=3), email_hash=OTHER)

    told = await terminal.types("log", "cheap", "--customer", JANE)
    assert [line[16:] for line in told.splitlines() if not line.startswith(" ")] == [
        f"skipped  {terminal.desk.jane[:12]}  order 4821",
        f"fired    {terminal.desk.jane[:12]}  order 4821",
    ]
    assert "  trust_score < 30: actual 47\n  saw   trust_score 47\n" in told
    assert "  did   tag_customer: waiting for the scorer" in told
    assert len(json.loads(await terminal.types("log", "cheap", "--json"))) == 3
    everything = await terminal.types("log", "--customer", JANE, "--outcome", "skipped")
    assert everything.count("Never") == 2
    await terminal.types("delete", "Cheap risk", "--yes")
    assert f"{rule['id']}, deleted since" in await terminal.types("log", "--customer", JANE)
    assert "name a rule, or a customer" in await terminal.types("log", code=2)


async def test_why_is_a_sentence_and_the_events_behind_it(terminal: Terminal) -> None:
    await terminal.desk.make()
    await terminal.desk.happen(ago=timedelta(hours=1))
    told: Any = (await terminal.types("why", "cheap", JANE)).splitlines()
    assert told[0].startswith("It did not fire for the last order_placed, at ")
    assert told[0].endswith(": trust_score < 30: actual 47.")
    assert told[1][16:] == "skipped        order_placed"
    assert told[2:] == ["  trust_score < 30: actual 47", "  saw   trust_score 47"]
    nobody = await terminal.types("why", "cheap", "nobody@example.com")
    assert nobody.startswith("There is no such customer")


async def test_the_language_is_printed_with_every_trigger_field_and_action(terminal: Terminal) -> None:
    told = await terminal.types("schema")
    schema = json.loads(await terminal.types("schema", "--json"))
    names = [*(it["name"] for part in ("triggers", "fields") for it in schema[part])]
    for name in (*names, *(it["type"] for it in schema["actions"])):
        assert f"\n  {name} " in told
