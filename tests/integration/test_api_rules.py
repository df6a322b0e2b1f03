"""Rules through the API: saved by the rule engine's own commands, evaluated by its own worker, read and asked about."""

import json
from collections.abc import AsyncIterator
from datetime import UTC, datetime, timedelta
from typing import Any

import asyncpg
import pytest

from api.store.evaluations import fields_asked
from shared.broker import Broker
from shared.secrets import Vault
from support import rule_desk
from support.api_client import ApiClient
from support.rule_desk import JANE, OTHER, RULE, Desk


@pytest.fixture
async def desk(api: ApiClient, pool: asyncpg.Pool, broker: Broker, vault: Vault) -> AsyncIterator[Desk]:
    async with rule_desk.opened(api, pool, broker, vault) as desk:
        yield desk


# Saving ---------------------------------------------------------------------------------------------------------------


async def test_a_rule_is_made_changed_replaced_and_restored(desk: Desk) -> None:
    made = await desk.make(description="for the desk")
    path = f"/rules/{made['id']}"

    patched = await desk.send("PATCH", path, {"mode": "shadow"})
    replaced = await desk.send("PUT", path, {**RULE, "name": "Renamed"})
    restored = await desk.send("POST", f"{path}/restore", {"version": 1})

    assert [answer.status for answer in (patched, replaced, restored)] == [200, 200, 200]
    assert (patched.json["version"], patched.json["mode"], patched.json["description"]) == (2, "shadow", "for the desk")
    assert (replaced.json["version"], replaced.json["mode"], replaced.json["description"]) == (3, "live", "")
    assert (restored.json["version"], restored.json["name"]) == (4, "Cheap risk")
    assert (await desk.api.get(path)).json == restored.json


async def test_conditions_and_actions_are_shown_in_the_order_of_words_in_which_they_are_written(desk: Desk) -> None:
    actions = [
        {"type": "send_email", "to": "a@shop.example", "subject": "Look", "text": "Soon."},
        {"type": "send_slack", "url": "https://hooks.slack.com/services/T", "text": "Look."},
        {"type": "send_webhook", "url": "https://crm.example/hook", "secret": "s" * 32, "headers": {"X-A": "b"}},
    ]
    made = await desk.make(actions=actions)
    shown = (await desk.api.get(f"/rules/{made['id']}")).json
    (version,) = (await desk.api.get(f"/rules/{made['id']}/versions")).json
    for rule in (shown, version["rule"]):
        for name in ("conditions", "actions"):
            assert json.dumps(rule[name]) == json.dumps(made[name])


async def test_versions_are_listed_with_what_each_changed_and_who_saved_it(desk: Desk) -> None:
    made = await desk.make()
    path = f"/rules/{made['id']}"
    await desk.send("PATCH", path, {"mode": "off", "cooldown": 60})
    await desk.send("PATCH", path, {"name": "Renamed"})

    listed = await desk.api.get(f"{path}/versions", params={"per_page": "2"})

    assert listed.headers["X-WP-Total"] == "3"
    assert [(it["version"], it["changed"]) for it in listed.json] == [(3, ["name"]), (2, ["cooldown", "mode"])]
    assert listed.json[0]["actor"].startswith("key:")
    assert listed.json[1]["rule"] == {
        **{name: made[name] for name in ("name", "description", "trigger", "conditions", "actions")},
        "cooldown": 60,
        "hourly_limit": 1000,
        "mode": "off",
    }
    first = (await desk.api.get(f"{path}/versions", params={"per_page": "2", "page": "2"})).json
    assert [(it["version"], it["changed"]) for it in first] == [(1, [])]


async def test_a_rule_that_is_deleted_is_gone_and_its_evaluations_are_still_the_customer_s(desk: Desk) -> None:
    made = await desk.make()
    await desk.happen(ago=timedelta(minutes=1))
    path = f"/rules/{made['id']}"

    assert (await desk.send("DELETE", path)).status == 204

    for gone in (path, f"{path}/versions", f"{path}/evaluations", f"{path}/why?email={JANE}"):
        assert (await desk.api.get(gone)).status == 404
    assert (await desk.send("DELETE", path)).status == 404
    (kept,) = (await desk.api.get("/evaluations", params={"email": JANE})).json
    assert (kept["rule_id"], kept["values"]) == (made["id"], {"trust_score": 47})


async def test_what_is_wrong_with_a_change_is_told_by_field(desk: Desk) -> None:
    made = await desk.make()
    path = f"/rules/{made['id']}"
    bad = await desk.send("PATCH", path, {"conditions": {"all": [{"field": "shoe_size", "operator": "=", "value": 4}]}})
    assert (bad.status, bad.json["data"]["params"]) == (400, {"conditions.all.0.field": "is not known: shoe_size"})
    assert (await desk.send("PUT", path, {"name": "Only a name"})).status == 400
    stale = await desk.send("PUT", path, {**made, "version": 7})
    assert (stale.status, stale.json["code"]) == (409, "trustlens_rule_changed")
    assert (await desk.send("POST", f"{path}/restore", {"version": 5})).status == 404
    assert (await desk.send("PATCH", "/rules/nonsense", {"mode": "off"})).status == 404
    assert (await desk.send("POST", path, {"mode": "off"})).status == 405


async def test_a_search_for_what_no_name_can_hold_is_refused(desk: Desk) -> None:
    for name in ("search", "trigger"):
        answer = await desk.api.get("/rules", params={name: "a\0", "unknown": "\0"})
        told = {name: "holds a character that cannot be stored"}
        assert (answer.status, answer.json["data"]["params"]) == (400, told)


async def test_nothing_is_kept_of_looking_at_a_draft_the_language_and_the_starters(desk: Desk) -> None:
    made = await desk.make()
    looked = [
        await desk.send("POST", "/rules/validate", made),
        await desk.api.get("/rules/schema"),
        await desk.api.get("/rules/starters"),
    ]
    assert [answer.status for answer in looked] == [200, 200, 200]
    assert looked[0].json == {"valid": True, "errors": [], "warnings": []}
    assert await desk.pool.fetch("SELECT type FROM rule_engine.commands_seen") == [("rule.create",)]


async def test_rules_are_listed_by_trigger_and_mode(desk: Desk) -> None:
    await desk.make(name="One")
    await desk.make(name="Two", mode="off")
    await desk.make(name="Three", trigger="order_refunded", mode="off")

    async def names(**asked: str) -> list[str]:
        return [rule["name"] for rule in (await desk.api.get("/rules", params=asked)).json]

    assert await names() == ["Three", "Two", "One"]
    assert await names(mode="off") == ["Three", "Two"]
    assert await names(trigger="order_placed", mode="off") == ["Two"]
    assert (await desk.api.get("/rules", params={"mode": "asleep"})).status == 400
    wrong = await desk.api.get("/rules", params={"trigger": "nonsense"})
    assert (wrong.status, list(wrong.json["data"]["params"])) == (400, ["trigger"])
    assert "order_placed" in wrong.json["data"]["params"]["trigger"]


# Evaluations ----------------------------------------------------------------------------------------------------------


async def test_evaluations_are_found_by_outcome_customer_and_time(desk: Desk) -> None:
    made = await desk.make()
    path, start = f"/rules/{made['id']}/evaluations", datetime.now(UTC)
    fired = await desk.happen(ago=timedelta(hours=1), trust_score=12)
    skipped = await desk.happen(ago=timedelta(hours=2))
    others = await desk.happen(ago=timedelta(hours=3), email_hash=OTHER)

    async def found(**asked: str) -> list[str]:
        answer = await desk.api.get(path, params=asked)
        assert answer.headers["X-WP-Total"] == str(len(answer.json))
        return [it["event_id"] for it in answer.json]

    ids = [str(it.id) for it in (fired, skipped, others)]
    assert await found() == ids
    assert await found(outcome="fired") == ids[:1]
    assert await found(outcome="skipped") == ids[1:]
    assert await found(outcome="failed") == []
    assert await found(email=" Jane@Example.com ") == await found(customer=desk.jane) == ids[:2]
    assert await found(customer=OTHER, outcome="skipped") == ids[2:]
    between = {"from": (start - timedelta(hours=2.5)).isoformat(), "to": (start - timedelta(hours=1.5)).isoformat()}
    assert await found(**between) == ids[1:2]
    assert (await desk.api.get(path, params={"outcome": "lost"})).status == 400
    assert (await desk.api.get(path, params={"email": "nobody"})).json["data"]["params"] == {
        "email": "is not an e-mail address"
    }


async def test_pages_of_evaluations_never_overlap_and_know_their_total(desk: Desk) -> None:
    made = await desk.make()
    happened = [await desk.happen(ago=timedelta(minutes=n), trust_score=10 * n) for n in range(1, 8)]
    path = f"/rules/{made['id']}/evaluations"
    pages = [await desk.api.get(path, params={"per_page": "3", "page": str(n)}) for n in (1, 2, 3, 4)]
    assert [it["event_id"] for page in pages for it in page.json] == [str(it.id) for it in happened]
    assert {page.headers["X-WP-Total"] for page in pages} == {"7"}
    assert [it["outcome"] for it in pages[0].json] == ["fired", "fired", "skipped"]


async def test_a_skip_shows_what_its_own_version_asked_for(desk: Desk) -> None:
    made = await desk.make()
    total = {"field": "order.total", "operator": ">", "value": 500}
    await desk.make(
        name="Other", conditions={"not": {"any": [total, {"field": "segment", "operator": "=", "value": "risk"}]}}
    )
    await desk.happen(ago=timedelta(minutes=2))
    await desk.send("PATCH", f"/rules/{made['id']}", {"conditions": total})
    await desk.happen(ago=timedelta(minutes=1))

    answer = await desk.api.get(f"/rules/{made['id']}/evaluations")

    assert [(it["rule_version"], it["values"]) for it in answer.json] == [
        (2, {"order.total": 19.90}),
        (1, {"trust_score": 47}),
    ]
    assert '"order.total":19.90' in answer.text


async def test_a_rule_that_waited_for_something_else_before_shows_both(desk: Desk) -> None:
    made = await desk.make()
    before = await desk.happen(ago=timedelta(minutes=2))
    await desk.send("PATCH", f"/rules/{made['id']}", {"trigger": "high_risk_order"})
    after = await desk.happen(ago=timedelta(minutes=1), kind="high_risk_order")
    listed = await desk.api.get(f"/rules/{made['id']}/evaluations")
    assert [it["event_id"] for it in listed.json] == [str(after.id), str(before.id)]


async def test_a_customer_s_evaluations_are_those_of_all_rules(desk: Desk) -> None:
    made = [
        (await desk.make(name=name, conditions=None, mode=mode))["id"]
        for name, mode in (("a", "live"), ("b", "shadow"))
    ]
    await desk.happen(ago=timedelta(minutes=1))
    await desk.happen(ago=timedelta(minutes=1), email_hash=OTHER)

    listed = await desk.api.get("/evaluations", params={"customer": desk.jane})

    assert {(it["rule_id"], it["outcome"]) for it in listed.json} == {(made[0], "fired"), (made[1], "skipped")}
    assert listed.headers["X-WP-Total"] == "2"
    assert (await desk.api.get("/evaluations")).json["data"]["params"] == {"customer": "must be given, or email"}


def test_fields_are_found_in_conditions_of_any_form():
    leaf = {"field": "a", "operator": "in", "value": ["x"]}
    assert fields_asked({"all": [leaf, {"not": {"any": [{"field": "b", "operator": "~", "value": {}}]}}]}) == {"a", "b"}
    assert fields_asked(None) == set()


# Why ------------------------------------------------------------------------------------------------------------------


async def why(desk: Desk, rule: dict[str, Any], **asked: str) -> Any:
    answer = await desk.api.get(f"/rules/{rule['id']}/why", params=asked or {"email": JANE})
    assert answer.status == 200, answer.text
    return answer.json


async def test_why_tells_the_newest_event_in_a_sentence_and_all_with_their_values(desk: Desk) -> None:
    made = await desk.make()
    await desk.aged(made)
    fired = await desk.happen(ago=timedelta(hours=2), trust_score=3)
    skipped = await desk.happen(ago=timedelta(hours=1))

    told = await why(desk, made)

    assert (told["rule_id"], told["customer"]) == (made["id"], desk.jane)
    assert told["answer"].startswith("It did not fire for the last order_placed, at ")
    assert ": trust_score < 30: actual 47. It fired last at " in told["answer"]
    assert [(it["event_id"], it["outcome"], it["version"], it["values"]) for it in told["events"]] == [
        (str(skipped.id), "skipped", 1, {"trust_score": 47}),
        (str(fired.id), "fired", 1, {"trust_score": 3}),
    ]
    assert [it["type"] for it in told["events"][1]["actions"]] == ["tag_customer"]
    assert await why(desk, made, customer=desk.jane) == told


async def test_why_knows_an_event_that_was_never_evaluated(desk: Desk) -> None:
    made = await desk.make(mode="off")
    await desk.happen(ago=timedelta(days=40))
    await desk.aged(made)
    await desk.happen(ago=timedelta(days=2))
    assert ": the rule was off then." in (await why(desk, made))["answer"]

    await desk.send("PATCH", f"/rules/{made['id']}", {"mode": "live"})
    await desk.happen(ago=timedelta(seconds=-61), evaluated=False)
    told = await why(desk, made)
    assert [it["reason"] for it in told["events"]] == [
        "it is still on its way: the rule engine has not come to it",
        "the rule was off then",
    ]


async def test_why_says_that_a_rule_was_made_later_and_that_old_decisions_are_gone(desk: Desk) -> None:
    made = await desk.make()
    await desk.happen(ago=timedelta(days=15), evaluated=False)
    assert ": the rule did not exist then: it was made at " in (await why(desk, made))["answer"]

    await desk.aged(made)
    await desk.pool.execute("SELECT trustlens_drop_partitions('rule_engine.evaluations', now() - interval '7 days')")
    assert ": what was decided for events that old is kept no longer" in (await why(desk, made))["answer"]


async def test_why_says_where_there_was_nothing_to_fire_for(desk: Desk) -> None:
    made = await desk.make()
    assert (await why(desk, made))["answer"].startswith("No event of this customer is kept, and what came as history")
    await desk.happen(ago=timedelta(hours=1), kind="order_refunded")
    assert (await why(desk, made))["answer"] == "No order_placed of this customer in the last 30 days."
    nobody = await why(desk, made, email="nobody@example.com")
    assert (nobody["answer"], nobody["events"]) == (
        "There is no such customer: nothing of theirs has arrived.",
        [],
    )
    unasked = await desk.api.get(f"/rules/{made['id']}/why")
    assert unasked.json["data"]["params"] == {"email": "must be given, or customer"}
