"""I/O around the decisions: a batch of facts in, one commit, its events out."""

from collections import defaultdict
from collections.abc import Sequence
from datetime import UTC, datetime
from uuid import UUID

from scorer import changes, facts, store
from scorer.changes import Rescored
from scorer.customer import Key
from scorer.facts import Folded, Happening, Incoming
from scorer.score import Scoring, score
from shared.broker import Outgoing
from shared.consumer import Message
from shared.db import Connection, Partitions, Pool
from shared.events import Cause, Event, Fact
from shared.identity import email_hash
from shared.ids import uuid7
from shared.outbox import Outbox, Transaction
from shared.secrets import Vault
from shared.topology import EVENTS

RESCORE_BATCH = 200


class UnknownStoreError(ValueError):
    """A fact of a store that does not exist here."""


def parse_fact(message: Message) -> Fact:
    return Fact.model_validate_json(message.body)


class Scorer:
    """Handles batches of facts, and recalculations that others asked for."""

    def __init__(self, outbox: Outbox, pool: Pool, vault: Vault) -> None:
        self.outbox = outbox
        self.pool = pool
        self._vault = vault
        self._hash_keys: dict[UUID, bytes] = {}
        self.partitions = Partitions("scorer.events")
        self.scoring = Scoring()

    async def process(self, batch: Sequence[Fact]) -> None:
        """Store the facts, recalculate whom they change, publish what that changed. Idempotent."""
        await self.partitions.cover(self.pool, [datetime.now(UTC)])
        async with self.outbox.transaction() as transaction:
            connection = transaction.connection
            versions = await self._versions(connection, batch)
            folds = await self._fold(connection, versions)
            now = datetime.now(UTC)
            await self._store(connection, folds, now)
            await self._rescore_owners(transaction, folds, now)

    async def _versions(self, connection: Connection, batch: Sequence[Fact]) -> list[Incoming]:
        unknown = {fact.store_id for fact in batch} - self._hash_keys.keys()
        if unknown:
            sealed = await store.hash_keys(connection, unknown)
            self._hash_keys |= {store_id: self._vault.open(key) for store_id, key in sealed.items()}
        return [facts.incoming(fact, self._hash(fact)) for fact in batch]

    def _hash(self, fact: Fact) -> str | None:
        if fact.store_id not in self._hash_keys:
            raise UnknownStoreError(str(fact.store_id))
        return email_hash(self._hash_keys[fact.store_id], fact.data.email) if fact.data.email else None

    async def _fold(self, connection: Connection, versions: Sequence[Incoming]) -> dict[store.OrderKey, Folded]:
        grouped: dict[store.OrderKey, list[Incoming]] = defaultdict(list)
        for version in versions:
            grouped[version.store_id, version.order.id].append(version)
        keys = list(grouped)
        await store.lock_orders(connection, keys)
        stored = await store.orders(connection, keys)
        return {key: facts.fold(stored.get(key), of_order) for key, of_order in grouped.items()}

    async def _store(self, connection: Connection, folds: dict[store.OrderKey, Folded], now: datetime) -> None:
        won = [(fold.winner, fold) for fold in folds.values() if fold.winner]
        if won:
            winners = [winner for winner, _ in won]
            await store.save_orders(connection, won)
            await store.save_refunds(connection, winners, [(w.store_id, w.order.id) for w in winners])
        moved = [(key[0], fold.former_owner) for key, fold in folds.items() if fold.former_owner]
        if moved:
            await store.mark_rescore(connection, moved, now)
        outcomes = [
            (fact_id, result, _why(fold, result)) for fold in folds.values() for fact_id, result in fold.results
        ]
        await store.save_outcomes(connection, outcomes, now)

    async def _rescore_owners(
        self, transaction: Transaction, folds: dict[store.OrderKey, Folded], now: datetime
    ) -> None:
        happenings: dict[Key, list[Happening]] = defaultdict(list)
        causes: dict[Key, UUID] = {}
        emails: dict[Key, str] = {}
        for fold in folds.values():
            if (winner := fold.winner) and winner.email_hash and winner.order.email:
                key = (winner.store_id, winner.email_hash)
                happenings[key] += fold.happenings
                causes[key] = winner.fact_id
                emails[key] = winner.order.email
        if not emails:
            return
        owners = [(store_id, hashed, email) for (store_id, hashed), email in emails.items()]
        await store.ensure_customers(transaction.connection, owners, now)
        rescored = await self.recalculate(transaction.connection, list(emails), now, happenings=happenings)
        told = [(change, Cause(kind="fact", id=causes[change.before.key])) for change in rescored]
        await self.publish(transaction, told, now)

    async def recalculate(
        self,
        connection: Connection,
        keys: Sequence[Key],
        now: datetime,
        *,
        happenings: dict[Key, list[Happening]] | None = None,
        always: bool = True,
    ) -> list[Rescored]:
        """Lock these customers and score them anew from the facts."""
        customers = await store.lock_customers(connection, keys)
        features = await store.features(connection, list(customers), now)
        return [
            changes.rescored(
                customer,
                features[key],
                score(features[key], is_allowlisted=customer.is_allowlisted, scoring=self.scoring, now=now),
                happenings=sorted((happenings or {}).get(key, ()), key=lambda h: h.occurred_at),
                always=always,
            )
            for key, customer in customers.items()
        ]

    async def publish(
        self, transaction: Transaction, rescored: Sequence[tuple[Rescored, Cause]], now: datetime
    ) -> None:
        """Save the recalculated customers with their events, and send these."""
        told = [(change, changes.events(change, cause=cause, now=now)) for change, cause in rescored]
        await store.save_customers(
            transaction.connection, [(change, change.before.sequence + len(events)) for change, events in told], now
        )
        events = [event for _, of_customer in told for event in of_customer]
        await store.save_events(transaction.connection, events)
        transaction.send(*(_outgoing(event) for event in events))

    async def rescore_all_due(self) -> None:
        """Recalculate the customers whom others' facts touched, until none is left."""
        while await self.rescore_due() == RESCORE_BATCH:
            pass

    async def rescore_due(self) -> int:
        """One batch of those due; the number taken. Only what moved is published."""
        await self.partitions.cover(self.pool, [datetime.now(UTC)])
        async with self.outbox.transaction() as transaction:
            keys = await store.take_rescore_due(transaction.connection, RESCORE_BATCH)
            if keys:
                now = datetime.now(UTC)
                rescored = await self.recalculate(transaction.connection, keys, now, always=False)
                cause = Cause(kind="sweep", id=uuid7())
                await self.publish(transaction, [(change, cause) for change in rescored], now)
            return len(keys)


def _why(fold: Folded, result: facts.Result) -> str | None:
    if result == "applied" and fold.winner and fold.winner.email_hash is None:
        return "the order has no e-mail and belongs to nobody"
    return None


def _outgoing(event: Event) -> Outgoing:
    return Outgoing(event.id, EVENTS, event.type, event.encode())
