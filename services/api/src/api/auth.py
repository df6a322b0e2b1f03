"""Who is asking: an API key in its header, or as the password of HTTP Basic as WordPress clients send it."""

import base64
import hmac
import time
from collections.abc import Awaitable, Callable, Mapping
from datetime import UTC, datetime
from functools import partial, wraps

from aiohttp import web

from api import audit, idempotency
from api.errors import ApiError
from api.limits import Verdict
from api.operations import Access
from api.scopes import Scope, allows
from api.state import STATE
from api.stores import Key, key_digest

HEADER = "X-TrustLens-API-Key"

SAFE = frozenset({"GET", "HEAD"})
"""Methods that change nothing."""
CHANGING: frozenset[Scope] = frozenset({"write", "pii", "admin"})
"""Scopes that a change of settings or customers takes. What stores send is kept as it came, in a log of its own."""

VERDICT: web.RequestKey[Verdict] = web.RequestKey("rate limit", Verdict)

KeyedHandler = Callable[[web.Request, Key], Awaitable[web.StreamResponse]]


def needs(
    scope: Scope, *, changes: bool = True, limited: bool = True
) -> Callable[[KeyedHandler], Callable[[web.Request], Awaitable[web.StreamResponse]]]:
    """A handler that is called only for a key with this scope, and is given the key.

    What may change something is written into the audit log, and its POSTs may carry an Idempotency-Key. `changes`:
    false for what changes nothing, though its method and scope look like it. `limited`: false where a rate limit would
    open what is to be guarded.
    """

    def guard(handler: KeyedHandler) -> Callable[[web.Request], Awaitable[web.StreamResponse]]:
        @wraps(handler)
        async def guarded(request: web.Request) -> web.StreamResponse:
            key = await authenticate(request, limited=limited)
            if changes and scope in CHANGING and request.method not in SAFE:
                return await _changed(request, key, scope, handler)
            require(key, scope)
            return await handler(request, key)

        return Access(scope, changes=changes and scope in CHANGING)(guarded)

    return guard


async def _changed(request: web.Request, key: Key, scope: Scope, handler: KeyedHandler) -> web.StreamResponse:
    await audit.begin(request, key)
    require(key, scope)
    if request.method == "POST" and idempotency.HEADER in request.headers:
        return await idempotency.once(request, key, partial(handler, request, key))
    return await handler(request, key)


def require(key: Key, scope: Scope) -> None:
    """
    Raises:
        ApiError: 403.
    """
    if not allows(key.scopes, scope):
        raise ApiError(403, "rest_forbidden", f"This API key lacks the scope {scope}.")


async def authenticate(request: web.Request, *, limited: bool = True) -> Key:
    """
    Raises:
        ApiError: 401. A missing, an unknown and a revoked key look alike. 429: the key asks too often.
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
    request.app[STATE].usage.note(key.id, datetime.now(UTC))
    if limited:
        _limit(request, key)
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
    """By its hash, which whoever guesses cannot steer: how long a look-up takes tells nothing of any key."""
    digest = key_digest(secret)
    key = await request.app[STATE].keys.get(digest)
    return key if key and hmac.compare_digest(key.sha256, digest) else None


def _limit(request: web.Request, key: Key) -> None:
    limits = request.app[STATE].limits
    if limits is None:
        return
    request[VERDICT] = verdict = limits.take(key.id, time.monotonic())
    if not verdict.allowed:
        raise ApiError(
            429,
            "rest_too_many_requests",
            f"This API key makes too many requests. Try again in {verdict.retry_after} s.",
            headers={"Retry-After": str(verdict.retry_after)},
        )


async def tell_limit(request: web.Request, response: web.StreamResponse) -> None:
    """On every answer to a key that is limited."""
    if VERDICT in request:
        response.headers.update(request[VERDICT].headers)
