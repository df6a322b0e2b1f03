"""One attempt: signed, sent, judged, recorded, told in one line."""

import random
import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from datetime import UTC, datetime
from uuid import UUID

import structlog

from dispatcher import deliveries
from dispatcher.classify import Answer, classify
from dispatcher.deliveries import Delivery, Step
from dispatcher.destinations import webhook
from dispatcher.endpoints import Target
from dispatcher.metrics import ATTEMPT_SECONDS, ATTEMPTS
from dispatcher.recorder import Recorder
from dispatcher.send import Sender
from dispatcher.store import Record

log = structlog.get_logger()


@dataclass(frozen=True, slots=True)
class Job:
    """A leased delivery with all that its attempt needs."""

    delivery: Delivery
    target: Target | None
    body: bytes
    lease: UUID
    lease_ends: float
    """By time.monotonic(), reckoned from before the lease was asked for: never later than the database's end."""

    def lease_left(self) -> float:
        return self.lease_ends - time.monotonic()


class Attempts:
    def __init__(
        self,
        *,
        sender: Sender,
        recorder: Recorder,
        delays: Sequence[float],
        clock: Callable[[], datetime] = lambda: datetime.now(UTC),
    ) -> None:
        self._sender = sender
        self._recorder = recorder
        self._delays = delays
        self._clock = clock

    async def send(self, job: Job, target: Target) -> tuple[Answer, Record]:
        """Make the attempt; what it came to, not yet recorded."""
        now = self._clock()
        answer = await self._answer(job, target, now)
        step = deliveries.after(
            job.delivery,
            classify(answer),
            delays=self._delays,
            jitter=random.random(),  # noqa: S311  # spreads retries, guards nothing
        )
        _tell(job.delivery, answer, step)
        return answer, Record(job.delivery, job.lease, step, now, answer)

    async def _answer(self, job: Job, target: Target, now: datetime) -> Answer:
        if target.secret is None:
            return Answer(duration_ms=0, phase="connect", error="not sent: no key here opens its signing secret")
        headers = webhook.headers(job.delivery, secret=target.secret, body=job.body, custom=target.headers, now=now)
        return await self._sender.send(target.url, headers=headers, body=job.body, timeout=target.timeout)

    async def record(self, record: Record) -> None:
        if not await self._recorder.record(record):
            log.warning("delivery.lease_lost", delivery=str(record.delivery.id))

    def suppression(self, job: Job, step: Step) -> Record:
        """The record of a delivery that is not sent."""
        delivery = job.delivery
        log.info("delivery.suppressed", delivery=str(delivery.id), endpoint=str(delivery.target_id), why=step.reason)
        return Record(delivery, job.lease, step, self._clock(), None)


def _tell(delivery: Delivery, answer: Answer, step: Step) -> None:
    ATTEMPTS.labels(step.status).inc()
    ATTEMPT_SECONDS.observe(answer.duration_ms / 1000)
    write = log.info if step.status == "delivered" else log.warning
    write(
        "delivery.attempt",
        delivery=str(delivery.id),
        endpoint=str(delivery.target_id),
        event_type=delivery.event,
        customer=delivery.email_hash[:12],
        status=answer.status_code or answer.phase,
        attempt=f"{delivery.attempts + 1}/{delivery.max_attempts}",
        ms=answer.duration_ms,
        next=f"{step.wait.total_seconds():.0f} s" if step.wait else step.status,
        why=answer.complaint,
    )
