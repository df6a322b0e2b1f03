"""I/O around the decisions: a batch of facts in, one commit, its events out.

Locks, always in this order: the stores' settings and catalogues, orders and disputes, payments, customers,
fingerprints. A batch never locks a customer whose fact it did not bring: those it touches it marks in rescore_due.
"""

import asyncio
from collections import defaultdict
from collections.abc import Callable, Collection, Mapping, Sequence
from contextlib import suppress
from dataclasses import dataclass, field
from datetime import UTC, datetime
from uuid import UUID

from scorer import batch as batches
from scorer import changes, checkouts, horizon, ledger, linking
from scorer.batch import Batch, OrderKey
from scorer.changes import Asked, Rescored
from scorer.conclude import Concluded
from scorer.customer import Customer, Key
from scorer.facts import Happening, Incoming
from scorer.features import Features
from scorer.ledger import Outcome
from scorer.metrics import RESCORED, processing, pure
from scorer.score import score
from scorer.scoring import Scoring
from scorer.store import customers, jobs, links, orders, published, rescoring, scoring
from scorer.store.orders import CatalogueEntry, Saved
from scorer.store.rescoring import Due
from scorer.store.scoring import UNSET, StoredScoring
from shared import traces
from shared.broker import Outgoing
from shared.consumer import Message
from shared.db import Connection, Partitions, Pool
from shared.erasure import Person
from shared.events import TO_SCORER, Automation, Cause, Event, Fact
from shared.identity import email_hash
from shared.ids import uuid7
from shared.outbox import Outbox, Transaction
from shared.secrets import Vault
from shared.steps import Step
from shared.topology import EVENTS

GIVE_WAY_SECONDS = 1.0
"""How long a batch of history waits for live facts to be done with, before it takes its turn all the same."""


def _now() -> datetime:
    return datetime.now(UTC)


class UnknownStoreError(ValueError):
    """A fact of a store that does not exist here."""


def parse(message: Message) -> Fact | Automation:
    return TO_SCORER.validate_json(message.body)


@dataclass(frozen=True, slots=True)
class Rules:
    """How a store scores, as of a version."""

    stored: StoredScoring = UNSET
    scoring: Scoring = field(default_factory=Scoring)


_DEFAULTS = Rules()


@dataclass(slots=True)
class Touched:
    """What a batch's facts tell of customers."""

    happenings: dict[Key, list[Happening]] = field(default_factory=lambda: defaultdict(list))
    causes: dict[Key, UUID] = field(default_factory=dict)
    emails: dict[Key, tuple[str, datetime]] = field(default_factory=dict)
    """E-mail, and when its owner last did something: where a fact brought it."""
    let_through: set[Key] = field(default_factory=set)
    """Of whom nothing became known but that the checkout let them go on."""

    def note_order(self, store_id: UUID, concluded: Concluded) -> None:
        if concluded.folded.owner is None or concluded.fact_id is None:
            return
        key = (store_id, concluded.folded.owner)
        self.happenings[key] += concluded.happenings
        self.causes[key] = concluded.fact_id
        if (winner := concluded.folded.winner) and winner.order.email:
            self._note_email(key, winner.order.email, winner.order.created_at)

    def note_checkout(self, checkout: checkouts.Checkout) -> None:
        key = (checkout.fact.store_id, checkout.email_hash)
        if not checkouts.is_let_through(checkout):
            self.let_through.discard(key)
        elif key not in self.causes:
            self.let_through.add(key)
        self.happenings[key] += checkouts.told(checkout)
        self.causes[key] = checkout.fact.id
        if checkout.fact.data.email:
            self._note_email(key, checkout.fact.data.email, checkout.fact.occurred_at)

    def _note_email(self, key: Key, email: str, at: datetime) -> None:
        known = self.emails.get(key)
        self.emails[key] = (email, max(at, known[1]) if known else at)


class Scorer:
    """Handles batches of facts, and recalculations that others asked for."""

    def __init__(self, outbox: Outbox, pool: Pool, vault: Vault, *, clock: Callable[[], datetime] = _now) -> None:
        self.outbox = outbox
        self.pool = pool
        self.now = clock
        self.partitions = Partitions("scorer.events", "scorer.timeline")
        self._vault = vault
        self._hash_keys: dict[UUID, bytes] = {}
        self._rules: dict[UUID, Rules] = {}
        self._live = 0
        self.rescoring = Step("rescoring")
        self._no_live = asyncio.Event()
        self._no_live.set()

    async def process(self, batch: Sequence[Fact | Automation]) -> None:
        """Store the facts, recalculate whom they change, publish what that changed. Idempotent."""
        self._live += 1
        self._no_live.clear()
        try:
            await self._process(batch, live=True)
        finally:
            self._live -= 1
            if not self._live:
                self._no_live.set()

    async def process_history(self, batch: Sequence[Fact | Automation]) -> None:
        """The same without a word to anybody, giving way to live facts. Idempotent."""
        with suppress(TimeoutError):
            await asyncio.wait_for(self._no_live.wait(), GIVE_WAY_SECONDS)
        await self._process(batch, live=False)

    async def _process(self, batch: Sequence[Fact | Automation], *, live: bool) -> None:
        times = {m.recorded_at for m in batch if isinstance(m, Automation)}
        await self.partitions.cover(self.pool, {self.now(), *times})
        with processing("live" if live else "history", len(batch)):
            async with self.outbox.transaction() as transaction:
                connection = transaction.connection
                await self.hold_rules(connection, {message.store_id for message in batch})
                with pure():
                    found = batches.sort(batch, self._hash)
                outcomes = await self._learn(connection, found, live=live)
                outcomes += await self._orders_and_checkouts(transaction, found, live=live)
                await published.save_outcomes(connection, outcomes, self.now())
                await published.save_automations(connection, found.automations)

    # Stores -----------------------------------------------------------------------------------------------------------

    async def hold_rules(self, connection: Connection, store_ids: Collection[UUID]) -> None:
        """Know how these stores score; they score so until the commit.

        Raises:
            UnknownStoreError: there is no such store.
        """
        await scoring.hold(connection, store_ids, about="scoring")
        unknown = set(store_ids) - self._hash_keys.keys()
        if unknown:
            sealed = await scoring.hash_keys(connection, unknown)
            self._hash_keys |= {store_id: self._vault.open(key) for store_id, key in sealed.items()}
        if missing := unknown - self._hash_keys.keys():
            raise UnknownStoreError(str(min(missing)))
        for store_id, (version, currency) in (await scoring.versions(connection, store_ids)).items():
            known = self.rules(store_id).stored
            if (version, currency) != (known.version, known.currency):  # a first order's currency may be rolled back
                await self.reread_rules(connection, store_id)

    async def reread_rules(self, connection: Connection, store_id: UUID) -> None:
        stored = await scoring.read(connection, store_id)
        self._rules[store_id] = Rules(stored, Scoring.model_validate(stored.settings))

    def rules(self, store_id: UUID) -> Rules:
        return self._rules.get(store_id, _DEFAULTS)

    def _hash(self, store_id: UUID, email: str) -> str:
        return email_hash(self._hash_keys[store_id], email)

    def person(self, key: Key) -> Person:
        """Of a store whose rules are held."""
        return Person(key[1], self._hash_keys[key[0]])

    async def _begin_stores(self, connection: Connection, found: Batch) -> None:
        """A store's first order says in which currency it counts."""
        firsts: dict[UUID, str] = {}
        for key in sorted(key for key in found.steps if not self.rules(key[0]).stored.version):
            for step in found.steps[key]:
                if isinstance(step, Incoming):
                    firsts.setdefault(key[0], step.order.currency)
        for store_id, currency in firsts.items():
            await scoring.begin(connection, store_id, currency)
            await self.reread_rules(connection, store_id)

    # Products and coupons ---------------------------------------------------------------------------------------------

    async def _learn(self, connection: Connection, found: Batch, *, live: bool) -> list[Outcome]:
        """The catalogue: which product is in which categories, which coupon one may use once. Their orders follow.

        Orders read the catalogue when they are saved; so they hold it still, and whoever changes it waits for them.
        """
        entries = _catalogue(found)
        changing = await orders.stores_with_changes(connection, entries) if entries else set()
        changing |= {fact.store_id for fact in found.coupons}
        await scoring.hold(connection, changing, about="catalogue", alone=True)
        await scoring.hold(connection, _ordering(found) - changing, about="catalogue")
        outcomes = await self._learn_coupons(connection, found, live=live) if found.coupons else []
        if not entries:
            return outcomes
        names = {(f.store_id, c.slug): c.name for f in found.products for c in f.data.categories}
        await orders.save_categories(connection, names)
        changed = await orders.save_products(connection, entries)
        for store_id in sorted({store_id for store_id, _ in changed}):
            await jobs.queue_categories(connection, store_id, live=live)
        outcomes += [
            (fact.id, "applied" if (fact.store_id, fact.data.id) in changed else "unchanged", None)
            for fact in found.products
        ]
        return outcomes

    async def _learn_coupons(self, connection: Connection, found: Batch, *, live: bool) -> list[Outcome]:
        latest = batches.latest_coupons(found.coupons)
        rows = [(f.store_id, f.data.code, f.data.once, f.occurred_at, digest) for f, digest in latest]
        changed = await orders.save_coupons(connection, rows)
        if changed:
            await orders.mark_users(connection, changed, reason="coupons" if live else "history", now=self.now())
        return [
            (fact.id, "applied" if (fact.store_id, fact.data.code) in changed else "unchanged", None)
            for fact in found.coupons
        ]

    # Orders, disputes, checkouts --------------------------------------------------------------------------------------

    async def _orders_and_checkouts(self, transaction: Transaction, found: Batch, *, live: bool) -> list[Outcome]:
        connection = transaction.connection
        await self._begin_stores(connection, found)
        outcomes: list[Outcome] = [(fact_id, "unchanged", "no e-mail: it is nobody's") for fact_id in found.of_nobody]
        concluded = await ledger.settle(connection, found, outcomes, live=live, now=self.now())
        new = await customers.save_checkouts(connection, found.checkouts) if found.checkouts else set()
        outcomes += [(c.fact.id, "applied" if c.fact.id in new else "unchanged", None) for c in found.checkouts]
        fresh = list({one.fact.id: one for one in found.checkouts if one.fact.id in new}.values())
        with pure():
            touched = _touched(concluded, fresh)
        if not touched.causes and not any(one.changed for one in concluded.values()):
            return outcomes
        locked = await _lock_customers(connection, touched, self.now())
        await _save_orders(connection, concluded, locked)
        await _forget(connection, found, concluded, fresh, locked)
        now = self.now()
        asked: Asked = "fact" if live else "history"
        await _tell_former_owners(connection, concluded, asked=asked, now=now)
        await linking.settle(connection, concluded, fresh, locked, asked=asked, now=now)
        rescored = await self.recalculate(connection, locked, now, asked=asked, touched=touched)
        causes = {key: Cause(kind="fact", id=fact_id) for key, fact_id in touched.causes.items()}
        await self.publish(transaction, [(change, causes[change.before.key]) for change in rescored], now)
        return outcomes

    # Recalculating ----------------------------------------------------------------------------------------------------

    async def recalculate(
        self,
        connection: Connection,
        locked: Mapping[Key, Customer],
        now: datetime,
        *,
        asked: Asked,
        touched: Touched | None = None,
    ) -> list[Rescored]:
        """Score these locked customers anew from the facts."""
        if not locked:
            return []
        touched = touched or Touched()
        stores = {store_id: self.rules(store_id) for store_id, _ in locked}
        counting = {
            store_id: customers.Counting(rules.stored.currency, rules.scoring.segments.risk)
            for store_id, rules in stores.items()
        }
        features = await customers.features(connection, list(locked), counting, now)
        RESCORED.labels(asked).inc(len(locked))
        with pure():
            return [
                self._rescored(customer, features[key], now, asked=asked, touched=touched)
                for key, customer in locked.items()
            ]

    def _rescored(
        self, customer: Customer, counted: Features, now: datetime, *, asked: Asked, touched: Touched
    ) -> Rescored:
        scoring = self.rules(customer.store_id).scoring
        return changes.rescored(
            customer,
            counted,
            score(counted, is_allowlisted=customer.is_allowlisted, scoring=scoring, now=now),
            scoring,
            asked=asked,
            happenings=sorted(touched.happenings.get(customer.key, ()), key=lambda it: it.occurred_at),
            quiet_score=customer.key in touched.let_through,
        )

    async def publish(
        self, transaction: Transaction, rescored: Sequence[tuple[Rescored, Cause]], now: datetime
    ) -> None:
        """Save the recalculated customers with their events, timelines and histories, and send the events."""
        if not rescored:
            return
        connection = transaction.connection
        with pure():
            shown = [changes.snapshot(change, now) for change, _ in rescored]
            told = [
                (change, changes.events(change, cause=cause, now=now, shown=customer))
                for (change, cause), customer in zip(rescored, shown, strict=True)
            ]
            rows = [
                (change, customer, change.before.sequence + len(events), _next_change(change, now))
                for (change, events), customer in zip(told, shown, strict=True)
            ]
            encoded = [(event, event.encode()) for _, events in told for event in events]
            entries = [(c.before.key, e) for c, events in told for e in changes.timeline(c, events, now=now)]
            points = [(change.before.key, point) for change, _ in told if (point := changes.history(change))]
        await customers.save(connection, rows, now)
        await published.save_events(connection, encoded)
        await published.save_timeline(connection, entries, now)
        await published.save_history(connection, points, now)
        await linking.touch(connection, [(change, cause) for change, cause in rescored if change.touches_linked], now)
        transaction.send(*(_outgoing(event, body) for event, body in encoded))

    async def rescore_due(self, limit: int) -> int:
        """One batch of the customers whom others' facts, time or settings touched; the number taken."""
        with self.rescoring:
            await self.partitions.cover(self.pool, [self.now()])
            async with self.outbox.transaction() as transaction:
                due = await rescoring.take(transaction.connection, limit)
                if due:
                    await self.rescore(transaction, due)
                return len(due)

    async def rescore(self, transaction: Transaction, due: Mapping[Key, Due]) -> None:
        """Recalculate customers of whom no fact came. What did not move is not published."""
        connection = transaction.connection
        await self.hold_rules(connection, {store_id for store_id, _ in due})
        locked = await customers.lock(connection, list(due))
        now = self.now()
        left = [key for key in locked if not _LOSING_ORDERS.isdisjoint(due[key].reasons)]
        await links.settle(connection, await links.moved(connection, left), reason="link", now=now)
        rescored: list[tuple[Rescored, Cause]] = []
        loudest = {key: min(due[key].reasons, key=_loudness) for key in locked}
        for asked in sorted(set(loudest.values())):
            some = {key: customer for key, customer in locked.items() if loudest[key] == asked}
            cause = Cause(kind=asked, id=uuid7())
            rescored += [
                (change, cause.model_copy(update={"depth": due[change.before.key].depth}))
                for change in await self.recalculate(connection, some, now, asked=asked)
            ]
        await self.publish(transaction, rescored, now)


_LOSING_ORDERS = frozenset({"moved", "history"})
"""Reasons of which an order that is somebody else's now may be one: the fingerprints it left go with it."""


def _loudness(asked: Asked) -> tuple[bool, Asked]:
    """Of several reasons one that publishes counts."""
    return (asked == "history", asked)


def _next_change(change: Rescored, now: datetime) -> datetime | None:
    return horizon.next_change(change.features, change.scoring, is_allowlisted=change.after.is_allowlisted, now=now)


def _outgoing(event: Event, body: bytes) -> Outgoing:
    return Outgoing(event.id, EVENTS, event.type, body, traces.carried(event.cause.id))


def _catalogue(found: Batch) -> list[CatalogueEntry]:
    return [
        CatalogueEntry(
            fact.store_id,
            fact.data.id,
            tuple(sorted({category.slug for category in fact.data.categories})),
            fact.occurred_at,
            digest,
        )
        for fact, digest in batches.latest_products(found.products)
    ]


def _ordering(found: Batch) -> set[UUID]:
    """Stores of which the batch has an order with products or coupons."""
    return {
        store_id
        for (store_id, _), steps in found.steps.items()
        if any(isinstance(step, Incoming) and (step.order.product_ids or step.order.coupons) for step in steps)
    }


def _touched(concluded: Mapping[OrderKey, Concluded], fresh: Sequence[checkouts.Checkout]) -> Touched:
    touched = Touched()
    for (store_id, _), one in concluded.items():
        touched.note_order(store_id, one)
    for checkout in fresh:
        touched.note_checkout(checkout)
    return touched


async def _lock_customers(connection: Connection, touched: Touched, now: datetime) -> dict[Key, Customer]:
    brought = [(*key, email, at) for key, (email, at) in touched.emails.items()]
    if brought:
        await customers.ensure(connection, brought, now)
    return await customers.lock(connection, list(touched.causes))


async def _save_orders(
    connection: Connection, concluded: Mapping[OrderKey, Concluded], locked: Mapping[Key, Customer]
) -> None:
    to_save = [
        Saved(
            key,
            one.folded,
            one.settled,
            disputed=bool(one.cases),
            forgotten=linking.forgotten(key, one, locked),
            card_brand=one.card_brand,
        )
        for key, one in concluded.items()
        if one.changed
    ]
    if to_save:
        await orders.save(connection, to_save)


async def _forget(
    connection: Connection,
    found: Batch,
    concluded: Mapping[OrderKey, Concluded],
    fresh: Sequence[checkouts.Checkout],
    locked: Mapping[Key, Customer],
) -> None:
    """What is late and from before its customer's erasure keeps nothing personal."""
    reported = {(store_id, refund.order_id) for store_id, refund, _ in found.refunds}
    if emptied := sorted(key for key in reported if linking.forgotten(key, concluded[key], locked)):
        await orders.forget_reports(connection, emptied)
    if late := [checkout for checkout in fresh if linking.late(checkout, locked)]:
        await customers.forget_checkouts(connection, late)


async def _tell_former_owners(
    connection: Connection, concluded: Mapping[OrderKey, Concluded], *, asked: Asked, now: datetime
) -> None:
    """They are recalculated later, and read on their timelines why."""
    left = [((key[0], was), one.folded) for key, one in concluded.items() if (was := one.folded.former_owner)]
    if left:
        reason: Asked = "history" if asked == "history" else "moved"
        await rescoring.mark(connection, sorted({key for key, _ in left}), reason=reason, now=now)
        with pure():
            entries = [(key, changes.left(folded)) for key, folded in left]
        await published.save_timeline(connection, entries, now)
