"""What rules do, on the whole system: every trigger with every action, once."""

import asyncio
import json
import os
import re
import signal
from collections import Counter
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any, get_args

import pytest

from cli import books
from local_stack.stack import Stack
from rule_engine.actions import LABELS
from rule_engine.rules import Trigger
from shared.fields import CONTEXTS
from support.rule_world import PLAYS, SECRET, World

ORDER_ACTIONS = ("hold_order", "cancel_order")
OF_CUSTOMER = (
    "block_customer",
    "unblock_customer",
    "allowlist_customer",
    "tag_customer",
    "add_note",
    "recalculate_score",
)
ACTIONS = (*OF_CUSTOMER, "hold_order", "cancel_order", "send_email", "send_slack", "send_webhook")
"""As rules are made, and so in the order in which they act: who is blocked and unblocked can be allowlisted."""
CIRCLES = {
    "score_updated": "recalculate_score",
    "customer_blocked": "block_customer",
    "customer_unblocked": "unblock_customer",
    "customer_allowlisted": "allowlist_customer",
    "order_cancelled": "cancel_order",
}
"""By trigger the action that always leads to it: a rule must not trigger itself."""
BOTH = "failed: A customer cannot be blocked and allowlisted: undo one first."
CANCELLED = "failed: the order is already cancelled"
DONE: Mapping[str, str] = {
    **dict.fromkeys(OF_CUSTOMER, "done"),
    **dict.fromkeys(("hold_order", "cancel_order", "send_slack", "send_webhook"), r"delivered 200 in \d+ ms"),
    "send_email": r"delivered 250 in \d+ ms",
}


@dataclass
class Scene:
    """One trigger: whose it is, and the rules that wait for it, by their only action."""

    trigger: str
    number: int
    rules: dict[str, str] = field(default_factory=dict)
    refused: dict[str, Mapping[str, str]] = field(default_factory=dict)

    @property
    def word(self) -> str:
        return self.trigger.replace("_", "-")

    def email(self, action: str) -> str:
        """An order is held or cancelled: a customer of its own has the one that is cancelled."""
        return f"ann@{'cancel-' if action == 'cancel_order' else ''}{self.word}.example"

    def order(self, action: str) -> int:
        """The order of the event that the rules wait for."""
        begins = self.number + (10 if action == "cancel_order" else 0)
        return begins + (self.trigger == "high_risk_order")

    @property
    def emails(self) -> list[tuple[str, int]]:
        """Who does it, with the first of their orders."""
        with_order = "order" in CONTEXTS[self.trigger]
        return [
            (self.email(""), self.number),
            *([(self.email("cancel_order"), self.number + 10)] if with_order else []),
        ]


def action(kind: str, scene: Scene, world: World) -> dict[str, Any]:
    """With something in it that tells the trigger."""
    told: Mapping[str, Mapping[str, Any]] = {
        "block_customer": {"reason": f"for {scene.word}"},
        "tag_customer": {"tag": scene.word},
        "add_note": {"text": f"noted for {scene.word}"},
        "hold_order": {"reason": f"held for {scene.word}"},
        "cancel_order": {"reason": f"cancelled for {scene.word}"},
        "send_email": {"to": "owner@shop.example", "subject": f"mail of {scene.word}", "text": "Look."},
        "send_slack": {"url": f"{world.slack.url}/{scene.word}", "text": f"message of {scene.word}"},
        "send_webhook": {"url": world.receiver.url(f"/{scene.word}"), "secret": SECRET},
    }
    return {"type": kind, **told.get(kind, {})}


async def prepare(world: World, scene: Scene) -> None:
    """A rule for each action, one after the other, so that they act in this order."""
    for kind in ACTIONS:
        domain = scene.email(kind).partition("@")[2]
        rule = {
            "name": f"{scene.word}: {kind}",
            "trigger": scene.trigger,
            "conditions": {"field": "email_domain", "operator": "=", "value": domain},
            "actions": [action(kind, scene, world)],
        }
        status, answer = await world.call("POST", "/rules", rule)
        if status == 201:
            scene.rules[kind] = answer["id"]
        else:
            assert status == 400, answer
            scene.refused[kind] = answer["data"]["params"]


def refusals(trigger: str) -> Mapping[str, Mapping[str, str]]:
    """What the validator says of actions that make no sense there."""
    orderless = () if "order" in CONTEXTS[trigger] else ORDER_ACTIONS
    circle = [kind for kind in ACTIONS if kind == CIRCLES.get(trigger)]
    told = {kind: f"{kind} needs an order, and {trigger} has none" for kind in orderless} | {
        kind: f"{kind} leads to {trigger}: the rule would trigger itself" for kind in circle
    }
    return {kind: {"actions.0.type": words} for kind, words in told.items()}


def expected(scene: Scene) -> Mapping[str, str]:
    """What becomes of each action, as a pattern."""
    return {kind: DONE[kind] for kind in scene.rules} | dict(_of_orders(scene)) | dict(_of_flags(scene))


def _of_orders(scene: Scene) -> Iterator[tuple[str, str]]:
    if scene.trigger == "order_cancelled":
        yield from ((kind, CANCELLED) for kind in ORDER_ACTIONS if kind in scene.rules)


def _of_flags(scene: Scene) -> Iterator[tuple[str, str]]:
    """Blocked and allowlisted at once is refused, whoever asks."""
    blocked = scene.trigger in {"customer_blocked", "checkout_blocked"}
    allowlisted = scene.trigger == "customer_allowlisted"
    for kind in scene.rules:
        if (kind == "block_customer" and allowlisted) or (kind == "allowlist_customer" and blocked):
            yield kind, BOTH
        elif kind == "block_customer":
            blocked = True
        elif kind == "unblock_customer":
            blocked = False


async def results(world: World, scene: Scene) -> Mapping[str, Any]:
    """The evaluation of each rule's only firing."""
    found = {kind: await world.fired(rule_id) for kind, rule_id in scene.rules.items()}
    assert {kind: len(evaluations) for kind, evaluations in found.items()} == dict.fromkeys(found, 1), scene.trigger
    return {kind: evaluation for kind, (evaluation,) in found.items()}


async def play(world: World, scene: Scene) -> None:
    for email, number in scene.emails:
        await PLAYS[scene.trigger](world, email, number)


@pytest.mark.timeout(180)
async def test_every_action_is_done_once_for_every_trigger(world: World) -> None:
    assert (set(PLAYS), set(ACTIONS)) == (set(get_args(Trigger)), set(LABELS))
    scenes = [Scene(trigger, 1000 + n * 20) for n, trigger in enumerate(PLAYS)]
    await world.call("POST", "/webhooks", subscriber(world))
    await asyncio.gather(*(prepare(world, scene) for scene in scenes))
    assert sum(len(scene.rules) + len(scene.refused) for scene in scenes) == 17 * 11
    for scene in scenes:
        assert scene.refused == refusals(scene.trigger)
    await asyncio.gather(*(play(world, scene) for scene in scenes))
    async with asyncio.timeout(90):
        came = await asyncio.gather(*(results(world, scene) for scene in scenes))

    for scene, told in zip(scenes, came, strict=True):
        for kind, pattern in expected(scene).items():
            evaluation = told[kind]
            (done,) = evaluation["actions"]
            assert re.fullmatch(pattern, done["detail"]), (scene.trigger, kind, done)
            assert (done["type"], bool(done["delivery_id"])) == (kind, kind not in OF_CUSTOMER)
            assert evaluation["trigger"] == scene.trigger
            number = scene.order(kind) if "order" in CONTEXTS[scene.trigger] else None
            assert evaluation["order_id"] == number, (scene.trigger, kind)
    balance = await books.settled(world.road["TRUSTLENS_DATABASE_URL"], world.road["TRUSTLENS_AMQP_URL"], within=30)
    assert (balance.balanced, balance.unfinished) == (True, 0), balance.lines
    for scene, told in zip(scenes, came, strict=True):
        assert await results(world, scene) == told, (
            "each fired once, though the shop tells of the orders that were changed"
        )
    await outside(world, scenes)
    await at_customers(world, scenes)


def subscriber(world: World) -> dict[str, Any]:
    return {"url": world.receiver.url("/subscriber"), "secret": SECRET, "events": ["automation_triggered"]}


async def outside(world: World, scenes: Sequence[Scene]) -> None:
    """What came out: each once, signed where it is a webhook, and subscribers told of every action."""
    words = Counter(scene.word for scene in scenes)
    assert Counter(mail["Subject"].removeprefix("mail of ") for mail in world.mailbox.mails) == words
    messages = [await world.slack.next() for _ in scenes]
    assert world.slack.nothing_more()
    assert Counter(message.path.removeprefix("/") for message in messages) == words
    for message in messages:
        assert f"message of {message.path.removeprefix('/')}" in message.body.decode()
        assert not [name for name in message.headers if "signature" in name.lower()]

    of_rules = [r for r in world.receiver.received if r.path != "/subscriber"]
    assert Counter(received.path.removeprefix("/") for received in of_rules) == words
    assert all(received.verified for received in world.receiver.received)
    rules = {rule_id: (scene, kind) for scene in scenes for kind, rule_id in scene.rules.items()}
    told = await world.receiver.wait_for(len(rules), within=20, where=lambda r: r.path == "/subscriber")
    bodies = [json.loads(received.body) for received in told]
    assert Counter(body["rule"]["id"] for body in bodies) == Counter(rules.keys())
    for body in bodies:
        scene, kind = rules[body["rule"]["id"]]
        number = scene.order(kind) if "order" in CONTEXTS[scene.trigger] else None
        assert body["rule"] | {"id": ""} == {"id": "", "name": f"{scene.word}: {kind}", "trigger": scene.trigger}
        assert (body["event"], body["action"], body["order_id"]) == ("automation_triggered", kind, number)

    for scene in scenes:
        if "order" in CONTEXTS[scene.trigger]:
            held, gone = [await order(world, scene.order(kind)) for kind in ORDER_ACTIONS]
            cancelled = scene.trigger == "order_cancelled"
            assert (held["status"], gone["status"]) == ("cancelled" if cancelled else "on-hold", "cancelled"), scene


async def order(world: World, number: int) -> Any:
    return (await world.shop.ask("GET", f"orders/{number}"))[1]


async def at_customers(world: World, scenes: Sequence[Scene]) -> None:
    for scene in scenes:
        found = await world.customer(scene.email(""))
        customer = await world.get(f"/customers/{found['email_hash']}")
        assert customer["tags"] == [scene.word]
        entries = await world.get(f"/customers/{found['email_hash']}/events?per_page=100")
        done = [entry for entry in entries if entry["type"] == "note_added"]
        assert [entry["data"]["text"] for entry in done] == [f"noted for {scene.word}"]
        assert done[0]["data"]["actor"] == f"rule:{scene.rules['add_note']}"
        triggered = [entry for entry in entries if entry["type"] == "automation_triggered"]
        own = {kind: rule_id for kind, rule_id in scene.rules.items() if kind != "cancel_order"}
        assert Counter(entry["data"]["rule"]["id"] for entry in triggered) == Counter(own.values())
        flags = {kind: told for kind, told in expected(scene).items() if told == "done"}
        assert customer["is_allowlisted"] is ("allowlist_customer" in flags or scene.trigger == "customer_allowlisted")


async def test_one_action_s_failure_does_not_stop_the_next_and_each_says_what_became_of_it(world: World) -> None:
    email = "ann@failures.example"
    world.receiver.answers["/gone"] = 410
    rule = await world.save(
        name="All at once",
        trigger="customer_allowlisted",
        actions=[
            {"type": "block_customer"},
            {"type": "send_webhook", "url": world.receiver.url("/gone"), "secret": SECRET},
            {"type": "tag_customer", "tag": "trusted"},
        ],
    )
    await world.put(1, email)
    await world.flag(email, is_allowlisted=True)
    (evaluation,) = await world.fired(rule["id"])
    assert [(done["type"], done["status"], done["detail"]) for done in evaluation["actions"]] == [
        ("block_customer", "failed", BOTH),
        ("send_webhook", "exhausted", "failed: answered 410"),
        ("tag_customer", "done", "done"),
    ]
    assert (await world.get(f"/customers/{evaluation['customer']}"))["tags"] == ["trusted"]


async def test_rules_that_trigger_one_another_are_stopped_and_the_inspector_says_so(world: World) -> None:
    email = "ann@circles.example"
    unblocks = await world.save(
        name="Unblock", trigger="customer_blocked", actions=[{"type": "unblock_customer"}], cooldown=0
    )
    blocks = await world.save(
        name="Block", trigger="customer_unblocked", actions=[{"type": "block_customer"}], cooldown=0
    )
    await world.put(1, email)
    await world.flag(email, is_blocked=True)
    assert await world.skips(blocks["id"]) == ["depth 3: rules have triggered one another long enough"]
    assert (len(await world.fired(unblocks["id"])), len(await world.fired(blocks["id"]))) == (2, 1)
    assert not (await world.customer(email))["is_blocked"]


async def test_an_endpoint_that_is_a_rule_s_target_and_a_subscriber_is_told_of_that_action_once(world: World) -> None:
    _, target = await world.call("POST", "/webhooks", subscriber(world) | {"url": world.receiver.url("/target")})
    await world.call("POST", "/webhooks", subscriber(world))
    await world.save(
        name="To the endpoint",
        trigger="order_placed",
        actions=[{"type": "send_webhook", "webhook_id": target["id"]}, {"type": "add_note", "text": "told"}],
    )
    await world.save(
        name="In shadow", trigger="order_placed", actions=[{"type": "add_note", "text": "x"}], mode="shadow"
    )
    await world.put(1, "ann@targets.example")
    await world.receiver.wait_for(4, within=20)
    balance = await books.settled(world.road["TRUSTLENS_DATABASE_URL"], world.road["TRUSTLENS_AMQP_URL"], within=30)
    assert balance.balanced, balance.lines
    told = [(received.path, json.loads(received.body)["action"]) for received in world.receiver.received]
    assert sorted(told) == [
        (path, kind) for path in ("/subscriber", "/target") for kind in ("add_note", "send_webhook")
    ]
    kept = await world.get(f"/deliveries?webhook_id={target['id']}")
    assert sorted((one["rule_id"] is not None, one["max_attempts"]) for one in kept) == [(False, 1), (True, 4)]


@pytest.mark.parametrize("service", ["scorer", "rule-engine"])
async def test_what_rules_ask_of_the_scorer_is_done_once_though_a_service_is_killed(
    service: str, stack_up: Stack, world: World
) -> None:
    notes = [{"type": "add_note", "text": "seen"}, {"type": "tag_customer", "tag": "seen"}]
    rule = await world.save(name="Every order", trigger="order_placed", actions=notes)
    emails = [f"p{n}@killed.example" for n in range(80)]
    placing = asyncio.gather(*(world.put(n, email) for n, email in enumerate(emails, 1)))
    await world.fired(rule["id"])
    os.kill(int((stack_up.folder.run / f"{service}.pid").read_text().split()[0]), signal.SIGKILL)
    await asyncio.to_thread(stack_up.up)
    await placing
    assert len(await world.fired(rule["id"], len(emails))) == len(emails)
    balance = await books.settled(world.road["TRUSTLENS_DATABASE_URL"], world.road["TRUSTLENS_AMQP_URL"], within=60)
    assert (balance.balanced, balance.unfinished) == (True, 0), balance.lines
    for email in emails:
        customer = await world.customer(email)
        entries = await world.get(f"/customers/{customer['email_hash']}/events?per_page=100")
        told = Counter(entry["type"] for entry in entries)
        assert (told["note_added"], told["tag_added"], told["automation_triggered"]) == (1, 1, 2), email
