"""I/O around the decisions: a batch of events in, one commit, the actions of the rules that fired out."""

from collections import Counter, defaultdict
from collections.abc import Awaitable, Callable, Collection, Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from datetime import UTC, datetime, timedelta
from uuid import UUID

from rule_engine import cooldown, erasure, firings, metrics
from rule_engine.cooldown import Decided, Hour, Key
from rule_engine.evaluate import Candidate, Judged, Skipped, evaluate, in_shadow
from rule_engine.firings import Asked, Evaluation
from rule_engine.rules import Rule
from rule_engine.store import cooldowns, evaluations, rulesets
from shared import traces
from shared.broker import Outgoing
from shared.commands import Command
from shared.consumer import Message
from shared.db import Connection, Partitions, Pool
from shared.events import Automation, Event
from shared.fields import fields_of
from shared.ids import derived
from shared.outbox import Outbox, Transaction
from shared.topology import AUTOMATION, DIRECT
from shared.traces import Headers

ClaimCooldowns = Callable[[Connection, Collection[Key]], Awaitable[Mapping[Key, datetime]]]
ClaimHours = Callable[[Connection, Collection[Hour]], Awaitable[Mapping[Hour, int]]]

SURELY_KEPT = timedelta(days=1)
"""How long evaluations are kept at least: the bound of the setting `skipped_days`."""


def parse_event(message: Message) -> Event:
    return Event.model_validate_json(message.body)


@dataclass(frozen=True, slots=True)
class Ruleset:
    """A store's rules by trigger, as of a revision."""

    revision: int = 0
    by_trigger: dict[str, list[Rule]] = field(default_factory=dict)


class RuleEngine:
    """Handles batches of events."""

    def __init__(
        self,
        outbox: Outbox,
        pool: Pool,
        *,
        claim_cooldowns: ClaimCooldowns = cooldowns.claim_cooldowns,
        claim_hours: ClaimHours = cooldowns.claim_hours,
    ) -> None:
        self._outbox = outbox
        self._pool = pool
        self._claim_cooldowns = claim_cooldowns
        self._claim_hours = claim_hours
        self.partitions = Partitions("rule_engine.evaluations", "rule_engine.firings")
        self._rulesets: dict[UUID, Ruleset] = {}

    async def process(self, batch: Sequence[Event]) -> None:
        """Decide which rules fire, keep every decision with its reason, ask for the actions. Idempotent.

        Raises:
            MeanwhileError: another consumer evaluated some of these events; do it again.
        """
        events = list({event.id: event for event in batch}.values())
        with metrics.processing(len(batch)):
            await self.partitions.cover(self._pool, [event.recorded_at for event in events])
            async with self._outbox.transaction() as transaction:
                await self._reload(transaction.connection, {event.store_id for event in events})
                outcomes = await self._evaluate(transaction, await self._unseen(transaction.connection, events))
        metrics.evaluated(outcomes)

    async def _unseen(self, connection: Connection, events: Iterable[Event]) -> list[Event]:
        """Those that rules wait for and that nobody evaluated yet."""
        triggering = [event for event in events if self._rules(event)]
        seen = await evaluations.evaluated(connection, triggering) if triggering else set()
        seen |= await _fired_long_ago(connection, [event for event in triggering if event.id not in seen])
        return [event for event in triggering if event.id not in seen]

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
        for store_id, rules in (await rulesets.rules(connection, stale, self._known(stale))).items():
            self._rulesets[store_id] = Ruleset(revisions[store_id], _by_trigger(rules))

    def _known(self, store_ids: Iterable[UUID]) -> rulesets.Known:
        rulesets_ = (self._rulesets.get(store_id, Ruleset()) for store_id in store_ids)
        return {(rule.id, rule.version): rule for it in rulesets_ for rules in it.by_trigger.values() for rule in rules}

    async def _evaluate(self, transaction: Transaction, events: Sequence[Event]) -> Counter[str]:
        """How many evaluations ended how."""
        if not events:
            return Counter()
        events = await erasure.known(transaction.connection, events)
        with metrics.pure():
            judged = [judgement for event in events for judgement in self._judge(event)]
            candidates = [judgement for judgement in judged if isinstance(judgement, Candidate)]
            skipped = [judgement for judgement in judged if isinstance(judgement, Skipped)]
        decided = await self._decide(transaction.connection, candidates)
        shadowed = [shadow for candidate in decided.fire if (shadow := in_shadow(candidate))]
        skipped += [*decided.skipped, *shadowed]
        fired = [candidate for candidate in decided.fire if not in_shadow(candidate)]
        await _save_evaluations(transaction.connection, events, skipped)
        await _fire(transaction, fired)
        failed = sum(skip.failed for skip in skipped)
        return Counter(fired=len(fired), skipped=len(skipped) - failed, failed=failed)

    def _judge(self, event: Event) -> list[Judged]:
        fields = fields_of(event)
        return [evaluate(rule, event, fields) for rule in self._rules(event)]

    async def _decide(self, connection: Connection, candidates: Sequence[Candidate]) -> Decided:
        """With the cooldowns and hours claimed, whichever consumer has their other events."""
        keys = {key for candidate in candidates if (key := cooldown.key_of(candidate))}
        last = await self._claim_cooldowns(connection, keys)
        fired = await self._claim_hours(connection, cooldown.hours_reached(candidates, last))
        with metrics.pure():
            decided = cooldown.decide(candidates, last, fired)
        if decided.fire:
            await cooldowns.save_cooldowns(connection, decided.last)
            await cooldowns.save_hours(connection, decided.fired)
        return decided


def _by_trigger(rules: Iterable[Rule]) -> dict[str, list[Rule]]:
    by_trigger: dict[str, list[Rule]] = defaultdict(list)
    for rule in rules:
        by_trigger[rule.trigger].append(rule)
    return dict(by_trigger)


async def _fired_long_ago(connection: Connection, unseen: Iterable[Event]) -> set[UUID]:
    """Those whose firing is kept where their evaluation is not any more: they must not fire a second time."""
    until = datetime.now(UTC) - SURELY_KEPT
    old = [event for event in unseen if event.recorded_at < until]
    return await evaluations.fired(connection, old) if old else set()


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
        trace = traces.carried(candidate.event.id)
        transaction.send(*(_outgoing(automation, trace) for automation in firings.automations(candidate)))
        transaction.send(*(_command(candidate, asked, trace) for asked in firings.asked_of_scorer(candidate)))


def _outgoing(automation: Automation, trace: Headers) -> Outgoing:
    return Outgoing(automation.id, AUTOMATION, f"fired.{automation.action.type}", automation.encode(), trace)


def _command(candidate: Candidate, asked: Asked, trace: Headers) -> Outgoing:
    command = Command(
        id=asked.id,
        type=asked.type,
        store_id=candidate.event.store_id,
        actor=f"rule:{candidate.rule.id}",
        cause=firings.cause(candidate),
        data=asked.data,
    )
    # The action's automation goes by its id already.
    return Outgoing(derived("command", command.id), DIRECT, "scorer.actions", command.encode(), trace)
