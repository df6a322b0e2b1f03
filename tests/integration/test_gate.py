"""The checkout gate over HTTP, on a real Postgres: who is refused, what is told, and what twenty at once come to."""

import asyncio
import json
from collections.abc import AsyncIterator
from datetime import UTC, datetime, timedelta
from decimal import Decimal
from typing import Any
from uuid import UUID

import asyncpg
import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from api import gate
from api.checkouts import Submission
from api.gate import GateSettings, Verdict
from api.settings import ApiSettings
from api.store import gate as store
from api.store.gate import Entry, Freeze, Submitter
from api.stores import CreatedStore, create_key
from integration.conftest import Until
from shared import db
from shared.broker import Broker
from shared.commands import Command
from shared.events import FACT, CheckoutAttempt, CheckoutAttemptFact, Decline, DeclineFact
from shared.identity import email_hash
from shared.ids import uuid7
from shared.outbox import Transaction
from shared.secrets import Vault
from support.api_client import Answer, ApiClient, serving
from support.cable import cable
from support.owner import owning
from support.queues import take

JANE = "jane@example.com"
IP, AGENT = "203.0.113.9", "Mozilla/5.0"
STORE = UUID(int=7)
NOW = datetime(2026, 6, 1, 12, tzinfo=UTC)
GATE = gate.Gate(GateSettings(), enforce_blocking=True)


async def ask(api: ApiClient, **given: Any) -> dict[str, Any]:
    answer = await api.post("/checkout/authorize", json={"ip": IP, "user_agent": AGENT} | given)
    assert answer.status == 200, answer.text
    return dict(answer.json)


async def decline(api: ApiClient, **given: Any) -> dict[str, Any]:
    answer = await api.post("/checkout/declined", json={"ip": IP, "user_agent": AGENT} | given)
    assert answer.status == 200, answer.text
    return dict(answer.json)


async def customer(api: ApiClient, pool: asyncpg.Pool, vault: Vault, email: str = JANE, **flags: Any) -> str:
    """A customer as the scorer keeps one; the hash."""
    key = vault.open(await pool.fetchval("SELECT hash_key FROM api.stores WHERE id = $1", api.store.id))
    hashed = email_hash(key, email)
    names = ["store_id", "email_hash", "email", *flags]
    places = ", ".join(f"${n}" for n in range(1, len(names) + 1))
    await pool.execute(
        f"INSERT INTO scorer.customers ({', '.join(names)}, created_at, updated_at) VALUES ({places}, now(), now())",
        *(api.store.id, hashed, email, *flags.values()),
    )
    return hashed


async def facts(pool: asyncpg.Pool) -> list[dict[str, Any]]:
    """What was accepted through the checkout, as it was sent."""
    rows = await pool.fetch("SELECT topic, body FROM api.raw_input WHERE source = 'checkout' ORDER BY received_at, id")
    return [{"topic": row["topic"], **json.loads(row["body"])} for row in rows]


async def history(pool: asyncpg.Pool) -> list[tuple[str, str]]:
    rows = await pool.fetch("SELECT kind, detail FROM api.gate_history ORDER BY id")
    return [(row["kind"], row["detail"]) for row in rows]


async def set_gate(api: ApiClient, pool: asyncpg.Pool, **changes: Any) -> None:
    await store.save_settings(pool, api.store.id, GateSettings.model_validate(changes))


@pytest.fixture
def api_settings(api_settings: ApiSettings) -> ApiSettings:
    """That remembers no settings of a store, so that a test sees at once what it changed; and is in no hurry."""
    return api_settings.model_copy(update={"memory_seconds": 0, "gate_seconds": 30})


# Who is refused -------------------------------------------------------------------------------------------------------


async def test_a_shopper_nobody_knows_is_let_through(api: ApiClient, pool: asyncpg.Pool) -> None:
    assert await ask(api, email=JANE, amount="10.00", currency="EUR", coupons=["summer"]) == {
        "decision": "allow",
        "reason": None,
        "message": "",
        "would_deny": False,
        "degraded": False,
    }
    assert await facts(pool) == []


async def test_of_eleven_submissions_of_a_device_the_last_is_refused_and_then_the_device_is_locked_out(
    api: ApiClient, pool: asyncpg.Pool
) -> None:
    answers = [await ask(api) for _ in range(12)]

    assert [answer["reason"] for answer in answers] == [None] * 10 + ["velocity", "lockout"]
    assert answers[10]["decision"] == "deny"
    assert answers[10]["message"] == GateSettings().message
    assert (await ask(api, user_agent="another"))["decision"] == "allow"
    assert await history(pool) == [("locked", "velocity"), ("refused", "velocity"), ("refused", "lockout")]
    assert await facts(pool) == []  # nobody's


async def test_the_third_decline_locks_the_device_out(api: ApiClient, pool: asyncpg.Pool) -> None:
    answers = [await decline(api, email=JANE, code="card_declined", country="gb") for _ in range(3)]

    assert [answer["locked_until"] is not None for answer in answers] == [False, False, True]
    assert (await ask(api))["reason"] == "lockout"
    assert [kind for kind, _ in await history(pool)] == ["declined"] * 3 + ["locked", "refused"]
    assert [fact["topic"] for fact in await facts(pool)] == ["decline"] * 3


async def test_declines_told_with_an_address_alone_lock_out_whatever_comes_from_it(api: ApiClient) -> None:
    for _ in range(3):
        await decline(api, user_agent="")

    assert (await ask(api))["reason"] == "lockout"
    assert (await ask(api, ip="203.0.113.10"))["decision"] == "allow"


async def test_a_given_fingerprint_is_counted_whatever_address_it_comes_from(api: ApiClient) -> None:
    for n in range(3):
        await decline(api, fingerprint="dev-1", ip=f"203.0.113.{n}")

    assert (await ask(api, fingerprint="dev-1", ip="198.51.100.1"))["reason"] == "lockout"
    assert (await ask(api, fingerprint="dev-2"))["decision"] == "allow"


async def test_a_blocked_customer_is_refused_and_each_prevented_attempt_becomes_a_fact(
    api: ApiClient, pool: asyncpg.Pool, vault: Vault
) -> None:
    await customer(api, pool, vault, is_blocked=True)

    answers = [await ask(api, email=" Jane@Example.com ", amount=20, currency="eur") for _ in range(2)]

    assert [answer["reason"] for answer in answers] == ["customer_blocked"] * 2
    assert [fact["topic"] for fact in await facts(pool)] == ["checkout_attempt"] * 2


async def test_the_scorer_is_told_of_refusals_and_declines_with_what_links_customers(
    api: ApiClient, broker: Broker, pool: asyncpg.Pool, vault: Vault
) -> None:
    await customer(api, pool, vault, is_blocked=True)
    shopper = {"email": " Jane@Example.com ", "ip": "8.8.8.8", "fingerprint": "dev-1"}

    await ask(api, **shopper, amount="20.00", currency="eur")
    await decline(api, **shopper, country="gb", code="card_declined")

    attempt, declined = (FACT.validate_json(found.body) for found in await take(broker, "scorer.facts", 2))
    key = vault.open(await pool.fetchval("SELECT hash_key FROM api.stores WHERE id = $1", api.store.id))
    marks = tuple(mark.hex() for mark in gate_marks(key, shopper))
    assert isinstance(attempt, CheckoutAttemptFact)
    assert attempt.data == CheckoutAttempt(
        email=JANE,
        fingerprints=marks,
        amount=Decimal("20.00"),
        currency="EUR",
        decision="deny",
        reason="customer_blocked",
    )
    assert isinstance(declined, DeclineFact)
    assert declined.data == Decline(email=JANE, fingerprints=marks, code="card_declined", country="GB")


async def test_while_blocking_is_not_enforced_a_blocked_customer_passes_and_the_fact_says_why(
    api: ApiClient, pool: asyncpg.Pool, vault: Vault
) -> None:
    await customer(api, pool, vault, is_blocked=True)
    await pool.execute("UPDATE api.stores SET enforce_blocking = false")

    answer = await ask(api, email=JANE)

    assert (answer["decision"], answer["reason"], answer["would_deny"]) == ("allow", "customer_blocked", True)
    assert answer["message"] == ""
    assert len(await facts(pool)) == 1
    assert await history(pool) == []


@pytest.mark.parametrize("flags", [{"segment": "vip"}, {"is_allowlisted": True}])
async def test_who_is_trusted_passes_a_freeze(
    api: ApiClient, pool: asyncpg.Pool, vault: Vault, flags: dict[str, Any]
) -> None:
    await customer(api, pool, vault, **flags)
    await api.post("/checkout/freeze")

    assert (await ask(api))["reason"] == "freeze"
    assert (await ask(api, email=JANE))["decision"] == "allow"
    await set_gate(api, pool, bypass=False)
    assert (await ask(api, email=JANE))["reason"] == "freeze"


async def test_a_listed_network_is_neither_counted_nor_frozen(api: ApiClient, pool: asyncpg.Pool) -> None:
    await set_gate(api, pool, allow_networks=["203.0.113.0/24"])
    await api.post("/checkout/freeze")

    answers = [await ask(api, email=JANE) for _ in range(15)]
    declines = [await decline(api) for _ in range(5)]

    assert {answer["decision"] for answer in answers} == {"allow"}
    assert {answer["locked_until"] for answer in declines} == {None}
    assert await pool.fetchval("SELECT count(*) FROM api.gate_devices") == 0


async def test_without_any_trace_of_a_device_a_shopper_is_still_frozen_out(api: ApiClient) -> None:
    await api.post("/checkout/freeze")

    assert (await ask(api, ip="", user_agent=""))["reason"] == "freeze"


async def test_a_first_order_coupon_is_refused_where_a_linked_customer_used_one(
    api: ApiClient, pool: asyncpg.Pool, vault: Vault
) -> None:
    other = await customer(api, pool, vault, "other@example.com", first_coupon_at=NOW)
    key = vault.open(await pool.fetchval("SELECT hash_key FROM api.stores WHERE id = $1", api.store.id))
    shopper = {"email": JANE, "ip": "8.8.8.8", "fingerprint": "dev-1"}
    marks = gate_marks(key, shopper)
    for mark in marks:
        await pool.execute("INSERT INTO scorer.link_hashes VALUES ($1, $2, 1)", api.store.id, mark)
        await pool.execute("INSERT INTO scorer.fingerprints VALUES ($1, $2, $3, now())", api.store.id, mark, other)

    assert (await ask(api, **shopper, coupons=["WELCOME10"]))["decision"] == "allow"  # nobody asked for it
    await set_gate(api, pool, refuse_coupon_abuse=True)
    assert (await ask(api, **shopper, coupons=["WELCOME10"]))["reason"] == "coupon_abuse"
    assert (await ask(api, **shopper, coupons=["summer"]))["decision"] == "allow"
    assert (await ask(api, **shopper))["decision"] == "allow"
    alone = shopper | {"fingerprint": ""}  # flatmates share an address
    assert (await ask(api, **alone, coupons=["WELCOME10"]))["decision"] == "allow"
    await pool.execute("UPDATE scorer.link_hashes SET customers = 51")  # an office
    assert (await ask(api, **shopper, coupons=["WELCOME10"]))["decision"] == "allow"


async def test_a_coupon_that_each_may_use_once_is_a_first_order_coupon_whatever_its_code(
    api: ApiClient, pool: asyncpg.Pool, vault: Vault
) -> None:
    """As the store said of it: orders and forms do not."""
    other = await customer(api, pool, vault, "other@example.com", first_coupon_at=NOW)
    await customer(api, pool, vault)
    mine = email_hash(vault.open(await pool.fetchval("SELECT hash_key FROM api.stores")), JANE)
    await pool.execute("INSERT INTO scorer.link_hashes VALUES ($1, $2, 2)", api.store.id, b"\0shared")
    for hashed in (mine, other):  # the address of an earlier order
        await pool.execute(
            "INSERT INTO scorer.fingerprints VALUES ($1, $2, $3, now())", api.store.id, b"\0shared", hashed
        )
    await pool.execute(
        "INSERT INTO scorer.coupons VALUES ($1, 'once-7', true, now(), ''), ($1, 'often', false, now(), '')",
        api.store.id,
    )
    await set_gate(api, pool, refuse_coupon_abuse=True)

    assert (await ask(api, email=JANE, coupons=["often", " ONCE-7 "]))["reason"] == "coupon_abuse"
    assert (await ask(api, email=JANE, coupons=["often"]))["decision"] == "allow"
    assert (await ask(api, email="nobody@example.com", coupons=["once-7"]))["decision"] == "allow"
    assert (await ask(api, coupons=["once-7"]))["decision"] == "allow"


def gate_marks(key: bytes, shopper: dict[str, str]) -> list[bytes]:
    return [bytes.fromhex(mark) for mark in Submission.model_validate(shopper).fingerprints(key)]


# At once, and over time -----------------------------------------------------------------------------------------------


async def guarded(pool: asyncpg.Pool, device: bytes, now: datetime) -> Verdict:
    who = Submitter(device, None, None)
    return gate.decide(await store.submit(pool, STORE, who, GATE.settings, now), GATE, now)


async def unguarded(pool: asyncpg.Pool, device: bytes, now: datetime) -> Verdict:
    """Counting rows of their own, which do not see each other."""
    async with pool.acquire() as connection:
        await connection.execute(
            "INSERT INTO api.gate_history (store_id, at, kind, device, detail, country)"
            " VALUES ($1, $2, '', $3, '', '')",
            *(STORE, now, device),
        )
        await BARRIER[0].wait()
        found = await connection.fetchval("SELECT count(*) FROM api.gate_history WHERE device = $1", device)
    return Verdict("velocity") if found > 10 else Verdict()


BARRIER: list[asyncio.Barrier] = []


@pytest.fixture
async def two_pools(database_url: str) -> AsyncIterator[list[asyncpg.Pool]]:
    """As two replicas have them."""
    pools = [await db.connect(database_url, size=10, application=f"replica {n}") for n in (1, 2)]
    yield pools
    for pool in pools:
        pool.terminate()


async def test_of_twenty_simultaneous_submissions_over_two_replicas_exactly_ten_pass(
    two_pools: list[asyncpg.Pool],
) -> None:
    verdicts = await asyncio.gather(*(guarded(two_pools[n % 2], b"d", NOW) for n in range(20)))

    assert [verdict.reason for verdict in verdicts].count(None) == 10
    assert [verdict.reason for verdict in verdicts].count("velocity") == 1
    assert [verdict.reason for verdict in verdicts].count("lockout") == 9


async def test_counting_apart_from_adding_would_refuse_those_who_came_in_time(two_pools: list[asyncpg.Pool]) -> None:
    BARRIER[:] = [asyncio.Barrier(20)]
    verdicts = await asyncio.gather(*(unguarded(two_pools[n % 2], b"d", NOW) for n in range(20)))

    assert [verdict.reason for verdict in verdicts].count(None) != 10


class Model:
    """The same device without a database: what is true of it, told as plainly as possible."""

    def __init__(self, limit: int, lockout: timedelta) -> None:
        self.limit, self.lockout = limit, lockout
        self.submissions: list[datetime] = []
        self.locked_until: datetime | None = None

    def submit(self, now: datetime) -> str | None:
        recent = [at for at in self.submissions if at > now - timedelta(seconds=60)]
        self.submissions.append(now)
        if self.locked_until and now < self.locked_until:
            return "lockout"
        if len(recent) >= self.limit:
            self.locked_until = now + self.lockout
            return "velocity"
        return None


@settings(max_examples=30, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(
    gaps=st.lists(st.sampled_from([0.0, 0.5, 3, 10, 59, 60, 61]), max_size=40),
    limit=st.integers(2, 5),
    lockout=st.sampled_from([10, 60, 90]),
)
async def test_whatever_the_times_the_row_and_the_decision_agree_with_a_list_of_all_submissions(
    pool: asyncpg.Pool, gaps: list[float], limit: int, lockout: int
) -> None:
    rules = gate.Gate(GateSettings(submissions=limit, lockout_seconds=lockout), enforce_blocking=True)
    model, now, device = Model(limit, rules.settings.lockout), NOW, uuid7().bytes
    for gap in gaps:
        now += timedelta(seconds=gap)
        expected = model.submit(now)
        found = await store.submit(pool, STORE, Submitter(device, None, None), rules.settings, now)
        assert gate.decide(found, rules, now).reason == expected
        assert gate.locks_out(found.device, rules.settings, now) is (expected == "velocity")


async def test_a_connection_that_counted_waits_for_the_disk_again(pool: asyncpg.Pool) -> None:
    async with pool.acquire() as connection:
        await connection.execute("SET synchronous_commit = on")  # which it is but for tests
        await store.submit(connection, STORE, Submitter(b"d", None, None), GATE.settings, NOW)
        assert await connection.fetchval("SHOW synchronous_commit") == "on"


async def test_of_twenty_simultaneous_declines_one_begins_the_lockout(two_pools: list[asyncpg.Pool]) -> None:
    counted = await asyncio.gather(
        *(store.decline(two_pools[n % 2], STORE, b"d", GATE.settings, NOW) for n in range(20))
    )

    assert [one.began for one in counted].count(True) == 1
    assert [one.locked_until for one in counted].count(None) == 2


async def test_declines_count_for_sixty_seconds_and_a_lockout_is_not_made_longer(pool: asyncpg.Pool) -> None:
    async def at(seconds: float) -> store.Declined:
        return await store.decline(pool, STORE, b"d", GATE.settings, NOW + timedelta(seconds=seconds))

    assert [(await at(second)).locked_until for second in (0, 30, 60)] == [None] * 3
    locked = NOW + timedelta(seconds=121)
    assert await at(61) == store.Declined(locked, began=True)
    assert await at(62) == store.Declined(locked, began=False)
    assert (await at(121)).locked_until is None
    assert (await at(121)).began  # with the one at 62


# Freezes --------------------------------------------------------------------------------------------------------------


async def test_a_freeze_is_begun_made_shorter_shown_and_ended(api: ApiClient, pool: asyncpg.Pool) -> None:
    assert (await api.get("/checkout/freeze")).json["frozen"] is False

    begun = await api.post("/checkout/freeze", json={"minutes": 60, "reason": "they are back"})
    shorter = (await api.post("/checkout/freeze", json={"minutes": None})).json

    assert begun.status == 200
    assert begun.json["reason"] == "they are back"
    assert shorter["frozen_until"] < begun.json["frozen_until"]
    assert (await api.get("/checkout/freeze")).json == shorter
    assert shorter["by"] == f"key:{api.store.api_key[:11]}"
    assert (await ask(api))["reason"] == "freeze"
    ended = await api.request("DELETE", "/wp-json/trustlens/v1/checkout/freeze")
    assert ended.status == 204
    assert (await ask(api))["decision"] == "allow"
    actions = await pool.fetch("SELECT action FROM api.audit ORDER BY at")
    assert [row["action"] for row in actions] == ["POST /checkout/freeze"] * 2 + ["DELETE /checkout/freeze"]


async def test_a_freeze_that_is_asked_for_again_with_its_key_is_not_begun_again(
    api: ApiClient, pool: asyncpg.Pool
) -> None:
    once = {"Idempotency-Key": "freeze-1"}

    first = await api.post("/checkout/freeze", json={"minutes": 5}, headers=once)
    await api.request("DELETE", "/wp-json/trustlens/v1/checkout/freeze")
    again = await api.post("/checkout/freeze", json={"minutes": 5}, headers=once)

    assert (first.status, again.status, again.json) == (200, 200, first.json)
    assert (await api.get("/checkout/freeze")).json["frozen"] is False


async def test_three_devices_locked_out_freeze_the_checkout_until_somebody_ends_it(
    api: ApiClient, pool: asyncpg.Pool
) -> None:
    async def lock(device: str) -> None:
        for _ in range(3):
            await decline(api, fingerprint=device, country="GB")

    await lock("a")
    await lock("b")
    assert (await ask(api))["decision"] == "allow"
    await lock("c")
    assert (await ask(api))["reason"] == "freeze"
    shown = (await api.get("/checkout/freeze")).json
    assert (shown["by"], shown["reason"]) == ("escalation", "3 devices were locked out within ten minutes")
    assert ("frozen", shown["reason"]) in await history(pool)

    await api.request("DELETE", "/wp-json/trustlens/v1/checkout/freeze")
    await lock("d")
    await lock("e")
    assert (await ask(api))["decision"] == "allow"  # what came before was seen by whoever ended it
    await lock("f")
    assert (await ask(api))["reason"] == "freeze"


async def test_declines_from_all_over_the_world_freeze_nothing(api: ApiClient) -> None:
    for n, country in enumerate(["DE", "FR", "GB", "IT", "ES", "PL", "NL", "BE", "AT", "CH", "SE", "DK"]):
        await decline(api, fingerprint=f"d{n % 4}", country=country)

    assert (await ask(api, fingerprint="d1"))["reason"] == "lockout"
    assert (await api.get("/checkout/freeze")).json["frozen"] is False


async def test_a_freeze_that_comes_by_itself_does_not_shorten_one_by_hand(pool: asyncpg.Pool) -> None:
    by_hand = Freeze(NOW, NOW + timedelta(hours=2), "", "key:tl_12345678")
    await store.freeze(pool, STORE, by_hand, over=True)

    assert not await store.freeze(pool, STORE, Freeze(NOW, NOW + timedelta(minutes=15), "", "escalation"), over=False)
    assert await store.find_freeze(pool, STORE) == by_hand


# Attacks, and what is forgotten ---------------------------------------------------------------------------------------


async def test_attacks_are_told_by_hour_code_country_and_device(api: ApiClient) -> None:
    for code in ("card_declined", "card_declined", "expired_card"):
        await decline(api, code=code, country="gb")
    await ask(api)

    found = (await api.get("/checkout/attacks")).json

    assert [hour | {"hour": ""} for hour in found["hours"]] == [
        {"hour": "", "declined": 3, "refused": 1, "lockouts": 1}
    ]
    assert found["codes"] == [{"name": "card_declined", "count": 2}, {"name": "expired_card", "count": 1}]
    assert found["countries"] == [{"name": "GB", "count": 3}]
    assert found["reasons"] == [{"name": "lockout", "count": 1}]
    assert [one["reason"] for one in found["lockouts"]] == ["declines"]
    device = found["fingerprints"][0]
    assert (device["declined"], device["refused"], device["lockouts"]) == (3, 1, 1)
    assert device["fingerprint"] == found["lockouts"][0]["fingerprint"]
    assert found["frozen_until"] is None
    assert found["freezes"] == []


async def test_a_store_sees_nothing_of_anothers_checkout(api: ApiClient, pool: asyncpg.Pool) -> None:
    await store.record(pool, STORE, [Entry("locked", datetime.now(UTC), b"d", "declines")])
    await store.freeze(pool, STORE, Freeze(NOW, datetime.now(UTC) + timedelta(hours=1), "", "x"), over=True)

    assert (await api.get("/checkout/attacks")).json["lockouts"] == []
    assert (await ask(api))["decision"] == "allow"


async def test_devices_go_after_a_day_and_attacks_after_their_days(pool: asyncpg.Pool) -> None:
    await store.submit(pool, STORE, Submitter(b"old", None, None), GATE.settings, NOW)
    await store.record(pool, STORE, [Entry("declined", NOW, b"old")])
    later = NOW + timedelta(days=1, seconds=1)
    await store.submit(pool, STORE, Submitter(b"new", None, None), GATE.settings, later)

    await store.forget(pool, later, days=1)

    assert [row["device"] for row in await pool.fetch("SELECT device FROM api.gate_devices")] == [b"new"]
    assert await history(pool) == []


# Settings, bad input, trouble -----------------------------------------------------------------------------------------


async def test_settings_are_merged_and_null_forgets_them(api: ApiClient, pool: asyncpg.Pool) -> None:
    await set_gate(api, pool, submissions=2)
    await set_gate(api, pool, declines=1)

    found = await store.find_gate(pool, api.store.id)
    assert found
    assert (found.settings.submissions, found.settings.declines) == (2, 1)
    assert [(await ask(api))["reason"] for _ in range(3)] == [None, None, "velocity"]
    assert (await decline(api, ip="203.0.113.77"))["locked_until"]
    await store.save_settings(pool, api.store.id, None)
    assert await store.find_gate(pool, api.store.id) == GATE


async def test_settings_are_changed_and_shown_with_those_of_the_store(
    api: ApiClient, pool: asyncpg.Pool, broker: Broker
) -> None:
    scoring = {"version": 1, "currency": "EUR", "settings": {"min_orders": 3, "segments": {}, "modules": {}}}

    async def read(_: Transaction, __: Command) -> Any:
        return scoring

    async with owning("scorer", pool, broker, {"store.scoring_read": read}):
        changed = await change_store(api, gate={"submissions": 2, "allow_networks": ["10.1.2.3/8"]})
        other = await change_store(api, enforce_blocking=False)
        forgotten = await change_store(api, gate=None)
        wrong = await change_store(api, gate={"submissions": 1})

    assert changed.json["gate"] == json.loads(GateSettings().model_dump_json()) | {
        "submissions": 2,
        "allow_networks": ["10.0.0.0/8"],
    }
    assert other.json["gate"] == changed.json["gate"]
    assert forgotten.json["gate"]["submissions"] == 10
    assert (wrong.status, list(wrong.json["data"]["params"])) == (400, ["gate.submissions"])


async def change_store(api: ApiClient, **changes: Any) -> Answer:
    return await api.request("PATCH", "/wp-json/trustlens/v1/store", json=changes)


@pytest.mark.parametrize(
    ("given_body", "field"),
    [
        ({"email": "x" * 10_000 + "@example.com"}, "email"),
        ({"email": "nobody"}, "email"),
        ({"email": 7}, "email"),
        ({"ip": "300.1.1.1"}, "ip"),
        ({"ip": "::1%eth0"}, "ip"),
        ({"ip": "1" * 5000}, "ip"),
        ({"fingerprint": "x" * 201}, "fingerprint"),
        ({"user_agent": "x" * 2001}, "user_agent"),
        ({"amount": "NaN"}, "amount"),
        ({"amount": "-1"}, "amount"),
        ({"currency": "euros"}, "currency"),
        ({"coupons": ["x"] * 51}, "coupons"),
        ({"coupons": ["x\0"]}, "coupons"),
        ({"surprise": 1}, "surprise"),
    ],
)
async def test_what_cannot_be_read_is_refused_by_its_name(
    api: ApiClient, given_body: dict[str, Any], field: str
) -> None:
    answer = await api.post("/checkout/authorize", json=given_body)

    assert answer.status == 400, answer.text
    assert [name.partition(".")[0] for name in answer.json["data"]["params"]] == [field]


@pytest.mark.parametrize("body", [{"minutes": 0}, {"minutes": 1441}, {"minutes": "5"}, {"reason": "x" * 501}, {"x": 1}])
async def test_a_freeze_that_makes_no_sense_is_refused(api: ApiClient, body: dict[str, Any]) -> None:
    assert (await api.post("/checkout/freeze", json=body)).status == 400


async def test_the_gate_is_asked_with_the_scope_ingest_and_frozen_with_the_scope_write(
    api: ApiClient, pool: asyncpg.Pool
) -> None:
    async with pool.acquire() as connection:
        ingest = (await create_key(connection, api.store.id, name="shop", scopes=["ingest"])).key
        read = (await create_key(connection, api.store.id, name="eyes", scopes=["read"])).key

    assert (await api.post("/checkout/authorize", json={}, key=ingest)).status == 200
    assert (await api.post("/checkout/declined", json={}, key=ingest)).status == 200
    assert (await api.post("/checkout/authorize", json={}, key=read)).status == 403
    assert (await api.post("/checkout/authorize", json={}, key="")).status == 401
    assert (await api.post("/checkout/freeze", key=ingest)).status == 403
    assert (await api.get("/checkout/attacks", key=read)).status == 200
    assert (await api.get("/checkout/attacks?hours=721", key=read)).status == 400


async def test_no_rate_limit_opens_the_gate(api_settings: ApiSettings, api_store: CreatedStore) -> None:
    async with serving(api_settings.model_copy(update={"rate_limit": 1}), api_store) as api:
        await api.post("/checkout/freeze")
        answers = [await ask(api) for _ in range(5)]
        declines = [await decline(api, ip="203.0.113.77") for _ in range(3)]
        statuses = [(await api.get("/checkout/freeze")).status for _ in range(3)]

    assert {answer["reason"] for answer in answers} == {"freeze"}
    assert declines[-1]["locked_until"]
    assert 429 in statuses


async def test_a_database_that_does_not_answer_in_time_lets_the_shopper_through_and_says_so(
    api_settings: ApiSettings, api_store: CreatedStore, pool: asyncpg.Pool, until: Until
) -> None:
    hasty = api_settings.model_copy(update={"gate_seconds": 0.3})
    async with serving(hasty, api_store) as api, pool.acquire() as connection:
        await ask(api)
        async with connection.transaction():
            await connection.execute("SELECT FROM api.gate_devices FOR UPDATE")
            answer = await ask(api)
        assert answer == {
            "decision": "allow",
            "reason": None,
            "message": "",
            "would_deny": False,
            "degraded": True,
        }
        metrics = await api.request("GET", "/metrics")
        assert 'trustlens_gate_total{decision="allow",reason="degraded"} 1.0' in metrics.text
        assert (await ask(api))["degraded"] is False


async def test_while_the_database_hangs_every_shopper_is_let_through_in_time_and_then_asked_about_again(
    api_settings: ApiSettings, api_store: CreatedStore
) -> None:
    """Also those whose statements were under way: they are not waited for."""
    async with cable(api_settings.database_url) as database:
        hasty = api_settings.model_copy(update={"database_url": database.url, "gate_seconds": 0.3})
        async with serving(hasty, api_store) as api:
            await ask(api)
            database.hang()
            async with asyncio.timeout(5):
                answers = await asyncio.gather(*(ask(api, ip=f"203.0.113.{n}") for n in range(20)))
            database.pass_on()
            while (await ask(api))["degraded"]:
                pass

    assert {(answer["decision"], answer["degraded"]) for answer in answers} == {("allow", True)}


async def test_a_database_that_is_away_lets_the_shopper_through_also_where_the_key_cannot_be_looked_up(
    api: ApiClient, pool: asyncpg.Pool
) -> None:
    await pool.execute("ALTER TABLE api.keys RENAME TO keys_away")
    try:
        assert (await ask(api))["degraded"] is True
    finally:
        await pool.execute("ALTER TABLE api.keys_away RENAME TO keys")
