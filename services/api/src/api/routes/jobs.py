"""/jobs: work too long for one request, and how far it is."""

from aiohttp import web

from api import commands
from api.auth import needs
from api.errors import ApiError
from api.operations import Operation
from api.requests import path_uuid
from api.responses import as_json
from api.schemas import Job
from api.scopes import Scope, allows
from api.state import STATE
from api.store import jobs as store
from api.stores import Key
from api.sync.store import forget_access
from shared import jobs

_OWNERS: dict[str, tuple[str | None, Scope]] = {
    "api": (None, "admin"),
    "scorer": (commands.SCORER, "admin"),
    "dispatcher": (commands.DISPATCHER, "write"),
    "rule_engine": (commands.RULE_ENGINE, "write"),
}
"""Whom to ask for an end of what lies in a schema's jobs, and what it takes: the same as to begin it. None: nobody."""


@needs("read")
@Operation("Show how far a job is", answer=Job)
async def show(request: web.Request, key: Key) -> web.Response:
    _, job = await _find(request, key)
    return as_json(job)


@needs("write")
@Operation("Cancel a job", answer=Job)
async def cancel(request: web.Request, key: Key) -> web.Response:
    """The job as it is afterwards: what has ended stays as it ended."""
    schema, job = await _find(request, key)
    owner, scope = _OWNERS[schema]
    if not allows(key.scopes, scope):
        raise ApiError(403, "rest_forbidden", f"This API key lacks the scope {scope}.")
    if owner:
        await commands.ask(request, key, owner, "job.cancel", {"job_id": str(job.id)})
    else:
        await jobs.cancel(request.app[STATE].pool, schema, key.store_id, job.id)
        await forget_access(request.app[STATE].pool, job.id)
    _, job = await _find(request, key)
    return as_json(job)


async def _find(request: web.Request, key: Key) -> tuple[str, Job]:
    """With the schema it lies in."""
    job_id = path_uuid(request, "id")
    found = job_id and await store.find_job(request.app[STATE].pool, key.store_id, job_id, tuple(_OWNERS))
    if not found:
        raise ApiError(404, "trustlens_job_not_found", "Job not found.")
    return found


ROUTES = [web.get("/jobs/{id}", show), web.delete("/jobs/{id}", cancel)]
