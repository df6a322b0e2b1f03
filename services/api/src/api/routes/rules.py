"""/rules: automation rules and why they did or did not fire; the rule engine owns them."""

from aiohttp import web

from api import commands
from api.auth import needs
from api.errors import ApiError
from api.requests import path_uuid, query, read_object
from api.responses import as_json, as_page
from api.schemas import Listing, Rule
from api.state import STATE
from api.store import rules as store
from api.stores import Key


@needs("read")
async def index(request: web.Request, key: Key) -> web.Response:
    page = query(request, Listing).page
    rules, total = await store.list_rules(request.app[STATE].pool, key.store_id, page)
    return as_page(request, rules, page=page, total=total)


@needs("write")
async def create(request: web.Request, key: Key) -> web.Response:
    given = await read_object(request)
    return as_json(await commands.ask(request, key, commands.RULE_ENGINE, "rule.create", given), status=201)


@needs("read")
async def show(request: web.Request, key: Key) -> web.Response:
    return as_json(await _find(request, key))


@needs("read")
async def evaluations(request: web.Request, key: Key) -> web.Response:
    page = query(request, Listing).page
    rule = await _find(request, key)
    found, total = await store.list_evaluations(request.app[STATE].pool, key.store_id, rule.id, page)
    return as_page(request, found, page=page, total=total)


async def _find(request: web.Request, key: Key) -> Rule:
    rule_id = path_uuid(request, "id")
    rule = rule_id and await store.find_rule(request.app[STATE].pool, key.store_id, rule_id)
    if not rule:
        raise ApiError(404, "trustlens_rule_not_found", "Rule not found.")
    return rule


ROUTES = [
    web.get("/rules", index),
    web.post("/rules", create),
    web.get("/rules/{id}", show),
    web.get("/rules/{id}/evaluations", evaluations),
]
