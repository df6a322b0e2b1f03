"""The fault harness itself: a check that cannot fail is none, so every loss is planted here and must be found."""

import asyncio
import json
from collections import Counter
from collections.abc import AsyncIterator, Callable, Iterator
from contextlib import asynccontextmanager, suppress
from dataclasses import replace
from datetime import UTC, datetime
from itertools import count
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from bench.faults import audit, chaos, ledger, orders, proxy
from bench.faults.audit import Attempt, Customer, Delivery, Told
from bench.faults.ledger import Answer, Arrival, Drain, Ledger, Posted, Window, digest
from bench.faults.orders import Version
from bench.faults.setting import LOGGED, PATHS, RETRIED
from local_stack.ports import CANDIDATES, is_free

EPOCH = datetime(2026, 6, 1, tzinfo=UTC)
MADE = orders.orders(7, rate=20, seconds=20)
ACCEPTED = [version for versions in MADE for version in versions]
EXPECTED = orders.expected(ACCEPTED)
OUTAGE = Window("receiver_503", 500.0, 520.0)
"""What is delivered in the run below, is delivered at 100."""


few = settings(max_examples=20, deadline=None)
"""Each example is a whole run."""


class Run:
    """A run in which all went well, made by hand from the orders; tests spoil it."""

    def __init__(self) -> None:
        self.ledger = Ledger(windows=[OUTAGE])
        self.inputs: dict[bytes, list[str]] = {}
        self.outcomes: set[str] = set()
        self.events: dict[str, str] = {}
        self.deliveries: dict[str, Delivery] = {}
        self.failures: list[Attempt] = []
        self.unbalanced: list[str] = []
        self.customers = {number: _customer(it) for number, it in EXPECTED.customers.items()}
        self._ids = (f"{number:05}" for number in count(1))
        self._sequences: Counter[int] = Counter()
        for version in ACCEPTED:
            self._post(version)
        for versions in MADE:
            self._tell_of(versions[-1])
        for number, it in EXPECTED.customers.items():
            if it.is_blocked:
                self._publish("customer_blocked", number)
            self._publish("score_updated", number)

    def verdict(self) -> audit.Verdict:
        told = Told(
            self.inputs,
            frozenset(self.outcomes),
            self.events,
            self.deliveries,
            self.failures,
            self.customers,
            {number: f"hash {number}" for number in self.customers},
            self.unbalanced,
        )
        return audit.audit(self.ledger, told, PATHS)

    def deliver(self, path: str, event: str, customer: int, source: str, *, order: int | None = None) -> None:
        id_, body = next(self._ids), digest(f"{source} {event}".encode())
        mode: Any = "fire_and_log" if path == LOGGED else "retry"
        self.deliveries[id_] = Delivery(id_, path, source, event, mode, "delivered", None, 1, 1, 99, 100, body)
        tells = {name: getattr(self.customers[customer], name) for name in Customer.__slots__}
        arrival = Arrival(
            100, path, id_, event, f"hash {customer}", self._sequences[customer], order, body, True, 200, tells
        )
        self.ledger.arrivals.append(arrival)

    def _post(self, version: Version) -> None:
        body, id_ = digest(orders.body(version, epoch=EPOCH)), next(self._ids)
        self.ledger.posted.append(Posted(version, body, [Answer(90, None), Answer(91, 202, id_), Answer(92, 200)]))
        self.inputs[body] = [id_]
        self.outcomes.add(id_)

    def _tell_of(self, last: Version) -> None:
        told = {"/placed": 1, "/refunded": len(last.refunds), "/cancelled": last.status == "cancelled"}
        for path, times in told.items():
            for _ in range(times):
                self._sequences[last.customer] += 1
                self.deliver(path, "automation_triggered", last.customer, next(self._ids), order=last.order_id)

    def _publish(self, event: str, customer: int) -> None:
        self._sequences[customer] += 1
        source = next(self._ids)
        self.events[source] = event
        for path in (RETRIED, LOGGED):
            self.deliver(path, event, customer, source)

    def arrival(self, path: str, event: str | None = None) -> int:
        """The place of one."""
        return next(
            place for place, it in enumerate(self.ledger.arrivals) if it.path == path and event in {None, it.event}
        )

    def spoil(self, place: int, **changes: Any) -> None:
        self.ledger.arrivals[place] = replace(self.ledger.arrivals[place], **changes)

    def settle(self, path: str, status: str, reason: str | None = None, **changes: Any) -> str:
        """A delivery ends otherwise, and never came."""
        arrival = self.ledger.arrivals.pop(self.arrival(path, "score_updated"))
        row = self.deliveries[arrival.delivery]
        self.deliveries[row.id] = replace(row, status=status, reason=reason, **changes)
        return row.id


def _customer(it: orders.Customer) -> Customer:
    return Customer(50, "normal", it.total_orders, it.total_refunds, it.is_blocked)


def found(run: Run) -> set[tuple[str, str]]:
    return {(finding.kind, finding.what) for finding in run.verdict().findings}


def test_a_run_in_which_all_went_well_has_no_findings():
    assert EXPECTED.told["refunded"]
    assert EXPECTED.told["cancelled"]
    assert any(customer.is_blocked for customer in EXPECTED.customers.values())
    verdict = Run().verdict()
    assert verdict.findings == ()
    assert (verdict.lost, verdict.unexplained) == (0, 0)


# What goes wrong, and what it is called -------------------------------------------------------------------------------


def _posted(run: Run) -> Posted:
    return run.ledger.posted[0]


def not_stored(run: Run) -> None:
    del run.inputs[_posted(run).digest]


def no_outcome(run: Run) -> None:
    run.outcomes.pop()


def stored_twice(run: Run) -> None:
    run.inputs[_posted(run).digest] = ["a", "b"]
    run.outcomes |= {"a", "b"}


def stored_from_nowhere(run: Run) -> None:
    run.inputs[b"?"] = ["c"]
    run.outcomes.add("c")


def new_twice(run: Run) -> None:
    _posted(run).answers.append(_posted(run).answers[1])


def a_repeat_at_first(run: Run) -> None:
    _posted(run).answers[:] = [Answer(1, 200)]


def an_error_of_ours(run: Run) -> None:
    _posted(run).answers.insert(0, Answer(1, 500))


def never_taken(run: Run) -> None:
    version = replace(ACCEPTED[0], number=9)
    run.ledger.posted.append(Posted(version, b"!", [Answer(1, 503)]))


def a_customer_who_lost_an_order(run: Run) -> None:
    number = next(iter(run.customers))
    run.customers[number] = replace(run.customers[number], total_orders=99)


def an_event_for_nobody(run: Run) -> None:
    run.events["new"] = "score_updated"


def made_twice(run: Run) -> None:
    source = next(source for source, type_ in run.events.items() if type_ == "score_updated")
    run.deliver(RETRIED, "score_updated", 0, source)


def lost_on_the_way(run: Run) -> None:
    run.ledger.arrivals.pop(run.arrival(RETRIED))


def refused_by_the_receiver(run: Run) -> None:
    run.spoil(run.arrival(LOGGED), status=503)


def left_hanging(run: Run) -> None:
    run.settle(RETRIED, "parked", "the endpoint is down")


def given_up(run: Run) -> None:
    run.settle(RETRIED, "exhausted")


def cancelled(run: Run) -> None:
    run.settle(LOGGED, "cancelled", "by hand")


def expired_in_peace(run: Run) -> None:
    run.settle(LOGGED, "suppressed", "expired")


def a_fifth_attempt(run: Run) -> None:
    row = next(iter(run.deliveries.values()))
    run.deliveries[row.id] = replace(row, attempts=5, max_attempts=4)


def failed_in_peace(run: Run) -> None:
    id_ = run.settle(LOGGED, "failed")
    run.failures.append(Attempt(id_, 400, 401))


def forged(run: Run) -> None:
    run.ledger.arrivals.append(replace(run.ledger.arrivals[0], verified=False, status=401))


def from_elsewhere(run: Run) -> None:
    run.ledger.arrivals.append(replace(run.ledger.arrivals[0], delivery="nobody's", sequence=4711))


def another_body_the_second_time(run: Run) -> None:
    run.ledger.arrivals.append(replace(run.ledger.arrivals[0], digest=b"other"))


def another_body_than_was_kept(run: Run) -> None:
    run.spoil(0, digest=b"other")


def sent_all_the_same(run: Run) -> None:
    row = run.deliveries[run.ledger.arrivals[0].delivery]
    run.deliveries[row.id] = replace(row, status="suppressed", reason="duplicate")


def told_twice_by_the_rule(run: Run) -> None:
    order = run.ledger.arrivals[run.arrival("/placed")].order_id
    run.deliver("/placed", "automation_triggered", 0, "again", order=order)


def not_told_by_the_rule(run: Run) -> None:
    arrival = run.ledger.arrivals.pop(run.arrival("/refunded"))
    del run.deliveries[arrival.delivery]


def not_told_of_the_block(run: Run) -> None:
    arrival = run.ledger.arrivals.pop(run.arrival(RETRIED, "customer_blocked"))
    row = run.deliveries.pop(arrival.delivery)
    del run.events[row.source_id]


def blocked_twice(run: Run) -> None:
    number = next(number for number, it in EXPECTED.customers.items() if it.is_blocked)
    run._publish("customer_blocked", number)


def an_old_state_at_last(run: Run) -> None:
    place = max(n for n, it in enumerate(run.ledger.arrivals) if it.path == RETRIED)
    run.spoil(place, tells=dict(run.ledger.arrivals[place].tells) | {"trust_score": 1})


def too_slow_to_stop(run: Run) -> None:
    run.ledger.drains.append(Drain("scorer-1", 30.5, 0))


def stopped_with_a_fault(run: Run) -> None:
    run.ledger.drains.append(Drain("scorer-1", 1, 1))


def ended_by_itself(run: Run) -> None:
    run.ledger.ended.append("api-1 with exit code 1")


def unbalanced(run: Run) -> None:
    run.unbalanced.append("queue scorer.facts.dead: 1, should be 0")


PLANTED: tuple[tuple[Callable[[Run], None], str, str], ...] = (
    (not_stored, "lost", "accepted and not stored"),
    (no_outcome, "lost", "stored and without an outcome"),
    (stored_twice, "unexplained", "stored twice"),
    (stored_from_nowhere, "unexplained", "stored and never posted"),
    (new_twice, "unexplained", "accepted twice as new"),
    (a_repeat_at_first, "unexplained", "called a repeat though it came for the first time"),
    (an_error_of_ours, "unexplained", "answered oddly"),
    (never_taken, "unexplained", "never accepted"),
    (a_customer_who_lost_an_order, "lost", "a customer is not what its orders make of it"),
    (an_event_for_nobody, "lost", "an event without its delivery"),
    (made_twice, "unexplained", "two deliveries of one event"),
    (lost_on_the_way, "lost", "delivered and never received"),
    (refused_by_the_receiver, "lost", "delivered and never received"),
    (left_hanging, "lost", "not finished"),
    (given_up, "unexplained", "not delivered"),
    (cancelled, "unexplained", "not delivered"),
    (expired_in_peace, "unexplained", "not delivered"),
    (a_fifth_attempt, "unexplained", "attempts beyond the last"),
    (failed_in_peace, "unexplained", "an attempt failed while the receiver was well"),
    (forged, "unexplained", "a signature that does not verify"),
    (from_elsewhere, "unexplained", "received and unknown"),
    (another_body_the_second_time, "unexplained", "different bodies under one id"),
    (another_body_than_was_kept, "unexplained", "another body than was kept"),
    (sent_all_the_same, "unexplained", "sent though it was kept back"),
    (told_twice_by_the_rule, "unexplained", "placed, and the rule told too often"),
    (not_told_by_the_rule, "lost", "refunded, and the rule told nobody"),
    (not_told_of_the_block, "lost", "blocked, and the endpoint was not told"),
    (blocked_twice, "unexplained", f"{RETRIED} was told too often of a block"),
    (an_old_state_at_last, "lost", "the last webhook does not tell the last state"),
    (too_slow_to_stop, "unexplained", "a process that was asked to stop outstayed its grace"),
    (stopped_with_a_fault, "unexplained", "a process that was asked to stop ended with an exit code"),
    (ended_by_itself, "unexplained", "a process ended by itself"),
    (unbalanced, "unexplained", "the books do not balance"),
)


@pytest.mark.parametrize(("plant", "kind", "what"), PLANTED, ids=[plant.__name__ for plant, _, _ in PLANTED])
def test_what_is_planted_is_found(plant: Callable[[Run], None], kind: str, what: str):
    run = Run()
    plant(run)
    assert (kind, what) in found(run)


@few
@given(st.data())
def test_no_delivery_can_vanish_on_its_way_unnoticed(data: st.DataObject):
    run = Run()
    gone = run.ledger.arrivals.pop(data.draw(st.integers(0, len(run.ledger.arrivals) - 1)))
    (finding,) = (it for it in run.verdict().findings if it.what == "delivered and never received")
    assert finding.examples == (gone.delivery,)


# What may be ----------------------------------------------------------------------------------------------------------


def test_a_delivery_may_come_twice_under_its_id_and_late():
    run = Run()
    first = run.ledger.arrivals[0]
    run.ledger.arrivals += [replace(first, at=200), replace(first, at=201)]
    assert run.verdict().findings == ()
    assert (run.verdict().explained.repeated, run.verdict().explained.overtaken) == (2, 0)
    run.ledger.arrivals.append(run.ledger.arrivals.pop(run.arrival(RETRIED)))
    assert run.verdict().findings == ()


def test_what_was_overtaken_is_counted():
    run = Run()
    place = run.arrival(RETRIED, "customer_blocked")  # score_updated of the same customer follows
    run.ledger.arrivals.append(run.ledger.arrivals.pop(place))
    assert run.verdict().explained.overtaken == 1
    assert run.verdict().findings == ()


def test_what_is_sent_once_may_fail_in_an_outage_and_not_after_it():
    run = Run()
    id_ = run.settle(LOGGED, "failed")
    run.failures.append(Attempt(id_, OUTAGE.end - 1, OUTAGE.end + 4))
    assert run.verdict().findings == ()
    assert run.verdict().explained.failed == 1
    run.failures.append(Attempt(id_, OUTAGE.end + audit.LATE + 1, OUTAGE.end + audit.LATE + 2))
    assert run.verdict().unexplained == 1


def test_what_is_sent_once_may_expire_only_where_something_was_broken_meanwhile():
    run = Run()
    run.settle(LOGGED, "suppressed", "expired", recorded_at=510, finished_at=820)
    assert run.verdict().findings == ()
    assert run.verdict().explained.expired == 1


def test_many_of_a_kind_are_counted_and_some_are_named():
    run = Run()
    run.ledger.arrivals.clear()
    (finding,) = (it for it in run.verdict().findings if it.what == "delivered and never received")
    assert finding.count == len(run.deliveries)
    assert len(finding.examples) == audit.SHOWN
    assert f"and {finding.count - audit.SHOWN} more" in str(finding)


def test_the_ledger_is_kept_as_one_json_object_a_line():
    run = Run()
    kinds = Counter(json.loads(line)["kind"] for line in ledger.lines(run.ledger))
    assert kinds == {"posted": len(ACCEPTED), "arrival": len(run.ledger.arrivals), "window": 1}


# The plan -------------------------------------------------------------------------------------------------------------

seeds = st.integers(0, 2**32)


@few
@given(seeds, st.integers(20, 150), st.floats(60, 900))
def test_a_plan_follows_from_its_seed_and_has_as_many_kills_as_were_asked_for(seed: int, kills: int, seconds: float):
    plan = chaos.plan(seed, kills=kills, seconds=seconds)
    assert plan == chaos.plan(seed, kills=kills, seconds=seconds)
    assert sum(fault.kills for fault in plan) == kills
    assert [fault.at for fault in plan] == sorted(fault.at for fault in plan)
    assert all(0 < fault.at < seconds for fault in plan)


@few
@given(seeds)
def test_a_usual_run_has_every_fault_and_spares_no_process(seed: int):
    plan = chaos.plan(seed, kills=100, seconds=480)
    assert {fault.kind for fault in plan} == set(chaos.KINDS)
    killed = Counter(fault.target for fault in plan if fault.kind == "kill")
    assert killed.keys() == set(chaos.REPLICAS)
    assert max(killed.values()) - min(killed.values()) <= 1
    assert {fault.target for fault in plan if fault.kind == "kill_both"} == set(chaos.SERVICES)
    assert {fault.target for fault in plan if fault.kind == "term"} == set(chaos.REPLICAS)
    assert any(fault.target.startswith("dispatcher") for fault in plan if fault.kind == "freeze")


@few
@given(seeds, st.sets(st.sampled_from(chaos.KINDS), min_size=1))
def test_nothing_happens_that_was_not_asked_for(seed: int, only: set[chaos.Kind]):
    assert {fault.kind for fault in chaos.plan(seed, kills=20, seconds=600, only=only)} == only


def test_two_seeds_are_two_plans():
    assert chaos.plan(1, kills=20, seconds=100) != chaos.plan(2, kills=20, seconds=100)


# The shop -------------------------------------------------------------------------------------------------------------


@few
@given(seeds)
def test_a_shop_follows_from_its_seed_and_its_orders_only_grow(seed: int):
    made = orders.orders(seed, rate=20, seconds=60)
    assert made == orders.orders(seed, rate=20, seconds=60)
    for versions in made:
        assert [version.number for version in versions] == list(range(1, len(versions) + 1))
        assert [version.due for version in versions] == sorted(version.due for version in versions)
        assert len({version.customer for version in versions}) == 1
        assert all(sum(version.refunds) <= version.total for version in versions)
        assert all(a.refunds == b.refunds[: len(a.refunds)] for a in versions for b in versions if a.number < b.number)


@few
@given(st.permutations(ACCEPTED))
def test_what_must_come_of_the_orders_does_not_depend_on_when_each_was_accepted(accepted: list[Version]):
    assert orders.expected(accepted) == EXPECTED


def test_no_two_webhooks_have_the_same_body():
    bodies = {orders.body(version, epoch=EPOCH) for version in ACCEPTED}
    assert len(bodies) == len(ACCEPTED)


# The proxy ------------------------------------------------------------------------------------------------------------


@asynccontextmanager
async def through() -> AsyncIterator[tuple[proxy.Proxy, int]]:
    """A proxy to a server that says again what it hears, and the port of the proxy."""

    async def say_again(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        while data := await reader.read(1000):
            writer.write(data)
        writer.close()

    server = await asyncio.start_server(say_again, "127.0.0.1", 0)
    port = _free_port()
    async with server, proxy.running(port, server.sockets[0].getsockname()[1]) as passing:
        yield passing, port


def _free_port() -> int:
    """Another each time."""
    return next(_ports)


_ports: Iterator[int] = (port for port in reversed(CANDIDATES) if is_free(port))


async def _echo(port: int, text: bytes) -> bytes:
    reader, writer = await asyncio.open_connection("127.0.0.1", port)
    writer.write(text)
    try:
        return await reader.read(1000)
    finally:
        writer.close()


async def test_a_proxy_passes_on_what_comes():
    async with through() as (_, port):
        assert await _echo(port, b"hello") == b"hello"


async def test_a_slow_proxy_holds_up_what_passes_both_ways():
    loop = asyncio.get_running_loop()
    async with through() as (passing, port):
        passing.latency = 0.05
        began = loop.time()
        assert await _echo(port, b"hello") == b"hello"
        assert loop.time() - began >= 0.1


async def test_a_silent_proxy_keeps_what_comes_until_it_is_let_go():
    async with through() as (passing, port):
        passing.hold()
        asking = asyncio.create_task(_echo(port, b"hello"))
        with pytest.raises(TimeoutError):
            await asyncio.wait_for(asyncio.shield(asking), 0.05)
        passing.let_go()
        assert await asking == b"hello"


async def test_a_proxy_that_refuses_breaks_what_is_open_and_lets_nothing_in_until_it_accepts_again():
    async with through() as (passing, port):
        reader, writer = await asyncio.open_connection("127.0.0.1", port)
        writer.write(b"hello")
        assert await reader.read(1000) == b"hello"
        await passing.refuse()
        assert await _ends(reader)
        writer.close()
        with pytest.raises(ConnectionError):
            await asyncio.open_connection("127.0.0.1", port)
        await passing.accept()
        assert await _echo(port, b"again") == b"again"


async def test_a_proxy_without_its_server_ends_connections():
    port = _free_port()
    async with proxy.running(port, 1):
        reader, writer = await asyncio.open_connection("127.0.0.1", port)
        assert await _ends(reader)
        writer.close()


async def _ends(reader: asyncio.StreamReader) -> bool:
    with suppress(ConnectionError):
        return not await reader.read(1000)
    return True
