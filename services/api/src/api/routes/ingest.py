"""/ingest: what stores send. A refusal counts against the store's webhook, so only what is wrong is refused."""

import asyncio
from collections.abc import Callable, Sequence
from datetime import UTC, datetime
from functools import partial
from typing import Literal, TypeVar
from uuid import UUID

import structlog
from aiohttp import web

from api import answers, examples
from api.auth import needs
from api.body import BadBodyError, decode_object
from api.errors import ApiError, unavailable
from api.ingest import generic, stripe, topics, woocommerce
from api.ingest.about import about
from api.ingest.generic import Rejected, Taken
from api.ingest.intake import Input, NotCommittedError
from api.metrics import INPUTS
from api.operations import Header, Operation
from api.requests import checked, path_uuid, read_body
from api.responses import as_json
from api.schemas import IngestedEvent, IngestEvents
from api.state import STATE
from api.stores import Key, StoreSecrets
from shared.events import CouponFact
from shared.ids import uuid7

log = structlog.get_logger()

T = TypeVar("T")

LARGE = 64 * 1024
"""Bytes: real orders are 3 to 4 kB."""
MAX_EVENTS_BODY = 5 * 1024 * 1024
"""Bytes: 500 orders of 10 kB."""
_HEADERS = (
    Header("X-WC-Webhook-Topic", "`order.updated` and the like."),
    Header("X-WC-Webhook-Signature", "base64(HMAC-SHA256(body, the store's secret))."),
    Header("X-WC-Webhook-ID", "The webhook's id in the store."),
    Header("X-WC-Webhook-Delivery-ID", "With the others, it tells a repeated delivery."),
    Header("X-WC-Webhook-Source", "The store's address."),
)


@Operation(
    "What a store's webhooks send",
    body=topics.Webhook,
    answer=answers.WithoutEffect,
    others={202: answers.Taken},
    headers=_HEADERS,
    errors={401: "The signature does not fit the body and the store's secret."},
)
async def from_woocommerce(request: web.Request) -> web.Response:
    """202 once stored; 200 for what has no effect: a ping, a repeated delivery, a topic of no use here."""
    secrets = await _store(request)
    raw = await _read(request, woocommerce.MAX_BODY)
    signature = request.headers.get("X-WC-Webhook-Signature", "")
    if not signature and woocommerce.is_ping(raw, request.content_type):
        return as_json({"status": "pong"})
    if not woocommerce.is_signed(raw, secrets.woocommerce_secret, signature):
        raise ApiError(401, "trustlens_bad_signature", "X-WC-Webhook-Signature does not fit the body and the secret.")
    request.app[STATE].webhooks_seen.note(secrets.store_id, datetime.now(UTC))
    topic = request.headers.get("X-WC-Webhook-Topic")
    if not topic:
        raise BadBodyError({"X-WC-Webhook-Topic": "is missing: a proxy on the way may have dropped it"})
    read = partial(topics.read, topic, raw, store_id=secrets.store_id, key=secrets.hash_key, fact_id=uuid7())
    fact = await _apart(raw, partial(read, now=datetime.now(UTC)))
    if isinstance(fact, str):
        return _without_effect(fact)
    digest = woocommerce.digest(
        secrets.store_id,
        source=request.headers.get("X-WC-Webhook-Source", ""),
        webhook_id=request.headers.get("X-WC-Webhook-ID", ""),
        delivery_id=request.headers.get("X-WC-Webhook-Delivery-ID", ""),
        raw=raw,
    )
    # A coupon not as it came: it names the addresses of all who may use it and who did, and is of nobody.
    kept = fact.encode() if isinstance(fact, CouponFact) else raw
    return await _accept(request, Input("woocommerce", topic, digest, kept, fact, about(fact, secrets.hash_key)))


@Operation(
    "What Stripe's webhooks send",
    body=stripe.Event,
    answer=answers.WithoutEffect,
    others={202: answers.Taken},
    headers=(Header("Stripe-Signature", "`t=<seconds>,v1=<hex>`, one v1 for each secret while it is rolled."),),
    errors={401: "The signature does not fit the body and the store's secret, or is of another time."},
)
async def from_stripe(request: web.Request) -> web.Response:
    """As `from_woocommerce`: disputes, and payments that were declined."""
    secrets = await _store(request)
    raw = await _read(request, stripe.MAX_BODY)
    header = request.headers.get("Stripe-Signature", "")
    if fault := stripe.signature_fault(raw, secrets.stripe_secret, header, datetime.now(UTC)):
        raise ApiError(401, "trustlens_bad_signature", fault)
    read = partial(stripe.read, raw, store_id=secrets.store_id, key=secrets.hash_key, fact_id=uuid7())
    told = await _apart(raw, read)
    if isinstance(told, str):
        return _without_effect(told)
    fact = told.fact
    # Not as it came: the evidence of a dispute holds addresses, and nothing in it says whose they are.
    kept = fact.encode()
    return await _accept(
        request, Input(stripe.SOURCE, fact.type, told.digest, kept, fact, about(fact, secrets.hash_key))
    )


async def _store(request: web.Request) -> StoreSecrets:
    store_id = path_uuid(request, "store_id")
    secrets = store_id and await request.app[STATE].stores.get(store_id)
    if not secrets:
        raise ApiError(404, "trustlens_store_not_found", "There is no such store.")
    return secrets


async def _read(request: web.Request, limit: int) -> bytes:
    try:
        return await read_body(request, limit)
    except web.HTTPRequestEntityTooLarge:
        raise BadBodyError({"body": f"is larger than {limit // (1024 * 1024)} MiB"}) from None


async def _apart(raw: bytes, read: Callable[[], T]) -> T:
    """A large body takes the parser long enough to hold up everybody else."""
    return read() if len(raw) <= LARGE else await asyncio.to_thread(read)


async def _accept(request: web.Request, given: Input) -> web.Response:
    if await _new(request, [given]):
        return as_json({"status": "accepted", "id": str(given.id)}, status=202)
    return as_json({"status": "duplicate"})


def _without_effect(message: str) -> web.Response:
    return as_json({"status": "ignored", "message": message})


async def _new(request: web.Request, inputs: Sequence[Input]) -> set[UUID]:
    """The ids of those not seen before, once all are stored.

    Raises:
        ApiError: 503, nothing is known to be stored.
    """
    try:
        return await request.app[STATE].intake.accept(inputs)
    except NotCommittedError:
        raise unavailable() from None


@needs("ingest")
@Operation("Send events", body=IngestEvents, answer=answers.IngestedEvents, examples=examples.EVENTS)
async def events(request: web.Request, key: Key) -> web.Response:
    """200 with what became of each; what is wrong with one is no reason to refuse another."""
    if request.content_type != "application/json":
        raise web.HTTPUnsupportedMediaType
    raw = await _read(request, MAX_EVENTS_BODY)
    secrets = await _secrets(request, key)
    given, read = await _apart(raw, partial(_read_events, raw, secrets))
    inputs = [_input(item, secrets.hash_key, history=given.history) for item in read if isinstance(item, Taken)]
    new = await _new(request, inputs) if inputs else set()
    _count_rejected(key, len(read) - len(inputs))
    return as_json({"results": [_told(item, new).model_dump() for item in read]})


def _input(item: Taken, key: bytes, *, history: bool) -> Input:
    lane: Literal["live", "history"] = "history" if history else "live"
    return Input(generic.SOURCE, item.fact.type, item.digest, item.body, item.fact, about(item.fact, key), lane)


def _count_rejected(key: Key, number: int) -> None:
    """Without the fields: of those we do not know, the sender made up the names."""
    if number:
        INPUTS.labels(generic.SOURCE, "rejected").inc(number)
        log.info("ingest.rejected", store=str(key.store_id), actor=f"key:{key.prefix}", items=number)


async def _secrets(request: web.Request, key: Key) -> StoreSecrets:
    secrets = await request.app[STATE].stores.get(key.store_id)
    if secrets is None:
        raise ApiError(404, "trustlens_store_not_found", "There is no such store.")
    return secrets


def _read_events(raw: bytes, secrets: StoreSecrets) -> tuple[IngestEvents, list[Taken | Rejected]]:
    given = checked(IngestEvents, decode_object(raw))
    return given, [
        generic.read(item, store_id=secrets.store_id, key=secrets.hash_key, fact_id=uuid7()) for item in given.events
    ]


def _told(item: Taken | Rejected, new: set[UUID]) -> IngestedEvent:
    if isinstance(item, Rejected):
        return IngestedEvent(
            id=item.id, status="rejected", code="rest_invalid_param", field=item.field, message=item.message
        )
    return IngestedEvent(id=item.id, status="accepted" if item.fact.id in new else "duplicate")


ROUTES = [
    web.post("/ingest/woocommerce/{store_id}", from_woocommerce),
    web.post("/ingest/stripe/{store_id}", from_stripe),
    web.post("/ingest/events", events),
]
