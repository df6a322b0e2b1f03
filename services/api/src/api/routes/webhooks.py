"""/webhooks: endpoints and their deliveries; the dispatcher owns them."""

from datetime import timedelta
from typing import Any

from aiohttp import web

from api import commands, examples
from api.answers import ChangedEndpoint, EndpointWithSecret, Nothing, Tested
from api.auth import needs
from api.errors import ApiError
from api.operations import Operation, Owned
from api.pages import as_page
from api.requests import body, path_uuid, query, read_nothing, read_object
from api.responses import as_json
from api.schemas import Delivery, DeliveryListing, Endpoint, EndpointListing, Rotation
from api.state import STATE
from api.store import deliveries
from api.store import webhooks as store
from api.stores import Key


@needs("read")
@Operation("List endpoints", query=EndpointListing, answer=list[Endpoint])
async def index(request: web.Request, key: Key) -> web.Response:
    listing = query(request, EndpointListing)
    state = request.app[STATE]
    endpoints, total = await store.list_endpoints(state.pool, state.vault, key.store_id, listing)
    return as_page(request, endpoints, page=listing.page, total=total)


@needs("write")
@Operation(
    "Make an endpoint", body=Owned("NewWebhook"), answer=EndpointWithSecret, status=201, examples=examples.WEBHOOK
)
async def create(request: web.Request, key: Key) -> web.Response:
    given = await read_object(request)
    return as_json(await commands.ask(request, key, commands.DISPATCHER, "webhook.create", given), status=201)


@needs("write", changes=False)
@Operation(
    "Say whether an endpoint could be made so", body=Owned("NewWebhook"), answer=Nothing, examples=examples.WEBHOOK
)
async def validate(request: web.Request, key: Key) -> web.Response:
    """Whether an endpoint could be created so; nothing is."""
    given = await read_object(request)
    return as_json(await commands.ask(request, key, commands.DISPATCHER, "webhook.validate", given))


@needs("read")
@Operation("Show an endpoint", answer=Endpoint)
async def show(request: web.Request, key: Key) -> web.Response:
    return as_json(await _find(request, key))


@needs("write")
@Operation("Change an endpoint", body=Owned("WebhookChange"), answer=ChangedEndpoint, examples=examples.WEBHOOK_CHANGE)
async def update(request: web.Request, key: Key) -> web.Response:
    """The fields that are given; the answer is the endpoint as it is afterwards."""
    fields = await read_object(request)
    return as_json(await _ask(request, key, "webhook.update", {"fields": fields}))


@needs("write")
@Operation("Delete an endpoint", status=204)
async def delete(request: web.Request, key: Key) -> web.Response:
    await _ask(request, key, "webhook.delete", {})
    return web.Response(status=204)


@needs("write")
@Operation("Give it a next secret", body=Rotation, optional=True, answer=EndpointWithSecret, examples=examples.ROTATION)
async def rotate_secret(request: web.Request, key: Key) -> web.Response:
    """A next secret beside the old one, for a while; a generated one is in this answer and in no other."""
    given = await body(request, Rotation)
    return as_json(await _ask(request, key, "webhook.rotate", given.model_dump(exclude_unset=True)))


@needs("write")
@Operation("Let the next secret be the only one", answer=ChangedEndpoint, errors={409: "No rotation is under way."})
async def end_overlap(request: web.Request, key: Key) -> web.Response:
    """The next secret is the only one from now on."""
    await read_nothing(request)
    return as_json(await _ask(request, key, "webhook.end_overlap", {}))


@needs("write")
@Operation("Send a test delivery, now", answer=Tested)
async def test(request: web.Request, key: Key) -> web.Response:
    """One delivery now; whatever the endpoint answers, ours is 200."""
    await read_nothing(request)
    endpoint = await _find(request, key)
    timeout = timedelta(seconds=endpoint.timeout)
    asked = {"id": str(endpoint.id)}
    return as_json(await commands.ask(request, key, commands.DISPATCHER, "webhook.test", asked, at_least=timeout))


@needs("read")
@Operation("List an endpoint's deliveries", query=DeliveryListing, answer=list[Delivery])
async def log_of(request: web.Request, key: Key) -> web.Response:
    endpoint = await _find(request, key)
    listing = query(request, DeliveryListing).model_copy(update={"webhook_id": endpoint.id})
    found, total = await deliveries.list_deliveries(request.app[STATE].pool, key.store_id, listing)
    return as_page(request, found, page=listing.page, total=total)


async def _find(request: web.Request, key: Key) -> Endpoint:
    state = request.app[STATE]
    endpoint_id = path_uuid(request, "id")
    endpoint = endpoint_id and await store.find_endpoint(state.pool, state.vault, key.store_id, endpoint_id)
    if not endpoint:
        raise _not_found()
    return endpoint


async def _ask(request: web.Request, key: Key, command: str, asked: dict[str, Any]) -> Any:
    endpoint_id = path_uuid(request, "id")
    if endpoint_id is None:
        raise _not_found()
    return await commands.ask(request, key, commands.DISPATCHER, command, {"id": str(endpoint_id), **asked})


def _not_found() -> ApiError:
    return ApiError(404, "trustlens_webhook_not_found", "Webhook not found.")


ROUTES = [
    web.get("/webhooks", index),
    web.post("/webhooks", create),
    web.post("/webhooks/validate", validate),
    web.get("/webhooks/{id}", show),
    web.patch("/webhooks/{id}", update),
    web.put("/webhooks/{id}", update),
    web.post("/webhooks/{id}", update),
    web.delete("/webhooks/{id}", delete),
    web.post("/webhooks/{id}/rotate-secret", rotate_secret),
    web.post("/webhooks/{id}/end-overlap", end_overlap),
    web.post("/webhooks/{id}/test", test),
    web.get("/webhooks/{id}/deliveries", log_of),
]
