"""What others ask of the dispatcher, through the queue `dispatcher.commands`."""

import time
from collections.abc import Mapping
from datetime import datetime, timedelta
from typing import Any
from uuid import UUID

import structlog
from pydantic import BaseModel, ConfigDict

from dispatcher import store
from dispatcher.attempt import Attempts, Job
from dispatcher.classify import Answer
from dispatcher.deliveries import Delivery
from dispatcher.destinations import webhook
from dispatcher.endpoints import Endpoint, NewEndpoint, endpoint_json
from dispatcher.fanout import shape_of
from shared.commands import BackgroundHandler, Command, Handler, RefusedError, parse
from shared.db import Partitions, Pool, is_transient
from shared.ids import derived, time_of, uuid7
from shared.outbox import Transaction
from shared.secrets import Vault, generate
from shared.targets import SHORT_SECRET, Reach

log = structlog.get_logger()


class _Named(BaseModel):
    model_config = ConfigDict(frozen=True, extra="forbid")

    id: UUID


class EndpointCommands:
    """Each answers with the body that the API gives its caller."""

    def __init__(
        self,
        *,
        pool: Pool,
        vault: Vault,
        reach: Reach,
        attempts: Attempts,
        partitions: Partitions,
        lease: timedelta,
    ) -> None:
        self._pool = pool
        self._vault = vault
        self._reach = reach
        self._attempts = attempts
        self._partitions = partitions
        self._lease = lease

    def handlers(self) -> Mapping[str, Handler]:
        return {"webhook.create": self.create}

    def background(self) -> Mapping[str, BackgroundHandler]:
        return {"webhook.test": self.test}

    async def create(self, transaction: Transaction, command: Command) -> dict[str, Any]:
        """A new endpoint. A generated secret is in this answer and in no other."""
        new: NewEndpoint = parse(NewEndpoint, command.data, context=self._reach)
        secret = new.secret or generate()
        endpoint = await store.insert_endpoint(
            transaction.connection,
            self._vault,
            endpoint_id=uuid7(),
            store_id=command.store_id,
            new=new,
            secret=secret,
        )
        await store.bump_revision(transaction.connection, [command.store_id])
        shown = endpoint_json(endpoint)
        if not new.secret:
            return shown | {"secret": secret}
        if len(new.secret) < SHORT_SECRET:
            return shown | {"warnings": [f"secret: shorter than {SHORT_SECRET} characters, it can be guessed"]}
        return shown

    async def test(self, command: Command) -> dict[str, Any]:
        """Send the sample to one endpoint now, whatever it subscribed to; what it answered."""
        try:
            return await self._test(command)
        except Exception as error:
            if not is_transient(error):
                raise
            log.warning("commands.test_not_sent", error=type(error).__name__)
            raise RefusedError(503, "trustlens_unavailable", "The test could not be recorded; try again.") from None

    async def _test(self, command: Command) -> dict[str, Any]:
        endpoint_id = parse(_Named, command.data).id
        endpoint = await store.endpoint(self._pool, self._vault, command.store_id, endpoint_id)
        if endpoint is None:
            raise RefusedError(404, "trustlens_webhook_not_found", "There is no such webhook.")
        job = await self._insert_trial(command, endpoint)
        if job is None:
            raise RefusedError(409, "trustlens_test_already_sent", "This test was sent before.")
        answer, record = await self._attempts.send(job, endpoint.target)
        await self._attempts.record(record)
        return _test_json(job.delivery, answer)

    async def _insert_trial(self, command: Command, endpoint: Endpoint) -> Job | None:
        """The delivery as a row, leased by us: should we die, it is sent like any other. None: it is there already."""
        asked_at = time_of(command.id)
        await self._partitions.cover(self._pool, [asked_at])
        delivery = _trial_delivery(command, endpoint, asked_at)
        lease, lease_ends = uuid7(), time.monotonic() + self._lease.total_seconds()
        async with self._pool.acquire() as connection, connection.transaction():
            site = (await store.sites(connection, [command.store_id]))[command.store_id]
            body = webhook.render(webhook.Trial(asked_at), site, include_email=endpoint.include_email)
            await store.insert_bodies(connection, [store.body_of(delivery, body)])
            inserted = await store.insert_deliveries(
                connection, [delivery], lease=lease, leased=[delivery.id], lease_for=self._lease
            )
        return Job(delivery, endpoint.target, body, lease, lease_ends) if inserted else None


def _trial_delivery(command: Command, endpoint: Endpoint, asked_at: datetime) -> Delivery:
    return Delivery(
        recorded_at=asked_at,
        id=derived(command.id, endpoint.id),
        store_id=command.store_id,
        target_id=endpoint.id,
        endpoint_id=endpoint.id,
        rule_id=None,
        event="test",
        source_id=command.id,
        shape=shape_of(endpoint),
        email_hash=webhook.SAMPLE.email_hash,
        sequence=0,
        mode="fire_and_log",
        max_attempts=1,
    )


def _test_json(delivery: Delivery, answer: Answer) -> dict[str, Any]:
    return {
        "delivery_id": str(delivery.id),
        "ok": answer.complaint is None,
        "status_code": answer.status_code,
        "duration_ms": answer.duration_ms,
        "body": answer.body.decode("utf-8", "replace"),
        "error": {"phase": answer.phase, "message": answer.error} if answer.phase else None,
    }
