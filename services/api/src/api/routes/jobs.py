"""/jobs: work too long for one request, and how far it is."""

from uuid import UUID

from aiohttp import web

from api import commands, store
from api.auth import needs
from api.errors import ApiError
from api.requests import path_uuid
from api.responses import as_json
from api.schemas import Job
from api.state import STATE
from api.stores import Key


@needs("read")
async def show(request: web.Request, key: Key) -> web.Response:
    return as_json(await _find(request, key, _id(request)))


@needs("admin")
async def cancel(request: web.Request, key: Key) -> web.Response:
    """The job as it is afterwards: what has ended stays as it ended."""
    job_id = _id(request)
    await commands.ask(request, key, commands.SCORER, "job.cancel", {"job_id": str(job_id)})
    return as_json(await _find(request, key, job_id))


def _id(request: web.Request) -> UUID:
    job_id = path_uuid(request, "id")
    if job_id is None:
        raise _not_found()
    return job_id


async def _find(request: web.Request, key: Key, job_id: UUID) -> Job:
    job = await store.find_job(request.app[STATE].pool, key.store_id, job_id)
    if job is None:
        raise _not_found()
    return job


def _not_found() -> ApiError:
    return ApiError(404, "trustlens_job_not_found", "Job not found.")


ROUTES = [web.get("/jobs/{id}", show), web.delete("/jobs/{id}", cancel)]
