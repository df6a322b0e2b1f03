"""/store/connect and /store/sync: what the process that reads stores is to do."""

from collections.abc import Mapping
from dataclasses import replace
from typing import Any
from uuid import UUID

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
from api.stores import Key, RestAccess, find_rest_access, find_store, open_access, seal_access
from api.sync import store
from shared import jobs
from shared.db import Connection
from shared.ids import uuid7
from shared.jobs import Job
from shared.secrets import Vault
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
    """By a job, which tries the key first, and saves what is given here only when the store has taken it. Webhooks of
    ours that are there are kept, and switched on again. One that is not over and tries something else ends.
    """
    given = await body(request, ConnectGiven)
    state = request.app[STATE]
    if not (state.reach.allow_http or given.delivery_url.startswith("https://")):
        raise invalid({"delivery_url": "must begin with https://"})
    access = await _reachable(state, key, given)
    params = {"delivery_url": given.delivery_url}
    sealed = {"access": seal_access(state.vault, access)} if given.url or given.woocommerce else {}
    async with state.pool.acquire() as connection, connection.transaction():
        await store.take_turns(connection, key.store_id)
        job_id = await _same(connection, state.vault, key, params | sealed)
        if job_id is None:
            job = Job(uuid7(), key.store_id, "connect", params=params | sealed)
            job_id = await jobs.queue(connection, "api", job, total=None)
    return as_json({"job_id": str(job_id)}, status=202)


async def _same(connection: Connection, vault: Vault, key: Key, params: Mapping[str, str]) -> UUID | None:
    """A connect that tries just this and is not over; those that try something else are ended."""
    wanted = _opened(vault, params)
    unfinished = await store.list_unfinished(connection, key.store_id, "connect")
    same = next((job_id for job_id, tried in unfinished if _opened(vault, tried) == wanted), None)
    for job_id, _ in unfinished:
        if job_id != same:
            await jobs.cancel(connection, "api", key.store_id, job_id)
            await store.forget_access(connection, job_id)
    return same


def _opened(vault: Vault, params: Mapping[str, str]) -> tuple[str, RestAccess | None]:
    return params["delivery_url"], open_access(vault, params["access"]) if "access" in params else None


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
    access = await _reachable(state, key)
    return await _queued(state, key, "sync", {"url": access.url, **given.model_dump(mode="json", exclude_none=True)})


async def _reachable(state: State, key: Key, given: ConnectGiven | None = None) -> RestAccess:
    """How the store is asked: what is given, and for the rest what is saved.

    Raises:
        ApiError: 400, 409.
    """
    access = await find_rest_access(state.pool, state.vault, key.store_id)
    if given and given.woocommerce:
        site = access or await find_store(state.pool, key.store_id)
        access = RestAccess(site.url if site else "", given.woocommerce.key, given.woocommerce.secret)
    if given and given.url and access:
        access = replace(access, url=given.url)
        if problem := unusable(access.url, state.reach):
            raise invalid({"url": problem})
    if access is None:
        raise ApiError(
            409,
            "trustlens_no_credentials",
            "No key of the store's REST API is saved: make one in WooCommerce, under Settings → Advanced → REST API, "
            'and give it to POST /store/connect as "woocommerce": {"key": "ck_…", "secret": "cs_…"}.',
        )
    if problem := unusable(access.url, state.reach):
        raise ApiError(409, "trustlens_no_url", f"The store's URL {problem}: save another with PATCH /store.")
    return access


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
