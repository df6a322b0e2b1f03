"""Which fault happens when: decided by a seed before anything runs, so that a run can be repeated."""

from collections.abc import Collection, Iterator, Sequence
from dataclasses import dataclass
from itertools import chain, islice
from random import Random
from typing import Literal, TypeVar, get_args

SERVICES = ("api", "scorer", "rule-engine", "dispatcher")
REPLICAS = tuple(f"{service}-{number}" for service in SERVICES for number in (1, 2))
CONSUMED = {
    "scorer": "scorer.facts",
    "rule-engine": "rule-engine.events",
    "dispatcher": "dispatcher.automation",
}
"""Which queue is filled while its service is away."""

Kind = Literal[
    "kill",
    "kill_both",
    "term",
    "freeze",
    "rabbitmq_stop",
    "rabbitmq_kill",
    "postgres_restart",
    "postgres_quit",
    "postgres_kill",
    "queue_full",
    "slow_database",
    "hang_database",
    "cut_database",
    "hang_broker",
    "cut_broker",
    "receiver_refuses",
    "receiver_hangs",
    "receiver_503",
]
KINDS: tuple[Kind, ...] = get_args(Kind)
KILLS: dict[Kind, int] = {"kill": 1, "kill_both": 2, "rabbitmq_kill": 1, "postgres_quit": 1, "postgres_kill": 1}
"""How many processes are ended without warning; Postgres counts as one."""
LONG: dict[Kind, float] = {
    "rabbitmq_stop": 20,
    "rabbitmq_kill": 0,
    "postgres_restart": 0,
    "postgres_quit": 0,
    "postgres_kill": 0,
    "queue_full": 15,
    "slow_database": 20,
    "hang_database": 15,
    "cut_database": 2,
    "hang_broker": 15,
    "cut_broker": 2,
    "receiver_refuses": 20,
    "receiver_hangs": 20,
    "receiver_503": 20,
}
"""Faults of what services depend on, one at a time: how many seconds each lasts, without the time to start again."""
LONG_APART = 31.0
"""Seconds from the beginning of one to that of the next: so that there are all of them in a usual run."""
TERMS_APART = 25.0
FREEZES_APART = 130.0
FROZEN = 70.0
"""Seconds that a process stands still: longer than a lease, so that it wakes up to what is no longer its own."""
BEGIN = 5.0
"""Seconds of peace at first."""
END = 0.93
"""After this part of the time nothing new breaks."""
BOTH_EVERY = 6
"""Of so many strikes at services, one is at both replicas at once."""

T = TypeVar("T")


@dataclass(frozen=True, slots=True)
class Fault:
    at: float
    """Seconds after the load began."""
    kind: Kind
    target: str = ""
    """A replica, or a service where both of its replicas are meant."""
    seconds: float = 0
    """How long it lasts."""

    @property
    def kills(self) -> int:
        return KILLS.get(self.kind, 0)

    def __str__(self) -> str:
        return f"{self.kind} {self.target}".strip()


def plan(seed: int, *, kills: int, seconds: float, only: Collection[Kind] = KINDS) -> tuple[Fault, ...]:
    """In the order of time. Every kind in `only` happens where the time allows it; `kills` is kept to exactly,
    unless there is time for fewer servers' kills than it takes, or none may happen at all.
    """
    rng = Random(seed)  # noqa: S311  # chance, not secrecy
    end = seconds * END
    long = list(_long(rng, end, [kind for kind in LONG if kind in only]))
    left = max(kills - sum(fault.kills for fault in long), 0)
    struck = list(_struck(rng, left, end, only))
    stopped = _stopped(rng, end) if "term" in only else ()
    frozen = _frozen(rng, end) if "freeze" in only else ()
    return tuple(sorted(chain(long, struck, stopped, frozen), key=lambda fault: fault.at))


def _long(rng: Random, end: float, kinds: Sequence[Kind]) -> Iterator[Fault]:
    services = _again_and_again(rng, list(CONSUMED))
    for number, kind in enumerate(islice(_again_and_again(rng, kinds), _fitting(end, LONG_APART))):
        at = BEGIN + number * LONG_APART + rng.uniform(0, LONG_APART / 10)
        yield Fault(at, kind, next(services) if kind == "queue_full" else "", LONG[kind])


def _struck(rng: Random, kills: int, end: float, only: Collection[Kind]) -> Iterator[Fault]:
    """Services' processes, each of them as often as the others."""
    replicas, services = _again_and_again(rng, REPLICAS), _again_and_again(rng, SERVICES)
    left, number = kills if {"kill", "kill_both"} & set(only) else 0, 0
    while left:
        number += 1
        both = "kill_both" in only and left > 1 and (number % BOTH_EVERY == 0 or "kill" not in only)
        if not both and "kill" not in only:
            return
        at = rng.uniform(BEGIN, max(end, BEGIN))
        fault = Fault(at, "kill_both", next(services)) if both else Fault(at, "kill", next(replicas))
        left -= fault.kills
        yield fault


def _stopped(rng: Random, end: float) -> Iterator[Fault]:
    for number, replica in enumerate(islice(_again_and_again(rng, REPLICAS), _fitting(end, TERMS_APART))):
        yield Fault(BEGIN + number * TERMS_APART + rng.uniform(0, TERMS_APART / 2), "term", replica)


def _frozen(rng: Random, end: float) -> Iterator[Fault]:
    """A dispatcher first: it is they who hold leases."""
    first = rng.choice(("dispatcher-1", "dispatcher-2"))
    replicas = chain((first,), _again_and_again(rng, REPLICAS))
    for number, replica in enumerate(islice(replicas, _fitting(end, FREEZES_APART))):
        at = BEGIN + number * FREEZES_APART + rng.uniform(0, FREEZES_APART / 10)
        yield Fault(min(at, end), "freeze", replica, min(FROZEN, max(end - at, 1)))


def _fitting(end: float, apart: float) -> int:
    """One at least, where there is any time."""
    return max(int((end - BEGIN) // apart), 1)


def _again_and_again(rng: Random, things: Sequence[T]) -> Iterator[T]:
    """Each once in a new order, and again; nothing if there are none."""
    while things:
        yield from rng.sample(things, len(things))
