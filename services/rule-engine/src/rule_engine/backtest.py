"""A rule played over what happened, with the customers as they were then: what it would have done.

It begins with no cooldown and no firing behind it, decides by the live engine's own functions, and acts not. The rule's
mode does not matter to it.
"""

from collections import Counter
from collections.abc import Collection, Sequence
from dataclasses import dataclass, field
from datetime import datetime
from decimal import Decimal
from typing import Any, cast
from uuid import UUID

from rule_engine import cooldown
from rule_engine.cooldown import Hour, Key
from rule_engine.evaluate import Candidate, Skipped, evaluate
from rule_engine.happened import Happened, Order
from rule_engine.rules import Rule
from shared.events import Event
from shared.jsontext import api_time

SAMPLES = 10
SIXTY_FOUR_BITS = 16
"""Hex digits of a customer's hash by which they are told apart: a million of them take 60 MB, and two that agree are
as likely as one in 37 million."""

REMEMBERED = 10_000


@dataclass(slots=True)
class Backtest:
    """What a rule has done so far. The events are played in the order of (recorded_at, sequence, id), in parts of any
    size.
    """

    rule: Rule
    events: int = 0
    firings: int = 0
    _skipped: Counter[str] = field(default_factory=Counter)
    _customers: set[int] = field(default_factory=set)
    _orders: set[int] = field(default_factory=set)
    _value: dict[str, Decimal] = field(default_factory=dict)
    _samples: list[dict[str, Any]] = field(default_factory=list)
    _agreement: Counter[str] = field(default_factory=Counter)
    _last: dict[Key, datetime] = field(default_factory=dict)
    _fired: dict[Hour, int] = field(default_factory=dict)
    _room: int = REMEMBERED
    """Cooldowns that may be remembered before those that are over are let go."""

    def play(self, events: Sequence[Happened], live: Collection[UUID] = ()) -> list[Candidate]:
        """The next events of the rule's trigger; those that it would fire for. `live`: the events for which it fired
        when they happened.
        """
        # A Happened has, by the same names, all of an event that these two functions look at.
        judged = [evaluate(self.rule, cast(Event, event), event.fields) for event in events]
        decided = cooldown.decide([it for it in judged if isinstance(it, Candidate)], self._last, self._fired)
        self._last |= decided.last
        self._fired |= decided.fired
        self._skipped.update(it.kind for it in (*judged, *decided.skipped) if isinstance(it, Skipped))
        by_id = {event.id: event for event in events}
        for candidate in decided.fire:
            self._count(candidate, by_id[candidate.event.id].order)
        self._compare(by_id.keys(), {it.event.id for it in decided.fire}, live)
        self.events += len(events)
        if events and len(self._last) > self._room:
            self._forget(events[-1].recorded_at)
        return list(decided.fire)

    def _count(self, candidate: Candidate, order: Order | None) -> None:
        self.firings += 1
        self._customers.add(int(candidate.event.customer.email_hash[-SIXTY_FOUR_BITS:], 16))
        if order and order.id not in self._orders:
            self._orders.add(order.id)
            self._value[order.currency] = self._value.get(order.currency, Decimal(0)) + order.total
        if len(self._samples) < SAMPLES:
            self._samples.append(_sample(candidate, order))

    def _compare(self, played: Collection[UUID], fired: Collection[UUID], live: Collection[UUID]) -> None:
        for event_id in played:
            match event_id in fired, event_id in live:
                case True, True:
                    self._agreement["both"] += 1
                case True, False:
                    self._agreement["only_backtest"] += 1
                case False, True:
                    self._agreement["only_live"] += 1

    def _forget(self, now: datetime) -> None:
        """Let go of the cooldowns that are over by `now`: only later events are to come."""
        self._last = {key: at for key, at in self._last.items() if at + self.rule.cooldown > now}
        self._room = 2 * len(self._last) + REMEMBERED

    def result(self, *, compared: bool) -> dict[str, Any]:
        """As JSON, amounts as Decimals. `compared`: there is a live rule to compare it with."""
        agreed = self._agreement
        live = {"fired": agreed["both"] + agreed["only_live"], **{name: agreed[name] for name in _AGREEMENT}}
        return {
            "events": self.events,
            "firings": self.firings,
            "customers": len(self._customers),
            "order_value": dict(sorted(self._value.items())),
            "skipped": dict(sorted(self._skipped.items())),
            "samples": self._samples,
            "live": live if compared else None,
        }


_AGREEMENT = ("both", "only_backtest", "only_live")


def _sample(candidate: Candidate, order: Order | None) -> dict[str, Any]:
    event = candidate.event
    return {
        "event_id": str(event.id),
        "at": api_time(event.recorded_at),
        "customer": event.customer.email_hash,
        "order_id": order.id if order else None,
        "values": dict(candidate.values),
    }
