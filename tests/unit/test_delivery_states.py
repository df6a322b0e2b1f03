"""What an answer means, what state follows, when the next attempt is due. Pure, with all the time in the world."""

from dataclasses import dataclass, replace
from datetime import UTC, datetime, timedelta
from uuid import UUID, uuid4

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from hypothesis.stateful import RuleBasedStateMachine, invariant, precondition, rule

from dispatcher import breaker as breakers
from dispatcher import deliveries, recorder
from dispatcher.breaker import HEALTHY, Breaker
from dispatcher.classify import Answer, Delivered, GiveUp, Phase, Retry, Verdict, classify
from dispatcher.deliveries import Delivery, Rules, Step
from dispatcher.endpoints import Mode, Target
from dispatcher.recorder import Record
from dispatcher.store import Recorded

NOW = datetime(2026, 6, 5, 14, 23, tzinfo=UTC)
RULES = Rules()
DELAYS = RULES.delays
OPEN = Breaker(failures=5, failing=(uuid4(), uuid4()), opened_at=NOW, probe_at=NOW + timedelta(minutes=1))
TARGET = Target(uuid4(), "https://receiver.example/", 10, "secret", {})


def delivery(mode: Mode = "retry", *, attempts: int = 0, endpoint_id: UUID | None = None) -> Delivery:
    return Delivery(
        recorded_at=NOW,
        id=uuid4(),
        store_id=uuid4(),
        target_id=endpoint_id or TARGET.id,
        endpoint_id=endpoint_id,
        rule_id=None,
        event="score_updated",
        source_id=uuid4(),
        shape="trustlens",
        email_hash="ab" * 32,
        sequence=1,
        mode=mode,
        max_attempts=deliveries.max_attempts(mode, DELAYS),
        attempts=attempts,
    )


@pytest.mark.parametrize(
    ("status", "verdict"),
    [
        (200, Delivered()),
        (201, Delivered()),
        (204, Delivered()),
        (299, Delivered()),
        (199, Retry()),
        (300, Retry()),
        (301, Retry()),
        (304, Retry()),
        (307, Retry()),
        (400, Retry()),
        (401, Retry()),
        (404, Retry()),
        (409, Retry()),
        (429, Retry()),
        (500, Retry()),
        (503, Retry()),
        (599, Retry()),
        (410, GiveUp("gone", gone=True)),
    ],
)
def test_only_2xx_is_delivered_and_only_410_is_the_end(status: int, verdict: Verdict) -> None:
    assert classify(Answer(1, status_code=status), now=NOW) == verdict


@pytest.mark.parametrize("phase", ["dns", "connect", "tls", "write", "first_byte", "body"])
@pytest.mark.parametrize("status", [None, 200, 410])
def test_a_request_that_broke_off_is_tried_again_whatever_status_it_had(phase: Phase, status: int | None) -> None:
    assert classify(Answer(1, status_code=status, phase=phase, error="broke off"), now=NOW) == Retry()


@given(st.one_of(st.none(), st.integers(100, 599)), st.booleans())
def test_an_answer_has_a_complaint_exactly_when_it_is_not_delivered(status: int | None, broke: bool) -> None:
    answer = Answer(1, status_code=status, phase="body" if broke else None)
    assert (answer.complaint is None) == (classify(answer, now=NOW) == Delivered())


def test_a_settings_webhook_fails_at_its_first_failure() -> None:
    assert after(delivery("fire_and_log"), Retry()) == Step("failed")


def test_a_retried_delivery_has_four_attempts_with_60_120_and_240_seconds_between() -> None:
    steps = [after(delivery(attempts=n), Retry()) for n in range(4)]
    assert steps == [
        Step("retrying", wait=timedelta(seconds=60)),
        Step("retrying", wait=timedelta(seconds=120)),
        Step("retrying", wait=timedelta(seconds=240)),
        Step("exhausted"),
    ]


@pytest.mark.parametrize("mode", ["fire_and_log", "retry"])
def test_a_2xx_ends_every_delivery(mode: Mode) -> None:
    assert after(delivery(mode), Delivered()) == Step("delivered")


def test_410_ends_a_rules_own_delivery_at_once() -> None:
    assert after(delivery(), GiveUp("gone", gone=True)) == Step("exhausted", "gone")


def test_410_also_ends_the_endpoint_that_promises_retries() -> None:
    endpoint_id = uuid4()
    assert after(delivery(endpoint_id=endpoint_id), GiveUp("gone", gone=True)).disables
    assert after(delivery("fire_and_log", endpoint_id=endpoint_id), GiveUp("gone", gone=True)) == Step("failed", "gone")


def after(of: Delivery, verdict: Verdict, *, before: Breaker = HEALTHY, breaker: Breaker = HEALTHY) -> Step:
    return deliveries.after(of, verdict, rules=RULES, jitter=0, now=NOW, before=before, breaker=breaker)


@given(
    attempts=st.integers(0, 9),
    delays=st.lists(st.floats(0, 1000), min_size=1, max_size=3),
    verdict=st.sampled_from([Delivered(), Retry(), GiveUp("gone")]),
    mode=st.sampled_from(["fire_and_log", "retry"]),
    jitter=st.floats(0, 1),
)
def test_a_delivery_waits_exactly_while_it_is_retrying(
    attempts: int, delays: list[float], verdict: Verdict, mode: Mode, jitter: float
) -> None:
    step = deliveries.after(
        delivery(mode, attempts=attempts), verdict, rules=Rules(delays=delays), jitter=jitter, now=NOW
    )
    assert (step.wait is not None) == (step.status == "retrying")
    assert step.status in {"delivered", "failed", "retrying", "exhausted"}
    assert not (mode == "fire_and_log" and step.status in {"retrying", "exhausted"})
    assert not (attempts + 1 >= deliveries.max_attempts(mode, DELAYS) and step.status == "retrying")


RETRY_AFTERS = {
    None: 0,
    "0": 0,
    "30": 30,
    "90": 90,
    "600": 600,
    " 90 ": 90,
    "3600": 3600,
    "999999999999999": 86400,
    "Fri, 05 Jun 2026 14:28:00 GMT": 300,
    "Friday, 05-Jun-26 14:28:00 GMT": 300,
    "Fri Jun  5 14:28:00 2026": 300,
    "Fri, 05 Jun 2026 14:22:00 GMT": 0,
    "Fri, 05 Jun 2027 14:22:00 GMT": 86400,
    "1.5": 0,
    "-5": 0,
    "soon": 0,
    "": 0,
    "\u0663\u0660": 0,
    "Fri, 05 Jun 99999999999999 14:28:00 GMT": 0,
    "Fri, 05 Jun 2026 14:28:00 +99999999999999999999": 0,
}
"""What a header asks for, in seconds; what it cannot mean asks for nothing. The longest is a day."""
STATUSES = {200: "delivered", 204: "delivered", 301: "retry", 400: "retry", 404: "retry", 410: "gone", 429: "retry"}
STATUSES |= {500: "retry", 502: "retry", 503: "retry", 599: "retry"}


@pytest.mark.parametrize("attempts", range(4))
@pytest.mark.parametrize("told", RETRY_AFTERS)
@pytest.mark.parametrize("status", STATUSES)
def test_status_and_retry_after_and_attempt_decide_the_next_step(status: int, told: str | None, attempts: int) -> None:
    answer = Answer(1, status_code=status, retry_after=told)
    step = after(delivery(attempts=attempts), classify(answer, now=NOW))
    match STATUSES[status], attempts:
        case "delivered", _:
            assert step == Step("delivered")
        case "gone", _:
            assert step == Step("exhausted", "gone")
        case _, 3:
            assert step == Step("exhausted")
        case _:
            wait = max(DELAYS[attempts], RETRY_AFTERS[told])
            assert step == Step("retrying", wait=timedelta(seconds=wait))


@given(st.one_of(st.text(max_size=100), st.from_regex(r"\A[A-Z][a-z]{2}, \d+ [A-Z][a-z]{2} \d+ \d+:\d+:\d+ .{0,9}\Z")))
def test_whatever_a_receiver_writes_there_the_wait_is_between_none_and_a_day(told: str) -> None:
    verdict = classify(Answer(1, status_code=503, retry_after=told), now=NOW)
    assert isinstance(verdict, Retry)
    assert timedelta(0) <= verdict.floor <= timedelta(days=1)


@pytest.mark.parametrize("status", [400, 422, 501])
def test_a_status_that_the_owner_calls_permanent_ends_the_delivery_and_says_so(status: int) -> None:
    verdict = classify(Answer(1, status_code=status), now=NOW, permanent={400, 422, 501})
    assert verdict == GiveUp(f"permanent: {status}")
    assert after(delivery(), verdict) == Step("exhausted", f"permanent: {status}")
    assert after(delivery("fire_and_log"), verdict) == Step("failed", f"permanent: {status}")


def test_an_answer_that_is_final_by_itself_ends_the_delivery_in_its_own_words() -> None:
    answer = Answer(1, status_code=200, final="the order is cancelled already")
    assert classify(answer, now=NOW) == GiveUp("the order is cancelled already")


@pytest.mark.parametrize("attempts", range(3))
def test_a_failure_that_opens_the_breaker_parks_what_has_an_attempt_left(attempts: int) -> None:
    step = after(delivery(attempts=attempts), Retry(), breaker=OPEN)
    wait = timedelta(seconds=DELAYS[attempts])
    assert step == Step("parked", "the endpoint is down", wait=wait, until=NOW + timedelta(hours=72))


def test_the_last_promised_attempt_ends_a_delivery_even_if_it_opens_the_breaker() -> None:
    assert after(delivery(attempts=3), Retry(), breaker=OPEN) == Step("exhausted")


@pytest.mark.parametrize("attempts", [0, 3, 9])
def test_an_attempt_made_while_the_endpoint_was_down_spends_none_of_the_promised(attempts: int) -> None:
    step = after(delivery(attempts=attempts), Retry(timedelta(seconds=7)), before=OPEN, breaker=OPEN)
    assert (step.status, step.uncounted, step.wait) == ("parked", True, timedelta(seconds=7))


def test_one_that_waited_as_long_as_an_outage_may_last_is_given_up() -> None:
    waiting = replace(delivery(), parked_until=NOW)
    assert after(waiting, Retry(), before=OPEN, breaker=OPEN) == Step("exhausted", "expired", uncounted=True)
    assert deliveries.parked(waiting, now=NOW, rules=RULES) == Step("exhausted", "expired")
    later = deliveries.parked(replace(waiting, parked_until=NOW + timedelta(seconds=1)), now=NOW, rules=RULES)
    assert (later.status, later.until) == ("parked", NOW + timedelta(seconds=1))


def test_fire_and_log_is_never_parked() -> None:
    assert after(delivery("fire_and_log"), Retry(), before=OPEN, breaker=OPEN) == Step("failed")


def test_what_somebody_asked_for_is_sent_however_old_it_is() -> None:
    asked = replace(delivery("fire_and_log"), asked=True)
    now = NOW + timedelta(days=9)
    assert deliveries.suppressed(asked, TARGET, now=now, expire_after=timedelta(minutes=5)) is None


@pytest.mark.parametrize(
    ("target", "mode", "age", "reason"),
    [
        (TARGET, "fire_and_log", 299, None),
        (TARGET, "fire_and_log", 301, "expired"),
        (TARGET, "retry", 301, None),
        (None, "retry", 0, "no_target"),
        (Target(TARGET.id, TARGET.url, 10, "s", {}, enabled=False), "retry", 0, "disabled"),
        (Target(TARGET.id, TARGET.url, 10, "s", {}, enabled=False), "fire_and_log", 301, "disabled"),
    ],
)
def test_a_delivery_that_is_not_sent_says_why(target: Target | None, mode: Mode, age: int, reason: str | None) -> None:
    now = NOW + timedelta(seconds=age)
    step = deliveries.suppressed(delivery(mode), target, now=now, expire_after=timedelta(seconds=300))
    assert step == (Step("suppressed", reason) if reason else None)


def test_what_a_target_hides_is_not_in_its_repr() -> None:
    assert "secret-value" not in repr(
        Target(TARGET.id, TARGET.url, 10, "secret-value", {"Authorization": "secret-value"})
    )


# The machine ----------------------------------------------------------------------------------------------------------

LEASE = timedelta(seconds=60)


@dataclass
class Row:
    """A delivery as the database has it, and beside it what an honest witness wrote down."""

    delivery: Delivery
    due_at: datetime | None
    status: deliveries.Status = "pending"
    reason: str | None = None
    lease: int = 0
    leased_until: datetime | None = None
    not_before: datetime | None = None
    """What the last recorded answer promised or told."""
    recorded: int = 0
    uncounted: int = 0


@dataclass(frozen=True)
class Flight:
    row: Row
    lease: int
    at: datetime
    delivery: Delivery
    probe: bool


class Machine(RuleBasedStateMachine):
    """One endpoint, any number of dispatchers, and all that may go wrong with them.

    The pure functions decide; this plays the database and the dispatchers around them, crashing wherever they wait:
    before sending (a claim without an answer), after sending (an answer that nobody records), in the commit (the
    answer is recorded by nobody, or late, under a lease that another has taken over meanwhile). Leases go by the
    database's own clock, which never steps; everything else by one that does.
    """

    def __init__(self) -> None:
        super().__init__()
        self.now = NOW
        self.database_now = NOW
        self.breaker = HEALTHY
        self.rows: list[Row] = []
        self.flights: list[Flight] = []
        self.leases = 0
        self.slow_until: datetime | None = None

    # What happens in the world

    @rule(mode=st.sampled_from(["retry", "retry", "fire_and_log"]))
    def an_event(self, mode: Mode) -> None:
        made = replace(delivery(mode, endpoint_id=TARGET.id), recorded_at=self.now)
        self.rows.append(Row(made, due_at=self.now))

    @rule()
    def an_outage_begins(self) -> None:
        """So that not only lucky sequences see one: five deliveries fail, each at its first attempt."""
        if not self.breaker.is_slow(self.now) and not self.breaker.is_open:
            for _ in range(breakers.OPENS_AT):
                self.an_event("retry")
                self._fly(self.rows[-1], probe=False)
                self._record([(self.flights.pop(), Answer(1, status_code=500))])
            assert self.breaker.is_open

    @rule(seconds=st.integers(0, 400))
    def time_passes(self, seconds: int) -> None:
        self.now += timedelta(seconds=seconds)
        self.database_now += timedelta(seconds=seconds)

    @rule(seconds=st.integers(-120, 120))
    def the_clock_is_set(self, seconds: int) -> None:
        self.now += timedelta(seconds=seconds)

    @precondition(lambda self: self.flights)
    @rule(data=st.data())
    def a_dispatcher_dies(self, data: st.DataObject) -> None:
        self.flights.remove(data.draw(st.sampled_from(self.flights)))

    @precondition(lambda self: any(row.status in {"parked", "retrying", "exhausted", "failed"} for row in self.rows))
    @rule(data=st.data())
    def somebody_asks_for_it_again(self, data: st.DataObject) -> None:
        row = data.draw(st.sampled_from(self.rows))
        if row.status == "pending" or self._held(row):
            return
        most = max(row.delivery.attempts + 1, row.delivery.max_attempts)
        row.delivery = replace(row.delivery, asked=True, max_attempts=most, parked_until=None)
        row.status, row.reason, row.due_at, row.lease, row.not_before = "pending", None, self.now, 0, None

    # What dispatchers do

    def _held(self, row: Row) -> bool:
        return row.leased_until is not None and row.leased_until >= self.database_now

    @rule()
    def a_dispatcher_looks(self) -> None:
        if self.breaker.is_open:
            self._park()
            self._probe()
        elif any(row.status == "parked" for row in self.rows):
            self._let_out()

    @rule(data=st.data())
    def a_dispatcher_claims(self, data: st.DataObject) -> None:
        due = [row for row in self.rows if self._is_due(row)]
        if due and not self.breaker.is_slow(self.now):
            self._fly(data.draw(st.sampled_from(due)), probe=False)

    def _is_due(self, row: Row) -> bool:
        sent_now = row.delivery.mode == "fire_and_log" or row.delivery.asked or not self.breaker.is_open
        ready = row.due_at is not None and row.due_at <= self.now
        return row.status in {"pending", "retrying"} and ready and sent_now and not self._held(row)

    def _park(self) -> None:
        for row in self.rows:
            waits = row.status in {"pending", "retrying"} and row.delivery.mode == "retry" and not row.delivery.asked
            if waits and not self._held(row):
                until = row.delivery.parked_until or self.now + RULES.park_for
                row.delivery = replace(row.delivery, parked_until=until)
                row.status, row.lease, row.leased_until = "parked", 0, None

    def _probe(self) -> None:
        if not self.breaker.probe_due(self.now):
            return
        parked = [row for row in self.rows if row.status == "parked" and not self._held(row)]
        for row in parked:
            if row.delivery.parked_until and row.delivery.parked_until <= self.now:
                row.status, row.reason, row.due_at = "exhausted", "expired", None
        due = [row for row in parked if row.due_at and row.due_at <= self.now]
        if due:
            self._fly(min(due, key=lambda row: row.due_at or NOW), probe=True)
            self.breaker = breakers.probing(self.breaker, now=self.now)

    def _let_out(self) -> None:
        for row in self.rows:
            if row.status == "parked":
                assert row.due_at
                row.status = "retrying" if row.delivery.attempts else "pending"
                row.due_at = max(row.due_at, self.now)
                row.delivery = replace(row.delivery, parked_until=None)

    def _fly(self, row: Row, *, probe: bool) -> None:
        self.leases += 1
        row.lease, row.leased_until = self.leases, self.database_now + LEASE
        assert row.not_before is None or self.now >= row.not_before, "sent earlier than promised or told"
        assert not self.breaker.is_slow(self.now), "sent though the endpoint wants to be left alone"
        self.flights.append(Flight(row, self.leases, self.now, row.delivery, probe))

    @precondition(lambda self: self.flights)
    @rule(
        data=st.data(),
        status=st.sampled_from([200, 404, 429, 500, 500, 500, 500, 503, None]),
        told=st.sampled_from([None, "0", "90", "600"]),
    )
    def answers_are_recorded(self, data: st.DataObject, status: int | None, told: str | None) -> None:
        """Some that wait together, in one commit; it may be late, and its lease another's."""
        count = data.draw(st.integers(1, min(3, len(self.flights))))
        group, self.flights = self.flights[:count], self.flights[count:]
        answer = Answer(1, status, None if status else "connect", retry_after=told if status else None)
        self._record([(flight, answer) for flight in group])

    def _record(self, group: list[tuple[Flight, Answer]]) -> None:
        records = [
            Record(flight.delivery, UUID(int=flight.lease), flight.at, answer=answer, probe=flight.probe)
            for flight, answer in group
        ]
        before = self.breaker
        recorded, after_all = recorder.decide(records, {TARGET.id: before}, RULES, self.now)
        self.breaker = after_all[TARGET.id]
        rows = {flight.lease: flight.row for flight, _ in group}
        for one in recorded:
            row = rows[one.lease.int]
            if row.lease == one.lease.int:
                self._move(row, one.step)
                row.not_before = self.now + timedelta(seconds=self._wait(row, one))
        if self.breaker.is_open and not before.is_open:
            self._park()
        elif not self.breaker.is_open:
            self._let_out()

    def _move(self, row: Row, step: Step) -> None:
        assert row.status not in {"delivered", "failed", "exhausted"}, "a finished delivery moved"
        made = row.delivery
        row.recorded += 1
        row.uncounted += step.uncounted
        row.delivery = replace(
            made,
            attempts=made.attempts + 1,
            max_attempts=made.max_attempts + step.uncounted,
            parked_until=step.until,
        )
        row.status, row.reason, row.lease, row.leased_until = step.status, step.reason, 0, None
        row.due_at = None if step.wait is None else self.now + step.wait

    def _wait(self, row: Row, one: Recorded) -> float:
        """What the guide promises after this attempt, or its answer told, whichever is longer."""
        told = RETRY_AFTERS[one.answer.retry_after] if one.answer else 0
        counted = row.recorded - row.uncounted
        promised = not row.delivery.asked and not one.step.uncounted and counted <= len(DELAYS)
        return max(told, DELAYS[counted - 1] if promised else 0)

    # What always holds

    @invariant()
    def no_more_attempts_count_than_were_promised(self) -> None:
        for row in self.rows:
            if not row.delivery.asked:
                promised = deliveries.max_attempts(row.delivery.mode, DELAYS)
                assert row.recorded - row.uncounted <= promised
            assert row.delivery.attempts <= row.delivery.max_attempts

    @invariant()
    def what_is_unfinished_can_be_found_again(self) -> None:
        for row in self.rows:
            assert (row.due_at is not None) == (row.status in deliveries.UNFINISHED)
            assert row.status != "parked" or row.delivery.parked_until is not None
            assert row.delivery.mode == "retry" or row.status not in {"parked", "retrying", "exhausted"}

    def teardown(self) -> None:
        """The endpoint is well again, and dispatchers live: everything ends as delivered, or as it was promised to."""
        self.flights.clear()
        for _ in range(200 + 4 * len(self.rows)):
            self.time_passes(30)
            self.a_dispatcher_looks()
            for row in self.rows:
                if self._is_due(row) and not self.breaker.is_slow(self.now):
                    self._fly(row, probe=False)
            flights, self.flights = self.flights, []
            for flight in flights:
                self._record([(flight, Answer(1, status_code=200))])
        for row in self.rows:
            assert row.status in {"delivered", "failed", "exhausted"}, "lost"
            if row.status == "exhausted":
                assert row.reason == "expired" or row.recorded - row.uncounted >= len(DELAYS) + 1


TestMachine = Machine.TestCase
TestMachine.settings = settings(max_examples=150, stateful_step_count=50, deadline=None)
