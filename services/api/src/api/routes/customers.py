"""/customers: reading from Postgres, changing by asking the scorer."""

import re

from aiohttp import web

from api import commands, store
from api.auth import needs
from api.errors import ApiError, invalid
from api.requests import checked, query, read_object
from api.responses import as_json, as_page
from api.schemas import Customer, CustomerListing, CustomerPatch
from api.state import STATE
from api.stores import Key
from shared.identity import email_hash, normalise_email

_HASH = re.compile(r"[0-9a-f]{64}")


@needs("read")
async def index(request: web.Request, key: Key) -> web.Response:
    listing = query(request, CustomerListing)
    customers, total = await store.list_customers(request.app[STATE].pool, key.store_id, listing)
    return as_page(request, customers, page=listing.page, total=total)


@needs("read")
async def lookup(request: web.Request, key: Key) -> web.Response:
    """By plain address, hashed with the store's key."""
    try:
        # No address has a blank: it was a plus that the caller did not encode.
        email = normalise_email(request.query.getall("email", [""])[-1].strip().replace(" ", "+"))
    except ValueError as error:
        raise invalid({"email": str(error)}) from None
    secrets = await request.app[STATE].stores.get(key.store_id)
    if secrets is None:
        raise _not_found()
    return as_json(await _find(request, key, email_hash(secrets.hash_key, email)))


@needs("read")
async def show(request: web.Request, key: Key) -> web.Response:
    return as_json(await _find(request, key, _hash(request)))


@needs("write")
async def update(request: web.Request, key: Key) -> web.Response:
    """Block, allowlist; the answer is the customer as it is afterwards."""
    hashed = _hash(request)
    patch = checked(CustomerPatch, await read_object(request))
    asked = {"email_hash": hashed, **patch.model_dump(exclude_none=True)}
    await commands.ask(request, key, commands.SCORER, "customer.update", asked)
    return as_json(await _find(request, key, hashed))


def _hash(request: web.Request) -> str:
    hashed = request.match_info["email_hash"].lower()
    if not _HASH.fullmatch(hashed):
        raise invalid({"email_hash": "must be 64 hexadecimal digits"})
    return hashed


async def _find(request: web.Request, key: Key, hashed: str) -> Customer:
    customer = await store.find_customer(request.app[STATE].pool, key.store_id, hashed)
    if customer is None:
        raise _not_found()
    return customer


def _not_found() -> ApiError:
    return ApiError(404, "trustlens_customer_not_found", "Customer not found.")


ROUTES = [
    web.get("/customers", index),
    web.get("/customers/lookup", lookup),
    web.get("/customers/{email_hash}", show),
    web.patch("/customers/{email_hash}", update),
    web.put("/customers/{email_hash}", update),
    web.post("/customers/{email_hash}", update),
]
