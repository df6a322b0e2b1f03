"""Who is asking: an API key in its header, or as the password of HTTP Basic as WordPress clients send it."""

import base64
import hmac
from collections.abc import Awaitable, Callable, Mapping
from functools import wraps

from aiohttp import web

from api.errors import ApiError
from api.scopes import Scope, allows
from api.state import STATE
from api.stores import Key, key_digest

HEADER = "X-TrustLens-API-Key"

KeyedHandler = Callable[[web.Request, Key], Awaitable[web.StreamResponse]]


def needs(scope: Scope) -> Callable[[KeyedHandler], Callable[[web.Request], Awaitable[web.StreamResponse]]]:
    """A handler that is called only for a key with this scope, and is given the key."""

    def guard(handler: KeyedHandler) -> Callable[[web.Request], Awaitable[web.StreamResponse]]:
        @wraps(handler)
        async def guarded(request: web.Request) -> web.StreamResponse:
            key = await authenticate(request)
            if not allows(key.scopes, scope):
                raise ApiError(403, "rest_forbidden", f"This API key lacks the scope {scope}.")
            return await handler(request, key)

        return guarded

    return guard


async def authenticate(request: web.Request) -> Key:
    """
    Raises:
        ApiError: 401. A missing, an unknown and a revoked key look alike.
    """
    if secret := request.headers.get(HEADER):
        key = await _known(request, secret)
    elif secret := basic_password(request.headers):
        # WordPress' Basic stands for a whole user; only a key that may do everything takes that place.
        key = await _known(request, secret)
        key = key if key and "admin" in key.scopes else None
    else:
        key = None
    if key is None:
        raise ApiError(401, "rest_forbidden", "Sorry, you are not allowed to do that.")
    return key


def basic_password(headers: Mapping[str, str]) -> str | None:
    kind, _, credentials = headers.get("Authorization", "").partition(" ")
    if kind.lower() != "basic":
        return None
    try:
        decoded = base64.b64decode(credentials.strip(), validate=True).decode()
    except ValueError:
        return None
    return decoded.partition(":")[2]


async def _known(request: web.Request, secret: str) -> Key | None:
    digest = key_digest(secret)
    key = await request.app[STATE].keys.get(digest)
    return key if key and hmac.compare_digest(key.sha256, digest) else None
