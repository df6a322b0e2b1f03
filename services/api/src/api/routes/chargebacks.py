"""/chargebacks: how much is disputed, beside what card networks bear."""

from datetime import UTC, datetime

from aiohttp import web

from api import chargebacks
from api.auth import needs
from api.chargebacks import Ratio, RatioListing
from api.errors import ApiError
from api.operations import Operation
from api.requests import query
from api.responses import as_json
from api.state import STATE
from api.store import chargebacks as store
from api.stores import Key


@needs("read")
@Operation("Disputes per orders, by month and card brand", query=RatioListing, answer=list[Ratio])
async def ratio(request: web.Request, key: Key) -> web.Response:
    """The latest month first; of each all brands together, then each that had orders or disputes."""
    months = chargebacks.latest_months(datetime.now(UTC), query(request, RatioListing).months)
    pool = request.app[STATE].pool
    settings = await store.find_settings(pool, key.store_id)
    if settings is None:
        raise ApiError(404, "trustlens_store_not_found", "There is no such store.")
    counted = await store.count(pool, key.store_id, chargebacks.month_before(months[-1]), months[0])
    return as_json([one.model_dump() for one in chargebacks.ratios(counted, months, settings)])


ROUTES = [web.get("/chargebacks/ratio", ratio)]
