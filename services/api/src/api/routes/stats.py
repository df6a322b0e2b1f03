"""/stats: the store as a whole."""

from aiohttp import web

from api.answers import SegmentCounts
from api.auth import needs
from api.operations import Operation
from api.responses import as_json
from api.schemas import Stats
from api.state import STATE
from api.store import stats as store
from api.stores import Key


@needs("read")
@Operation("Numbers of the whole store", answer=Stats)
async def stats(request: web.Request, key: Key) -> web.Response:
    return as_json(await store.stats(request.app[STATE].pool, key.store_id))


@needs("read")
@Operation("Customers by segment", answer=SegmentCounts)
async def segments(request: web.Request, key: Key) -> web.Response:
    return as_json(await store.segment_counts(request.app[STATE].pool, key.store_id))


ROUTES = [web.get("/stats", stats), web.get("/stats/segments", segments)]
