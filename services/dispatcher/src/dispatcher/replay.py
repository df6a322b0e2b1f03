"""Replay: many deliveries once more, by filter and time range, each under its own id, at a rate receivers stand."""

from collections.abc import Mapping
from dataclasses import dataclass
from datetime import datetime, timedelta
from typing import Annotated, Any, Literal, get_args
from uuid import UUID

from pydantic import (
    AwareDatetime,
    BaseModel,
    BeforeValidator,
    ConfigDict,
    Field,
    ValidationInfo,
    field_validator,
)
from pydantic_core import PydanticCustomError

from dispatcher import store
from dispatcher.clock import Clock, utc_now
from dispatcher.deliveries import Status
from shared.events import WebhookEvent
from shared.jobs import Job
from shared.outbox import Transaction

PAGE = 500
AHEAD = timedelta(seconds=5)
"""How far ahead of their sending deliveries are made due: so progress is true, and a cancelled replay stops soon."""
RATE = 50
"""Deliveries per second that become due, over all endpoints: whoever replays a week must not drown the present."""

Replayed = Literal["delivered", "failed", "exhausted", "suppressed", "cancelled"]
"""Finished ones: what is under way needs no replay."""
MISSED: tuple[Replayed, ...] = ("failed", "exhausted")
"""What is replayed unless something else is asked for."""


def _one_or_many(given: object) -> object:
    return [given] if isinstance(given, str) else given


class Replay(BaseModel):
    """What `POST /deliveries/replay` takes. From `from` until before `to`, by the time of the event."""

    model_config = ConfigDict(frozen=True, extra="forbid", populate_by_name=True)

    webhook_id: UUID | None = None
    event: WebhookEvent | None = None
    status: Annotated[tuple[Replayed, ...], BeforeValidator(_one_or_many)] = MISSED
    """One, or a list."""
    customer: Annotated[str, Field(pattern=r"^[0-9a-f]{64}$")] | None = None
    from_: AwareDatetime = Field(alias="from")
    to: AwareDatetime
    rate: Annotated[int, Field(ge=1, le=1000)] = RATE
    dry_run: bool = False

    @field_validator("to")
    @classmethod
    def _in_order(cls, to: datetime, info: ValidationInfo) -> datetime:
        if (begin := info.data.get("from_")) and begin >= to:
            raise PydanticCustomError("to", "must be after from", {})
        return to

    @property
    def statuses(self) -> tuple[Status, ...]:
        return tuple(name for name in get_args(Status) if name in self.status)


class _Queued(Replay):
    """A replay as its job has it."""

    skipped: int = 0
    """Deliveries that it left out when it was asked for, because their endpoints were off. Whoever asks for the job is
    told; those that are off by the time of their page are left out too."""


def params(asked: Replay, *, skipped: int) -> Mapping[str, Any]:
    return asked.model_dump(mode="json", by_alias=True) | {"skipped": skipped}


async def page(transaction: Transaction, job: Job, *, clock: Clock = utc_now) -> Job | None:
    """The next deliveries, due again one after the other at the rate that was asked for; the same job: not yet."""
    asked, place, now = _Queued.model_validate(job.params), _place(job), clock()
    begin = max(place.due, now) if place.due else now
    if begin > now + AHEAD:
        return job
    found = await store.ask_page_again(
        transaction.connection,
        job.store_id,
        asked,
        after=(place.at, place.delivery_id),
        begin=begin,
        limit=min(PAGE, max(asked.rate * int(AHEAD.total_seconds()), 1)),
    )
    if not found:
        return None
    last_at, last_id = max(found)
    due = begin + timedelta(seconds=len(found) / asked.rate)
    return job.further(seen=len(found), position=f"{last_at.isoformat()}/{last_id}/{due.isoformat()}")


@dataclass(frozen=True, slots=True)
class _Place:
    """Behind the last delivery that was asked for again, and when that one is due."""

    at: datetime | None = None
    delivery_id: UUID | None = None
    due: datetime | None = None


def _place(job: Job) -> _Place:
    if not job.position:
        return _Place()
    at, delivery_id, due = job.position.split("/")
    return _Place(datetime.fromisoformat(at), UUID(delivery_id), datetime.fromisoformat(due))
