"""/customers: reading from Postgres, changing by asking the scorer."""

import re
from tempfile import SpooledTemporaryFile
from typing import Any

import structlog
from aiohttp import web
from pydantic import TypeAdapter

from api import audit, commands, examples
from api.answers import Exported
from api.auth import needs, require
from api.errors import ApiError, invalid
from api.operations import Operation
from api.pages import as_page
from api.people import hash_of
from api.requests import body, checked, query, read_nothing
from api.responses import as_written
from api.schemas import (
    Customer,
    CustomerListing,
    CustomerLookup,
    CustomerPatch,
    CustomerQuery,
    CustomerWithEmail,
    Erasure,
    ListedCustomer,
    ListedCustomerWithEmail,
    Listing,
    NoteGiven,
    ScoreChange,
    Tag,
    TagGiven,
    TimelineEntry,
    TimelineListing,
)
from api.state import STATE
from api.store import customers as store
from api.store import exports
from api.stores import Key

log = structlog.get_logger()

_HASH = re.compile(r"[0-9a-f]{64}")
_TAG = TypeAdapter(Tag).json_schema()
_SPOOL = 1024 * 1024
"""Bytes of an export that are kept in memory; what is more waits in an unnamed file."""


@needs("read")
@Operation("List customers", query=CustomerListing, answer=list[ListedCustomer | ListedCustomerWithEmail])
async def index(request: web.Request, key: Key) -> web.Response:
    listing = query(request, CustomerListing)
    hashed = None if listing.email is None else await hash_of(request, key, listing.email)
    if listing.include:
        await _may_read_emails(request, key, *filter(None, [hashed]))
    customers, total = await store.list_customers(request.app[STATE].pool, key.store_id, listing, hashed)
    return as_page(request, customers, page=listing.page, total=total)


@needs("read")
@Operation(
    "Find a customer by e-mail address",
    query=CustomerLookup,
    answer=Customer | CustomerWithEmail,
    errors={404: "There is no such customer."},
)
async def lookup(request: web.Request, key: Key) -> web.Response:
    """By plain address, hashed with the store's key."""
    asked = query(request, CustomerLookup)
    return await _shown(request, key, await hash_of(request, key, asked.email), asked)


@needs("read")
@Operation("Show a customer", query=CustomerQuery, answer=Customer | CustomerWithEmail)
async def show(request: web.Request, key: Key) -> web.Response:
    return await _shown(request, key, _hash(request), query(request, CustomerQuery))


async def _shown(request: web.Request, key: Key, hashed: str, asked: CustomerQuery) -> web.Response:
    if asked.include:
        await _may_read_emails(request, key, hashed)
    return as_written(await _find(request, key, hashed, email=asked.include == "email"))


async def _may_read_emails(request: web.Request, key: Key, *hashes: str) -> None:
    """
    Raises:
        ApiError: 403, which is audited as the reading is.
    """
    await audit.begin(request, key, *hashes)
    require(key, "pii")


@needs("write")
@Operation(
    "Block, unblock, allowlist",
    body=CustomerPatch,
    answer=Customer,
    examples=examples.BLOCK,
    errors={409: "The customer would be both blocked and allowlisted."},
)
async def update(request: web.Request, key: Key) -> web.Response:
    """Block, allowlist; the answer is the customer as it is afterwards."""
    patch = await body(request, CustomerPatch)
    return as_written(await _changed(request, key, "customer.update", patch.model_dump(exclude_none=True)))


@needs("write")
@Operation("Recalculate the score, now", answer=Customer)
async def recalculate(request: web.Request, key: Key) -> web.Response:
    await read_nothing(request)
    return as_written(await _changed(request, key, "customer.recalculate", {}))


@needs("write")
@Operation("Tag a customer", body=TagGiven, answer=Customer, examples=examples.TAG)
async def tag(request: web.Request, key: Key) -> web.Response:
    given = await body(request, TagGiven)
    return as_written(await _changed(request, key, "customer.tag", given.model_dump()))


@needs("write")
@Operation("Remove a tag", answer=Customer, path={"tag": _TAG})
async def untag(request: web.Request, key: Key) -> web.Response:
    given = checked(TagGiven, {"tag": request.match_info["tag"]})
    return as_written(await _changed(request, key, "customer.untag", given.model_dump()))


@needs("write")
@Operation("Add a note to the timeline", body=NoteGiven, answer=Customer, status=201, examples=examples.NOTE)
async def note(request: web.Request, key: Key) -> web.Response:
    given = await body(request, NoteGiven)
    return as_written(await _changed(request, key, "customer.note", given.model_dump()), status=201)


@needs("admin")
@Operation("Erase all that is personal; the numbers stay", query=Erasure, status=204)
async def erase(request: web.Request, key: Key) -> web.Response:
    """Nothing of the customer is left to answer with. It cannot be undone: so it takes more than the scope write."""
    asked = query(request, Erasure).model_dump(exclude_none=True)
    await commands.ask(request, key, commands.SCORER, "customer.erase", {"email_hash": _hash(request), **asked})
    return web.Response(status=204)


@needs("read")
@Operation("How the score came to be what it is", query=Listing, answer=list[ScoreChange])
async def score_history(request: web.Request, key: Key) -> web.Response:
    page = query(request, Listing).page
    hashed = await _existing(request, key)
    found, total = await store.list_score_history(request.app[STATE].pool, key.store_id, hashed, page)
    return as_page(request, found, page=page, total=total)


@needs("read")
@Operation("The timeline, newest first", query=TimelineListing, answer=list[TimelineEntry])
async def events(request: web.Request, key: Key) -> web.Response:
    listing = query(request, TimelineListing)
    hashed = await _existing(request, key)
    found, total = await store.list_timeline(request.app[STATE].pool, key.store_id, hashed, listing)
    return as_page(request, found, page=listing.page, total=total)


@needs("pii")
@Operation("Export all that is known of a customer", answer=Exported)
async def export(request: web.Request, key: Key) -> web.StreamResponse:
    """All that is known of the customer, as it stood at one moment."""
    hashed = await _existing(request, key)
    await audit.begin(request, key)
    # Read whole before the first byte is answered: a slow reader holds no transaction, and a failure is still a 503.
    with SpooledTemporaryFile(max_size=_SPOOL) as spool:
        async for text in exports.export_customer(request.app[STATE].pool, key.store_id, hashed):
            spool.write(text.encode())
        log.info("api.exported", store=str(key.store_id), actor=f"key:{key.prefix}")
        return await _sent(request, spool)


async def _sent(request: web.Request, spool: "SpooledTemporaryFile[bytes]") -> web.StreamResponse:
    response = web.StreamResponse(headers={"Content-Type": "application/json; charset=utf-8"})
    response.content_length = spool.tell()
    await response.prepare(request)
    if request.method != "HEAD":
        spool.seek(0)
        while chunk := spool.read(64 * 1024):
            await response.write(chunk)
    await response.write_eof()
    return response


async def _changed(request: web.Request, key: Key, command: str, asked: dict[str, Any]) -> str:
    """The customer's JSON after the scorer did it."""
    hashed = _hash(request)
    await commands.ask(request, key, commands.SCORER, command, {"email_hash": hashed, **asked})
    return await _find(request, key, hashed)


async def _existing(request: web.Request, key: Key) -> str:
    hashed = _hash(request)
    if not await store.customer_exists(request.app[STATE].pool, key.store_id, hashed):
        raise _not_found()
    return hashed


def _hash(request: web.Request) -> str:
    hashed = request.match_info["email_hash"].lower()
    if not _HASH.fullmatch(hashed):
        raise invalid({"email_hash": "must be 64 hexadecimal digits"})
    return hashed


async def _find(request: web.Request, key: Key, hashed: str, *, email: bool = False) -> str:
    customer = await store.find_customer(request.app[STATE].pool, key.store_id, hashed, email=email)
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
    web.delete("/customers/{email_hash}", erase),
    web.post("/customers/{email_hash}/recalculate", recalculate),
    web.post("/customers/{email_hash}/tags", tag),
    web.delete("/customers/{email_hash}/tags/{tag}", untag),
    web.post("/customers/{email_hash}/notes", note),
    web.get("/customers/{email_hash}/score-history", score_history),
    web.get("/customers/{email_hash}/events", events),
    web.get("/customers/{email_hash}/export", export),
]
