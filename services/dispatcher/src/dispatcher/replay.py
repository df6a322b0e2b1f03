"""Replay: many deliveries once more, by filter and time range, each under its own id, at a rate receivers stand."""

from datetime import datetime
from typing import Annotated, Literal, Self, get_args
from uuid import UUID

from pydantic import AwareDatetime, BaseModel, ConfigDict, Field, model_validator

from dispatcher import store
from dispatcher.deliveries import Status
from shared.db import Connection
from shared.jobs import Job
from shared.outbox import Transaction

PAGE = 500
RATE = 50
"""Deliveries per second that become due, over all endpoints: whoever replays a week must not drown the present."""

Replayed = Literal["delivered", "failed", "exhausted", "suppressed", "cancelled"]
"""Finished ones: what is under way needs no replay."""
MISSED: tuple[Replayed, ...] = ("failed", "exhausted")
"""What is replayed unless something else is asked for."""


class Replay(BaseModel):
    """What `POST /deliveries/replay` takes. From `from` until before `to`, by the time of the event."""

    model_config = ConfigDict(frozen=True, extra="forbid", populate_by_name=True)

    webhook_id: UUID | None = None
    event: Annotated[str, Field(max_length=64)] | None = None
    status: Replayed | tuple[Replayed, ...] = MISSED
    customer: Annotated[str, Field(pattern=r"^[0-9a-f]{64}$")] | None = None
    from_: AwareDatetime = Field(alias="from")
    to: AwareDatetime
    rate: Annotated[int, Field(ge=1, le=1000)] = RATE
    dry_run: bool = False

    @model_validator(mode="after")
    def _in_order(self) -> Self:
        if self.from_ >= self.to:
            raise ValueError("from must be before to")
        return self

    @property
    def statuses(self) -> tuple[Status, ...]:
        asked = (self.status,) if isinstance(self.status, str) else self.status
        return tuple(name for name in get_args(Status) if name in asked)


async def count(connection: Connection, store_id: UUID, asked: Replay) -> int:
    return await store.count_replayable(connection, store_id, asked)


async def page(transaction: Transaction, job: Job) -> Job | None:
    """The next deliveries, due again one after the other at the rate that was asked for."""
    asked = Replay.model_validate(job.params)
    at, delivery_id = _place(job)
    found = await store.ask_page_again(transaction.connection, job.store_id, asked, after=(at, delivery_id), limit=PAGE)
    if not found:
        return None
    last_at, last_id = max(found)
    return job.further(seen=len(found), position=f"{last_at.isoformat()}/{last_id}")


def _place(job: Job) -> tuple[datetime | None, UUID]:
    if not job.position:
        return None, UUID(int=0)
    at, _, delivery_id = job.position.partition("/")
    return datetime.fromisoformat(at), UUID(delivery_id)
