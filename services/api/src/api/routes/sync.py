"""/store/connect and /store/sync: what the process that reads stores is to do."""

from collections.abc import Mapping
from typing import Any

from aiohttp import web

from api import examples
from api.answers import JobAsked
from api.auth import needs
from api.errors import ApiError, invalid
from api.operations import Operation
from api.requests import body
from api.responses import as_json
from api.schemas import ConnectGiven, SyncGiven
from api.state import STATE, State
from api.stores import Key, find_rest_access
from api.sync import store
from shared import jobs
from shared.ids import uuid7
from shared.jobs import Job
from shared.targets import unusable

_UNREACHABLE: Mapping[int, str] = {
    409: "No key of the store's REST API is saved (`woocommerce` of PATCH /store), or its URL cannot be called."
}


@needs("admin")
@Operation(
    "Make the store's webhooks",
    body=ConnectGiven,
    answer=JobAsked,
    status=202,
    errors=_UNREACHABLE,
    examples=examples.CONNECT,
)
async def connect(request: web.Request, key: Key) -> web.Response:
    """By a job, which tries the saved key first. Webhooks of ours that are there are kept, and switched on again."""
    given = await body(request, ConnectGiven)
    state = request.app[STATE]
    if not (state.reach.allow_http or given.delivery_url.startswith("https://")):
        raise invalid({"delivery_url": "must begin with https://"})
    await _require_reachable(state, key)
    return await _queued(state, key, "connect", {"delivery_url": given.delivery_url})


@needs("admin")
@Operation(
    "Read the store's past",
    body=SyncGiven,
    optional=True,
    answer=JobAsked,
    status=202,
    errors=_UNREACHABLE,
    examples=examples.SYNC,
)
async def sync(request: web.Request, key: Key) -> web.Response:
    """Products, coupons, then orders, by a job; nothing is told to anybody. One that is not over is not begun again;
    one that was given up is gone on with.
    """
    given = await body(request, SyncGiven)
    state = request.app[STATE]
    await _require_reachable(state, key)
    return await _queued(state, key, "sync", given.model_dump(mode="json", exclude_none=True))


async def _require_reachable(state: State, key: Key) -> None:
    """
    Raises:
        ApiError: 409.
    """
    access = await find_rest_access(state.pool, state.vault, key.store_id)
    if access is None:
        raise ApiError(
            409,
            "trustlens_no_credentials",
            "No key of the store's REST API is saved: make one in WooCommerce, under Settings → Advanced → REST API, "
            'and save it with PATCH /store {"woocommerce": {"key": "ck_…", "secret": "cs_…"}}.',
        )
    if problem := unusable(access.url, state.reach):
        raise ApiError(409, "trustlens_no_url", f"The store's URL {problem}: save another with PATCH /store.")


async def _queued(state: State, key: Key, kind: str, params: Mapping[str, Any]) -> web.Response:
    async with state.pool.acquire() as connection, connection.transaction():
        await store.take_turns(connection, key.store_id)
        job_id = await store.find_unfinished(connection, key.store_id, kind, params)
        if job_id is None:
            left = await store.find_given_up(connection, key.store_id, kind, params)
            job = Job(uuid7(), key.store_id, kind, params=params)
            if left:
                job = job.further(seen=left.done, position=left.position)
            job_id = await jobs.queue(connection, "api", job, total=left.total if left else None)
    return as_json({"job_id": str(job_id)}, status=202)


ROUTES = [web.post("/store/connect", connect), web.post("/store/sync", sync)]
