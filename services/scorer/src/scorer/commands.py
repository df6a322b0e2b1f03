"""What others ask of the scorer."""

from dataclasses import replace
from datetime import UTC, datetime
from typing import Any

from pydantic import BaseModel, ConfigDict, Field

from scorer.changes import Rescored
from scorer.customer import Customer
from scorer.score import score
from scorer.worker import Scorer
from shared.commands import Command, Handler, RefusedError, parse
from shared.events import Cause
from shared.outbox import Transaction


class CustomerUpdate(BaseModel):
    """`customer.update`: block or unblock, allowlist or remove from it."""

    model_config = ConfigDict(frozen=True, extra="forbid")

    email_hash: str = Field(pattern=r"^[0-9a-f]{64}$")
    is_blocked: bool | None = None
    is_allowlisted: bool | None = None
    reason: str | None = Field(default=None, max_length=500)


def handlers(scorer: Scorer) -> dict[str, Handler]:
    async def update(transaction: Transaction, command: Command) -> Any:
        return await _update(scorer, transaction, command)

    return {"customer.update": update}


async def _update(scorer: Scorer, transaction: Transaction, command: Command) -> Any:
    asked: CustomerUpdate = parse(CustomerUpdate, command.data)
    now = datetime.now(UTC)
    await scorer.partitions.cover(scorer.pool, [now])
    key = (command.store_id, asked.email_hash)
    found = await scorer.recalculate(transaction.connection, [key], now)
    if not found:
        raise RefusedError(404, "trustlens_customer_not_found", "No customer with this e-mail hash.")
    change = switched(found[0], asked, scorer, now)
    await scorer.publish(transaction, [(change, Cause(kind="command", id=command.id))], now)
    return {"email_hash": asked.email_hash}


def switched(change: Rescored, asked: CustomerUpdate, scorer: Scorer, now: datetime) -> Rescored:
    """The recalculation with the flags that were asked for; asking for what is already so publishes nothing.

    Raises:
        RefusedError: 409, the customer would be both blocked and allowlisted.
    """
    before = change.before
    after = replace(
        before,
        is_blocked=before.is_blocked if asked.is_blocked is None else asked.is_blocked,
        is_allowlisted=before.is_allowlisted if asked.is_allowlisted is None else asked.is_allowlisted,
    )
    _refuse_both(after)
    new = score(change.features, is_allowlisted=after.is_allowlisted, scoring=scorer.scoring, now=now)
    after = replace(after, trust_score=new.value, segment=new.segment)
    moved = (before.is_blocked, before.is_allowlisted) != (after.is_blocked, after.is_allowlisted)
    return replace(change, after=after, score=new, reason=asked.reason, always=moved)


def _refuse_both(after: Customer) -> None:
    if after.is_blocked and after.is_allowlisted:
        raise RefusedError(
            409, "trustlens_blocked_and_allowlisted", "A customer cannot be blocked and allowlisted: undo one first."
        )
