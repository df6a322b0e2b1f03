"""What others ask of the scorer: flags, tags, notes, erasure, scoring settings, jobs."""

import asyncio
import json
from datetime import timedelta
from decimal import Decimal
from typing import Any

import asyncpg
import pytest

from scorer import sweep
from scorer.commands import MAX_TAGS
from shared.commands import Command
from shared.events import Cause, Event, Fact
from shared.ids import uuid7
from shared.secrets import Vault
from support.facts import JANE, JOHN, NOW, attempt, decline, mark, order, refund
from support.scoring_shop import Shop, open_shop

NOBODY = "0" * 64
ADDRESS = mark("shipping_address", 1)


@pytest.fixture
async def shop(pool: asyncpg.Pool, vault: Vault) -> Shop:
    return await open_shop(pool, vault)


# Customers ------------------------------------------------------------------------------------------------------------

CUSTOMERS = [
    ("customer.update", {"is_blocked": True}),
    ("customer.recalculate", {}),
    ("customer.tag", {"tag": "watch"}),
    ("customer.untag", {"tag": "watch"}),
    ("customer.note", {"text": "called"}),
    ("customer.erase", {}),
]


@pytest.mark.parametrize(("kind", "data"), CUSTOMERS)
async def test_an_unknown_customer_is_not_found(shop: Shop, kind: str, data: dict[str, Any]) -> None:
    assert (await shop.refused(kind, email_hash=NOBODY, **data))[:2] == (404, "trustlens_customer_not_found")


@pytest.mark.parametrize(("kind", "data"), CUSTOMERS)
async def test_the_same_command_twice_is_done_once(shop: Shop, kind: str, data: dict[str, Any]) -> None:
    await shop.process(order(1))
    command_id = uuid7()
    answer = await shop.ask(kind, command_id=command_id, email_hash=shop.hash(), **data)
    once = (await shop.told(), await shop.entries(), dict(await shop.customer()))
    assert await shop.ask(kind, command_id=command_id, email_hash=shop.hash(), **data) == answer
    assert (await shop.told(), await shop.entries(), dict(await shop.customer())) == once


@pytest.mark.parametrize(
    ("kind", "data", "field"),
    [
        ("customer.update", {"is_bloked": True}, "is_bloked"),
        ("customer.update", {"reason": "x" * 501}, "reason"),
        ("customer.tag", {"tag": "  "}, "tag"),
        ("customer.tag", {"tag": "a\nb"}, "tag"),
        ("customer.tag", {"tag": "x" * 65}, "tag"),
        ("customer.note", {"text": ""}, "text"),
        ("customer.note", {}, "text"),
    ],
)
async def test_a_bad_field_is_named(shop: Shop, kind: str, data: dict[str, Any], field: str) -> None:
    status, code, params = await shop.refused(kind, email_hash=NOBODY, **data)
    assert (status, code, list(params)) == (400, "rest_invalid_param", [field])


async def test_recalculating_publishes_the_score_though_it_stays(shop: Shop) -> None:
    await shop.process(order(1))
    await shop.ask("customer.recalculate", email_hash=shop.hash())
    last = (await shop.events())[-1]
    assert (last.type, last.cause.kind) == ("score_updated", "command")


async def test_tags_are_kept_once_each_up_to_fifty_and_seen_in_events(shop: Shop) -> None:
    await shop.process(order(1))
    before = await shop.told()
    for n in (*range(MAX_TAGS), 0):
        await shop.ask("customer.tag", email_hash=shop.hash(), tag=f" t{n} ")
    assert len((await shop.customer())["tags"]) == MAX_TAGS
    status, _, params = await shop.refused("customer.tag", email_hash=shop.hash(), tag="one more")
    assert (status, list(params)) == (400, ["tag"])
    await shop.ask("customer.untag", email_hash=shop.hash(), tag="t0")
    await shop.ask("customer.untag", email_hash=shop.hash(), tag="never there")
    assert await shop.told() == before, "tags are nobody's event"
    assert (await shop.entries()).count("tag_added") == MAX_TAGS
    await shop.process(order(2))
    assert len((await shop.events())[-1].customer.tags) == MAX_TAGS - 1


async def test_a_note_is_on_the_timeline_with_who_wrote_it(shop: Shop) -> None:
    await shop.process(order(1))
    await shop.ask("customer.note", email_hash=shop.hash(), text="called the bank")
    notes = [entry["data"] for entry in await shop.timeline() if entry["type"] == "note_added"]
    assert notes == [{"text": "called the bank", "actor": "test"}]


# Rules ----------------------------------------------------------------------------------------------------------------

RULE = uuid7()


def of_rule(shop: Shop, kind: str, *, depth: int = 2, **data: Any) -> Command:
    """As the rule engine sends it: no deadline, nobody who waits."""
    cause = Cause(kind="rule", id=RULE, depth=depth)
    told = {"email_hash": shop.hash(), **data}
    return Command(id=uuid7(), type=kind, store_id=shop.store_id, actor=f"rule:{RULE}", cause=cause, data=told)


@pytest.mark.parametrize(
    ("kind", "data", "told"),
    [
        ("customer.update", {"is_blocked": True, "reason": "Rule: Serial returner"}, "customer_blocked"),
        ("customer.update", {"is_allowlisted": True}, "customer_allowlisted"),
        ("customer.recalculate", {}, "score_updated"),
    ],
)
async def test_what_a_rule_s_command_leads_to_continues_the_rule_s_chain(
    shop: Shop, kind: str, data: dict[str, Any], told: str
) -> None:
    await shop.process(order(1))
    before = len(await shop.told())
    asked = of_rule(shop, kind, depth=2, **data)
    assert (await shop.owner.answer(asked)).refusal is None
    events = (await shop.events())[before:]
    assert told in [event.type for event in events]
    assert {event.cause for event in events} == {Cause(kind="rule", id=RULE, depth=2)}


async def test_what_a_rule_does_to_a_customer_reaches_the_linked_ones_in_the_rule_s_chain(shop: Shop) -> None:
    for n, who in ((1, JANE), (11, JOHN)):
        await shop.process(*(order(n + more, who, marks=[ADDRESS]) for more in range(3)))
    await shop.settle()
    before = len(await shop.told(JOHN))
    await shop.owner.answer(of_rule(shop, "customer.update", depth=2, is_blocked=True))
    await shop.settle()
    (moved,) = [event for event in (await shop.events(JOHN))[before:] if event.type == "score_updated"]
    assert (moved.cause.kind, moved.cause.depth) == ("link", 2)


async def test_what_a_rule_did_is_on_the_timeline_and_in_the_history_as_the_rule_s(shop: Shop) -> None:
    await shop.process(order(1))
    for kind, data in (
        ("customer.update", {"is_allowlisted": True}),
        ("customer.tag", {"tag": "watch"}),
        ("customer.note", {"text": "look"}),
    ):
        await shop.owner.answer(of_rule(shop, kind, **data))
    done = [entry for entry in await shop.timeline() if entry["data"].get("actor") == f"rule:{RULE}"]
    assert {entry["type"] for entry in done} >= {"customer_allowlisted", "tag_added", "note_added"}
    causes = await shop.pool.fetch("SELECT cause FROM scorer.score_history ORDER BY id")
    assert [row["cause"] for row in causes] == ["fact", "rule"]


async def test_a_rule_s_refused_command_changes_nothing_and_its_refusal_is_kept_and_answered_again(shop: Shop) -> None:
    await shop.process(order(1))
    await shop.ask("customer.update", email_hash=shop.hash(), is_allowlisted=True)
    once = (await shop.told(), await shop.entries(), dict(await shop.customer()))
    asked = of_rule(shop, "customer.update", is_blocked=True, reason="Rule: Serial returner")
    refusal = (await shop.owner.answer(asked)).refusal
    assert (await shop.told(), await shop.entries(), dict(await shop.customer())) == once
    await shop.ask("customer.update", email_hash=shop.hash(), is_allowlisted=False)
    assert refusal is not None
    assert (refusal.status, refusal) == (409, (await shop.owner.answer(asked)).refusal)
    assert not (await shop.customer())["is_blocked"]
    kept = await shop.pool.fetchval("SELECT refusal->>'message' FROM scorer.commands_seen WHERE id = $1", asked.id)
    assert kept == refusal.message


async def test_a_rule_s_command_for_a_customer_who_is_not_there_is_refused_and_kept(shop: Shop) -> None:
    asked = of_rule(shop, "customer.note", text="look")
    assert (await shop.owner.answer(asked)).refusal
    kept = await shop.pool.fetchval("SELECT refusal->>'code' FROM scorer.commands_seen WHERE id = $1", asked.id)
    assert kept == "trustlens_customer_not_found"


# Erasure --------------------------------------------------------------------------------------------------------------


async def known_and_erased(shop: Shop) -> list[Fact]:
    """Jane is linked to John, noted, tagged, blocked; then erased. Returns her facts."""
    facts: list[Fact] = [
        *(order(n, marks=[ADDRESS], refunds=["10.00"], reason="Jane's cat") for n in (1, 2, 3)),
        refund(1, "5.00", number=7, reason="Jane's hat"),
        attempt(reason="customer_blocked", minute=5, marks=[mark("device", 1)]),
    ]
    await shop.process(*facts, *(order(n, JOHN, marks=[ADDRESS]) for n in (11, 12, 13)))
    await shop.settle()
    assert (await shop.customer(JOHN))["linked_accounts_count"] == 1
    await shop.ask("customer.note", email_hash=shop.hash(), text="Jane called")
    await shop.ask("customer.tag", email_hash=shop.hash(), tag="jane")
    await shop.ask("customer.update", email_hash=shop.hash(), is_blocked=True, reason="Jane did it")
    await shop.ask("customer.erase", email_hash=shop.hash(), reason="asked for it")
    await shop.settle()
    return facts


async def test_erasure_leaves_the_numbers_and_nothing_personal(shop: Shop) -> None:
    await known_and_erased(shop)
    row = await shop.customer()
    assert (row["email"], row["email_domain"], row["tags"], row["block_reason"]) == (None, None, [], None)
    assert (row["total_orders"], row["total_refunds"], row["is_blocked"]) == (3, 4, True)
    for table in ("events", "outbox"):
        rows = await shop.pool.fetch(f"SELECT body FROM scorer.{table}")
        bodies = [row["body"] for row in rows if shop.hash().encode() in row["body"]]
        assert bodies, table
        assert not [body for body in bodies if b"jane" in body.lower()], table
        assert {Event.model_validate_json(body).customer.email for body in bodies} == {None}, table
    assert not [entry for entry in await shop.timeline() if "jane" in json.dumps(entry["data"]).lower()]
    for table in ("refunds", "reported_refunds"):
        assert await shop.pool.fetchval(f"SELECT count(*) FROM scorer.{table} WHERE reason <> ''") == 0, table


async def test_erasure_leaves_what_says_that_a_dispute_was_lost_and_not_a_word_more(shop: Shop) -> None:
    reasons = (" DISPUTE LOST.. ", "Dispute lost. Jane's hat", "Dispute lostJane")
    listed = [order(n, refunds=["1.00"], reason=reason) for n, reason in enumerate(reasons, 1)]
    reported = [refund(n, "2.00", number=90 + n, reason=reason) for n, reason in enumerate(reasons, 1)]
    await shop.process(*listed, *reported)
    before = await shop.customer()
    await shop.ask("customer.erase", email_hash=shop.hash())
    for table in ("refunds", "reported_refunds"):
        kept = await shop.pool.fetch(f"SELECT reason FROM scorer.{table} WHERE reason <> ''")
        assert [row["reason"] for row in kept] == [" DISPUTE LOST.. "], table
    await shop.process(*(order(n, refunds=["1.00", "3.00"], modified=0.5) for n in (2, 3)))
    assert (before["total_refunds"], (await shop.customer())["total_refunds"]) == (4, 6)


async def test_erasure_unlinks_and_tells_the_others(shop: Shop) -> None:
    await known_and_erased(shop)
    assert await shop.pool.fetchval("SELECT count(*) FROM scorer.fingerprints") == 1
    assert [(await shop.customer(who))["linked_accounts_count"] for who in (JANE, JOHN)] == [0, 0]
    (erased,) = [event for event in await shop.events() if event.type == "customer_erased"]
    assert (erased.customer.email, erased.data.reason) == (None, "asked for it")
    (entry,) = [entry["data"] for entry in await shop.timeline() if entry["type"] == "customer_erased"]
    assert entry == {"reason": "asked for it", "actor": "test"}


async def test_old_facts_bring_nothing_back_and_a_new_order_brings_the_address(shop: Shop) -> None:
    facts, told = await known_and_erased(shop), await shop.told()
    await shop.process(*facts)
    assert await shop.told() == told
    late: list[Fact] = [
        order(1, marks=[ADDRESS], refunds=["10.00", "1.00"], reason="Jane's dog", modified=0.5),
        order(4, marks=[ADDRESS], at=8),
        decline(minute=9, marks=[mark("device", 2)]),
        refund(1, "6.00", number=8, reason="Jane's coat"),
        attempt(reason="customer_blocked", minute=6, marks=[mark("device", 3)]),
    ]
    await shop.process(*late)
    await shop.settle()
    row = await shop.customer()
    assert (row["email"], row["total_orders"], row["linked_accounts_count"]) == (None, 4, 0)
    assert await shop.pool.fetchval("SELECT count(*) FROM scorer.fingerprints") == 1
    for table in ("refunds", "reported_refunds"):
        assert await shop.pool.fetchval(f"SELECT count(*) FROM scorer.{table} WHERE reason <> ''") == 0, table
    assert set(await shop.told()) >= {"order_refunded", "checkout_blocked"}
    for table in ("scorer.events", "scorer.outbox"):
        bodies = await shop.pool.fetch(
            f"SELECT body FROM {table} WHERE body LIKE '%' || $1::bytea || '%'", shop.hash().encode()
        )
        assert not [row for row in bodies if b"jane" in row["body"].lower()], table
    assert not [entry for entry in await shop.timeline() if "jane" in json.dumps(entry["data"]).lower()]
    await shop.process(order(5, marks=[ADDRESS], at=-0.001))
    await shop.settle()
    row = await shop.customer()
    assert (row["email"], row["email_domain"], row["linked_accounts_count"]) == (JANE, "example.com", 1)


async def test_the_reason_of_an_erasure_is_kept_without_the_address(shop: Shop) -> None:
    await shop.process(order(1))
    for _ in range(2):  # the second time nobody knows the address any more
        await shop.ask("customer.erase", email_hash=shop.hash(), reason=f"asked for by {JANE.upper()}.")
    entries = [entry["data"] for entry in await shop.timeline() if entry["type"] == "customer_erased"]
    assert sorted(entry.get("reason", "") for entry in entries) == ["", "asked for by (e-mail)."]


async def test_what_comes_while_a_customer_is_erased_brings_nothing_back(shop: Shop) -> None:
    for n in range(1, 9):
        who = f"p{n}@example.com"
        await shop.process(order(n, who, marks=[mark("phone", n)]))
        await asyncio.gather(
            shop.ask("customer.erase", email_hash=shop.hash(who)),
            shop.process(
                order(n, who, status="refunded", marks=[mark("phone", n)], modified=1),
                attempt(who, minute=5, marks=[mark("device", n)]),
                by=shop.another_scorer(),
            ),
        )
    await shop.settle()
    assert await shop.pool.fetchval("SELECT count(email) FROM scorer.customers") == 0
    assert await shop.pool.fetchval("SELECT count(*) FROM scorer.fingerprints") == 0
    assert await shop.pool.fetchval("SELECT count(*) FROM scorer.events WHERE body LIKE '%example.com%'::bytea") == 0


# How a store scores ---------------------------------------------------------------------------------------------------


async def scoring(shop: Shop) -> tuple[int, Any]:
    shown = await shop.ask("store.scoring_read")
    return shown["version"], shown["settings"]


async def test_a_new_setting_is_a_new_version_and_recomputes_the_store(shop: Shop) -> None:
    await shop.process(*(order(n, refunds=["100.00"]) for n in (1, 2, 3)))
    before = len(await shop.told())
    patch: dict[str, Any] = {"modules": {"returns": {"weight": 0.5}}, "segments": {"normal": 55}}
    answer = await shop.ask("store.scoring", **patch)
    assert answer["version"] == 2, "the first order made the first"
    await shop.settle()
    row = await shop.customer()
    assert (row["trust_score"], row["segment"]) == (25, "risk")
    assert await shop.pool.fetchrow("SELECT state, done, total FROM scorer.jobs") == ("done", 1, 1)
    assert (await shop.told())[before:] == ["score_updated", "segment_changed"]
    assert await shop.pool.fetchval("SELECT cause FROM scorer.score_history ORDER BY id DESC LIMIT 1") == "settings"
    assert await shop.ask("store.scoring", **patch) == {"version": 2, "job_id": None}
    back = await shop.ask("store.scoring", segments=None, modules=None)
    version, settings = await scoring(shop)
    assert (version, back["version"], settings["segments"]["normal"]) == (3, 3, 50)
    assert json.loads(await shop.pool.fetchval("SELECT settings FROM scorer.scoring")) == {}
    assert await shop.pool.fetchval("SELECT count(*) FROM scorer.scoring_versions") == 2


@pytest.mark.parametrize(
    ("patch", "path"),
    [
        ({"modules": {"returns": {"wieght": 1.0}}}, "modules.returns.wieght"),
        ({"modules": {"returns": {"weight": 9.0}}}, "modules.returns.weight"),
        ({"modules": {"retuns": {}}}, "modules.retuns"),
        ({"modules": {"returns": {"rate_tiers": [10.0, 40.0, 25.0]}}}, "modules.returns.rate_tiers"),
        ({"segments": {"vip": 20}}, "segments"),
        ({"min_orders": 0}, "min_orders"),
        ({"currency": "euro"}, "currency"),
        ({"colour": 1}, "colour"),
    ],
)
async def test_a_setting_that_cannot_be_is_refused_by_its_path(shop: Shop, patch: dict[str, Any], path: str) -> None:
    status, _, params = await shop.refused("store.scoring", **patch)
    assert (status, list(params)) == (400, [path])
    assert (await scoring(shop))[0] == 0


async def test_another_currency_counts_other_orders(shop: Shop) -> None:
    await shop.process(order(1), order(2, currency="USD", total="70.00"))
    assert (await shop.customer())["total_order_value"] == Decimal("100.00")
    await shop.ask("store.scoring", currency="USD")
    await shop.settle()
    assert (await shop.customer())["total_order_value"] == Decimal("70.00")


async def test_a_currency_of_a_batch_that_was_rolled_back_is_forgotten(shop: Shop) -> None:
    one, other = shop.another_scorer(), shop.another_scorer()
    broken = order(1, currency="USD", at=9)
    with pytest.raises(asyncpg.DataError):
        await one.process([broken.model_copy(update={"store_id": shop.store_id}), _impossible(shop)])
    await shop.process(order(2), by=other)
    await shop.process(order(3), by=one)
    assert (await shop.customer())["total_order_value"] == Decimal("200.00")


def _impossible(shop: Shop) -> Any:
    """An order that Postgres does not take."""
    return order(99, store_id=shop.store_id, status="a\0")


async def test_batches_under_way_leave_nobody_scored_by_old_settings(shop: Shop) -> None:
    scorers = [shop.another_scorer() for _ in range(3)]

    async def facts(number: int) -> None:
        for n in range(12):
            who, first = f"p{number}-{n}@example.com", 1000 * number + 10 * n + 1
            await shop.process(*(order(first + k, who, refunds=["100.00"]) for k in range(3)), by=scorers[number])

    async def change() -> None:
        for weight in (0.9, 0.7, 0.5, 0.25):
            await shop.ask("store.scoring", modules={"returns": {"weight": weight}})
            await sweep.do_jobs(shop.scorer, asyncio.Event())

    await asyncio.gather(*(facts(number) for number in range(3)), change())
    await shop.settle()
    scores = await shop.pool.fetch("SELECT DISTINCT trust_score FROM scorer.customers")
    assert [row["trust_score"] for row in scores] == [38], "-40 and -10, a quarter of each"


# Jobs -----------------------------------------------------------------------------------------------------------------


async def test_a_job_that_waits_already_is_not_queued_again(shop: Shop) -> None:
    first = await shop.ask("store.recompute")
    assert await shop.ask("store.recompute") == first


async def test_a_cancelled_job_does_nothing_more(shop: Shop) -> None:
    await shop.process(order(1))
    job_id = (await shop.ask("store.recompute"))["job_id"]
    assert await shop.ask("job.cancel", job_id=job_id) == {"job_id": job_id}
    await shop.settle()
    assert await shop.pool.fetchrow("SELECT state, done FROM scorer.jobs") == ("cancelled", 0)
    assert (await shop.refused("job.cancel", job_id=str(uuid7())))[:2] == (404, "trustlens_job_not_found")


async def test_a_running_job_that_is_cancelled_stops_where_it_stands(shop: Shop) -> None:
    await shop.process(*(order(n, f"p{n}@example.com") for n in range(1, 4)))
    job_id = (await shop.ask("store.recompute"))["job_id"]
    await began_and_died(shop, lease="-1 second")
    await shop.ask("job.cancel", job_id=job_id)
    await shop.settle()
    assert await shop.pool.fetchrow("SELECT state, done FROM scorer.jobs") == ("cancelled", 1)


async def test_a_crashed_job_is_taken_over_after_its_lease_where_it_stood(shop: Shop) -> None:
    await shop.process(*(order(n, f"p{n}@example.com") for n in range(1, 4)))
    await shop.ask("store.recompute")
    await began_and_died(shop, lease="1 hour")
    await shop.settle()
    assert await shop.pool.fetchrow("SELECT state, done, total FROM scorer.jobs") == ("running", 1, 3)
    await began_and_died(shop, lease="-1 second")
    await shop.settle()
    assert await shop.pool.fetchrow("SELECT state, done, total FROM scorer.jobs") == ("done", 3, 3)


async def began_and_died(shop: Shop, *, lease: str) -> None:
    """Somebody did the first customer, and has been seen no more; `lease` is from now on."""
    await shop.pool.execute(
        "UPDATE scorer.jobs SET state = 'running', done = 1, leased_until = now() + $1::text::interval,"
        " position = (SELECT min(email_hash) FROM scorer.customers)",
        lease,
    )


async def test_a_sweep_is_of_the_asking_store_alone(shop: Shop) -> None:
    await shop.process(*(order(n, at=89) for n in (1, 2, 3)))
    another = await open_shop(shop.pool, shop.vault)
    another.clock.at = shop.clock.at = NOW + timedelta(days=1)
    assert [await one.ask("store.sweep") for one in (another, shop)] == [{"due": 0}, {"due": 1}]
