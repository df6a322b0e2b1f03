"""/webhooks: endpoints and their deliveries; the dispatcher owns them."""

from datetime import timedelta

from aiohttp import web

from api import commands, store
from api.auth import needs
from api.errors import ApiError
from api.requests import path_uuid, query, read_nothing, read_object
from api.responses import as_json, as_page
from api.schemas import DeliveryListing, Endpoint, Listing
from api.state import STATE
from api.stores import Key


@needs("read")
async def index(request: web.Request, key: Key) -> web.Response:
    page = query(request, Listing).page
    state = request.app[STATE]
    endpoints, total = await store.list_endpoints(state.pool, state.vault, key.store_id, page)
    return as_page(request, endpoints, page=page, total=total)


@needs("write")
async def create(request: web.Request, key: Key) -> web.Response:
    given = await read_object(request)
    return as_json(await commands.ask(request, key, commands.DISPATCHER, "webhook.create", given), status=201)


@needs("read")
async def show(request: web.Request, key: Key) -> web.Response:
    return as_json(await _find(request, key))


@needs("write")
async def test(request: web.Request, key: Key) -> web.Response:
    """One delivery now; whatever the endpoint answers, ours is 200."""
    await read_nothing(request)
    endpoint = await _find(request, key)
    timeout = timedelta(seconds=endpoint.timeout)
    asked = {"id": str(endpoint.id)}
    return as_json(await commands.ask(request, key, commands.DISPATCHER, "webhook.test", asked, at_least=timeout))


@needs("read")
async def deliveries(request: web.Request, key: Key) -> web.Response:
    listing = query(request, DeliveryListing)
    endpoint = await _find(request, key)
    pool = request.app[STATE].pool
    found, total = await store.list_deliveries(pool, key.store_id, endpoint.id, listing)
    return as_page(request, found, page=listing.page, total=total)


async def _find(request: web.Request, key: Key) -> Endpoint:
    state = request.app[STATE]
    endpoint_id = path_uuid(request, "id")
    endpoint = endpoint_id and await store.find_endpoint(state.pool, state.vault, key.store_id, endpoint_id)
    if not endpoint:
        raise ApiError(404, "trustlens_webhook_not_found", "Webhook not found.")
    return endpoint


ROUTES = [
    web.get("/webhooks", index),
    web.post("/webhooks", create),
    web.get("/webhooks/{id}", show),
    web.post("/webhooks/{id}/test", test),
    web.get("/webhooks/{id}/deliveries", deliveries),
]
