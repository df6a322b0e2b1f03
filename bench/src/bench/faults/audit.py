"""The ledger against the database: what was lost, and what nothing explains.

Lost: accepted, or promised, and nothing came of it. Unexplained: anything else that should not be, where no fault of
the run accounts for it. Every check names what it found; a run without findings is a good one.
"""

from collections import Counter, defaultdict
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Literal

from bench.faults.ledger import ACCEPTED, Answer, Arrival, Ledger, Posted, Window
from bench.faults.orders import Expected, What, expected

SHOWN = 10
"""Of the ids of a finding, how many are kept."""
GRACE = 30.0
"""Seconds that a stopping process has, as Kubernetes gives them by default."""
EXPECTED_ANSWERS = frozenset({200, 202, 503, None})
"""What a store may be told of a webhook that is right; None: nothing."""
LATE = 6.0
"""Seconds after its end in which an outage still explains a failure: a request that was under way times out in 5."""


@dataclass(frozen=True, slots=True)
class Delivery:
    """A row of the database."""

    id: str
    path: str
    """Of the receiver."""
    source_id: str
    event: str
    mode: Literal["fire_and_log", "retry"]
    status: str
    reason: str | None
    attempts: int
    max_attempts: int
    recorded_at: float
    finished_at: float | None
    digest: bytes | None
    """sha256 of its frozen body."""


@dataclass(frozen=True, slots=True)
class Attempt:
    """A row of the database that tells of a failure."""

    delivery: str
    begin: float
    end: float


@dataclass(frozen=True, slots=True)
class Customer:
    """What of a row of the database webhooks tell too."""

    trust_score: int
    segment: str
    total_orders: int
    total_refunds: int
    is_blocked: bool


@dataclass(frozen=True, slots=True)
class Told:
    """What the system itself says at the end."""

    inputs: Mapping[bytes, Sequence[str]]
    """Ids of what it stored, by the sha256 of the body."""
    outcomes: frozenset[str]
    """Ids of inputs that the scorer settled."""
    events: Mapping[str, str]
    """Id → type, of customers' events."""
    deliveries: Mapping[str, Delivery]
    failures: Sequence[Attempt]
    customers: Mapping[int, Customer]
    """By our number."""
    hashes: Mapping[int, str]
    """email_hash by our number."""
    unbalanced: Sequence[str] = ()
    """Lines of `trustlens books` that do not balance."""


@dataclass(frozen=True, slots=True)
class Paths:
    """Where the receiver is told what."""

    subscribed: Mapping[str, frozenset[str]]
    """Endpoints: path → types of events."""
    retried: str
    """That one of them which was promised retries."""
    rules: Mapping[str, What]
    """Rules' targets: path → what of an order it tells."""


@dataclass(frozen=True, slots=True)
class Finding:
    kind: Literal["lost", "unexplained"]
    what: str
    count: int
    examples: tuple[str, ...]

    def __str__(self) -> str:
        more = f" and {self.count - len(self.examples)} more" if self.count > len(self.examples) else ""
        return f"{self.kind}: {self.what}: {', '.join(self.examples)}{more}"


@dataclass(frozen=True, slots=True)
class Explained:
    """What is not as usual, and may be so."""

    repeated: int
    """Requests that brought a delivery again, under its own id."""
    overtaken: int
    """Requests that came after one of the same customer with a greater sequence."""
    failed: int
    """Fire and log, in an outage of the receiver."""
    expired: int
    """Fire and log, not started in time."""
    duplicates: int
    """Left out, as they would have repeated the last."""


@dataclass(frozen=True, slots=True)
class Verdict:
    findings: tuple[Finding, ...]
    explained: Explained
    statuses: Mapping[str, int] = field(default_factory=dict)
    """Deliveries."""

    @property
    def lost(self) -> int:
        return sum(finding.count for finding in self.findings if finding.kind == "lost")

    @property
    def unexplained(self) -> int:
        return sum(finding.count for finding in self.findings if finding.kind == "unexplained")


def audit(ledger: Ledger, told: Told, paths: Paths) -> Verdict:
    sides = Sides(ledger, told, paths, expected(p.version for p in ledger.posted if p.accepted))
    findings = tuple(finding for check in CHECKS for finding in check(sides) if finding.count)
    return Verdict(findings, _explained(sides), Counter(d.status for d in told.deliveries.values()))


@dataclass(frozen=True)
class Sides:
    """What is compared, and how it is looked up."""

    ledger: Ledger
    told: Told
    paths: Paths
    expected: Expected

    @property
    def taken(self) -> set[str]:
        """Deliveries that the receiver took."""
        return {arrival.delivery for arrival in self.ledger.arrivals if arrival.taken}

    def in_outage(self, begin: float, end: float) -> bool:
        return any(window.touches(begin - LATE, end) for window in self.ledger.outages)


def _lost(what: str, names: Iterable[str]) -> Finding:
    found = sorted(names)
    return Finding("lost", what, len(found), tuple(found[:SHOWN]))


def _unexplained(what: str, names: Iterable[str]) -> Finding:
    found = sorted(names)
    return Finding("unexplained", what, len(found), tuple(found[:SHOWN]))


# Into the system ------------------------------------------------------------------------------------------------------


def answers(sides: Sides) -> Iterator[Finding]:
    posted = sides.ledger.posted
    yield _unexplained("never accepted", (p.name for p in posted if not p.accepted))
    yield _unexplained("accepted twice as new", (p.name for p in posted if _statuses(p).count(202) > 1))
    yield _unexplained("called a repeat though it came for the first time", (p.name for p in posted if _misjudged(p)))
    odd = ((p, a) for p in posted for a in p.answers if a.status not in EXPECTED_ANSWERS)
    yield _unexplained("answered oddly", (f"{p.name} {a.status}" for p, a in odd))


def _statuses(posted: Posted) -> list[int | None]:
    return [answer.status for answer in posted.answers]


def _misjudged(posted: Posted) -> bool:
    return _statuses(posted)[:1] == [200]


def inputs(sides: Sides) -> Iterator[Finding]:
    stored, posted = sides.told.inputs, sides.ledger.posted
    accepted = [p for p in posted if p.accepted]
    yield _lost("accepted and not stored", (p.name for p in accepted if p.digest not in stored))
    yield _unexplained("stored twice", (p.name for p in posted if len(stored.get(p.digest, ())) > 1))
    others = ((p, a) for p in accepted for a in p.answers if _is_other(a, stored.get(p.digest, ())))
    yield _unexplained("stored under another id than was answered", (f"{p.name} {a.input_id}" for p, a in others))
    known = {p.digest for p in posted}
    yield _unexplained("stored and never posted", (id_ for d, ids in stored.items() if d not in known for id_ in ids))
    unsettled = {id_ for ids in stored.values() for id_ in ids} - sides.told.outcomes
    yield _lost("stored and without an outcome", unsettled)


def _is_other(answer: Answer, ids: Sequence[str]) -> bool:
    return answer.status in ACCEPTED and bool(answer.input_id) and answer.input_id not in ids


def customers(sides: Sides) -> Iterator[Finding]:
    """Whether each is what its orders make of it."""
    wrong = []
    for number, made in sides.expected.customers.items():
        is_ = sides.told.customers.get(number)
        right = (made.total_orders, made.total_refunds, made.is_blocked)
        if is_ is None or (is_.total_orders, is_.total_refunds, is_.is_blocked) != right:
            wrong.append(f"customer {number}")
    yield _lost("a customer is not what its orders make of it", wrong)


# Out of the system ----------------------------------------------------------------------------------------------------


def fan_out(sides: Sides) -> Iterator[Finding]:
    """One delivery per event and endpoint that wants it."""
    made = Counter((d.path, d.source_id) for d in sides.told.deliveries.values())
    wanted = (
        (path, event_id)
        for path, types in sides.paths.subscribed.items()
        for event_id, type_ in sides.told.events.items()
        if type_ in types
    )
    yield _lost(
        "an event without its delivery", (f"{event} to {path}" for path, event in wanted if not made[path, event])
    )
    yield _unexplained("two deliveries of one event", (f"{e} to {path}" for (path, e), n in made.items() if n > 1))


def states(sides: Sides) -> Iterator[Finding]:
    """Whether every delivery ended, and as was promised."""
    rows, taken = sides.told.deliveries.values(), sides.taken
    yield _lost("delivered and never received", (d.id for d in rows if d.status == "delivered" and d.id not in taken))
    unfinished = ("pending", "retrying", "parked")
    yield _lost("not finished", (f"{d.id} {d.status}" for d in rows if d.status in unfinished))
    settled = (d for d in rows if d.status not in {*unfinished, "delivered"})
    yield _unexplained("not delivered", (_named(d) for d in settled if not _is_explained(d, sides)))
    yield _unexplained("attempts beyond the last", (d.id for d in rows if d.attempts > d.max_attempts))
    outside = (failure for failure in sides.told.failures if not sides.in_outage(failure.begin, failure.end))
    yield _unexplained("an attempt failed while the receiver was well", (failure.delivery for failure in outside))


def _named(delivery: Delivery) -> str:
    return f"{delivery.id} {delivery.mode} {delivery.status} {delivery.reason or ''}".strip()


def _is_explained(delivery: Delivery, sides: Sides) -> bool:
    """Retries outlast every outage of a run; what is sent once does not."""
    match delivery.mode, delivery.status, delivery.reason:
        case _, "suppressed", "duplicate":
            return True
        case "fire_and_log", "failed", _:
            return True  # if its attempt is explained, which is looked at beside it
        case "fire_and_log", "suppressed", "expired":
            return _was_hindered(delivery, sides.ledger.windows)
        case _:
            return False


def _was_hindered(delivery: Delivery, windows: Sequence[Window]) -> bool:
    return any(window.touches(delivery.recorded_at, delivery.finished_at or delivery.recorded_at) for window in windows)


def arrivals(sides: Sides) -> Iterator[Finding]:
    """Whether what came is what was sent."""
    came, rows = sides.ledger.arrivals, sides.told.deliveries
    yield _unexplained("a signature that does not verify", {a.delivery for a in came if not a.verified})
    yield _unexplained("received and unknown", {a.delivery for a in came if a.delivery not in rows})
    bodies: defaultdict[str, set[bytes]] = defaultdict(set)
    for arrival in came:
        bodies[arrival.delivery].add(arrival.digest)
    yield _unexplained("different bodies under one id", (id_ for id_, some in bodies.items() if len(some) > 1))
    frozen = {id_: row.digest for id_, row in rows.items()}
    changed = (id_ for id_, some in bodies.items() if id_ in frozen and frozen[id_] not in some)
    yield _unexplained("another body than was kept", changed)
    kept_back = (id_ for id_ in bodies if id_ in rows and rows[id_].status == "suppressed")
    yield _unexplained("sent though it was kept back", kept_back)
    ids: defaultdict[tuple[str, str, str, int | None], set[str]] = defaultdict(set)
    for arrival in came:
        ids[arrival.path, arrival.event, arrival.customer, arrival.sequence].add(arrival.delivery)
    twice = (f"{', '.join(sorted(some))} to {path}" for (path, *_), some in ids.items() if len(some) > 1)
    yield _unexplained("one event under two ids", twice)


def rules(sides: Sides) -> Iterator[Finding]:
    """Whether each order was told of as often as it should."""
    for path, what in sides.paths.rules.items():
        ids = {(a.order_id, a.delivery) for a in sides.ledger.arrivals if a.taken and a.path == path}
        came, due = Counter(order_id for order_id, _ in ids), sides.expected.told[what]
        missing = (f"order {order_id}" for order_id, n in due.items() for _ in range(n - came[order_id]))
        yield _lost(f"{what}, and the rule told nobody", missing)
        more = (f"order {order_id}" for order_id, n in came.items() if order_id is None or n > due[order_id])
        yield _unexplained(f"{what}, and the rule told too often", more)


def blocks(sides: Sides) -> Iterator[Finding]:
    """Whether each customer whom the rule blocks was told of, once."""
    due = {sides.told.hashes[number] for number, it in sides.expected.customers.items() if it.is_blocked}
    for path in sides.paths.subscribed:
        told = {(a.customer, a.delivery) for a in sides.ledger.arrivals if _tells_block(a, path)}
        came = Counter(customer for customer, _ in told)
        if path == sides.paths.retried:
            yield _lost("blocked, and the endpoint was not told", due - came.keys())
        surplus = (customer for customer, n in came.items() if n > 1 or customer not in due)
        yield _unexplained(f"{path} was told too often of a block", surplus)


def _tells_block(arrival: Arrival, path: str) -> bool:
    return arrival.taken and arrival.path == path and arrival.event == "customer_blocked"


def last_states(sides: Sides) -> Iterator[Finding]:
    """Whether the last that the endpoint with retries was told of each customer is how that customer is now."""
    last: dict[str, Arrival] = {}
    for arrival in sides.ledger.arrivals:
        if arrival.taken and arrival.path == sides.paths.retried and arrival.sequence is not None:
            before = last.get(arrival.customer)
            if before is None or (before.sequence or 0) < arrival.sequence:
                last[arrival.customer] = arrival
    numbers = ((number, sides.told.hashes[number]) for number in sides.expected.customers)
    wrong = (n for n, hash_ in numbers if hash_ not in last or not _is_state(last[hash_], sides.told.customers.get(n)))
    yield _lost("the last webhook does not tell the last state", (f"customer {number}" for number in wrong))


def _is_state(arrival: Arrival, customer: Customer | None) -> bool:
    names = Customer.__slots__
    return customer is not None and all(arrival.tells.get(name) == getattr(customer, name) for name in names)


# The processes and the books ------------------------------------------------------------------------------------------


def processes(sides: Sides) -> Iterator[Finding]:
    late = (f"{d.replica} {d.seconds:.1f} s" for d in sides.ledger.drains if d.seconds > GRACE)
    yield _unexplained("a process that was asked to stop outstayed its grace", late)
    bad = (f"{d.replica} {d.code}" for d in sides.ledger.drains if d.code != 0)
    yield _unexplained("a process that was asked to stop ended with an exit code", bad)
    yield _unexplained("a process ended by itself", sides.ledger.ended)


def books(sides: Sides) -> Iterator[Finding]:
    yield _unexplained("the books do not balance", sides.told.unbalanced)


CHECKS: tuple[Callable[[Sides], Iterator[Finding]], ...] = (
    answers,
    inputs,
    customers,
    fan_out,
    states,
    arrivals,
    rules,
    blocks,
    last_states,
    processes,
    books,
)


# What may be ----------------------------------------------------------------------------------------------------------


def _explained(sides: Sides) -> Explained:
    came = sides.ledger.arrivals
    rows = Counter((d.status, d.reason if d.status == "suppressed" else None) for d in sides.told.deliveries.values())
    return Explained(
        repeated=len(came) - len({arrival.delivery for arrival in came}),
        overtaken=_overtaken(came),
        failed=rows["failed", None],
        expired=rows["suppressed", "expired"],
        duplicates=rows["suppressed", "duplicate"],
    )


def _overtaken(came: Iterable[Arrival]) -> int:
    """First arrivals only: a repeat is counted as one."""
    count, seen, last = 0, set(), dict[tuple[str, str], int]()
    for arrival in came:
        if arrival.delivery in seen or arrival.sequence is None:
            continue
        seen.add(arrival.delivery)
        key = (arrival.path, arrival.customer)
        count += arrival.sequence < last.get(key, 0)
        last[key] = max(arrival.sequence, last.get(key, 0))
    return count
