"""/store: what the store is called, how it scores, which the scorer owns and recomputes, and its own servers."""

from dataclasses import asdict
from datetime import timedelta
from typing import Any

from aiohttp import web

from api import commands, examples, stores
from api.answers import JobAsked, Marked
from api.auth import needs
from api.errors import ApiError
from api.operations import Operation
from api.requests import body, read_nothing
from api.responses import as_json
from api.schemas import SCORING, PatchedStore, StorePatch, StoreSettings, SyncStanding
from api.state import STATE
from api.store import chargebacks, gate
from api.stores import Key
from api.sync.store import find_standing

SWEEP = timedelta(seconds=20)
"""One statement over all customers of the store: a million are read in some seconds."""


@needs("read")
@Operation("Show the store's settings", answer=StoreSettings)
async def show(request: web.Request, key: Key) -> web.Response:
    return as_json(StoreSettings(**await _settings(request, key)))


@needs("admin")
@Operation("Change the store's settings", body=StorePatch, answer=PatchedStore, examples=examples.STORE)
async def update(request: web.Request, key: Key) -> web.Response:
    patch = await body(request, StorePatch)
    given = patch.model_fields_set
    scoring = patch.model_dump(include=SCORING & given)
    # What the scorer refuses is not half done.
    done = await _ask(request, key, "store.scoring", scoring) if scoring else {"job_id": None}
    state = request.app[STATE]
    kept = patch.model_dump(include=given - SCORING - {"gate", "chargebacks"})
    await stores.save_settings(state.pool, state.vault, key.store_id, kept)
    if "gate" in given:
        await gate.save_settings(state.pool, key.store_id, patch.gate)
    if "chargebacks" in given:
        await chargebacks.save_settings(state.pool, key.store_id, patch.chargebacks)
    state.gates.forget(key.store_id)
    state.stores.forget(key.store_id)
    return as_json(PatchedStore(**await _settings(request, key), job_id=done["job_id"]))


@needs("admin")
@Operation("Recompute every score", answer=JobAsked, status=202)
async def recompute(request: web.Request, key: Key) -> web.Response:
    """Every score anew, by a job."""
    await read_nothing(request)
    done = await _ask(request, key, "store.recompute", {})
    return as_json({"job_id": done["job_id"]}, status=202)


@needs("admin")
@Operation("Mark what time alone may have changed", answer=Marked)
async def sweep(request: web.Request, key: Key) -> web.Response:
    """What time alone may have changed is marked for rescoring now."""
    await read_nothing(request)
    done = await _ask(request, key, "store.sweep", {}, at_least=SWEEP)
    return as_json({"due": done["due"]})


async def _settings(request: web.Request, key: Key) -> dict[str, Any]:
    site = await stores.find_store(request.app[STATE].pool, key.store_id)
    if site is None:
        raise ApiError(404, "trustlens_store_not_found", "There is no such store.")
    scoring = await _ask(request, key, "store.scoring_read", {})
    known = {"version": scoring["version"], "currency": scoring["currency"], **scoring["settings"]}
    state = request.app[STATE]
    means = await stores.find_means(state.pool, state.vault, key.store_id)
    found = await gate.find_gate(state.pool, key.store_id)
    levels = await chargebacks.find_settings(state.pool, key.store_id)
    kept = {"id": site.id, "name": site.name, "url": site.url, "enforce_blocking": site.enforce_blocking}
    standing = SyncStanding(**asdict(await find_standing(state.pool, key.store_id)))
    return {**kept, "gate": found and found.settings, "chargebacks": levels, **known, **means, "sync": standing}


async def _ask(
    request: web.Request, key: Key, command: str, asked: dict[str, Any], *, at_least: timedelta = timedelta(0)
) -> Any:
    return await commands.ask(request, key, commands.SCORER, command, asked, at_least=at_least)


ROUTES = [
    web.get("/store", show),
    web.patch("/store", update),
    web.put("/store", update),
    web.post("/store", update),
    web.post("/store/recompute", recompute),
    web.post("/store/sweep", sweep),
]
