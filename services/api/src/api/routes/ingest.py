"""/ingest: what stores send. A refusal counts against the store's webhook, so only what is wrong is refused."""

import asyncio

from aiohttp import web

from api.body import BadBodyError
from api.errors import ApiError, unavailable
from api.ingest import woocommerce
from api.ingest.intake import Input, NotCommittedError
from api.requests import path_uuid, read_body
from api.responses import as_json
from api.state import STATE
from api.stores import StoreSecrets
from shared.events import Fact
from shared.ids import uuid7

LARGE = 64 * 1024
"""Bytes: real orders are 3 to 4 kB."""


async def from_woocommerce(request: web.Request) -> web.Response:
    """202 once stored; 200 for what has no effect: a ping, a repeated delivery, a topic of no use here."""
    secrets = await _store(request)
    raw = await _read(request)
    signature = request.headers.get("X-WC-Webhook-Signature", "")
    if not signature and woocommerce.is_ping(raw, request.content_type):
        return as_json({"status": "pong"})
    if not woocommerce.is_signed(raw, secrets.woocommerce_secret, signature):
        raise ApiError(401, "trustlens_bad_signature", "X-WC-Webhook-Signature does not fit the body and the secret.")
    topic = request.headers.get("X-WC-Webhook-Topic")
    if not topic:
        raise BadBodyError({"X-WC-Webhook-Topic": "is missing: a proxy on the way may have dropped it"})
    if topic not in woocommerce.ORDER_TOPICS:
        return as_json({"status": "ignored", "message": "Accepted, but this topic has no effect."})
    return await _accept(request, secrets, topic, raw)


async def _store(request: web.Request) -> StoreSecrets:
    store_id = path_uuid(request, "store_id")
    secrets = store_id and await request.app[STATE].stores.get(store_id)
    if not secrets:
        raise ApiError(404, "trustlens_store_not_found", "There is no such store.")
    return secrets


async def _read(request: web.Request) -> bytes:
    try:
        return await read_body(request, woocommerce.MAX_BODY)
    except web.HTTPRequestEntityTooLarge:
        raise BadBodyError({"body": "is larger than 2 MiB"}) from None


async def _accept(request: web.Request, secrets: StoreSecrets, topic: str, raw: bytes) -> web.Response:
    # A large body takes the parser long enough to hold up everybody else.
    order = woocommerce.parse_order(raw) if len(raw) <= LARGE else await asyncio.to_thread(woocommerce.parse_order, raw)
    fact = Fact(id=uuid7(), type="order", store_id=secrets.store_id, occurred_at=order.modified_at, data=order)
    digest = woocommerce.digest(
        secrets.store_id,
        source=request.headers.get("X-WC-Webhook-Source", ""),
        webhook_id=request.headers.get("X-WC-Webhook-ID", ""),
        delivery_id=request.headers.get("X-WC-Webhook-Delivery-ID", ""),
        raw=raw,
    )
    try:
        new = await request.app[STATE].intake.accept(Input("woocommerce", topic, digest, raw, fact))
    except NotCommittedError:
        raise unavailable() from None
    if new:
        return as_json({"status": "accepted", "id": str(fact.id)}, status=202)
    return as_json({"status": "duplicate"})


ROUTES = [web.post("/ingest/woocommerce/{store_id}", from_woocommerce)]
