"""One attempt: signed, sent, told in one line. What it means for the delivery is decided when it is recorded."""

import random
import time
from collections.abc import Callable
from dataclasses import dataclass
from datetime import datetime
from functools import cache
from uuid import UUID

import structlog

from dispatcher.classify import Answer
from dispatcher.clock import Clock, utc_now
from dispatcher.deliveries import Delivery, Step
from dispatcher.destinations import email, webhook, woocommerce
from dispatcher.destinations.means import Credentials, Smtp
from dispatcher.endpoints import Target
from dispatcher.metrics import ATTEMPT_SECONDS, ATTEMPTS, EVENT_SECONDS, SUPPRESSED
from dispatcher.recorder import Record, Recorder
from dispatcher.send import Sender
from shared import traces
from shared.log import ATTEMPT
from shared.targets import Reach
from shared.traces import Headers, Leg

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
    probe: bool = False
    """Sent though its endpoint is down: to see whether it still is."""
    trace: Headers | None = None
    """By which the trace of its event goes on."""

    def lease_left(self) -> float:
        return self.lease_ends - time.monotonic()


class Attempts:
    def __init__(
        self,
        *,
        sender: Sender,
        recorder: Recorder,
        reach: Reach,
        clock: Clock = utc_now,
    ) -> None:
        self._reach = reach
        self._sender = sender
        self._recorder = recorder
        self._clock = clock

    async def send(self, job: Job, target: Target) -> Record:
        """Make the attempt; what it came to, not yet recorded."""
        at = self._clock()
        with traces.attempt("deliver", job.trace) as leg:
            answer = await self._answer(job, target, at, leg.headers)
            if leg.headers:
                _trace(leg, job.delivery, answer)
        jitter = random.random()  # noqa: S311  # spreads retries, guards nothing
        return Record(
            job.delivery,
            job.lease,
            at,
            answer=answer,
            permanent=target.permanent_codes,
            jitter=jitter,
            probe=job.probe,
            trace=leg.headers,
        )

    async def _answer(self, job: Job, target: Target, now: datetime, trace: Headers) -> Answer:
        match job.delivery.shape:
            case "email":
                return await self._mail(job, target)
            case "order":
                return await self._change_order(job, target)
            case _:
                return await webhook.send(
                    self._sender, job.body, delivery=job.delivery, target=target, now=now, trace=trace
                )

    async def _mail(self, job: Job, target: Target) -> Answer:
        if not isinstance(target.via, Smtp):
            return Answer(duration_ms=0, final="this store has no mail server: set `smtp` with PATCH /store")
        return await email.send(
            job.body, smtp=target.via, reach=self._reach, message_id=job.delivery.id, timeout=target.timeout
        )

    async def _change_order(self, job: Job, target: Target) -> Answer:
        if not isinstance(target.via, Credentials):
            return Answer(
                duration_ms=0, final="we may not write to this store's orders: set `woocommerce` with PATCH /store"
            )
        return await woocommerce.send(
            self._sender,
            job.body,
            store_url=target.url,
            credentials=target.via,
            reach=self._reach,
            timeout=target.timeout,
        )

    async def record(self, record: Record) -> None:
        """Until it is stored."""
        _tell(record, await self._recorder.record(record))

    def take_down(self, record: Record, stored: Callable[[], None]) -> None:
        """Have it stored, and `stored` called then. No task waits for it: there may be thousands."""

        def told(step: Step | None) -> None:
            try:
                _tell(record, step)
            finally:
                stored()

        self._recorder.take(record, told)

    def unsent(self, job: Job, step: Step) -> Record:
        """The record of a delivery that is not sent."""
        return Record(job.delivery, job.lease, self._clock(), step=step)


def _trace(leg: Leg, delivery: Delivery, answer: Answer) -> None:
    why = None if answer.complaint is None else answer.phase or str(answer.status_code)
    leg.answered(
        answer.status_code,
        why,
        {
            "trustlens.delivery": str(delivery.id),
            "trustlens.endpoint": str(delivery.target_id),
            "trustlens.event": delivery.event,
            "trustlens.attempt": delivery.attempts + 1,
        },
    )


_ATTEMPTS = cache(ATTEMPTS.labels)


def _kind(answer: Answer) -> str:
    return answer.phase or (f"{answer.status_code // 100}xx" if answer.status_code else "none")


def _tell(record: Record, step: Step | None) -> None:
    delivery, answer = record.delivery, record.answer
    told: dict[str, object] = {
        "delivery": str(delivery.id),
        "endpoint": str(delivery.target_id),
        "event_type": delivery.event,
        "customer": delivery.email_hash[:12],
    }
    if answer is None:
        if step:
            if step.status == "suppressed":
                SUPPRESSED.labels(step.cause).inc()
            log.info("delivery.not_sent", **told, next=step.status, why=step.reason)
        return
    status = step.status if step else "lease_lost"
    _ATTEMPTS(_kind(answer), status).inc()
    ATTEMPT_SECONDS.observe(answer.duration_ms / 1000)
    if not (delivery.attempts or delivery.asked or delivery.parked_until):
        EVENT_SECONDS.observe((record.at - delivery.recorded_at).total_seconds())
    told |= {
        "status": answer.phase or answer.status_code,  # a 200 whose body broke off is no 200
        "attempt": f"{delivery.attempts + 1}/{delivery.max_attempts + bool(step and step.uncounted)}",
        "ms": answer.duration_ms,
        "next": f"{step.wait.total_seconds():.0f} s" if step and step.wait and status == "retrying" else status,
        "why": answer.words,
    }
    if record.trace:
        told |= traces.ids(record.trace)
    if status == "delivered":
        log.info(ATTEMPT, **told)
    else:
        log.warning(ATTEMPT, **told)
