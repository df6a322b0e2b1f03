"""/keys: who else may use the API. A key is shown once, when it is made."""

from datetime import UTC, datetime

from aiohttp import web

from api import examples, idempotency, stores
from api.auth import needs
from api.errors import ApiError
from api.operations import Operation
from api.pages import as_page
from api.requests import body, path_uuid, query
from api.responses import as_json
from api.schemas import ApiKey, ApiKeyMade, KeyGiven, Listing
from api.state import STATE
from api.stores import Key, LastKeyError


@needs("admin")
@Operation("List API keys, revoked ones too", query=Listing, answer=list[ApiKey])
async def index(request: web.Request, key: Key) -> web.Response:
    """Also those that were revoked."""
    page = query(request, Listing).page
    found, total = await stores.list_keys(request.app[STATE].pool, key.store_id, page)
    return as_page(request, found, page=page, total=total)


@needs("admin")
@Operation("Make an API key", body=KeyGiven, answer=ApiKeyMade, status=201, examples=examples.KEY)
async def create(request: web.Request, key: Key) -> web.Response:
    """The key itself is in this answer and in no other."""
    given = await body(request, KeyGiven)
    async with request.app[STATE].pool.acquire() as connection, connection.transaction():
        made = await stores.create_key(connection, key.store_id, name=given.name, scopes=given.scopes)
        shown = ApiKeyMade(
            id=made.id, name=given.name, scopes=sorted(set(given.scopes)), prefix=made.prefix, key=made.key
        )
        response = as_json(shown, status=201)
        await idempotency.keep(connection, request, response)
    return response


@needs("admin")
@Operation("Revoke an API key", status=204, errors={409: "It is the last key with the scope admin."})
async def revoke(request: web.Request, key: Key) -> web.Response:
    """Any of the store's keys, also the one that asks; but one that can manage keys is left."""
    key_id = path_uuid(request, "id")
    state = request.app[STATE]
    async with state.pool.acquire() as connection:
        try:
            sha256 = key_id and await stores.revoke_key(
                connection, key.store_id, key_id, datetime.now(UTC), keep_an_admin=True
            )
        except LastKeyError:
            raise _last() from None
    if not sha256:
        raise ApiError(404, "trustlens_key_not_found", "Key not found.")
    state.keys.forget(sha256)
    return web.Response(status=204)


def _last() -> ApiError:
    message = "This is the last key with the scope admin: nobody could make another. Make one before you revoke it."
    return ApiError(409, "trustlens_last_admin_key", message)


ROUTES = [web.get("/keys", index), web.post("/keys", create), web.delete("/keys/{id}", revoke)]
