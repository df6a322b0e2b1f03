"""Idempotency-Key: a POST that is sent again is not done again, and gets the answer that the first one got.

What is being done holds a claim; what was done leaves its answer, sealed, for a day. If this process dies in between,
the claim runs out, and whoever asks again sends the same commands by the same ids, whose owners did them once.
"""

import hashlib
from collections.abc import Awaitable, Callable
from dataclasses import dataclass, field
from datetime import datetime, timedelta
from itertools import count
from typing import NoReturn
from uuid import UUID

import structlog
from aiohttp import web

from api.body import BadBodyError
from api.errors import ApiError, invalid
from api.requests import MAX_OBJECT, read_body, remember_body
from api.state import STATE
from api.store import idempotency as store
from api.stores import Key
from shared.db import Connection, Pool, is_transient
from shared.ids import derived, derived_at

log = structlog.get_logger()

HEADER = "Idempotency-Key"
MAX_LENGTH = 255
LEASE = timedelta(seconds=60)
"""A claim's: longer than any command may take."""


@dataclass(slots=True)
class Claim:
    """A request that is ours to do."""

    id: UUID
    body: bytes
    since: datetime
    kept: bool = False
    _commands: "count[int]" = field(default_factory=count)

    def next_command(self) -> UUID:
        """The id of the next command that is sent for it: the same, in turn, whoever does it again."""
        return derived_at(self.since, self.id, self.body.hex(), self.since.isoformat(), next(self._commands))


CLAIM: web.RequestKey[Claim] = web.RequestKey("idempotency", Claim)


async def once(request: web.Request, key: Key, do: Callable[[], Awaitable[web.StreamResponse]]) -> web.StreamResponse:
    """`do`, or the answer it gave before.

    Raises:
        ApiError: 400, the header is none; 409, it is being done; 422, something else was asked for with it.
    """
    raw = await read_body(request, MAX_OBJECT)
    remember_body(request, raw)
    asked_id, body = _id(request, key), hashlib.sha256(raw).digest()
    pool = request.app[STATE].pool
    since = await store.claim(pool, asked_id, body, LEASE)
    if since is None:
        return await _again(request, asked_id, body)
    request[CLAIM] = claim = Claim(asked_id, body, since)
    try:
        response = await do()
    except Exception as error:
        await (store.drop if _changed_nothing(error) else store.leave)(pool, asked_id)
        raise
    await _keep_now(request, pool, claim, response)
    return response


def _id(request: web.Request, key: Key) -> UUID:
    given = request.headers[HEADER]
    if not (given.isascii() and given.isprintable() and 0 < len(given) <= MAX_LENGTH):
        raise invalid({HEADER: f"must be 1 to {MAX_LENGTH} printable ASCII characters"})
    return derived(key.id, hashlib.sha256(given.encode()).hexdigest(), request.path_qs)


async def _again(request: web.Request, asked_id: UUID, body: bytes) -> web.Response:
    state = request.app[STATE]
    known = await store.find(state.pool, asked_id)
    if known and known.body != body:
        raise ApiError(422, "trustlens_idempotency_key_reused", f"This {HEADER} was used before, with another body.")
    if not known or known.status is None or known.answer is None:
        _being_done()
    return web.Response(
        body=state.vault.open(known.answer),
        status=known.status,
        content_type="application/json",
        charset="utf-8",
        headers={"Idempotent-Replayed": "true"},
    )


def _being_done() -> NoReturn:
    raise ApiError(
        409,
        "trustlens_idempotency_key_in_use",
        f"A request with this {HEADER} is being answered. Ask again in a moment.",
        headers={"Retry-After": "1"},
    )


def _changed_nothing(error: Exception) -> bool:
    """Whether it was refused. After any other failure nobody knows."""
    if isinstance(error, ApiError | web.HTTPException):
        return error.status < 500
    return isinstance(error, BadBodyError | web.RequestPayloadError)


async def keep(connection: Connection | Pool, request: web.Request, response: web.Response) -> None:
    """Keep the answer in the commit of what it tells. Where there is no Idempotency-Key, nothing is kept."""
    if (claim := request.get(CLAIM)) is not None and not claim.kept:
        answer = request.app[STATE].vault.seal((response.text or "").encode())
        await store.keep(connection, claim.id, status=response.status, answer=answer)
        claim.kept = True


async def _keep_now(request: web.Request, pool: Pool, claim: Claim, response: web.StreamResponse) -> None:
    """Best effort: what is asked for again finds its commands' answers without it."""
    if not isinstance(response, web.Response):
        raise TypeError(f"the answer to {claim.id} cannot be kept")
    try:
        await keep(pool, request, response)
    except Exception as error:
        if not is_transient(error):
            raise
        log.warning("idempotency.not_kept", error=type(error).__name__)


def command_id(request: web.Request) -> UUID | None:
    """That of the next command sent for the request; None: any."""
    claim = request.get(CLAIM)
    return claim and claim.next_command()


async def forget(pool: Pool) -> None:
    await store.forget(pool)
