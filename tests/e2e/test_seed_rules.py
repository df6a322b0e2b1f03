"""The column "Automation Rule webhooks" of our users' guide, line by line, on the whole system."""

import asyncio
import json
from collections.abc import Mapping
from itertools import pairwise
from typing import Any

import pytest

from cli.receiver import Received
from dispatcher.settings import DispatcherSettings
from support.rule_world import SECRET, World
from support.seed.verify import verify_trustlens_webhook

ANN, BOB = "ann@shop.example", "bob@shop.example"


def leaf(field: str, operator: str, value: object) -> Mapping[str, object]:
    return {"field": field, "operator": operator, "value": value}


async def webhook_rule(world: World, path: str, **rule: Any) -> dict[str, Any]:
    webhook = {"type": "send_webhook", "url": world.receiver.url(path), "secret": SECRET}
    return await world.save(**({"name": f"Rule of {path}", "trigger": "order_placed", "actions": [webhook]} | rule))


async def arrived(world: World, path: str, count: int = 1) -> list[Received]:
    return await world.receiver.wait_for(count, within=30, where=lambda received: received.path == path)


async def test_configured_at_a_rule_as_its_send_webhook_action(world: World) -> None:
    rule = await webhook_rule(world, "/action")
    shown = await world.get(f"/rules/{rule['id']}")
    assert [action["type"] for action in shown["actions"]] == ["send_webhook"]
    await world.put(1, ANN)
    (received,) = await arrived(world, "/action")
    assert received.webhook_id == shown["actions"][0]["target_id"]


async def test_fires_when_the_rule_s_trigger_and_conditions_are_met_and_at_no_other_time(world: World) -> None:
    conditions = {"all": [leaf("segment", "=", "risk"), leaf("order.total", ">", 200)]}
    rule = await webhook_rule(world, "/risk", conditions=conditions)
    await world.put(1, ANN)
    customer = await world.dispute(1, ANN, "open")
    assert customer["segment"] == "risk"
    await world.put(2, ANN, minute=6, total="150.00")
    await world.put(1, ANN, minute=7, status="completed")
    assert await world.skips(rule["id"], 2) == ["order.total > 200: actual 150.00", "segment = risk: actual normal"]
    await world.put(3, ANN, minute=8)
    (received,) = await arrived(world, "/risk")
    assert received.order_id == 3
    assert (received.segment, received.email) == ("risk", ANN)


async def test_delivery_keeps_no_shop_waiting(world: World) -> None:
    answered = asyncio.Event()
    world.slack.before_answer = answered.wait
    slow = {"type": "send_webhook", "url": world.slack.url + "/slow"}
    rule = await webhook_rule(world, "/slow", actions=[slow])
    await world.put(1, ANN)
    await world.slack.next()
    await world.put(2, BOB)
    assert (await world.customer(BOB))["total_orders"] == 1
    await world.slack.next()
    answered.set()
    assert len(await world.fired(rule["id"], 2)) == 2


async def test_delivery_of_the_same_event_is_made_once_however_often_the_shop_tells_it(world: World) -> None:
    rule = await webhook_rule(world, "/once", cooldown=0)
    await world.shop.quirks(duplicate=1)
    await world.put(1, ANN)
    await world.shop.quirks()
    await arrived(world, "/once")
    await world.put(2, ANN)
    told = await arrived(world, "/once", 2)
    assert [received.order_id for received in told] == [1, 2]
    assert len({received.delivery_id for received in told}) == len(await world.fired(rule["id"])) == 2


async def test_delivery_is_tried_three_times_more_with_the_same_id_and_then_given_up(world: World) -> None:
    """The stack of these tests waits one second each; the times themselves are kept by the dispatcher's own tests."""
    assert DispatcherSettings.model_fields["retry_delays"].default == (60, 120, 240)
    world.receiver.answers["/down"] = 500
    rule = await webhook_rule(world, "/down")
    await world.put(1, ANN)
    ((action,),) = [evaluation["actions"] for evaluation in await world.fired(rule["id"])]
    tries = await arrived(world, "/down", 4)
    assert (action["status"], action["detail"]) == ("exhausted", "failed after 4 attempts: answered 500")
    assert {(received.delivery_id, received.body) for received in tries} == {(action["delivery_id"], tries[0].body)}
    assert all(later.received_at - earlier.received_at >= 1 for earlier, later in pairwise(tries))
    assert len(tries) == 4
    assert all(received.verified for received in tries)


async def test_cooldown_is_per_rule_and_per_customer_and_an_hour_unless_it_is_said(world: World) -> None:
    rule, other = await webhook_rule(world, "/alert"), await webhook_rule(world, "/other", cooldown=0)
    assert rule["cooldown"] == 3600
    await world.put(1, ANN)
    await arrived(world, "/alert")
    await world.put(2, ANN)
    assert await world.skips(rule["id"]) == ["cooldown: 60 min left"]
    await world.put(3, BOB)
    assert [received.order_id for received in await arrived(world, "/alert", 2)] == [1, 3]
    assert [received.order_id for received in await arrived(world, "/other", 3)] == [1, 2, 3]
    assert len(await world.fired(other["id"])) == 3


@pytest.mark.parametrize("secret", [None, "", SECRET])
async def test_signing_is_hmac_sha256_v2_always_also_where_no_secret_was_given(
    world: World, secret: str | None
) -> None:
    webhook = {"type": "send_webhook", "url": world.receiver.url("/signed")} | ({"secret": secret} if secret else {})
    rule = await world.save(name="Signed", trigger="order_placed", actions=[webhook])
    used = rule["actions"][0].get("secret", secret)
    assert (used == SECRET) is (secret == SECRET)
    assert used not in json.dumps(await world.get(f"/rules/{rule['id']}"))
    await world.put(1, ANN)
    (received, *_) = await arrived(world, "/signed")
    assert verify_trustlens_webhook(received.body, received.signature, received.timestamp, used)
    assert not verify_trustlens_webhook(received.body + b" ", received.signature, received.timestamp, used)


async def test_best_for_targeted_alerts_and_fulfilment_holds(world: World) -> None:
    alert = {"type": "send_slack", "url": world.slack.url + "/fraud", "text": "Hold on: look at this order."}
    rule = await world.save(
        name="Hold what is risky", trigger="high_risk_order", actions=[{"type": "hold_order"}, alert]
    )
    await world.put(1, ANN)
    await world.dispute(1, ANN, "open")
    await world.put(2, ANN, minute=6)
    (evaluation,) = await world.fired(rule["id"])
    assert [action["status"] for action in evaluation["actions"]] == ["delivered", "delivered"]
    assert (await world.shop.ask("GET", "orders/2"))[1]["status"] == "on-hold"
    assert [note["note"] for note in (await world.shop.ask("GET", "orders/2/notes"))[1]] == ["Rule: Hold what is risky"]
    assert "Hold on: look at this order." in (await world.slack.next()).body.decode()


async def test_the_payload_has_the_rule_with_its_name_id_and_trigger_and_the_action(world: World) -> None:
    rule = await webhook_rule(world, "/body", name="Orders & more")
    await world.put(7, ANN)
    (received,) = await arrived(world, "/body")
    body = json.loads(received.body)
    assert list(body) == ["event", "timestamp", "customer", "rule", "action", "order_id", "site"]
    assert body["event"] == received.event == "automation_triggered"
    assert body["rule"] == {"id": rule["id"], "name": "Orders & more", "trigger": "order_placed"}
    assert (body["action"], body["order_id"]) == ("send_webhook", 7)
    assert body["site"] == {"url": world.shop.url, "name": "Shop"}
