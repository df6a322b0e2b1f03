"""I/O around the decisions: a batch of events in, one commit, the actions of the rules that fired out."""

from collections import defaultdict
from collections.abc import Collection, Iterable, Sequence
from dataclasses import dataclass, field
from uuid import UUID

from rule_engine import cooldown, firings
from rule_engine.cooldown import Decided
from rule_engine.evaluate import Candidate, Skipped, evaluate, in_shadow
from rule_engine.firings import Asked, Evaluation
from rule_engine.rules import Rule
from rule_engine.store import cooldowns, evaluations, rulesets
from shared.broker import Outgoing
from shared.commands import Command
from shared.consumer import Message
from shared.db import Connection, MeanwhileError, Partitions, Pool
from shared.events import Automation, Event
from shared.fields import fields_of
from shared.ids import derived
from shared.outbox import Outbox, Transaction
from shared.topology import AUTOMATION, DIRECT


def parse_event(message: Message) -> Event:
    return Event.model_validate_json(message.body)


@dataclass(frozen=True, slots=True)
class Ruleset:
    """A store's rules by trigger, as of a revision."""

    revision: int = 0
    by_trigger: dict[str, list[Rule]] = field(default_factory=dict)


class RuleEngine:
    """Handles batches of events."""

    def __init__(self, outbox: Outbox, pool: Pool) -> None:
        self._outbox = outbox
        self._pool = pool
        self.partitions = Partitions("rule_engine.evaluations", "rule_engine.firings")
        self._rulesets: dict[UUID, Ruleset] = {}

    async def process(self, batch: Sequence[Event]) -> None:
        """Decide which rules fire, keep every decision with its reason, ask for the actions. Idempotent.

        Raises:
            MeanwhileError: another consumer evaluated some of these events; do it again.
        """
        events = list({event.id: event for event in batch}.values())
        await self.partitions.cover(self._pool, [event.recorded_at for event in events])
        async with self._outbox.transaction() as transaction:
            await self._reload(transaction.connection, {event.store_id for event in events})
            triggering = [event for event in events if self._rules(event)]
            if triggering:
                seen = await evaluations.evaluated(transaction.connection, triggering)
                await self._evaluate(transaction, [event for event in triggering if event.id not in seen])

    def _rules(self, event: Event) -> Sequence[Rule]:
        ruleset = self._rulesets.get(event.store_id)
        return ruleset.by_trigger.get(event.type, ()) if ruleset else ()

    async def _reload(self, connection: Connection, store_ids: Collection[UUID]) -> None:
        """Bring the rules of these stores up to date.

        Revisions are read first: rules that change in between are loaded once more, never missed.
        """
        revisions = await rulesets.revisions(connection, store_ids)
        stale = [s for s, revision in revisions.items() if self._rulesets.get(s, Ruleset()).revision != revision]
        if not stale:
            return
        for store_id, rules in (await rulesets.rules(connection, stale)).items():
            self._rulesets[store_id] = Ruleset(revisions[store_id], _by_trigger(rules))

    async def _evaluate(self, transaction: Transaction, events: Sequence[Event]) -> None:
        if not events:
            return
        judged = [judgement for event in events for judgement in self._judge(event)]
        candidates = [judgement for judgement in judged if isinstance(judgement, Candidate)]
        decided = await self._decide(transaction.connection, candidates)
        shadowed = [shadow for candidate in decided.fire if (shadow := in_shadow(candidate))]
        skipped = [judgement for judgement in judged if isinstance(judgement, Skipped)]
        await _save_evaluations(transaction.connection, events, [*skipped, *decided.cooling, *shadowed])
        await _fire(transaction, [candidate for candidate in decided.fire if not in_shadow(candidate)])

    def _judge(self, event: Event) -> list[Candidate | Skipped]:
        fields = fields_of(event)
        return [evaluate(rule, event, fields) for rule in self._rules(event)]

    async def _decide(self, connection: Connection, candidates: Sequence[Candidate]) -> Decided:
        """With the cooldowns locked, whichever consumer has their other events."""
        keys = sorted({key for candidate in candidates if (key := cooldown.key_of(candidate))})
        if not keys:
            return cooldown.decide(candidates, {})
        await cooldowns.ensure_cooldowns(connection, keys)
        locked = await cooldowns.lock_cooldowns(connection, keys)
        if len(locked) < len(keys):  # swept between the two statements: unlocked is undecided
            raise MeanwhileError("a cooldown was forgotten meanwhile")
        decided = cooldown.decide(candidates, {key: at for key, at in locked.items() if at})
        await cooldowns.save_cooldowns(connection, decided.last)
        return decided


def _by_trigger(rules: Iterable[Rule]) -> dict[str, list[Rule]]:
    by_trigger: dict[str, list[Rule]] = defaultdict(list)
    for rule in rules:
        by_trigger[rule.trigger].append(rule)
    return dict(by_trigger)


async def _save_evaluations(connection: Connection, events: Sequence[Event], skipped: Iterable[Skipped]) -> None:
    skips: dict[UUID, list[Skipped]] = {event.id: [] for event in events}
    for skip in skipped:
        skips[skip.event.id].append(skip)
    # Sorted, so that two consumers with the same events wait for each other in turn, not in a circle.
    ordered = sorted(events, key=lambda event: (event.recorded_at, event.id))
    await evaluations.save_evaluations(connection, [Evaluation(event, skips[event.id]) for event in ordered])


async def _fire(transaction: Transaction, fired: Sequence[Candidate]) -> None:
    if not fired:
        return
    await evaluations.save_firings(transaction.connection, fired)
    for candidate in fired:
        transaction.send(*map(_outgoing, firings.automations(candidate)))
        transaction.send(*(_command(candidate, asked) for asked in firings.asked_of_scorer(candidate)))


def _outgoing(automation: Automation) -> Outgoing:
    return Outgoing(automation.id, AUTOMATION, f"fired.{automation.action.type}", automation.encode())


def _command(candidate: Candidate, asked: Asked) -> Outgoing:
    command = Command(
        id=asked.id,
        type=asked.type,
        store_id=candidate.event.store_id,
        actor=f"rule:{candidate.rule.id}",
        cause=firings.cause(candidate),
        data=asked.data,
    )
    # The action's automation goes by its id already.
    return Outgoing(derived("command", command.id), DIRECT, "scorer.commands", command.encode())
