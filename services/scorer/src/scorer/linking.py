"""Which fingerprints a batch moves, and whom that links or unlinks: I/O around the statements of store/links.py."""

from collections.abc import Iterable, Mapping, Sequence
from datetime import datetime

from scorer import checkouts
from scorer.batch import OrderKey
from scorer.changes import Asked, Rescored
from scorer.conclude import Concluded
from scorer.customer import Customer, Key
from scorer.facts import Folded, OrderState
from scorer.store import links
from shared.db import Connection
from shared.events import Cause


async def settle(
    connection: Connection,
    concluded: Mapping[OrderKey, Concluded],
    fresh: Sequence[checkouts.Checkout],
    locked: Mapping[Key, Customer],
    *,
    asked: Asked,
    now: datetime,
) -> None:
    """Bring fingerprints up to the facts, of those customers whose fingerprints the batch can have changed.

    A new order or attempt can only add some, or show an earlier use: those are looked up. Where an order changed, all
    facts of its owner are read.
    """
    moving = {key: one for key, one in concluded.items() if one.changed and _fingerprints_may_move(one.folded)}
    known = {key: one.folded.owner for key, one in moving.items() if one.folded.before.version}
    reread = {(store_id, owner) for (store_id, _), owner in known.items() if owner}
    new = {key: one for key, one in moving.items() if key not in known}
    used = [*_used_by_orders(new, locked), *_used_at_checkouts(fresh, locked)]
    moves = await links.moved(connection, sorted(reread)) if reread else []
    added = [one for one in used if one[:2] not in reread]
    moves += await links.added(connection, added) if added else []
    await links.settle(connection, moves, reason="history" if asked == "history" else "link", now=now)


def _used_by_orders(concluded: Mapping[OrderKey, Concluded], locked: Mapping[Key, Customer]) -> Iterable[links.Used]:
    for key, one in concluded.items():
        version, owner = one.folded.after.version, one.folded.owner
        if version and owner and not forgotten(key, one, locked):
            for fingerprint in version.fingerprints:
                yield key[0], owner, fingerprint, version.created_at


def _used_at_checkouts(fresh: Iterable[checkouts.Checkout], locked: Mapping[Key, Customer]) -> Iterable[links.Used]:
    for checkout in fresh:
        if not late(checkout, locked):
            for fingerprint in checkout.fact.data.fingerprints:
                yield checkout.fact.store_id, checkout.email_hash, fingerprint, checkout.fact.occurred_at


def _fingerprints_may_move(folded: Folded) -> bool:
    """Whether which fingerprints an order uses, since when and for whom, is not what it was."""
    before, after = folded.before, folded.after
    if not any(state.version and state.version.fingerprints for state in (before, after)):
        return False
    return _uses(before) != _uses(after)


def _uses(state: OrderState) -> tuple[object, ...]:
    version = state.version
    if version is None or not state.placed:
        return ()
    return (version.fingerprints, version.created_at, version.email_hash)


async def touch(connection: Connection, touching: Sequence[tuple[Rescored, Cause]], now: datetime) -> None:
    """Neighbours of what history did are as quiet as history itself; of what a rule did, they continue its chain."""
    quiet = {change.before.key: cause.depth for change, cause in touching if change.asked == "history"}
    others = {change.before.key: cause.depth for change, cause in touching if change.asked != "history"}
    if quiet:
        await links.touch_linked(connection, quiet, reason="history", now=now)
    if others:
        await links.touch_linked(connection, others, reason="link", now=now)


def forgotten(key: OrderKey, one: Concluded, locked: Mapping[Key, Customer]) -> bool:
    owner = locked.get((key[0], one.folded.owner or ""))
    version = one.folded.after.version
    return bool(owner and version and owner.erased_at and version.created_at <= owner.erased_at)


def late(checkout: checkouts.Checkout, locked: Mapping[Key, Customer]) -> bool:
    """From before its customer's erasure."""
    erased_at = locked[checkout.fact.store_id, checkout.email_hash].erased_at
    return erased_at is not None and checkout.fact.occurred_at <= erased_at
