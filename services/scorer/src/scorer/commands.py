"""What others ask of the scorer. Each answers with a few ids: readers find the rest in Postgres."""

from collections.abc import Awaitable, Callable, Mapping
from dataclasses import replace
from datetime import datetime
from typing import Annotated, Any, TypeVar
from uuid import UUID

from pydantic import AfterValidator, BaseModel, ConfigDict, Field, StringConstraints, ValidationError

from scorer import sweep
from scorer.changes import Asked, Rescored, shipping_points
from scorer.customer import Customer, Key
from scorer.score import score
from scorer.scoring import Scoring, merged
from scorer.store import customers, jobs, links, scoring
from scorer.store.scoring import StoredScoring
from scorer.worker import Scorer
from shared import jobs as shared_jobs
from shared.commands import Command, Handler, RefusedError, invalid, parse
from shared.erasure import forget_event
from shared.events import Cause, Event
from shared.mistakes import mistakes
from shared.outbox import Transaction

MAX_TAGS = 50


def _printable(text: str) -> str:
    if not text.isprintable():
        raise ValueError("must not hold control characters")
    return text


Tag = Annotated[str, StringConstraints(strip_whitespace=True, min_length=1, max_length=64), AfterValidator(_printable)]


class _Asked(BaseModel):
    model_config = ConfigDict(frozen=True, extra="forbid")


class OfCustomer(_Asked):
    """`customer.recalculate`"""

    email_hash: str = Field(pattern=r"^[0-9a-f]{64}$")


class CustomerUpdate(OfCustomer):
    """`customer.update`: block or unblock, allowlist or remove from it."""

    is_blocked: bool | None = None
    is_allowlisted: bool | None = None
    reason: str | None = Field(default=None, max_length=500)


class Tagging(OfCustomer):
    """`customer.tag`, `customer.untag`"""

    tag: Tag


class Noting(OfCustomer):
    """`customer.note`"""

    text: str = Field(min_length=1, max_length=5000)


class Erasing(OfCustomer):
    """`customer.erase`"""

    reason: str | None = Field(default=None, max_length=500)


class ScoringPatch(_Asked):
    """`store.scoring`: what to change; null goes back to the default."""

    min_orders: Any = None
    segments: Any = None
    modules: Any = None
    currency: str | None = Field(default=None, pattern=r"^[A-Z]{3}$")


class Nothing(_Asked):
    """Commands that need no data."""


class OfJob(_Asked):
    """`job.cancel`"""

    job_id: UUID


A = TypeVar("A", bound=BaseModel)
Work = Callable[[Scorer, Transaction, Command, A], Awaitable[Any]]


def handlers(scorer: Scorer) -> dict[str, Handler]:
    return {
        "customer.update": _handler(scorer, CustomerUpdate, _update),
        "customer.recalculate": _handler(scorer, OfCustomer, _recalculate),
        "customer.tag": _handler(scorer, Tagging, _tag),
        "customer.untag": _handler(scorer, Tagging, _untag),
        "customer.note": _handler(scorer, Noting, _note),
        "customer.erase": _handler(scorer, Erasing, _erase),
        "store.scoring_read": _handler(scorer, Nothing, _read_scoring),
        "store.scoring": _handler(scorer, ScoringPatch, _change_scoring),
        "store.recompute": _handler(scorer, Nothing, _recompute),
        "store.sweep": _handler(scorer, Nothing, _sweep),
        "job.cancel": _handler(scorer, OfJob, _cancel),
    }


def _handler(scorer: Scorer, model: type[A], work: Work[A]) -> Handler:
    async def handle(transaction: Transaction, command: Command) -> Any:
        return await work(scorer, transaction, command, parse(model, command.data))

    return handle


# Customers ------------------------------------------------------------------------------------------------------------


async def _changed(
    scorer: Scorer,
    transaction: Transaction,
    command: Command,
    email_hash: str,
    change: Callable[[Rescored, datetime], Rescored] = lambda change, _: change,
) -> dict[str, Any]:
    """Lock and recalculate a customer, change it, publish what that led to.

    Raises:
        RefusedError: 404, there is no such customer; whatever `change` refuses.
    """
    connection = transaction.connection
    await scorer.partitions.cover(scorer.pool, [scorer.now()])
    await scorer.hold_rules(connection, [command.store_id])
    locked = await customers.lock(connection, [(command.store_id, email_hash)])
    if not locked:
        raise RefusedError(404, "trustlens_customer_not_found", "Customer not found.")
    now = scorer.now()
    asked: Asked = "rule" if command.cause else "command"
    (rescored,) = await scorer.recalculate(connection, locked, now, asked=asked)
    told = replace(change(rescored, now), actor=command.actor)
    await scorer.publish(transaction, [(told, command.cause or Cause(kind="command", id=command.id))], now)
    if told.after.tags != told.before.tags:
        await customers.save_tags(connection, told.after)
    return {"email_hash": email_hash}


async def _recalculate(scorer: Scorer, transaction: Transaction, command: Command, asked: OfCustomer) -> Any:
    return await _changed(scorer, transaction, command, asked.email_hash)


async def _update(scorer: Scorer, transaction: Transaction, command: Command, asked: CustomerUpdate) -> Any:
    return await _changed(
        scorer, transaction, command, asked.email_hash, lambda change, now: switched(change, asked, now)
    )


def switched(change: Rescored, asked: CustomerUpdate, now: datetime) -> Rescored:
    """The recalculation with the flags that were asked for; asking for what is already so publishes nothing.

    Raises:
        RefusedError: 409, the customer would be both blocked and allowlisted.
    """
    before = change.before
    after = replace(
        change.after,
        is_blocked=before.is_blocked if asked.is_blocked is None else asked.is_blocked,
        is_allowlisted=before.is_allowlisted if asked.is_allowlisted is None else asked.is_allowlisted,
    )
    _refuse_both(after)
    new = score(change.features, is_allowlisted=after.is_allowlisted, scoring=change.scoring, now=now)
    after = replace(
        after, trust_score=new.value, segment=new.segment, own_score=new.own, shipping_points=shipping_points(new)
    )
    moved = (before.is_blocked, before.is_allowlisted) != (after.is_blocked, after.is_allowlisted)
    return replace(change, after=after, score=new, reason=asked.reason, quiet_score=not moved)


def _refuse_both(after: Customer) -> None:
    if after.is_blocked and after.is_allowlisted:
        raise RefusedError(
            409, "trustlens_blocked_and_allowlisted", "A customer cannot be blocked and allowlisted: undo one first."
        )


async def _tag(scorer: Scorer, transaction: Transaction, command: Command, asked: Tagging) -> Any:
    return await _changed(scorer, transaction, command, asked.email_hash, lambda change, _: tagged(change, asked.tag))


def tagged(change: Rescored, tag: str) -> Rescored:
    """
    Raises:
        RefusedError: 400, too many tags.
    """
    if tag in change.before.tags:
        return replace(change, quiet_score=True)
    if len(change.before.tags) >= MAX_TAGS:
        raise invalid({"tag": f"is one more than the {MAX_TAGS} that a customer may have"})
    after = replace(change.after, tags=(*change.before.tags, tag))
    return replace(change, after=after, quiet_score=True, tagged=tag)


async def _untag(scorer: Scorer, transaction: Transaction, command: Command, asked: Tagging) -> Any:
    def without(change: Rescored, _: datetime) -> Rescored:
        tags = tuple(tag for tag in change.before.tags if tag != asked.tag)
        return replace(change, after=replace(change.after, tags=tags), quiet_score=True)

    return await _changed(scorer, transaction, command, asked.email_hash, without)


async def _note(scorer: Scorer, transaction: Transaction, command: Command, asked: Noting) -> Any:
    return await _changed(
        scorer,
        transaction,
        command,
        asked.email_hash,
        lambda change, _: replace(change, quiet_score=True, noted=asked.text),
    )


async def _erase(scorer: Scorer, transaction: Transaction, command: Command, asked: Erasing) -> Any:
    """Null the e-mail and what is personal, here; customer_erased tells the other services to do the same.

    Once more for a customer who was erased before: whatever there is of them again goes again, everywhere.
    """
    connection, key = transaction.connection, (command.store_id, asked.email_hash)
    await scorer.hold_rules(connection, [command.store_id])
    if not await customers.lock(connection, [key]):
        raise RefusedError(404, "trustlens_customer_not_found", "Customer not found.")
    now = scorer.now()
    await customers.erase(connection, key, now)
    await links.settle(connection, await links.moved(connection, [key]), reason="link", now=now)
    await _erase_events(transaction, key)
    reason = asked.reason and scorer.person(key).removed_from(asked.reason)
    return await _changed(
        scorer,
        transaction,
        command,
        asked.email_hash,
        lambda change, _: replace(change, erased=True, reason=reason, quiet_score=True),
    )


async def _erase_events(transaction: Transaction, key: Key) -> None:
    bodies = await customers.event_bodies(transaction.connection, key)
    emptied = [(at, event_id, forget_event(Event.model_validate_json(body)).encode()) for at, event_id, body in bodies]
    await customers.replace_event_bodies(transaction.connection, emptied)


# Stores ---------------------------------------------------------------------------------------------------------------


async def _read_scoring(_: Scorer, transaction: Transaction, command: Command, __: Nothing) -> Any:
    return _shown(await scoring.read(transaction.connection, command.store_id))


def _shown(stored: StoredScoring) -> dict[str, Any]:
    """Every setting, also those at their defaults."""
    effective = Scoring.model_validate(stored.settings)
    return {
        "version": stored.version,
        "currency": stored.currency,
        "settings": effective.model_dump(mode="json"),
    }


async def _change_scoring(scorer: Scorer, transaction: Transaction, command: Command, asked: ScoringPatch) -> Any:
    """A new version of the settings, and a job that recomputes the store by it. No change: neither."""
    connection, now = transaction.connection, scorer.now()
    await scoring.hold(connection, [command.store_id], about="scoring", alone=True)
    stored = await scoring.read(connection, command.store_id)
    settings = _settings(stored.settings, asked)
    currency = asked.currency or stored.currency
    if (settings, currency) == (dict(stored.settings), stored.currency):
        return {"version": stored.version, "job_id": None}
    new = StoredScoring(stored.version + 1, currency, settings)
    await scoring.save(connection, command.store_id, new, actor=command.actor, now=now)
    job_id = await jobs.queue(connection, command.store_id, "recompute")
    return {"version": new.version, "job_id": str(job_id)}


def _settings(stored: Mapping[str, Any], asked: ScoringPatch) -> dict[str, Any]:
    """
    Raises:
        RefusedError: 400, each setting that cannot be, by its path.
    """
    patch = asked.model_dump(exclude_unset=True, exclude={"currency"})
    try:
        settings = merged(stored, patch)
        Scoring.model_validate(settings)
    except ValidationError as error:
        raise invalid(mistakes(error)) from None
    return settings


async def _recompute(_: Scorer, transaction: Transaction, command: Command, __: Nothing) -> Any:
    job_id = await jobs.queue(transaction.connection, command.store_id, "recompute")
    return {"job_id": str(job_id)}


async def _sweep(scorer: Scorer, _: Transaction, command: Command, __: Nothing) -> Any:
    return {"due": await sweep.sweep(scorer, scorer.now(), command.store_id)}


async def _cancel(_: Scorer, transaction: Transaction, command: Command, asked: OfJob) -> Any:
    if not await shared_jobs.cancel(transaction.connection, "scorer", command.store_id, asked.job_id):
        raise RefusedError(404, "trustlens_job_not_found", "There is no such job.")
    return {"job_id": str(asked.job_id)}
