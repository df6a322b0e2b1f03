"""/audit: who changed what, and who read what is personal."""

from aiohttp import web

from api.auth import needs
from api.operations import Operation
from api.pages import as_page
from api.requests import query
from api.schemas import Audited, AuditListing
from api.state import STATE
from api.store import audit as store
from api.stores import Key


@needs("admin")
@Operation("Who changed what, and who read what is personal", query=AuditListing, answer=list[Audited])
async def index(request: web.Request, key: Key) -> web.Response:
    listing = query(request, AuditListing)
    entries, total = await store.list_entries(request.app[STATE].pool, key.store_id, listing)
    return as_page(request, entries, page=listing.page, total=total)


ROUTES = [web.get("/audit", index)]
