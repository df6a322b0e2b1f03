"""The orders and disputes of a batch: locked, folded, joined; disputes are saved on the way."""

from collections import defaultdict
from collections.abc import Iterable, Mapping
from datetime import datetime
from uuid import UUID

from scorer import disputes, facts
from scorer.batch import Batch, DisputeKey, OrderKey
from scorer.conclude import Concluded, Known, conclude
from scorer.facts import Folded, Incoming, OrderState, Result
from scorer.metrics import pure
from scorer.store import orders
from scorer.store.orders import Payment
from shared.db import Connection, MeanwhileError

Outcome = tuple[UUID, Result, str | None]
"""(fact id, what became of it, why)"""


async def settle(
    connection: Connection, found: Batch, outcomes: list[Outcome], *, live: bool, now: datetime
) -> dict[OrderKey, Concluded]:
    """What the batch's facts amount to, order by order, orders and disputes locked. Disputes are saved here."""
    if not found.steps and not found.disputes:
        return {}
    keys = sorted({*found.steps, *await _orders_named(connection, found)})
    await orders.lock(connection, keys, found.disputes)
    stored = await orders.states(connection, keys)
    with pure():
        folds = {
            key: facts.fold(stored.get(key, OrderState()), found.steps.get(key, ()), live=live, now=now) for key in keys
        }
    await _save_reports(connection, found)
    known, waiting = await _known_disputes(connection, found, folds, outcomes)
    with pure():
        concluded = {key: conclude(fold, known.get(key, ()), live=live, now=now) for key, fold in folds.items()}
        outcomes += [
            (fact_id, result, _why(fold, result)) for fold in folds.values() for fact_id, result in fold.results
        ]
    cases = {
        (store_id, case.after.dispute.id): case for (store_id, _), one in concluded.items() for case in one.cases
    } | waiting
    await orders.save_disputes(connection, {key: c.after for key, c in cases.items() if c.after != c.before})
    return concluded


def _why(fold: Folded, result: Result) -> str | None:
    if fold.after.version is None:
        return "kept until its order comes"
    if result == "applied" and fold.owner is None:
        return "the order has no e-mail and belongs to nobody"
    return None


async def _orders_named(connection: Connection, found: Batch) -> set[OrderKey]:
    """Orders that the batch's disputes name, or are known to belong to: as far as one sees without a lock."""
    if not found.disputes:
        return set()
    known = await orders.disputes(connection, list(found.disputes))
    paid = await orders.orders_of_payments(connection, _payments(found))
    ids = {(store_id, f.data.order_id) for (store_id, _), some in found.disputes.items() for f in some}
    ids |= {(store_id, case.dispute.order_id) for (store_id, _), case in known.items()}
    ids |= {(store_id, order_id) for (store_id, _), order_id in paid.items()}
    return {(store_id, order_id) for store_id, order_id in ids if order_id is not None}


def _payments(found: Batch) -> set[Payment]:
    return {
        (store_id, payment)
        for (store_id, _), some in found.disputes.items()
        for fact in some
        for payment in fact.data.payments
    }


def _paid(found: Batch) -> Iterable[tuple[UUID, int, str]]:
    """(store id, order id, payment) of every version: also what an older one says of its payments stays true."""
    for (store_id, order_id), steps in found.steps.items():
        for step in steps:
            for payment in step.order.payments if isinstance(step, Incoming) else ():
                yield store_id, order_id, payment


async def _save_reports(connection: Connection, found: Batch) -> None:
    """Deletions and refunds that are told by themselves are facts also where their order is not known yet."""
    if deletions := found.deletions:
        await orders.save_deletions(connection, deletions)
    if refunds := found.refunds:
        await orders.save_reported(connection, refunds)


async def _known_disputes(
    connection: Connection, found: Batch, folds: Mapping[OrderKey, Folded], outcomes: list[Outcome]
) -> tuple[dict[OrderKey, list[Known]], dict[DisputeKey, Known]]:
    """The disputes of these orders as they are after the batch, and those that wait for their order.

    Raises:
        MeanwhileError: an order came this moment that a dispute belongs to.
    """
    claims: dict[Payment, int | None] = dict.fromkeys(_payments(found))
    for store_id, order_id, payment in _paid(found):
        claims[store_id, payment] = min(order_id, claims.get((store_id, payment)) or order_id)
    stored: dict[DisputeKey, disputes.Case] = {}
    paid: dict[Payment, int] = {}
    if claims:
        await orders.claim_payments(connection, claims)
        paid = await orders.orders_of_payments(connection, claims)
        stored |= await orders.disputes_without_order(connection, claims)
    stored |= await orders.disputes_of(connection, list(folds))
    if found.disputes:
        stored |= await orders.disputes(connection, list(found.disputes))
    with pure():
        return _joined(found, folds, stored, paid, outcomes)


def _joined(
    found: Batch,
    folds: Mapping[OrderKey, Folded],
    stored: Mapping[DisputeKey, disputes.Case],
    paid: Mapping[Payment, int],
    outcomes: list[Outcome],
) -> tuple[dict[OrderKey, list[Known]], dict[DisputeKey, Known]]:
    of_order: dict[OrderKey, list[Known]] = defaultdict(list)
    waiting: dict[DisputeKey, Known] = {}
    for key in sorted({*stored, *found.disputes}):
        folded = disputes.fold(stored.get(key), found.disputes.get(key, ()))
        outcomes += [
            (fact_id, result, None if folded.after.dispute.order_id else "kept until its order is known")
            for fact_id, result in folded.results
        ]
        own = {name: paid[key[0], name] for name in folded.after.dispute.payments if (key[0], name) in paid}
        after = disputes.joined(folded.after, own)
        fact_id = folded.results[-1][0] if folded.results else None
        one = Known(folded.before, after, fact_id)
        if after.dispute.order_id is None:
            waiting[key] = one
        elif (key[0], after.dispute.order_id) in folds:
            of_order[key[0], after.dispute.order_id].append(one)
        else:
            raise MeanwhileError("a dispute's order came meanwhile")
    return of_order, waiting
