"""What others ask of the dispatcher, through the queue `dispatcher.commands`."""

import time
from collections.abc import Mapping, Sequence
from datetime import datetime, timedelta
from typing import Annotated, Any, assert_never
from uuid import UUID

import structlog
from pydantic import BaseModel, ConfigDict, Field, StrictStr

from dispatcher import replay, store
from dispatcher.attempt import Attempts, Job
from dispatcher.breaker import HEALTHY
from dispatcher.classify import Answer
from dispatcher.clock import Clock, utc_now
from dispatcher.deliveries import Delivery
from dispatcher.destinations import slack, webhook
from dispatcher.endpoints import Endpoint, NewEndpoint, endpoint_json, filter_doubts, filter_errors
from dispatcher.fanout import SHAPE_SLACK, shape_of
from dispatcher.replay import Replay
from shared import jobs, traces
from shared.commands import BackgroundHandler, Command, Handler, RefusedError, invalid, parse
from shared.db import Partitions, Pool, is_transient
from shared.ids import derived, time_of, uuid7
from shared.mistakes import by_path
from shared.outbox import Transaction
from shared.secrets import Vault, generate, generate_standard
from shared.signing import is_standard_secret
from shared.targets import ANYWHERE, MASK, SHORT_SECRET, Reach

log = structlog.get_logger()


class _Asked(BaseModel):
    model_config = ConfigDict(frozen=True, extra="forbid")


class _Named(_Asked):
    id: UUID


class _Change(_Named):
    """`webhook.update`: the fields to change, as NewEndpoint has them."""

    fields: dict[str, Any]


class _Rotation(_Named):
    """`webhook.rotate`: a secret of one's own, or none to have one made; overlap in seconds."""

    secret: StrictStr | None = Field(default=None, min_length=1, max_length=1024)
    overlap: Annotated[int, Field(ge=0, le=30 * 86400)] | None = None


class _OfJob(_Asked):
    job_id: UUID


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
        overlap: timedelta,
        clock: Clock = utc_now,
    ) -> None:
        self._clock = clock
        self._pool = pool
        self._vault = vault
        self._reach = reach
        self._attempts = attempts
        self._partitions = partitions
        self._lease = lease
        self._overlap = overlap

    def handlers(self) -> Mapping[str, Handler]:
        return {
            "webhook.validate": self.validate,
            "webhook.create": self.create,
            "webhook.update": self.update,
            "webhook.delete": self.delete,
            "webhook.rotate": self.rotate,
            "webhook.end_overlap": self.end_overlap,
            "delivery.retry": self.retry,
            "deliveries.replay": self.replay,
            "job.cancel": self.cancel,
        }

    def background(self) -> Mapping[str, BackgroundHandler]:
        return {"webhook.test": self.test}

    # Endpoints --------------------------------------------------------------------------------------------------------

    async def validate(self, _: Transaction, command: Command) -> dict[str, Any]:
        """Refuses what `create` would."""
        _require_fitting(parse(NewEndpoint, command.data, context=self._reach))
        return {}

    async def create(self, transaction: Transaction, command: Command) -> dict[str, Any]:
        """A new endpoint. A generated secret is in this answer and in no other."""
        new: NewEndpoint = parse(NewEndpoint, command.data, context=self._reach)
        _require_fitting(new)
        secret = new.secret or _generate(standard=new.standard_webhooks)
        endpoint = await store.insert_endpoint(
            transaction.connection,
            self._vault,
            endpoint_id=uuid7(),
            store_id=command.store_id,
            new=new,
            secret=secret,
        )
        await store.bump_revision(transaction.connection, [command.store_id])
        doubts = [*_secret_doubts(new.secret), *filter_doubts(new)]
        return endpoint_json(endpoint, HEALTHY) | _secret_shown(given=new.secret, secret=secret) | _doubted(doubts)

    async def update(self, transaction: Transaction, command: Command) -> dict[str, Any]:
        """The endpoint with these fields changed. The secret is not one of them: it is rotated.

        A URL that stays is not judged anew: one that may not be called any more must not keep its endpoint switched on.
        Nor is a filter, while its events stay too.
        """
        asked: _Change = parse(_Change, command.data)
        endpoint = await self._locked(transaction, command, asked.id)
        reach = self._reach if "url" in asked.fields else ANYWHERE
        changed = parse(NewEndpoint, changed_fields(endpoint, asked.fields), context=reach)
        filtering = {"filter", "events"} & asked.fields.keys()
        if filtering:
            _require_fitting(changed)
        if changed.standard_webhooks and not _has_standard_secrets(endpoint):
            raise invalid({"standard_webhooks": "its secret is not a whsec_ one: rotate it to one first"})
        new = await store.replace_endpoint(
            transaction.connection, self._vault, asked.id, changed, keep_headers="headers" not in asked.fields
        )
        await store.bump_revision(transaction.connection, [command.store_id])
        return await _shown(transaction, new) | _doubted(filter_doubts(changed) if filtering else [])

    async def delete(self, transaction: Transaction, command: Command) -> dict[str, Any]:
        endpoint_id = parse(_Named, command.data).id
        if not await store.delete_endpoint(transaction.connection, command.store_id, endpoint_id):
            raise _no_webhook()
        await store.bump_revision(transaction.connection, [command.store_id])
        return {"id": str(endpoint_id)}

    async def rotate(self, transaction: Transaction, command: Command) -> dict[str, Any]:
        """A next secret that signs beside the old one until the overlap ends; generated ones are shown here only."""
        asked: _Rotation = parse(_Rotation, command.data)
        endpoint = await self._locked(transaction, command, asked.id)
        standard = endpoint.target.standard_webhooks
        secret = asked.secret or _generate(standard=standard)
        if standard and not is_standard_secret(secret):
            raise invalid({"secret": "must be whsec_ and 24 to 64 bytes in base64, as Standard Webhooks has it"})
        overlap = self._overlap if asked.overlap is None else timedelta(seconds=asked.overlap)
        new = await store.rotate_secret(
            transaction.connection, self._vault, asked.id, secret=secret, overlap=overlap, now=self._clock()
        )
        await store.bump_revision(transaction.connection, [command.store_id])
        told = _secret_shown(given=asked.secret, secret=secret) | _doubted(_secret_doubts(asked.secret))
        return await _shown(transaction, new) | told

    async def end_overlap(self, transaction: Transaction, command: Command) -> dict[str, Any]:
        """The new secret alone signs from now on."""
        endpoint_id = parse(_Named, command.data).id
        endpoint = await self._locked(transaction, command, endpoint_id)
        until = endpoint.target.overlap_until
        if until is None or until <= self._clock():
            why = "No rotation is under way: one secret alone signs already."
            raise RefusedError(409, "trustlens_no_rotation", why)
        new = await store.end_overlap(transaction.connection, self._vault, endpoint_id)
        await store.bump_revision(transaction.connection, [command.store_id])
        return await _shown(transaction, new)

    async def _locked(self, transaction: Transaction, command: Command, endpoint_id: UUID) -> Endpoint:
        found = await store.lock_endpoint(transaction.connection, self._vault, command.store_id, endpoint_id)
        if found is None:
            raise _no_webhook()
        return found

    # Test deliveries --------------------------------------------------------------------------------------------------

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
            raise _no_webhook()
        job = await self._insert_trial(command, endpoint)
        if job is None:
            raise RefusedError(409, "trustlens_test_already_sent", "This test was sent before.")
        record = await self._attempts.send(job, endpoint.target)
        await self._attempts.record(record)
        return _test_json(job.delivery, record.answer or _NO_ANSWER)

    async def _insert_trial(self, command: Command, endpoint: Endpoint) -> Job | None:
        """The delivery as a row, leased by us: should we die, it is sent like any other. None: it is there already."""
        asked_at = time_of(command.id)
        await self._partitions.cover(self._pool, [asked_at])
        delivery = _trial_delivery(command, endpoint, asked_at)
        lease, lease_ends = uuid7(), time.monotonic() + self._lease.total_seconds()
        async with self._pool.acquire() as connection, connection.transaction():
            site = (await store.sites(connection, [command.store_id]))[command.store_id]
            renderer = slack if delivery.shape == SHAPE_SLACK else webhook
            body = renderer.render(webhook.Trial(asked_at), site, include_email=endpoint.include_email)
            inserted = await store.insert_deliveries(
                connection,
                [(delivery, None)],
                {(delivery.source_id, delivery.shape): body},
                lease=lease,
                leased=[delivery.id],
                lease_for=self._lease,
                now=self._clock(),
            )
        trace = traces.carried(command.id)
        return Job(delivery, endpoint.target, body, lease, lease_ends, trace=trace) if inserted.deliveries else None

    # Recovery ---------------------------------------------------------------------------------------------------------

    async def retry(self, transaction: Transaction, command: Command) -> dict[str, Any]:
        """Make one delivery once more, now, under its own id."""
        delivery_id = parse(_Named, command.data).id
        outcome = await store.ask_again(transaction.connection, command.store_id, delivery_id, now=self._clock())
        match outcome:
            case "due":
                return {"id": str(delivery_id)}
            case "off":
                raise _switched_off()
            case "not_now":
                why = "This delivery is under way, was erased, or its endpoint was deleted."
                raise RefusedError(409, "trustlens_delivery_under_way", why)
            case "unknown":
                raise RefusedError(404, "trustlens_delivery_not_found", "There is no such delivery.")
            case _:
                assert_never(outcome)

    async def replay(self, transaction: Transaction, command: Command) -> dict[str, Any]:
        """Make many deliveries once more: a job, or with `dry_run` only their number.

        `skipped`: how many more there are whose endpoints are off.
        """
        asked: Replay = parse(Replay, command.data)
        if asked.webhook_id and await store.is_off(transaction.connection, command.store_id, asked.webhook_id):
            raise _switched_off()
        count, skipped = await store.count_replayable(transaction.connection, command.store_id, asked)
        if asked.dry_run:
            return {"job_id": None, "count": count, "skipped": skipped}
        params = replay.params(asked, skipped=skipped)
        job = jobs.Job(uuid7(), command.store_id, "replay", params=params)
        await jobs.queue(transaction.connection, "dispatcher", job, total=count)
        return {"job_id": str(job.id), "count": count, "skipped": skipped}

    async def cancel(self, transaction: Transaction, command: Command) -> dict[str, Any]:
        job_id = parse(_OfJob, command.data).job_id
        if not await jobs.cancel(transaction.connection, "dispatcher", command.store_id, job_id):
            raise RefusedError(404, "trustlens_job_not_found", "There is no such job.")
        return {"job_id": str(job_id)}


def changed_fields(endpoint: Endpoint, fields: Mapping[str, Any]) -> dict[str, Any]:
    """The endpoint as `POST /webhooks` would have been given it, with the new fields. Masked headers stay."""
    shown = endpoint_json(endpoint, HEALTHY)
    kept = {name: shown[name] for name in NewEndpoint.model_fields if name in shown and name != "headers"}
    changed = kept | dict(fields)
    if "secret" in fields:
        raise invalid({"secret": "is changed by rotate-secret"})
    if isinstance(headers := fields.get("headers"), Mapping):
        stored = endpoint.target.headers
        changed["headers"] = {n: stored[n] if v == MASK and n in stored else v for n, v in headers.items()}
    if changed.get("enabled") is True and "disabled_reason" not in fields:
        changed["disabled_reason"] = None
    return changed


async def _shown(transaction: Transaction, endpoint: Endpoint) -> dict[str, Any]:
    found = await store.breakers(transaction.connection, [endpoint.id])
    return endpoint_json(endpoint, found.get(endpoint.id, HEALTHY))


def _has_standard_secrets(endpoint: Endpoint) -> bool:
    """The old one and the new, where one is being rotated: both sign."""
    secrets = {endpoint.target.secret or "", endpoint.target.next_secret or endpoint.target.secret or ""}
    return all(is_standard_secret(secret) for secret in secrets)


def _generate(*, standard: bool) -> str:
    return generate_standard() if standard else generate()


def _require_fitting(asked: NewEndpoint) -> None:
    """
    Raises:
        RefusedError: 400, what of its filter can't be met.
    """
    if errors := filter_errors(asked):
        raise invalid(by_path(errors))


def _secret_shown(*, given: str | None, secret: str) -> dict[str, Any]:
    """A generated secret, this once; a given one never."""
    return {"secret": secret} if given is None else {}


def _secret_doubts(given: str | None) -> list[str]:
    if given is None or len(given) >= SHORT_SECRET:
        return []
    return [f"secret: shorter than {SHORT_SECRET} characters, it can be guessed"]


def _doubted(doubts: Sequence[str]) -> dict[str, Any]:
    return {"warnings": list(doubts)} if doubts else {}


def _switched_off() -> RefusedError:
    return RefusedError(409, "trustlens_webhook_off", "The endpoint is off: switch it on first.")


def _no_webhook() -> RefusedError:
    return RefusedError(404, "trustlens_webhook_not_found", "There is no such webhook.")


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


_NO_ANSWER = Answer(duration_ms=0, phase="connect", error="not sent")


def _test_json(delivery: Delivery, answer: Answer) -> dict[str, Any]:
    return {
        "delivery_id": str(delivery.id),
        "ok": answer.complaint is None,
        "status_code": answer.status_code,
        "duration_ms": answer.duration_ms,
        "body": answer.body.decode("utf-8", "replace"),
        "error": {"phase": answer.phase, "message": answer.error} if answer.phase else None,
    }
