"""/deliveries: what was sent, what came of it, and once more; the dispatcher owns them."""

from datetime import UTC, datetime, timedelta

from aiohttp import web

from api import audit, commands, examples
from api.answers import ReplayAsked
from api.auth import needs
from api.errors import ApiError
from api.operations import Operation
from api.pages import as_page
from api.requests import body, path_uuid, query, read_nothing
from api.responses import as_json
from api.schemas import (
    AttemptListing,
    Delivery,
    DeliveryListing,
    DeliveryShown,
    FollowedAttempt,
    ReplayGiven,
)
from api.scopes import allows
from api.state import STATE
from api.store import deliveries as store
from api.stores import Key

LATELY = timedelta(hours=1)
"""How far back attempts are listed unless something else is asked for."""


@needs("read")
@Operation("List deliveries", query=DeliveryListing, answer=list[Delivery])
async def index(request: web.Request, key: Key) -> web.Response:
    listing = query(request, DeliveryListing)
    found, total = await store.list_deliveries(request.app[STATE].pool, key.store_id, listing)
    return as_page(request, found, page=listing.page, total=total)


@needs("read")
@Operation("List attempts over all deliveries", query=AttemptListing, answer=list[FollowedAttempt])
async def attempts(request: web.Request, key: Key) -> web.Response:
    """Over all deliveries, the one that ended last first: what an operator follows."""
    listing = query(request, AttemptListing)
    since = listing.after or datetime.now(UTC) - LATELY
    found, total = await store.list_attempts(request.app[STATE].pool, key.store_id, listing, since=since)
    return as_page(request, found, page=listing.page, total=total)


@needs("read")
@Operation("Show a delivery with its attempts", answer=DeliveryShown)
async def show(request: web.Request, key: Key) -> web.Response:
    """With what was sent and answered, for keys that may see addresses."""
    delivery_id = path_uuid(request, "id")
    personal = allows(key.scopes, "pii")
    if personal:
        await audit.begin(request, key)
    pool = request.app[STATE].pool
    delivery = delivery_id and await store.show_delivery(pool, key.store_id, delivery_id, personal=personal)
    if not delivery:
        raise _not_found()
    return as_json(delivery)


@needs("write")
@Operation(
    "Deliver once more, now",
    answer=Delivery,
    status=202,
    errors={409: "It is under way, was erased, or its endpoint is off or gone."},
)
async def retry(request: web.Request, key: Key) -> web.Response:
    """Due again, under its own id; the answer is the delivery as it is then."""
    await read_nothing(request)
    delivery_id = path_uuid(request, "id")
    if delivery_id is None:
        raise _not_found()
    await commands.ask(request, key, commands.DISPATCHER, "delivery.retry", {"id": str(delivery_id)})
    delivery = await store.find_delivery(request.app[STATE].pool, key.store_id, delivery_id)
    if delivery is None:
        raise _not_found()
    return as_json(delivery, status=202)


@needs("write")
@Operation(
    "Deliver many once more",
    body=ReplayGiven,
    answer=ReplayAsked,
    status=202,
    examples=examples.REPLAY,
    errors={409: "The endpoint that is asked for is off."},
)
async def replay(request: web.Request, key: Key) -> web.Response:
    """Many once more, by a job; with `dry_run` only how many they are."""
    asked = (await body(request, ReplayGiven)).asked()
    return as_json(await commands.ask(request, key, commands.DISPATCHER, "deliveries.replay", asked), status=202)


def _not_found() -> ApiError:
    return ApiError(404, "trustlens_delivery_not_found", "Delivery not found.")


ROUTES = [
    web.get("/deliveries", index),
    web.get("/deliveries/attempts", attempts),
    web.post("/deliveries/replay", replay),
    web.get("/deliveries/{id}", show),
    web.post("/deliveries/{id}/retry", retry),
]
